//! What a start-up log says of memory beside what is predicted.

use serde::Serialize;

use crate::memory::{MemoryReport, PART_ERRORS};
use crate::spec::startup_log::StartupLog;

/// One figure of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logged {
    /// Which: `weights_gib`, `kv_cache_tokens` …
    pub quantity: &'static str,
    /// As the log has it, in the unit of its name.
    pub logged: f64,
    /// As predicted.
    pub predicted: f64,
    /// Logged over predicted.
    pub ratio: f64,
    /// The prediction errs by no more on the logs that it was held to.
    pub normal: bool,
}

/// Difference that rounding in a log alone makes, in GiB.
const ROUNDING_GIB: f64 = 0.02;

/// Every figure of the log that is predicted too.
#[must_use]
pub fn logged(log: &StartupLog, memory: &MemoryReport) -> Vec<Logged> {
    let [weights, activation, runtime, graphs] = PART_ERRORS;
    let [low, high] = memory.kv_cache_tokens_interval.map(|t| t as f64);
    let pool = memory.kv_cache_tokens as f64;
    // as wide as the interval of the pool's tokens
    let pool_error = if pool > 0.0 { ((high - low) / 2.0 / pool).max(0.005) } else { 0.0 };
    let gib = |part: crate::units::Bytes| part.gib();
    let tokens = log.kv_cache_tokens.map(|t| t as f64);
    [
        ("weights_gib", log.weights_gib, gib(memory.weights_bytes_per_gpu), 4.0 * weights),
        ("activation_gib", log.activation_gib, gib(memory.activation_bytes_per_gpu), 2.0 * activation),
        ("non_torch_gib", log.non_torch_gib, gib(memory.runtime_bytes_per_gpu), 2.0 * runtime),
        ("cuda_graph_gib", log.cuda_graph_gib, gib(memory.cuda_graph_bytes_per_gpu), 2.0 * graphs),
        ("kv_cache_gib", log.kv_cache_gib, gib(memory.kv_cache_bytes_per_gpu), pool_error),
        ("kv_cache_tokens", tokens, pool, pool_error),
        ("max_concurrency", log.max_concurrency, memory.max_concurrency, pool_error),
    ]
    .into_iter()
    .filter_map(|(quantity, logged, predicted, error)| {
        let logged = logged?;
        let apart = (logged - predicted).abs();
        let rounding = if quantity.ends_with("gib") { ROUNDING_GIB } else { 0.0 };
        let ratio = if predicted > 0.0 { logged / predicted } else { 0.0 };
        Some(Logged { quantity, logged, predicted, ratio, normal: apart <= error * predicted + rounding })
    })
    .collect()
}
