//! Why a fleet does not hold its limits, in words.

use crate::answer::simulate::{Demand, saturation};
use crate::serving::{LogHistogram, Metrics, Outcome};
use crate::units::{duration, number, percent, percentile};

/// A KV pool that was so full at its fullest made requests wait.
const FULL: f64 = 0.97;

/// The limit that is missed most, by how much, and what stands behind it.
pub(super) fn reason(demand: &Demand, outcome: &Outcome, rate: f64) -> String {
    let metrics = &outcome.metrics;
    let refused: u64 = outcome.rejected.values().sum();
    if refused > 0 {
        return format!(
            "{refused} of {} requests are longer than the KV pool or --max-model-len",
            outcome.sent
        );
    }
    let limits: [(&str, &LogHistogram, Option<f64>); 3] = [
        ("TTFT", &metrics.ttft, demand.slo.ttft_s),
        ("TPOT", &metrics.tpot, demand.slo.tpot_s),
        ("E2E", &metrics.e2e, demand.slo.e2e_s),
    ];
    let missed = limits
        .into_iter()
        .filter_map(|(name, times, limit)| Some((name, times.quantile(demand.share), limit?)))
        .filter(|(_, time, limit)| time > limit)
        .max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)));
    let what = match missed {
        Some((name, time, limit)) => format!(
            "{name} {} {} > {} at {} req/s",
            percentile(demand.share),
            duration(time),
            duration(limit),
            number(rate)
        ),
        None => format!(
            "{} of the requests keep all limits together, {} must, at {} req/s",
            percent(metrics.good as f64 / outcome.sent.max(1) as f64),
            percent(demand.share),
            number(rate)
        ),
    };
    let because = cause(missed.map_or("", |m| m.0), metrics, outcome);
    format!("{what}: {because}")
}

fn cause(limit: &str, metrics: &Metrics, outcome: &Outcome) -> String {
    let saturation = saturation(outcome);
    let full = metrics.preemptions > 0 || outcome.peak_occupancy >= FULL;
    let rows = metrics.worked.row_seconds / metrics.worked.seconds.max(f64::MIN_POSITIVE);
    if full && (saturation.saturated || metrics.queue.mean() > metrics.prefill.mean()) {
        return "the KV cache is full".into();
    }
    if saturation.saturated {
        return format!("saturated, the backlog grows by {}/s", number(saturation.backlog_growth_per_s));
    }
    match limit {
        "TTFT" if metrics.queue.mean() > metrics.prefill.mean() => {
            format!("requests wait {} for a place in a step", duration(metrics.queue.mean()))
        }
        "TTFT" => format!("a prompt takes {} among the others' steps", duration(metrics.prefill.mean())),
        // gaps without prompts of others in them are near the median, TPOT is their mean
        "TPOT" if metrics.tpot.mean() > 1.25 * metrics.gaps.quantile(0.5) => {
            "prompts of others lengthen the steps of those that generate".into()
        }
        "TPOT" => format!("{} requests generate at once", number(rows)),
        _ => format!(
            "{} requests generate at once, prompts wait {}",
            number(rows),
            duration(metrics.queue.mean())
        ),
    }
}
