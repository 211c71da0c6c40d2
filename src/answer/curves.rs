//! The same deployment at other loads and lengths: every point is an estimate.

use rayon::prelude::*;

use super::estimate::{Estimate, Latency, Question, Throughput, answered, estimate};
use super::interval::Intervals;
use super::roofline::{Roofline, roofline};
use crate::memory::{MemoryError, MemoryReport, kv_cache_tokens_at};
use crate::spec::{Accelerator, Deployment, Load, ModelSpec, Workload};

/// An estimate with what is drawn around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictured {
    /// The estimate.
    pub estimate: Estimate,
    /// Its operators under the accelerator's limits.
    pub roofline: Roofline,
    /// Other loads and lengths.
    pub curves: Curves,
}

/// The same deployment at other loads and lengths.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// What varies along `load`.
    pub kind: LoadKind,
    /// Along the load, ascending; the load asked for is one of them.
    pub load: Vec<CurvePoint>,
    /// One request alone, along its prompt tokens, ascending.
    pub length: Vec<CurvePoint>,
    /// Where the engine has no room for more at once, in the unit of the load.
    pub limit: Option<LoadLimit>,
}

/// What varies along a curve of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadKind {
    /// Requests of a static batch.
    Batch,
    /// Requests in flight.
    Concurrency,
    /// Requests per second.
    Rate,
}

/// Where the engine has no room for more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadLimit {
    /// At this load.
    pub at: f64,
    /// By what.
    pub by: LimitedBy,
}

/// What has no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The KV cache holds no more requests to their end.
    KvCache,
    /// The engine runs no more requests at once (`--max-num-seqs`).
    Seats,
    /// No more requests per second are answered than arrive.
    Capacity,
}

/// A point of a curve: numbers of the estimate at that load or length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Load, or prompt tokens.
    pub at: f64,
    /// Latencies in seconds.
    pub latency: CurveLatency,
    /// 80 % intervals.
    pub intervals: Intervals,
    /// Generated tokens per second and accelerator.
    pub output_tokens_per_s_per_gpu: f64,
    /// Generated tokens per second that one user sees.
    pub output_tokens_per_s_per_user: f64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// US dollars per million generated tokens, where a price is known.
    pub usd_per_million_output_tokens: Option<f64>,
    /// This is the load or the length that was asked for.
    pub asked: bool,
}

/// Latencies of a point in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveLatency {
    /// Time to first token.
    pub ttft_s: f64,
    /// Time per output token under the definition asked for.
    pub tpot_s: f64,
    /// End to end.
    pub e2e_s: f64,
}

/// Most requests in flight that a curve is drawn to: the simulation of a loop grows with them.
const MOST_IN_FLIGHT: f64 = 2048.0;

/// Shares of the capacity at which an open loop is drawn.
pub(super) const CAPACITY_SHARES: [f64; 9] = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.15];

/// An estimate, the roofline of its operators and curves around it, computed in parallel.
///
/// # Errors
/// As [`estimate`].
pub fn pictured(question: &Question<'_>) -> Result<Pictured, MemoryError> {
    let (asked, stand) = answered(question)?;
    Ok(Pictured { roofline: roofline(&stand), curves: curves(question, &asked)?, estimate: asked })
}

fn curves(question: &Question<'_>, asked: &Estimate) -> Result<Curves, MemoryError> {
    let room = room(question, &asked.memory, asked.inputs.input_len + asked.inputs.output_len)?;
    let at = |workload: &Workload| estimate(&Question { workload, ..*question });
    let (kind, limit, loads) = match question.workload.load {
        Load::StaticBatch(n) => (LoadKind::Batch, room, doublings(room, n)),
        Load::Concurrency(n) => (LoadKind::Concurrency, room, doublings(room, n)),
        Load::Rate { per_s, .. } => {
            let full = room.map_or(64.0, |r| r.at).clamp(1.0, 512.0) as u32;
            let load = Load::Concurrency(full);
            let capacity = at(&Workload { load, ..*question.workload })?.throughput.requests_per_s;
            let limit = LoadLimit { at: capacity, by: LimitedBy::Capacity };
            (LoadKind::Rate, Some(limit), rates(capacity, per_s))
        }
    };
    let of_load = |value: f64| match question.workload.load {
        Load::StaticBatch(_) => Load::StaticBatch(value as u32),
        Load::Concurrency(_) => Load::Concurrency(value as u32),
        Load::Rate { burstiness, .. } => Load::Rate { per_s: value, burstiness },
    };
    let load = loads.par_iter().map(|value| {
        let workload = Workload { load: of_load(*value), ..*question.workload };
        Ok(CurvePoint::of(*value, &at(&workload)?, workload.load == question.workload.load))
    });
    let load = load.collect::<Result<Vec<_>, MemoryError>>()?;
    let alone = Workload { load: Load::Concurrency(1), length_ratio_min: 1.0, ..*question.workload };
    let length = lengths(question.workload, &asked.memory).into_par_iter().map(|input_len| {
        let workload = Workload { input_len, ..alone };
        let point = at(&workload)?;
        Ok(CurvePoint::of(point.inputs.input_len as f64, &point, input_len == alone.input_len))
    });
    Ok(Curves { kind, load, length: length.collect::<Result<Vec<_>, MemoryError>>()?, limit })
}

/// Requests of `length` tokens that all ranks run at once: the KV pool's tokens over those of a request, at most
/// the engine's seats. None where the deployment does not fit, so that nothing runs.
fn room(
    question: &Question<'_>,
    memory: &MemoryReport,
    length: u64,
) -> Result<Option<LoadLimit>, MemoryError> {
    if !memory.fits {
        return Ok(None);
    }
    let Question { model, accelerator, deployment, .. } = *question;
    let ranks = f64::from(deployment.parallelism.dp);
    let pool = kv_cache_tokens_at(model, accelerator, deployment, length)? as f64 / length as f64;
    let seats = f64::from(memory.settings.max_num_seqs);
    let by = if pool < seats { LimitedBy::KvCache } else { LimitedBy::Seats };
    Ok(Some(LoadLimit { at: ranks * pool.min(seats), by }))
}

/// 1, 2, 4 … until twice beyond what has room, and the load asked for.
fn doublings(room: Option<LoadLimit>, asked: u32) -> Vec<f64> {
    let full = room.map_or(64.0, |r| r.at).max(4.0);
    let last = (4.0 * full).min(MOST_IN_FLIGHT).max(f64::from(asked));
    let mut loads: Vec<f64> = (0..31).map(|i| f64::from(i).exp2()).take_while(|n| *n <= last).collect();
    loads.push(f64::from(asked));
    ascending(loads)
}

/// Rates up to a little above the capacity, in three digits, and the one asked for.
fn rates(capacity: f64, asked: f64) -> Vec<f64> {
    let mut rates: Vec<f64> = CAPACITY_SHARES.iter().map(|share| three_digits(share * capacity)).collect();
    rates.push(asked);
    rates.retain(|r| r.is_finite() && *r > 0.0);
    ascending(rates)
}

/// Prompt tokens from 128 on, doubled up to the longest request and what the pool holds, and those asked for.
fn lengths(workload: &Workload, memory: &MemoryReport) -> Vec<u64> {
    let holds = if memory.fits { memory.kv_cache_tokens } else { u64::MAX };
    let most = memory.settings.max_model_len.min(holds).saturating_sub(workload.output_len);
    let doubled = (7..40).map(|i| 1_u64 << i).filter(|n| *n <= most && *n > workload.prefix_len);
    let mut lengths: Vec<u64> = doubled.collect();
    lengths.push(workload.input_len);
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// A value in three digits, through text, so that it is the number that people would write.
pub(super) fn three_digits(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Sorted, each once.
pub(super) fn ascending(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

impl CurvePoint {
    fn of(at: f64, estimate: &Estimate, asked: bool) -> Self {
        let Latency { ttft_s, tpot_s, e2e_s, .. } = estimate.latency;
        let Throughput { output_tokens_per_s_per_gpu, output_tokens_per_s_per_user, requests_per_s, .. } =
            estimate.throughput;
        Self {
            at,
            latency: CurveLatency { ttft_s, tpot_s, e2e_s },
            intervals: estimate.intervals,
            output_tokens_per_s_per_gpu,
            output_tokens_per_s_per_user,
            requests_per_s,
            usd_per_million_output_tokens: estimate.cost.as_ref().map(|c| c.usd_per_million_output_tokens),
            asked,
        }
    }
}

/// How many requests of one length the KV pools of all ranks hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryCurve {
    /// Tokens of a request.
    pub tokens: u64,
    /// Requests.
    pub requests: f64,
}

/// Requests that the KV pools of all ranks hold, by their length: 1,024 tokens doubled up to the longest that fits, and that.
/// Nothing where the deployment does not fit.
///
/// # Errors
/// As [`crate::memory::memory`].
pub fn memory_curve(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    memory: &MemoryReport,
) -> Result<Vec<MemoryCurve>, MemoryError> {
    if !memory.fits {
        return Ok(vec![]);
    }
    let longest = memory.max_context_tokens;
    let mut lengths: Vec<u64> = (10..40).map(|i| 1_u64 << i).filter(|n| *n < longest).collect();
    lengths.push(longest);
    let ranks = f64::from(deployment.parallelism.dp);
    let of = |tokens: u64| {
        let pool = kv_cache_tokens_at(model, accelerator, deployment, tokens)? as f64;
        Ok(MemoryCurve { tokens, requests: ranks * pool / tokens as f64 })
    };
    lengths.into_iter().filter(|n| *n > 0).map(of).collect()
}
