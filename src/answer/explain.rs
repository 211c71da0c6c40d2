//! What a metric means, how it is computed and how other tools define it; and the conversion
//! between their definitions of time per output token.

mod latency;
mod money;
mod resources;
mod throughput;

use serde::Serialize;

use super::TpotDefinition;
use crate::spec::{SpecError, similar};
use crate::units::Seconds;

/// How one tool names and defines a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ToolDefinition {
    /// The tool.
    pub tool: &'static str,
    /// The key or label in its output.
    pub key: &'static str,
    /// Its definition, in the symbols of the metric's formula.
    pub definition: &'static str,
}

/// A metric. Tools that are not listed do not report it, or could not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MetricExplanation {
    /// Short name.
    pub name: &'static str,
    /// Other names of the same.
    pub aliases: &'static [&'static str],
    /// Name in words.
    pub title: &'static str,
    /// What it says.
    pub definition: &'static str,
    /// How foretoken computes it.
    pub formula: &'static str,
    /// Unit as printed; JSON is in SI.
    pub unit: &'static str,
    /// How other tools define it.
    pub tools: &'static [ToolDefinition],
    /// What to mind when numbers are compared.
    pub note: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
}

/// All metrics that can be explained, in the order in which they are listed.
pub fn metrics() -> impl Iterator<Item = &'static MetricExplanation> {
    latency::METRICS.iter().chain(throughput::METRICS).chain(resources::METRICS).chain(money::METRICS)
}

/// The explanation of a metric by name or alias; case, `_` and blanks do not matter.
///
/// # Errors
/// When no metric has that name; the message offers those that look like it.
pub fn explain(metric: &str) -> Result<MetricExplanation, SpecError> {
    let wanted = metric.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    let all = || metrics().flat_map(|m| std::iter::once(m.name).chain(m.aliases.iter().copied()));
    metrics().find(|m| m.name == wanted || m.aliases.contains(&wanted.as_str())).copied().ok_or_else(|| {
        let names: Vec<&str> = metrics().map(|m| m.name).collect();
        SpecError::Unknown {
            kind: "metric",
            name: metric.into(),
            similar: similar(&wanted, all()),
            fix: format!("known are {}", names.join(", ")),
        }
    })
}

/// Time per output token of a request with this E2E latency, TTFT and N output tokens.
/// None where the definition has none: the default needs a second token, the others a first.
///
/// With T = E2E, F = TTFT: vLLM (T − F) / (N − 1), per token (T − F) / N, inclusive T / N.
/// Source: vLLM `benchmarks/serve.py` (`calculate_metrics`); LLMPerf `token_benchmark_ray.py`.
#[must_use]
pub fn tpot(definition: TpotDefinition, e2e: Seconds, ttft: Seconds, output_tokens: u64) -> Option<Seconds> {
    let n = output_tokens as f64;
    let (time, tokens) = match definition {
        TpotDefinition::Vllm => (e2e - ttft, n - 1.0),
        TpotDefinition::PerToken => (e2e - ttft, n),
        TpotDefinition::Inclusive => (e2e, n),
    };
    (tokens >= 1.0).then(|| time / tokens)
}

/// Turns a time per output token in one definition into another, for a request with this TTFT and
/// N output tokens. E2E latency, which is the same by all definitions, links them:
/// T = F + t·(N − 1) = F + t·N = t·N.
///
/// # Errors
/// When a time is negative or not finite, N is too small for a definition, or the inclusive time is
/// shorter than the TTFT it includes.
pub fn convert_tpot(
    value: Seconds,
    from: TpotDefinition,
    to: TpotDefinition,
    ttft: Seconds,
    output_tokens: u64,
) -> Result<Seconds, SpecError> {
    for (name, time) in [("TPOT", value), ("TTFT", ttft)] {
        if !(time.0.is_finite() && time.0 >= 0.0) {
            return Err(SpecError::Usage(format!("a {name} of {} s cannot be; give 0 s or more", time.0)));
        }
    }
    let n = output_tokens as f64;
    let e2e = match from {
        TpotDefinition::Vllm => ttft + value * (n - 1.0),
        TpotDefinition::PerToken => ttft + value * n,
        TpotDefinition::Inclusive => value * n,
    };
    // One part in 10⁹ is rounding, not a contradiction.
    if from == TpotDefinition::Inclusive && e2e.0 < ttft.0 * (1.0 - 1e-9) {
        return Err(SpecError::Usage(format!(
            "{output_tokens} tokens at {} s make {} s in all, less than the TTFT of {} s that they include",
            value.0, e2e.0, ttft.0
        )));
    }
    let least = if [from, to].contains(&TpotDefinition::Vllm) { 2 } else { 1 };
    tpot(to, e2e.max(ttft), ttft, output_tokens).filter(|_| output_tokens >= least).ok_or_else(|| {
        SpecError::Usage(format!(
            "{output_tokens} output tokens have no such time per token; {least} or more are needed"
        ))
    })
}
