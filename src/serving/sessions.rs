//! Sessions of several calls: conversations and agent loops. Every call's prompt is the context so far and something new,
//! a user's message or a tool's result; the next call follows the answer after a pause.

use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::histogram::LogHistogram;
use super::lengths::{Length, Sampler};
use super::request::{Finished, Request};
use crate::spec::SpecError;

/// What the calls of a session look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Turns {
    /// Calls of a session.
    pub calls: Length,
    /// Prompt of the first call, system prompt and tools included.
    pub first: Length,
    /// What every later call adds to the context.
    pub later: Length,
    /// Tokens of an answer.
    pub answer: Length,
    /// Tokens generated before each answer.
    pub thinking: Option<Length>,
    /// They stay in the context; most chat templates drop them.
    pub keeps_thinking: bool,
    /// Mean of the exponential pause between an answer and the next call, in seconds.
    pub pause_s: f64,
}

impl Turns {
    /// Mean prompt and generated tokens of a call. Of c calls the i-th has i times what a call adds before it.
    #[must_use]
    pub fn means(&self) -> [f64; 2] {
        let thinking = self.thinking.map_or(0.0, Length::mean);
        let kept = self.answer.mean() + if self.keeps_thinking { thinking } else { 0.0 };
        let before = (self.calls.mean() - 1.0).max(0.0) / 2.0;
        [self.first.mean() + before * (self.later.mean() + kept), self.answer.mean() + thinking]
    }

    pub(super) fn samplers(&self) -> Result<Samplers, SpecError> {
        if !(self.pause_s.is_finite() && self.pause_s >= 0.0) {
            return Err(SpecError::Usage(format!(
                "a pause of {} s between calls: it must be 0 or more",
                self.pause_s
            )));
        }
        Ok(Samplers {
            calls: self.calls.sampler()?,
            first: self.first.sampler()?,
            later: self.later.sampler()?,
            answer: self.answer.sampler()?,
            thinking: self.thinking.map(Length::sampler).transpose()?,
        })
    }
}

/// Distributions ready to draw from.
#[derive(Debug, Clone)]
pub(super) struct Samplers {
    calls: Sampler,
    pub first: Sampler,
    later: Sampler,
    answer: Sampler,
    thinking: Option<Sampler>,
}

/// A session that goes on.
#[derive(Debug)]
struct Open {
    id: u32,
    started: f64,
    calls: u32,
    left: u32,
    /// Tokens that the present call thinks.
    thinks: u32,
    random: Xoshiro256PlusPlus,
}

/// All sessions that go on, by the number of the call in service, and the calls to come.
#[derive(Debug)]
pub(super) struct Sessions {
    turns: Arc<Turns>,
    samplers: Samplers,
    seed: u64,
    open: HashMap<u64, Open>,
    /// (time as ordered bits, session), and the call itself.
    order: BinaryHeap<Reverse<(u64, u32)>>,
    calls: HashMap<u32, (Request, Open)>,
    ids: u32,
    /// Durations of sessions that ended.
    pub durations: LogHistogram,
    /// Calls of sessions that ended.
    pub finished_calls: u64,
}

impl Sessions {
    pub fn new(turns: &Arc<Turns>, seed: u64) -> Result<Self, SpecError> {
        Ok(Self {
            samplers: turns.samplers()?,
            turns: Arc::clone(turns),
            seed,
            open: HashMap::new(),
            order: BinaryHeap::new(),
            calls: HashMap::new(),
            ids: 0,
            durations: LogHistogram::default(),
            finished_calls: 0,
        })
    }

    /// When the next call of a session that goes on is sent; infinite without.
    pub fn next_time(&self) -> f64 {
        self.order.peek().map_or(f64::INFINITY, |Reverse((bits, _))| f64::from_bits(*bits))
    }

    /// That call, under its number.
    pub fn take(&mut self, number: u64) -> Option<Request> {
        let Reverse((_, id)) = self.order.pop()?;
        let (request, open) = self.calls.remove(&id)?;
        self.open.insert(number, open);
        Some(request)
    }

    /// A new session begins with the request of a number.
    pub fn begin(&mut self, request: &mut Request, number: u64) {
        self.ids += 1;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ (u64::from(self.ids) << 20));
        let calls = self.samplers.calls.draw(&mut random);
        let (output, thinks) = self.output(&mut random);
        (request.output, request.session) = (output, self.ids);
        let open = Open { id: self.ids, started: request.sent, calls, left: calls - 1, thinks, random };
        self.open.insert(number, open);
    }

    fn output(&self, random: &mut Xoshiro256PlusPlus) -> (u32, u32) {
        let thinks = self.samplers.thinking.as_ref().map_or(0, |s| s.draw(random));
        (self.samplers.answer.draw(random).saturating_add(thinks), thinks)
    }

    /// The call of a number was refused: its session is over.
    pub fn refused(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// A call has ended. True when its session has.
    pub fn ended(&mut self, call: &Finished) -> bool {
        let Some(mut open) = self.open.remove(&call.number) else { return true };
        if open.left == 0 {
            self.durations.add(call.finished - open.started);
            self.finished_calls += u64::from(open.calls);
            return true;
        }
        open.left -= 1;
        let dropped = if self.turns.keeps_thinking { 0 } else { open.thinks };
        // the cache of what follows dropped tokens is of no use: positions before it have changed
        let history = if dropped > 0 { call.input } else { call.input + call.output - 1 };
        let context = call.input.saturating_add(call.output - dropped);
        let input = context.saturating_add(self.samplers.later.draw(&mut open.random));
        let (output, thinks) = self.output(&mut open.random);
        open.thinks = thinks;
        let pause: f64 = Exp1.sample(&mut open.random);
        let sent = call.finished + self.turns.pause_s * pause;
        let request = Request { sent, input, output, blocks: [0, 0], session: open.id, history };
        self.order.push(Reverse((sent.to_bits(), open.id)));
        self.calls.insert(open.id, (request, open));
        false
    }

    /// Sessions that wait for their next call.
    pub fn waiting(&self) -> u64 {
        self.order.len() as u64
    }
}
