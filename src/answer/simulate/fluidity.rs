//! Which tokens come in time, and the highest rate at which they do.

use super::{Demand, Fleet, Fluidity};
use crate::serving::{Deadlines, Outcome, RunOptions};
use crate::spec::SpecError;

/// Share of the requests that must meet nine in ten deadlines at the fluid token generation rate (Metron, §4.2).
const REQUIRED: f64 = 0.99;

impl Demand {
    /// When tokens are due, where that is counted.
    pub(super) fn due(&self) -> Option<Deadlines> {
        let (first_s, token_s) = (self.slo.ttft_s?, self.slo.tpot_s?);
        (self.fluidity && token_s > 0.0).then_some(Deadlines { first_s, token_s })
    }
}

fn share(outcome: &Outcome) -> f64 {
    outcome.metrics.fluid as f64 / outcome.metrics.fluidity.count().max(1) as f64
}

/// The index of a run, and the highest token rate by bisection over deadlines: the run stays the same.
pub(super) fn fluidity(
    fleet: &mut Fleet,
    demand: &Demand,
    outcome: &Outcome,
) -> Result<Option<Fluidity>, SpecError> {
    let Some(due) = demand.due() else { return Ok(None) };
    let mut holds = |token_s: f64| -> Result<bool, SpecError> {
        let options = RunOptions { due: Some(Deadlines { token_s, ..due }), ..demand.options() };
        Ok(share(&fleet.serve(&demand.traffic, &options)?.outcome) >= REQUIRED)
    };
    // from a microsecond to an hour a token, to half a percent
    let (mut low, mut high) = (1e-6_f64, 3600.0_f64);
    let rate = if holds(high)? {
        while high / low > 1.005 {
            let middle = (low * high).sqrt();
            if holds(middle)? { high = middle } else { low = middle }
        }
        1.0 / high
    } else {
        0.0
    };
    Ok(Some(Fluidity {
        first_token_s: due.first_s,
        token_s: due.token_s,
        index: outcome.metrics.fluidity.mean(),
        fluid_share: share(outcome),
        token_rate_per_s: rate,
    }))
}
