//! What is said of a run.

use super::{Demand, Goodput, Rates, Saturation, Usage};
use crate::answer::service::mean_rows;
use crate::serving::{Metrics, Outcome, RunOptions};

/// Per second of the run; 0 when nothing ended.
pub(super) fn per_second(count: u64, outcome: &Outcome) -> f64 {
    if outcome.metrics.last > 0.0 { count as f64 / outcome.metrics.last } else { 0.0 }
}

pub(in crate::answer) fn rates(outcome: &Outcome, gpus: u32) -> Rates {
    let m = &outcome.metrics;
    let output_tokens_per_s = per_second(m.output_tokens, outcome);
    Rates {
        requests_per_s: per_second(m.completed(), outcome),
        output_tokens_per_s,
        total_tokens_per_s: per_second(m.output_tokens + m.input_tokens, outcome),
        output_tokens_per_s_per_gpu: output_tokens_per_s / f64::from(gpus),
    }
}

pub(in crate::answer) fn usage(m: &Metrics, peak: f64, replicas: u32, limited: bool) -> Usage {
    let worked = m.worked.seconds;
    let mean = |sum: f64| if worked > 0.0 { sum / worked } else { 0.0 };
    let limited = if limited { 1.0 } else { 0.0 };
    Usage {
        busy: if m.last > 0.0 { worked / (m.last * f64::from(replicas)) } else { 0.0 },
        mean_rows: if worked > 0.0 { mean_rows(m) } else { 0.0 },
        kv_cache_mean: limited * mean(m.worked.occupied_seconds),
        kv_cache_peak: limited * peak,
        preemptions: m.preemptions,
        prefix_hit_share: m.cached_tokens as f64 / m.input_tokens.max(1) as f64,
        loaded_tokens: 0,
        iterations: m.worked.steps,
    }
}

pub(in crate::answer) fn saturation(outcome: &Outcome) -> Saturation {
    let backlog = outcome.backlog.unwrap_or_default();
    Saturation {
        saturated: outcome.cut_short || (outcome.backlog.is_some() && backlog.is_growing()),
        backlog_growth_per_s: backlog.growth_per_s(),
        backlog: backlog.requests[1],
        cut_short: outcome.cut_short,
    }
}

impl Demand {
    pub(in crate::answer) fn options(&self) -> RunOptions {
        RunOptions {
            replicas: self.replicas,
            routing: self.routing,
            slo: self.slo,
            due: self.due(),
            ..RunOptions::default()
        }
    }

    /// True when enough requests keep the limits and the backlog does not grow.
    pub(in crate::answer) fn is_held(&self, outcome: &Outcome) -> bool {
        let share = outcome.metrics.good as f64 / outcome.sent.max(1) as f64;
        share >= self.share && !saturation(outcome).saturated
    }

    pub(super) fn goodput(&self, outcome: &Outcome, gpus: u32, highest: Option<f64>) -> Goodput {
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
