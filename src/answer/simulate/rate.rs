//! The highest request rate that keeps the limits.

use super::measures::per_second;
use super::{Demand, Fleet, SplitRate};
use crate::serving::{Arrivals, Outcome, Rate, Traffic};
use crate::spec::SpecError;

/// Relative width at which the search for the highest rate ends.
const RATE_WIDTH: f64 = 0.01;

/// The highest rate of a Poisson process (or one of the demand's burstiness) at which the limits hold, by
/// doubling and halving from the rate that the deployment reached and then bisecting; 0 when even 1/4096 of
/// that is too much.
pub(in crate::answer) fn highest(
    fleet: &mut Fleet,
    demand: &Demand,
    outcome: &Outcome,
) -> Result<f64, SpecError> {
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
        Ok(demand.is_held(&fleet.serve(&traffic, &demand.options())?.outcome))
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

/// The highest rate of every way to make `count` replicas prefill and decode ones, and of as many that do both (no
/// decode replicas), the best for its accelerators first.
pub(super) fn splits(
    fleet: &mut Fleet,
    demand: &Demand,
    outcome: &Outcome,
    count: u32,
) -> Result<Vec<SplitRate>, SpecError> {
    let before = fleet.replicas();
    let mut all = vec![];
    for prefill in 1..=count {
        fleet.set_replicas([prefill, count - prefill]);
        let (rate, gpus) = (highest(fleet, demand, outcome)?, fleet.accelerators());
        all.push(SplitRate {
            prefill_replicas: prefill,
            decode_replicas: count - prefill,
            num_gpus: gpus,
            highest_rate_per_s: rate,
            highest_rate_per_s_per_gpu: rate / f64::from(gpus),
        });
    }
    fleet.set_replicas(before);
    all.sort_by(|a, b| b.highest_rate_per_s_per_gpu.total_cmp(&a.highest_rate_per_s_per_gpu));
    Ok(all)
}
