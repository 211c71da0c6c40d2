//! The highest rate that keeps the limits, and how far off it may be.

use super::super::question::CostQuestion;
use super::super::runs::{Runs, Saturated};
use super::times;
use crate::answer::simulate::Simulation;
use crate::memory::MemoryError;
use crate::serving::Slo;
use crate::spec::Load;

/// A replica at the highest rate within the limits.
pub(super) struct AtLimits {
    /// Requests per second.
    pub per_s: f64,
    /// The same at the slow and the fast end of the 80 % interval of the times; 0 where no rate keeps them.
    pub slow_fast: [f64; 2],
    /// The run at that rate.
    pub run: Simulation,
}

/// None where no rate keeps the limits.
///
/// A deployment all of whose times are k times as long keeps limits L up to λ_k(L) = λ(L/k)/k: it is the same one watched in
/// slow motion, with limits that are tighter by k.
pub(super) fn found(
    asked: &CostQuestion<'_>,
    runs: &Runs<'_>,
    full: &Saturated,
) -> Result<Option<AtLimits>, MemoryError> {
    let at =
        |per_s: f64| runs.workload(Load::Rate { per_s, burstiness: asked.burstiness() }, asked.requests());
    let highest = |slo: Slo, start: f64| -> Result<f64, MemoryError> {
        let looked = runs.run(&at(start), Some(slo), true)?;
        Ok(looked.goodput.and_then(|g| g.highest_rate_per_s).unwrap_or(0.0))
    };
    // near where it will be found: most limits hold up to some two thirds of what a deployment can do
    let per_s = highest(asked.slo, full.requests_per_s / 1.5)?;
    if per_s <= 0.0 {
        return Ok(None);
    }
    let run = runs.run(&at(per_s), None, false)?;
    let k = times(&run);
    let dilated = |k: f64| -> Result<f64, MemoryError> {
        if (k - 1.0).abs() < 1e-9 { Ok(per_s) } else { Ok(highest(over(asked.slo, k), per_s)? / k) }
    };
    // a fit that is off to one side alone leaves the other end where the prediction is
    let (slow, fast) = rayon::join(|| dilated(k.high.max(1.0)), || dilated(k.low.min(1.0)));
    let slow_fast = [slow?.min(per_s), fast?.max(per_s)];
    Ok(Some(AtLimits { per_s, slow_fast, run }))
}

/// Limits k times as tight.
fn over(slo: Slo, k: f64) -> Slo {
    let each = |limit: Option<f64>| limit.map(|l| l / k);
    Slo { ttft_s: each(slo.ttft_s), tpot_s: each(slo.tpot_s), e2e_s: each(slo.e2e_s) }
}
