//! Prefill and decode in pools of their own (DistServe, Splitwise, Mooncake): a prompt is computed in the first, its KV cache
//! crosses a link, and the second generates.
//!
//! The first token is sampled by the prefill pool and counts as delivered when the cache has arrived, since it is the
//! decode replica that streams to the client (SGLang, TensorRT-LLM, Dynamo). What waits for room in the decode pool shows
//! in the gap after it.
//!
//! Not modelled: the prompt's blocks stay in the prefill pool until they are sent; of latent attention every
//! tensor-parallel rank holds a copy, of which one is sent.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::arrivals::Traffic;
use super::clock::StepClock;
use super::fluidity::Deadlines;
use super::metrics::Metrics;
use super::replica::{Pool, Replica};
use super::request::{Finished, Request};
use super::run::{Outcome, RunOptions};
use super::scheduler::Scheduler;
use super::source::Source;
use super::speculation::Speculation;
use super::transfer::{Lanes, Link};
use crate::spec::SpecError;

/// One of the two pools.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Its step times.
    pub clock: &'a mut StepClock,
    /// Its engine's scheduler.
    pub scheduler: Scheduler,
    /// The KV pool of a rank.
    pub pool: Pool,
    /// Data-parallel ranks of a replica.
    pub ranks: u32,
    /// Replicas.
    pub replicas: u32,
}

impl Stage<'_> {
    fn replicas(&self, step_by_step: bool, due: Option<Deadlines>) -> Vec<Replica> {
        let count = self.replicas.max(1) as usize;
        let width = self.clock.speculation().map_or(1, Speculation::width);
        let mut replica =
            Replica::new(self.scheduler, self.pool.clone(), self.ranks).verifying(width).due(due);
        if step_by_step {
            replica = replica.step_by_step();
        }
        vec![replica; count]
    }
}

/// What the prefill pool and the link did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SplitOutcome {
    /// Of the whole: latencies of requests, work of the decode pool.
    pub outcome: Outcome,
    /// Prompts of the prefill pool.
    pub prefill: Metrics,
    /// Largest share of a prefill replica's KV pool in use.
    pub prefill_peak_occupancy: f64,
    /// Seconds in which caches were sent, all links together.
    pub sending_s: f64,
}

/// A prompt that was computed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Computed {
    prompt: Finished,
    /// Tokens to generate.
    output: u32,
    /// Replica that computed it.
    by: usize,
}

impl Eq for Computed {}

impl Ord for Computed {
    /// The earliest is the greatest, for a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        let times = other.prompt.finished.total_cmp(&self.prompt.finished);
        times.then(other.prompt.number.cmp(&self.prompt.number))
    }
}

impl PartialOrd for Computed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Sends traffic through a prefill and a decode pool until every request has ended or was refused.
///
/// # Errors
/// When the traffic makes no sense.
pub fn run_split(
    prefill: Stage<'_>,
    decode: Stage<'_>,
    link: &Link,
    traffic: &Traffic,
    options: &RunOptions,
) -> Result<SplitOutcome, SpecError> {
    let intake = prefill.scheduler.intake_s;
    let single = options.step_by_step;
    let (first, second) = (prefill.replicas(single, None), decode.replicas(single, options.due));
    let mut driver = Driver {
        lanes: Lanes::new(first.len(), second.len()),
        prefill: first,
        decode: second,
        prompts: Metrics::new(options.slo, intake),
        metrics: Metrics::new(options.slo, intake),
        source: Source::new(traffic, options.most_in_flight)?,
        outputs: HashMap::new(),
        computed: BinaryHeap::new(),
        outcome: Outcome::default(),
        options: *options,
        intake,
        link: link.clone(),
    };
    driver.run(prefill.clock, decode.clock);
    Ok(driver.outcome())
}

struct Driver {
    prefill: Vec<Replica>,
    decode: Vec<Replica>,
    prompts: Metrics,
    metrics: Metrics,
    source: Source,
    /// Tokens to generate of prompts in the prefill pool.
    outputs: HashMap<u64, u32>,
    /// Prompts computed and not yet sent on.
    computed: BinaryHeap<Computed>,
    lanes: Lanes,
    link: Link,
    outcome: Outcome,
    options: RunOptions,
    intake: f64,
}

impl Driver {
    fn run(&mut self, first: &mut StepClock, second: &mut StepClock) {
        loop {
            let sending = self.source.next_time();
            let handover = self.computed.peek().map_or(f64::INFINITY, |c| c.prompt.finished);
            if self.advance(first, second, sending, handover) {
                continue;
            }
            if handover <= sending {
                let Some(computed) = self.computed.pop() else { break };
                self.hand_over(computed);
            } else {
                self.send(sending);
            }
        }
    }

    /// Advances the replica that is furthest behind of those that can be advanced without knowing more. A decode replica
    /// must know of every prompt computed before, a prefill replica of every request sent.
    fn advance(
        &mut self,
        first: &mut StepClock,
        second: &mut StepClock,
        sending: f64,
        handover: f64,
    ) -> bool {
        let earliest = |list: &[Replica]| list.iter().map(Replica::horizon).fold(f64::INFINITY, f64::min);
        let mut sent = sending;
        if self.source.depends_on_ends() {
            sent = sent.min(earliest(&self.decode).min(handover) + self.intake);
        }
        // an iteration that starts now ends later: what a decode replica starts at the same time knows enough
        let given = handover.min(earliest(&self.prefill).next_up()).min(sending);
        let mut order: Vec<(f64, bool, usize)> = (0..self.prefill.len())
            .map(|i| (self.prefill[i].horizon(), false, i))
            .chain((0..self.decode.len()).map(|i| (self.decode[i].horizon(), true, i)))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (horizon, decodes, index) in order {
            if horizon.is_infinite() {
                break;
            }
            let moved = if decodes {
                self.decode[index].advance(second, given, &mut self.metrics)
            } else {
                self.prefill[index].advance(first, sent, &mut self.prompts)
            };
            if moved {
                self.collect(decodes, index);
                return true;
            }
        }
        false
    }

    /// Takes what ended.
    fn collect(&mut self, decodes: bool, index: usize) {
        let replica = if decodes { &mut self.decode[index] } else { &mut self.prefill[index] };
        for finished in std::mem::take(&mut replica.done) {
            if decodes {
                self.ended(finished);
                continue;
            }
            match self.outputs.remove(&finished.number) {
                Some(output) if output > 1 => {
                    self.computed.push(Computed { prompt: finished, output, by: index })
                }
                _ => {
                    self.metrics.finished(&finished);
                    self.ended(finished);
                }
            }
        }
    }

    fn ended(&mut self, finished: Finished) {
        self.source.ended(&finished);
        if self.options.records {
            self.outcome.records.push(finished);
        }
    }

    /// The decode replica with the fewest requests.
    fn emptiest(&self) -> usize {
        (0..self.decode.len()).min_by_key(|i| self.decode[*i].in_flight()).unwrap_or(0)
    }

    /// Sends the cache of a prompt to the emptiest decode replica.
    fn hand_over(&mut self, Computed { prompt, output, by }: Computed) {
        let to = self.emptiest();
        let times = self.link.times(prompt.input, prompt.finished - prompt.scheduled);
        let ready = self.lanes.send([by, to], prompt.finished, times, self.link.latency_s);
        self.decode[to].submit_computed(&prompt, output, ready);
    }

    fn send(&mut self, at: f64) {
        let Some((request, number)) = self.source.take(at) else { return };
        let prompt = Request { output: 1, ..request };
        let to = self.options.routing.choose(&self.prefill, &prompt, number);
        let local = self.options.local.takes(request.input, self.prefill[to].in_flight());
        let refused = match self.decode.first().and_then(|d| d.refusal(request.input, request.output)) {
            Some(reason) => Err(reason),
            None if local => {
                let emptiest = self.emptiest();
                self.decode[emptiest].submit(&request, number)
            }
            None => self.prefill[to].submit(&prompt, number),
        };
        match refused {
            Ok(()) if local => {}
            Ok(()) => {
                self.outputs.insert(number, request.output);
            }
            Err(reason) => *self.outcome.rejected.entry(reason).or_default() += 1,
        }
        let both = self.prefill.iter().chain(&self.decode);
        let in_flight = both.map(|r| r.in_flight() as u64).sum::<u64>()
            + self.computed.len() as u64
            + self.source.paused();
        self.source.settled(at, refused.is_ok(), in_flight);
    }

    fn outcome(self) -> SplitOutcome {
        let peak = |list: &[Replica]| list.iter().map(Replica::peak_occupancy).fold(0.0, f64::max);
        let blocks = self.prefill.iter().map(Replica::prefix_counts);
        SplitOutcome {
            prefill_peak_occupancy: peak(&self.prefill),
            prefill: self.prompts,
            sending_s: self.lanes.busy,
            outcome: Outcome {
                metrics: self.metrics,
                sent: self.source.sent,
                backlog: self.source.backlog,
                cut_short: self.source.cut_short,
                peak_occupancy: peak(&self.decode),
                prefix_blocks: blocks.fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]),
                loaded_tokens: self.prefill.iter().map(Replica::loaded_tokens).sum(),
                sessions: self.source.sessions.map(|s| (s.durations, s.finished_calls)),
                ..self.outcome
            },
        }
    }
}
