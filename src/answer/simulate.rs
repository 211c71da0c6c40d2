//! `simulate`: requests over time through the replicas of a deployment.

use serde::Serialize;
use std::time::Instant;

use super::estimate::{Inputs, Latency, Provenance, Question, described};
use super::interval::Intervals;
use super::service::{Service, mean_rows};
use crate::memory::{MemoryError, MemoryReport, occupancy};
use crate::serving::{Arrivals, Discipline, Outcome, Rate, Routing, RunOptions, Slo, Summary, Traffic};
use crate::spec::{Load, SpecError};

/// What is sent to a deployment, and what it should keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Requests.
    pub traffic: Traffic,
    /// Where their lengths were published, for the report.
    pub lengths_source: Option<String>,
    /// Replicas of the deployment behind a router.
    pub replicas: u32,
    /// The router's rule.
    pub routing: Routing,
    /// Which waiting request is next.
    pub discipline: Discipline,
    /// Limits of the latencies.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub share: f64,
    /// Look for the highest rate that keeps them.
    pub find_rate: bool,
}

/// Distributions over the requests, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latencies {
    /// Time to first token.
    pub ttft_s: Summary,
    /// Waiting to be scheduled, a part of TTFT.
    pub queue_s: Summary,
    /// Scheduled to first token, a part of TTFT.
    pub prefill_s: Summary,
    /// (E2E − TTFT)/(N − 1) by request.
    pub tpot_s: Summary,
    /// Gaps between tokens, pooled over all requests.
    pub itl_s: Summary,
    /// End to end.
    pub e2e_s: Summary,
    /// E2E over generated tokens.
    pub normalized_s: Summary,
}

/// Rates over the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Requests that ended per second.
    pub requests_per_s: f64,
    /// Generated tokens per second.
    pub output_tokens_per_s: f64,
    /// Prompt and generated tokens per second.
    pub total_tokens_per_s: f64,
    /// Generated tokens per second and accelerator.
    pub output_tokens_per_s_per_gpu: f64,
}

/// Requests within all limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Goodput {
    /// The limits.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub required_share: f64,
    /// Share that does.
    pub share: f64,
    /// Enough of them do.
    pub held: bool,
    /// Such requests per second.
    pub requests_per_s: f64,
    /// And accelerator.
    pub requests_per_s_per_gpu: f64,
    /// Highest request rate that holds, where it was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_rate_per_s: Option<f64>,
}

/// What the deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// Share of the time in iterations, mean of the replicas.
    pub busy: f64,
    /// Mean decode rows of a replica while it worked.
    pub mean_rows: f64,
    /// Mean share of the KV pool in use while it worked; 0 of an unlimited one.
    pub kv_cache_mean: f64,
    /// Largest share in use.
    pub kv_cache_peak: f64,
    /// Times that a request lost its KV cache and was computed anew.
    pub preemptions: u64,
    /// Share of prompt tokens found in the prefix cache.
    pub prefix_hit_share: f64,
    /// Iterations.
    pub iterations: u64,
}

/// Whether the load is beyond capacity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Saturation {
    /// The backlog of an open loop kept growing.
    pub saturated: bool,
    /// By so many requests per second over the second half of the arrivals.
    pub backlog_growth_per_s: f64,
    /// Requests in the system when the last one was sent.
    pub backlog: u64,
    /// Sending was stopped because the backlog was too large.
    pub cut_short: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    /// The deployment as it was understood.
    pub inputs: Inputs,
    /// Where the lengths were published, of a preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lengths_source: Option<String>,
    /// Replicas.
    pub replicas: u32,
    /// Requests sent.
    pub simulated_requests: u64,
    /// Requests that ended.
    pub completed_requests: u64,
    /// Requests refused.
    pub rejected_requests: u64,
    /// Prompt tokens of those that ended.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// From the start to the last end, in simulated seconds.
    pub duration_s: f64,
    /// Time that the simulation took.
    pub wall_s: f64,
    /// Latencies.
    pub latency: Latencies,
    /// 80 % intervals of the means.
    pub intervals: Intervals,
    /// Rates.
    pub throughput: Rates,
    /// Requests within limits; none without limits.
    pub goodput: Option<Goodput>,
    /// What the deployment did.
    pub utilization: Usage,
    /// Whether the load is beyond capacity.
    pub saturation: Saturation,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// What to know before using them.
    pub warnings: Vec<String>,
}

/// Sends the demand through the deployment. The question's workload gives lengths for the KV pool's layout and
/// the prefix; its load is the demand's.
///
/// # Errors
/// When the deployment is refused, does not fit, or the demand makes no sense.
pub fn simulate(question: &Question<'_>, demand: &Demand) -> Result<Simulation, MemoryError> {
    let started = Instant::now();
    let described = described(question)?;
    let memory = occupancy(question.model, question.accelerator, question.deployment)?;
    if !memory.fits {
        let reason = memory.reason.as_deref().unwrap_or("the KV pool is too small");
        return Err(SpecError::Usage(format!(
            "the deployment does not fit: {reason}; `foretoken memory` says what makes room"
        ))
        .into());
    }
    let [input, output] = demand.traffic.lengths.means();
    let mut service = Service::new(question, &described.estimator, &memory, (input + output) as u64)?;
    service.scheduler.discipline = demand.discipline;
    if let Arrivals::Trace(trace, _) = &demand.traffic.arrivals {
        (service.pool.hashes, service.pool.hash_tokens) = trace.hashes();
    }
    let options = demand.options();
    let outcome = service.serve(&demand.traffic, &options)?;
    let highest = if demand.find_rate { Some(highest_rate(&mut service, demand, &outcome)?) } else { None };
    let gpus = question.deployment.parallelism.accelerators() * demand.replicas;
    let metrics = &outcome.metrics;
    let latency = Latencies {
        ttft_s: metrics.ttft.summary(),
        queue_s: metrics.queue.summary(),
        prefill_s: metrics.prefill.summary(),
        tpot_s: metrics.tpot.summary(),
        itl_s: metrics.gaps.summary(),
        e2e_s: metrics.e2e.summary(),
        normalized_s: metrics.normalized.summary(),
    };
    let rows = if metrics.worked.seconds > 0.0 { mean_rows(metrics) } else { 1.0 };
    let (regime, provenance) = described.regime(question, &Latency::simulated(metrics), rows);
    let mut warnings = described.warnings;
    warnings.extend(super::estimate::outcome_warnings(&outcome, question.workload.load));
    Ok(Simulation {
        inputs: described.inputs,
        lengths_source: demand.lengths_source.clone(),
        replicas: demand.replicas,
        simulated_requests: outcome.sent,
        completed_requests: metrics.completed(),
        rejected_requests: outcome.rejected.values().sum(),
        input_tokens: metrics.input_tokens,
        output_tokens: metrics.output_tokens,
        duration_s: metrics.last,
        wall_s: started.elapsed().as_secs_f64(),
        intervals: regime.intervals(latency.ttft_s.mean, latency.tpot_s.mean, latency.e2e_s.mean),
        latency,
        throughput: rates(&outcome, gpus),
        goodput: demand.slo.is_given().then(|| demand.goodput(&outcome, gpus, highest)),
        utilization: usage(&outcome, demand.replicas, &memory),
        saturation: saturation(&outcome),
        provenance,
        warnings,
    })
}

/// Per second of the run; 0 when nothing ended.
fn per_second(count: u64, outcome: &Outcome) -> f64 {
    if outcome.metrics.last > 0.0 { count as f64 / outcome.metrics.last } else { 0.0 }
}

fn rates(outcome: &Outcome, gpus: u32) -> Rates {
    let m = &outcome.metrics;
    let output_tokens_per_s = per_second(m.output_tokens, outcome);
    Rates {
        requests_per_s: per_second(m.completed(), outcome),
        output_tokens_per_s,
        total_tokens_per_s: per_second(m.output_tokens + m.input_tokens, outcome),
        output_tokens_per_s_per_gpu: output_tokens_per_s / f64::from(gpus),
    }
}

fn usage(outcome: &Outcome, replicas: u32, memory: &MemoryReport) -> Usage {
    let m = &outcome.metrics;
    let worked = m.worked.seconds;
    let mean = |sum: f64| if worked > 0.0 { sum / worked } else { 0.0 };
    let limited = if memory.kv_cache_tokens > 0 { 1.0 } else { 0.0 };
    Usage {
        busy: if m.last > 0.0 { worked / (m.last * f64::from(replicas)) } else { 0.0 },
        mean_rows: if worked > 0.0 { mean_rows(m) } else { 0.0 },
        kv_cache_mean: limited * mean(m.worked.occupied_seconds),
        kv_cache_peak: limited * outcome.peak_occupancy,
        preemptions: m.preemptions,
        prefix_hit_share: m.cached_tokens as f64 / m.input_tokens.max(1) as f64,
        iterations: m.worked.steps,
    }
}

fn saturation(outcome: &Outcome) -> Saturation {
    let backlog = outcome.backlog.unwrap_or_default();
    Saturation {
        saturated: outcome.cut_short || (outcome.backlog.is_some() && backlog.is_growing()),
        backlog_growth_per_s: backlog.growth_per_s(),
        backlog: backlog.requests[1],
        cut_short: outcome.cut_short,
    }
}

impl Demand {
    fn options(&self) -> RunOptions {
        RunOptions { replicas: self.replicas, routing: self.routing, slo: self.slo, ..RunOptions::default() }
    }

    /// True when enough requests keep the limits and the backlog does not grow.
    fn is_held(&self, outcome: &Outcome) -> bool {
        let share = outcome.metrics.good as f64 / outcome.sent.max(1) as f64;
        share >= self.share && !saturation(outcome).saturated
    }

    fn goodput(&self, outcome: &Outcome, gpus: u32, highest: Option<f64>) -> Goodput {
        let requests_per_s = per_second(outcome.metrics.good, outcome);
        Goodput {
            slo: self.slo,
            required_share: self.share,
            share: outcome.metrics.good as f64 / outcome.sent.max(1) as f64,
            held: self.is_held(outcome),
            requests_per_s,
            requests_per_s_per_gpu: requests_per_s / f64::from(gpus),
            highest_rate_per_s: highest,
        }
    }
}

/// Relative width at which the search for the highest rate ends.
const RATE_WIDTH: f64 = 0.01;

/// The highest rate of a Poisson process (or one of the demand's burstiness) at which the limits hold, by
/// doubling and halving from the rate that the deployment reached and then bisecting; 0 when even 1/4096 of
/// that is too much.
fn highest_rate(service: &mut Service, demand: &Demand, outcome: &Outcome) -> Result<f64, SpecError> {
    let shape = match demand.traffic.arrivals {
        Arrivals::Open(_, shape) => shape,
        _ => 1.0,
    };
    let mut holds = |rate: f64| -> Result<bool, SpecError> {
        let traffic = Traffic {
            arrivals: Arrivals::Open(Rate::constant(rate)?, shape),
            requests: demand.traffic.requests.max(1000),
            ..demand.traffic.clone()
        };
        Ok(demand.is_held(&service.serve(&traffic, &demand.options())?))
    };
    let start = per_second(outcome.metrics.completed(), outcome).clamp(1e-6, 1e8);
    let (mut low, mut high) = (start, start);
    if holds(start)? {
        while high < start * 4096.0 && holds(high * 2.0)? {
            high *= 2.0;
        }
        (low, high) = (high, high * 2.0);
    } else {
        loop {
            low /= 2.0;
            if holds(low)? {
                break;
            }
            high = low;
            if low < start / 4096.0 {
                return Ok(0.0);
            }
        }
    }
    while high / low > 1.0 + RATE_WIDTH {
        let middle = (low * high).sqrt();
        if holds(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}

/// The load that a demand's arrivals amount to, for the echo of the inputs.
#[must_use]
pub fn load_of(arrivals: &Arrivals) -> Load {
    match arrivals {
        Arrivals::Burst => Load::Concurrency(1),
        Arrivals::Closed(n) => Load::Concurrency(*n),
        Arrivals::Open(rate, burstiness) => Load::Rate { per_s: rate.mean(), burstiness: *burstiness },
        Arrivals::Constant(rate) => Load::Rate { per_s: rate.mean(), burstiness: 1e6 },
        Arrivals::Trace(trace, speed) => {
            let rows = trace.rows();
            let span = rows.last().map_or(0.0, |r| r.time_s) / speed;
            let per_s = if span > 0.0 { rows.len() as f64 / span } else { rows.len() as f64 };
            Load::Rate { per_s, burstiness: 1.0 }
        }
    }
}
