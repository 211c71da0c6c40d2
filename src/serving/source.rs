//! Requests to send next: from a stream, or as earlier ones end.

use std::collections::VecDeque;

use super::arrivals::{Stream, Traffic};
use super::lengths::Lengths;
use super::request::{Finished, Request};
use super::run::Backlog;
use super::sessions::Sessions;
use crate::spec::SpecError;

/// What is sent, and when.
#[derive(Debug)]
pub(super) struct Source {
    stream: Stream,
    next: Option<Request>,
    /// When requests of a closed loop may be sent.
    freed: VecDeque<f64>,
    is_loop: bool,
    half: u64,
    most_in_flight: u64,
    /// Requests sent.
    pub sent: u64,
    pub backlog: Option<Backlog>,
    /// Sending stopped because too many were in the system.
    pub cut_short: bool,
    pub sessions: Option<Sessions>,
    /// The request just taken: the number of the stream's requests before it, none of a call that follows another.
    taken: Option<u64>,
    streamed: u64,
}

impl Source {
    pub fn new(traffic: &Traffic, most_in_flight: u64) -> Result<Self, SpecError> {
        let mut stream = traffic.stream()?;
        let size = traffic.in_flight();
        Ok(Self {
            next: if size.is_none() { stream.next() } else { None },
            stream,
            freed: vec![0.0; size.unwrap_or(0) as usize].into(),
            is_loop: size.is_some(),
            half: traffic.requests / 2,
            most_in_flight,
            sent: 0,
            backlog: None,
            cut_short: false,
            sessions: match &traffic.lengths {
                Lengths::Sessions(turns) => Some(Sessions::new(turns, traffic.seed)?),
                _ => None,
            },
            taken: None,
            streamed: 0,
        })
    }

    /// Ends of requests let others be sent.
    pub fn depends_on_ends(&self) -> bool {
        self.is_loop || self.sessions.is_some()
    }

    /// When the next request is sent; infinite when there is none before another one ends.
    pub fn next_time(&mut self) -> f64 {
        let first = self.next_of_stream();
        self.sessions.as_ref().map_or(first, |s| first.min(s.next_time()))
    }

    fn next_of_stream(&mut self) -> f64 {
        if !self.is_loop {
            return self.next.map_or(f64::INFINITY, |r| r.sent);
        }
        let Some(freed) = self.freed.front().copied() else { return f64::INFINITY };
        if self.next.is_none() {
            self.next = self.stream.next();
        }
        if self.next.is_none() { f64::INFINITY } else { freed }
    }

    /// The request sent at `at`, which is what [`Source::next_time`] said, with its number.
    pub fn take(&mut self, at: f64) -> Option<(Request, u64)> {
        let number = self.sent;
        self.sent += 1;
        let Some(sessions) = &mut self.sessions else {
            self.streamed += 1;
            return self.next.take().map(|r| (Request { sent: at, ..r }, number));
        };
        self.taken = None;
        if sessions.next_time() <= at {
            return sessions.take(number).map(|r| (r, number));
        }
        let mut request = Request { sent: at, ..self.next.take()? };
        sessions.begin(&mut request, number);
        (self.taken, self.streamed) = (Some(self.streamed), self.streamed + 1);
        Some((request, number))
    }

    /// What became of the request just taken: accepted or refused, with so many in the system now.
    pub fn settled(&mut self, at: f64, accepted: bool, in_flight: u64) {
        if let Some(sessions) = &mut self.sessions {
            if !accepted {
                sessions.refused(self.sent - 1);
            }
            if self.taken.is_none() {
                // the session of a call that was refused is over
                if self.is_loop && !accepted {
                    self.free(at);
                }
                return;
            }
        }
        if self.is_loop {
            // a refused request lets the next one be sent at once
            if accepted {
                self.freed.pop_front();
            }
            return;
        }
        self.next = self.stream.next();
        if in_flight >= self.most_in_flight && self.next.take().is_some() {
            self.cut_short = true;
        }
        let backlog = self.backlog.get_or_insert_default();
        if self.streamed <= self.half.max(1) {
            (backlog.times[0], backlog.requests[0]) = (at, in_flight);
        } else {
            backlog.sent += 1;
        }
        (backlog.times[1], backlog.requests[1]) = (at, in_flight);
    }

    /// A request has ended; one of a closed loop lets another be sent, one of a session its next call.
    pub fn ended(&mut self, request: &Finished) {
        let over = self.sessions.as_mut().is_none_or(|s| s.ended(request));
        if self.is_loop && over {
            self.free(request.finished);
        }
    }

    fn free(&mut self, at: f64) {
        // replicas end requests out of order by less than a step
        let place = self.freed.partition_point(|t| *t <= at);
        self.freed.insert(place, at);
    }

    /// Sessions between two calls.
    pub fn paused(&self) -> u64 {
        self.sessions.as_ref().map_or(0, Sessions::waiting)
    }
}
