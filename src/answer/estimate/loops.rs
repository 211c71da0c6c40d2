//! A closed or open loop, answered by simulation: the same one that `simulate` runs.

use std::sync::Arc;

use super::regime::Course;
use super::{Latency, Question, Throughput};
use crate::answer::Estimator;
use crate::answer::cost::Spent;
use crate::answer::energy::Ran;
use crate::answer::service::{Service, mean_rows};
use crate::answer::speculation::SpeculationUse;
use crate::memory::{MemoryError, MemoryReport};
use crate::serving::{Arrivals, Length, Lengths, Outcome, Pool, Rate, Rejection, RunOptions, Trace, Traffic};
use crate::spec::{Load, SpecError, Workload};

/// What a simulation says to an estimate.
pub(super) struct Simulated {
    pub latency: Latency,
    /// Requests that ended per second.
    pub requests_per_s: f64,
    /// What the replica did.
    pub ran: Ran,
    /// Mean decode rows of all ranks.
    pub rows: f64,
    /// Mean prompt and generated tokens.
    pub lengths: [f64; 2],
    pub warnings: Vec<String>,
    pub speculation: Option<SpeculationUse>,
    pub course: Course,
}

/// True when requests come one after another or at once: nothing waits for anything else, and the closed
/// form is what a simulation of a single request would give.
pub(super) fn is_alone(workload: &Workload) -> bool {
    match workload.load {
        Load::StaticBatch(_) => true,
        Load::Concurrency(n) => n <= 1 && workload.length_ratio_min >= 1.0,
        Load::Rate { .. } => false,
    }
}

/// The requests of a workload.
///
/// # Errors
/// When the rate makes no sense.
pub fn traffic(workload: &Workload) -> Result<Traffic, SpecError> {
    let [input, output] =
        [workload.input_len, workload.output_len].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let lengths = if workload.length_ratio_min < 1.0 {
        Lengths::Harness { input, output, ratio: workload.length_ratio_min }
    } else {
        Lengths::Independent { input: Length::Fixed(input), output: Length::Fixed(output) }
    };
    let arrivals = match workload.load {
        Load::StaticBatch(_) => Arrivals::Burst,
        Load::Concurrency(n) => Arrivals::Closed(n.max(1)),
        Load::Rate { per_s, burstiness } => Arrivals::Open(Rate::constant(per_s)?, burstiness),
    };
    Ok(Traffic { arrivals, lengths, requests: workload.requests(), seed: workload.seed })
}

/// The same traffic with the prompts that an open loop repeats, which its prefix cache then finds by their blocks.
fn repeating(workload: &Workload, traffic: Traffic, pool: &mut Pool) -> Result<Traffic, SpecError> {
    let Some(repeats) = workload.repeats.filter(|_| matches!(workload.load, Load::Rate { .. })) else {
        return Ok(traffic);
    };
    let shared = u32::try_from(repeats.shared_len).unwrap_or(u32::MAX);
    let trace = Arc::new(Trace::repeating(&traffic, repeats.prompts, shared, pool.block)?);
    // the prefix is that of a prompt sent before, which the first of each is not
    pool.shared_prefix = 0;
    (pool.hashes, pool.hash_tokens) = trace.hashes();
    Ok(Traffic { arrivals: Arrivals::Trace(trace, 1.0), ..traffic })
}

/// A closed loop with far more requests in flight than the engine has seats runs at its full rate X, whatever
/// their number: each one more waits 1/X longer (Little's law). Returns the loop that is simulated, at least
/// twice the seats, and how many requests it leaves out.
fn capped(workload: &Workload, seats: u64) -> (Workload, u64) {
    const FEWEST: u64 = 4096;
    const MOST: u64 = 100_000;
    let limit = (2 * seats).clamp(FEWEST, MOST);
    match workload.load {
        Load::Concurrency(n) if u64::from(n) > limit && workload.requests.is_none() => {
            (Workload { load: Load::Concurrency(limit as u32), ..*workload }, u64::from(n) - limit)
        }
        _ => (*workload, 0),
    }
}

/// The deployment of a question, ready to serve requests of any length. The second is what to know of a KV pool
/// that cannot hold one: times are what they would be if it did.
///
/// # Errors
/// When the engine would refuse the deployment.
pub(in crate::answer) fn service(
    question: &Question<'_>,
    estimator: &Estimator,
    memory: &MemoryReport,
) -> Result<(Service, Option<String>), MemoryError> {
    let mean = question.workload.at_mean();
    let longest = question.workload.input_len + question.workload.output_len;
    let mut service = Service::new(question, estimator, memory, mean.input_len + mean.output_len)?;
    service.scheduler.max_model_len = u64::MAX;
    let tokens = service.pool.tokens.filter(|t| *t < longest);
    let warning = tokens.map(|tokens| {
        service.pool.tokens = None;
        format!("a request of {longest} tokens does not fit into the KV pool of {tokens}: times assume room for all")
    });
    Ok((service, warning))
}

/// Simulates the load of a question. Requests that no pool could hold are taken to fit, as an estimate says
/// what the times would be and warns.
pub(super) fn simulated(
    question: &Question<'_>,
    workload: &Workload,
    estimator: &Estimator,
    memory: &MemoryReport,
) -> Result<Simulated, MemoryError> {
    let seats = u64::from(memory.settings.max_num_seqs) * u64::from(question.deployment.parallelism.dp);
    let (workload, beyond) = &capped(workload, seats);
    let mean = workload.at_mean();
    let (mut service, too_small) = service(&Question { workload, ..*question }, estimator, memory)?;
    let mut warnings = vec![];
    warnings.extend(too_small);
    let traffic = repeating(workload, traffic(workload)?, &mut service.pool)?;
    let outcome = service.serve(&traffic, &RunOptions::default())?;
    warnings.extend(outcome_warnings(&outcome, workload.load));
    let metrics = &outcome.metrics;
    let completed = metrics.completed().max(1) as f64;
    let requests_per_s = completed / metrics.last;
    let mut latency = Latency::simulated(metrics);
    if *beyond > 0 {
        let wait = *beyond as f64 / requests_per_s;
        latency.queue_s += wait;
        latency.ttft_s += wait;
        latency.e2e_s += wait;
        latency.normalized_s += wait / mean.output_len as f64;
        warnings.push(format!(
            "the engine serves at most {seats} requests at once: {beyond} of those in flight only wait, and were \
             not simulated one by one"
        ));
    }
    Ok(Simulated {
        course: Course::of(&outcome),
        speculation: service.speculation(question.options, (mean.input_len + mean.output_len / 2) as f64),
        latency,
        requests_per_s,
        ran: Ran::of(metrics, 1),
        rows: mean_rows(metrics),
        lengths: [metrics.input_tokens as f64 / completed, metrics.output_tokens as f64 / completed],
        warnings,
    })
}

/// What a user must know of a run: saturation, preemptions, refusals.
pub(in crate::answer) fn outcome_warnings(outcome: &Outcome, load: Load) -> Vec<String> {
    let mut all = vec![];
    if let Some(backlog) = outcome.backlog.filter(|b| outcome.cut_short || b.is_growing()) {
        let rate = match load {
            Load::Rate { per_s, .. } => format!(" of {per_s} requests/s"),
            _ => String::new(),
        };
        all.push(format!(
            "saturated: the load{rate} is beyond capacity, the backlog grew by {:.3} requests/s to {}; latencies \
             depend on how long the load lasts",
            backlog.growth_per_s(),
            backlog.requests[1]
        ));
    }
    if outcome.metrics.preemptions > 0 {
        all.push(format!(
            "the KV pool ran out {} times: requests lost their cache and were computed anew (preemption)",
            outcome.metrics.preemptions
        ));
    }
    if outcome.metrics.preemptions == 0 && Course::of(outcome) == (Course::Loop { kv_limited: true }) {
        all.push(format!(
            "the KV pool was full ({:.0} % in use at its peak): requests wait for room, and TTFT hangs on the pool's exact size",
            100.0 * outcome.peak_occupancy
        ));
    }
    for (reason, count) in &outcome.rejected {
        all.push(match reason {
            Rejection::ExceedsModelLength => {
                format!("{count} requests were refused: prompt and output exceed --max-model-len")
            }
            Rejection::ExceedsPool => {
                format!("{count} requests were refused: the KV pool cannot hold even one alone")
            }
        });
    }
    all
}

impl Simulated {
    /// Rates of the run.
    pub(super) fn throughput(&self, gpus: u32, prefix: u64) -> Throughput {
        let rate = self.requests_per_s;
        let [input, output] = self.lengths;
        Throughput {
            output_tokens_per_s: rate * output,
            total_tokens_per_s: rate * (input + output),
            requests_per_s: rate,
            output_tokens_per_s_per_gpu: rate * output / f64::from(gpus),
            output_tokens_per_s_per_user: if self.latency.tpot_s > 0.0 {
                1.0 / self.latency.tpot_s
            } else {
                0.0
            },
            prefill_tokens_per_s: (input - prefix as f64) / self.latency.prefill_s,
        }
    }

    /// What a request takes of the deployment; `latency` has what the simulation leaves out.
    pub(super) fn spent(&self, latency: &Latency) -> Spent {
        Spent::of_loop(&self.ran, self.requests_per_s, latency)
    }
}
