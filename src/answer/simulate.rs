//! `simulate`: requests over time through the replicas of a deployment.

mod fleet;
mod fluidity;
mod load_curve;
mod measures;
mod rate;
mod split;

use serde::Serialize;
use std::time::Instant;

use super::cost::{Cost, Paid, Spent};
use super::energy::{Energy, Ran};
use super::estimate::{Inputs, Latency, Provenance, Question};
use super::interval::Intervals;
use super::service::mean_rows;
use super::speculation::SpeculationUse;
use crate::memory::MemoryError;
use crate::serving::{Arrivals, Discipline, Metrics, Outcome, Routing, Slo, Summary, Traffic};
use crate::spec::Load;
pub(super) use fleet::Fleet;
pub(super) use measures::{rates, saturation, usage};
pub(super) use rate::highest;

pub use load_curve::{LoadCurve, LoadCurvePoint, load_curve};
pub use split::{Disaggregation, KvLink, LinkUse, PoolUse, SplitQuestion, SplitRate};

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
    /// Where KV cache goes that has no room on the accelerators, the nearest first.
    pub tiers: Vec<KvTier>,
    /// Limits of the latencies.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub share: f64,
    /// Look for the highest rate that keeps them.
    pub find_rate: bool,
    /// Count which tokens come in time by the limits of TTFT and TPOT.
    pub fluidity: bool,
}

impl Demand {
    /// Traffic to one replica, first come first served, without limits.
    #[must_use]
    pub fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            lengths_source: None,
            replicas: 1,
            routing: Routing::RoundRobin,
            discipline: Discipline::Fcfs,
            tiers: vec![],
            slo: Slo::default(),
            share: 0.9,
            find_rate: false,
            fluidity: false,
        }
    }
}

/// Which tokens come in time for a reader (Agrawal et al., Metron, 2024).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fluidity {
    /// When the first token is due.
    pub first_token_s: f64,
    /// When every other one is, after the one before.
    pub token_s: f64,
    /// Mean over the requests of the share of their deadlines that were met.
    pub index: f64,
    /// Share of the requests of which nine in ten were.
    pub fluid_share: f64,
    /// Highest rate of tokens at which 99 % of the requests meet nine in ten deadlines.
    pub token_rate_per_s: f64,
}

/// Host memory or a disk of a replica that holds KV cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KvTier {
    /// Its size.
    pub bytes: f64,
    /// Bytes a second back to the accelerators; their host links' where none is given.
    pub bytes_per_s: Option<f64>,
}

/// Sessions of several calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SessionUse {
    /// Sessions that ended with their last call.
    pub sessions: u64,
    /// Calls of one of them on average.
    pub calls_per_session: f64,
    /// First call sent to last answer, pauses included.
    pub duration_s: Summary,
}

/// Distributions over the requests, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latencies {
    /// Time to first token.
    pub ttft_s: Summary,
    /// Waiting to be scheduled, a part of TTFT.
    pub queue_s: Summary,
    /// Scheduled to first token, a part of TTFT, less the transfer.
    pub prefill_s: Summary,
    /// What the KV cache's transfer between two pools added to TTFT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_s: Option<Summary>,
    /// (E2E − TTFT)/(N − 1) by request.
    pub tpot_s: Summary,
    /// Gaps between tokens, pooled over all requests.
    pub itl_s: Summary,
    /// End to end.
    pub e2e_s: Summary,
    /// E2E over generated tokens.
    pub normalized_s: Summary,
}

impl Latencies {
    /// Those of a run, with the transfer's where there are two pools.
    pub(super) fn of(metrics: &Metrics, split: bool) -> Self {
        Self {
            ttft_s: metrics.ttft.summary(),
            queue_s: metrics.queue.summary(),
            prefill_s: metrics.prefill.summary(),
            transfer_s: split.then(|| metrics.transfer.summary()),
            tpot_s: metrics.tpot.summary(),
            itl_s: metrics.gaps.summary(),
            e2e_s: metrics.e2e.summary(),
            normalized_s: metrics.normalized.summary(),
        }
    }
}

/// Times with the share of the requests that is done within them, ascending.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distributions {
    /// Of the first token, in seconds.
    pub ttft_s: Vec<[f64; 2]>,
    /// Of an output token.
    pub tpot_s: Vec<[f64; 2]>,
    /// Of the last token.
    pub e2e_s: Vec<[f64; 2]>,
}

/// Steps of a distribution: finer than a picture shows.
const STEPS: usize = 160;

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
    /// Tokens brought back from tiers below the accelerators.
    pub loaded_tokens: u64,
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
    /// Distributions, for pictures.
    #[serde(skip)]
    pub distributions: Distributions,
    /// 80 % intervals of the means.
    pub intervals: Intervals,
    /// Rates.
    pub throughput: Rates,
    /// Requests within limits; none without limits.
    pub goodput: Option<Goodput>,
    /// What the deployment did; of two pools that of decode.
    pub utilization: Usage,
    /// The pools, where prefill and decode have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disaggregation: Option<Disaggregation>,
    /// Highest rates of all ways to split the replicas, where they were looked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitRate>,
    /// Tokens in time, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fluidity: Option<Fluidity>,
    /// Sessions, where requests are calls of some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionUse>,
    /// Speculative decoding, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<SpeculationUse>,
    /// Whether the load is beyond capacity.
    pub saturation: Saturation,
    /// Cost over the whole run, where a price is known and one pool does both phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Energy over the whole run, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// What a request takes of the replicas, for costs at other prices.
    #[serde(skip)]
    pub(in crate::answer) paid: Paid,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// What to know before using them.
    pub warnings: Vec<String>,
}

/// Sends the demand through the deployment. The question's workload gives lengths for the KV pool's layout and
/// the prefix; its load is the demand's. With a second question the deployment computes prompts and that of the second
/// one generates.
///
/// # Errors
/// When a deployment is refused, does not fit, or the demand makes no sense.
pub fn simulate(
    question: &Question<'_>,
    demand: &Demand,
    split: Option<&SplitQuestion<'_>>,
) -> Result<Simulation, MemoryError> {
    let started = Instant::now();
    let mut fleet = Fleet::new(question, demand, split)?;
    let served = fleet.serve(&demand.traffic, &demand.options())?;
    let (outcome, metrics) = (&served.outcome, &served.outcome.metrics);
    let highest = if demand.find_rate { Some(rate::highest(&mut fleet, demand, outcome)?) } else { None };
    let splits = match split.and_then(|s| s.search) {
        Some(count) => rate::splits(&mut fleet, demand, outcome, count)?,
        None => vec![],
    };
    let fluidity = fluidity::fluidity(&mut fleet, demand, outcome)?;
    let latency = Latencies::of(metrics, split.is_some());
    let rows = if metrics.worked.seconds > 0.0 { mean_rows(metrics) } else { 1.0 };
    let means = [latency.ttft_s.mean, latency.tpot_s.mean, latency.e2e_s.mean];
    let (intervals, provenance) =
        fleet.intervals(question, split, &Latency::simulated(metrics), rows, outcome, means);
    let speculation = fleet.speculation(question);
    let mut warnings = fleet.warnings();
    warnings.extend(super::estimate::outcome_warnings(outcome, question.workload.load));
    let gpus = fleet.accelerators();
    let paid = paid(outcome, demand.replicas);
    let alone = split.is_none();
    let inputs = &question.options.cost;
    let alone = alone && metrics.completed() > 0;
    let price = inputs.hourly(question.accelerator).filter(|_| alone);
    warnings.extend(price.as_ref().and_then(|p| p.unused(gpus)));
    Ok(Simulation {
        cost: price.map(|p| Cost::of(&p, inputs.duty(), gpus, paid)),
        energy: if alone { fleet.energy(question, outcome, rows) } else { None },
        paid,
        inputs: fleet.inputs().clone(),
        lengths_source: demand.lengths_source.clone(),
        replicas: demand.replicas,
        simulated_requests: outcome.sent,
        completed_requests: metrics.completed(),
        rejected_requests: outcome.rejected.values().sum(),
        input_tokens: metrics.input_tokens,
        output_tokens: metrics.output_tokens,
        duration_s: metrics.last,
        intervals,
        distributions: Distributions {
            ttft_s: metrics.ttft.distribution(STEPS),
            tpot_s: metrics.tpot.distribution(STEPS),
            e2e_s: metrics.e2e.distribution(STEPS),
        },
        latency,
        throughput: rates(outcome, gpus),
        goodput: demand.slo.is_given().then(|| demand.goodput(outcome, gpus, highest)),
        utilization: Usage {
            loaded_tokens: outcome.loaded_tokens,
            ..usage(metrics, outcome.peak_occupancy, fleet.last_replicas(), fleet.is_limited())
        },
        disaggregation: fleet.disaggregation(&served),
        splits,
        fluidity,
        sessions: outcome.sessions.as_ref().map(|(durations, calls)| SessionUse {
            sessions: durations.count(),
            calls_per_session: *calls as f64 / durations.count().max(1) as f64,
            duration_s: durations.summary(),
        }),
        speculation,
        saturation: saturation(outcome),
        provenance,
        warnings,
        wall_s: started.elapsed().as_secs_f64(),
    })
}

/// What a request took of all replicas together.
pub(super) fn paid(outcome: &Outcome, replicas: u32) -> Paid {
    let metrics = &outcome.metrics;
    let completed = metrics.completed().max(1) as f64;
    let rate = measures::per_second(metrics.completed().max(1), outcome);
    Paid {
        lengths: [metrics.input_tokens as f64 / completed, metrics.output_tokens as f64 / completed],
        spent: Spent::of_loop(&Ran::of(metrics, replicas), rate, &Latency::default()),
    }
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
