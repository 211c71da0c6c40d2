//! Traffic through replicas, from the first request to the last.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use super::arrivals::Traffic;
use super::clock::StepClock;
use super::fluidity::Deadlines;
use super::histogram::LogHistogram;
use super::metrics::{Metrics, Slo};
use super::replica::{Pool, Replica};
use super::request::{Finished, Rejection};
use super::router::Routing;
use super::scheduler::Scheduler;
use super::source::Source;
use super::speculation::Speculation;
use crate::spec::SpecError;

/// What surrounds the replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// Replicas behind the router.
    pub replicas: u32,
    /// Data-parallel ranks of each.
    pub ranks: u32,
    /// The router's rule.
    pub routing: Routing,
    /// Latencies that good requests keep.
    pub slo: Slo,
    /// When tokens are due; none counts nothing.
    pub due: Option<Deadlines>,
    /// Which prompts a pool for decode computes itself.
    pub local: LocalPrefill,
    /// Keep every request that ended.
    pub records: bool,
    /// Carry out every decode step by itself.
    pub step_by_step: bool,
    /// Requests in the system at which no more are sent: the load is beyond capacity.
    pub most_in_flight: u64,
}

/// Prompts that are computed where they generate although there is a pool for prompts (conditional disaggregation: the
/// `max_local_prefill_length` and `max_prefill_queue_size` of NVIDIA Dynamo's disaggregated router).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalPrefill {
    /// Prompts of up to so many tokens.
    pub tokens: u32,
    /// All prompts while the prefill replica in turn has so many requests; none for never.
    pub queue: Option<u32>,
}

impl LocalPrefill {
    /// True of a prompt of so many tokens, with so many requests at the prefill replica.
    pub(super) fn takes(self, tokens: u32, waiting: usize) -> bool {
        tokens <= self.tokens || self.queue.is_some_and(|most| waiting >= most as usize)
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            replicas: 1,
            ranks: 1,
            routing: Routing::RoundRobin,
            slo: Slo::default(),
            due: None,
            local: LocalPrefill::default(),
            records: false,
            step_by_step: false,
            most_in_flight: 1_000_000,
        }
    }
}

/// Requests in the system while they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Backlog {
    /// When half of the requests had been sent, and when the last one had.
    pub times: [f64; 2],
    /// Requests sent by then and not ended.
    pub requests: [u64; 2],
    /// Requests sent in between.
    pub sent: u64,
}

impl Backlog {
    /// Requests per second by which the backlog grew over the second half of the arrivals.
    #[must_use]
    pub fn growth_per_s(&self) -> f64 {
        let time = self.times[1] - self.times[0];
        let more = self.requests[1] as f64 - self.requests[0] as f64;
        if time > 0.0 { more / time } else { 0.0 }
    }

    /// True when the backlog grew by more than chance explains: by over a twentieth of what was sent, and by
    /// over 16 requests.
    #[must_use]
    pub fn is_growing(&self) -> bool {
        let more = self.requests[1].saturating_sub(self.requests[0]);
        more > 16 && more as f64 > 0.05 * self.sent as f64
    }
}

/// What came of it. Sent requests are those that ended and those that were rejected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Distributions and sums.
    pub metrics: Metrics,
    /// Requests sent.
    pub sent: u64,
    /// Requests refused, by reason.
    pub rejected: BTreeMap<Rejection, u64>,
    /// Requests in the system, of an open loop.
    pub backlog: Option<Backlog>,
    /// Sending stopped because the backlog was too large.
    pub cut_short: bool,
    /// Largest share of a KV pool in use.
    pub peak_occupancy: f64,
    /// Prefix-cache blocks found and asked for.
    pub prefix_blocks: [u64; 2],
    /// Tokens brought back from tiers below the accelerators.
    pub loaded_tokens: u64,
    /// Durations of sessions, and calls of those that ended.
    pub sessions: Option<(LogHistogram, u64)>,
    /// Requests that ended, where they are kept, in the order of their ends.
    pub records: Vec<Finished>,
}

/// Sends traffic through replicas of a deployment until every request has ended or was refused.
///
/// # Errors
/// When the traffic makes no sense.
pub fn run(
    clock: &mut StepClock,
    scheduler: &Scheduler,
    pool: &Pool,
    traffic: &Traffic,
    options: &RunOptions,
) -> Result<Outcome, SpecError> {
    let count = options.replicas.max(1) as usize;
    let width = clock.speculation().map_or(1, Speculation::width);
    let mut replica = Replica::new(*scheduler, pool.clone(), options.ranks).verifying(width).due(options.due);
    if options.step_by_step {
        replica = replica.step_by_step();
    }
    if count == 1 {
        replica = replica.alone();
    }
    let mut driver = Driver {
        replicas: vec![replica; count],
        metrics: Metrics::new(options.slo, scheduler.intake_s),
        source: Source::new(traffic, options.most_in_flight)?,
        outcome: Outcome::default(),
        options: *options,
        intake: scheduler.intake_s,
        agenda: Agenda::new(count),
        in_flight: 0,
    };
    driver.run(clock);
    Ok(driver.outcome())
}

struct Driver {
    replicas: Vec<Replica>,
    metrics: Metrics,
    source: Source,
    outcome: Outcome,
    options: RunOptions,
    intake: f64,
    /// When each replica decides next.
    agenda: Agenda,
    /// Requests that all of them have.
    in_flight: u64,
}

/// Which of many replicas decides next, found without looking at all of them.
struct Agenda {
    /// Times with their replica; those that are not a replica's latest are passed over.
    times: BinaryHeap<Reverse<(Time, usize)>>,
    latest: Vec<f64>,
}

/// Seconds in their order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Agenda {
    fn new(count: usize) -> Self {
        Self { times: BinaryHeap::new(), latest: vec![f64::INFINITY; count] }
    }

    fn put(&mut self, replica: usize, time: f64) {
        if self.latest[replica].total_cmp(&time).is_ne() {
            self.latest[replica] = time;
            if time.is_finite() {
                self.times.push(Reverse((Time(time), replica)));
            }
        }
    }

    /// The replica that decides first; of equals the first. None while all are idle.
    fn first(&mut self) -> Option<usize> {
        loop {
            let Reverse((time, replica)) = *self.times.peek()?;
            if self.latest[replica].total_cmp(&time.0).is_eq() {
                return Some(replica);
            }
            self.times.pop();
        }
    }
}

impl Driver {
    fn run(&mut self, clock: &mut StepClock) {
        loop {
            let sending = self.source.next_time();
            if !self.advance(clock, sending) {
                if sending.is_infinite() {
                    break;
                }
                self.send(sending);
            }
        }
    }

    /// Advances the replica that decides first, up to what may depend on the request sent then. False when none can.
    fn advance(&mut self, clock: &mut StepClock, sending: f64) -> bool {
        if let [replica] = self.replicas.as_mut_slice() {
            let before = replica.in_flight();
            let moved = replica.advance(clock, sending + self.intake, &mut self.metrics);
            self.collect(0);
            self.changed(0, before);
            return moved;
        }
        let Some(first) = self.agenda.first() else { return false };
        let before = self.replicas[first].in_flight();
        // an end elsewhere can send a request here, which arrives an intake later at the earliest
        let others = (0..self.replicas.len()).filter(|i| *i != first).map(|i| self.replicas[i].horizon());
        let until = if self.source.depends_on_ends() {
            sending.min(others.fold(f64::INFINITY, f64::min) + self.intake)
        } else {
            sending
        };
        let mut moved = self.replicas[first].advance(clock, until, &mut self.metrics);
        if !moved && until < sending {
            moved = self.replicas[first].advance(clock, sending, &mut self.metrics);
        }
        self.collect(first);
        self.changed(first, before);
        moved
    }

    /// Notes when a replica decides next, which had so many requests before.
    fn changed(&mut self, index: usize, before: usize) {
        self.in_flight = self.in_flight + self.replicas[index].in_flight() as u64 - before as u64;
        if self.replicas.len() > 1 {
            self.agenda.put(index, self.replicas[index].next_decision());
        }
    }

    /// Takes what ended.
    fn collect(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        if replica.done.is_empty() {
            return;
        }
        if self.source.depends_on_ends() {
            for finished in &replica.done {
                self.source.ended(finished);
            }
        }
        if self.options.records {
            self.outcome.records.append(&mut replica.done);
        }
        replica.done.clear();
    }

    fn send(&mut self, at: f64) {
        let Some((request, number)) = self.source.take(at) else { return };
        let to = match self.replicas.len() {
            1 => 0,
            _ => self.options.routing.choose(&self.replicas, &request, number),
        };
        let before = self.replicas[to].in_flight();
        let refused = self.replicas[to].submit(&request, number);
        self.changed(to, before);
        if let Err(reason) = refused {
            *self.outcome.rejected.entry(reason).or_default() += 1;
        }
        self.source.settled(at, refused.is_ok(), self.in_flight + self.source.paused());
    }

    fn outcome(self) -> Outcome {
        let peaks = self.replicas.iter().map(Replica::peak_occupancy);
        let blocks = self.replicas.iter().map(Replica::prefix_counts);
        Outcome {
            metrics: self.metrics,
            sent: self.source.sent,
            backlog: self.source.backlog,
            cut_short: self.source.cut_short,
            peak_occupancy: peaks.fold(0.0, f64::max),
            prefix_blocks: blocks.fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]),
            loaded_tokens: self.replicas.iter().map(Replica::loaded_tokens).sum(),
            sessions: self.source.sessions.map(|s| (s.durations, s.finished_calls)),
            ..self.outcome
        }
    }
}
