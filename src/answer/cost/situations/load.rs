//! The load that there is, on as many replicas as it takes.

use super::super::question::{CostQuestion, Volume};
use super::super::runs::Runs;
use super::{Capacity, HOURS_PER_MONTH, Situation, SituationKind};
use crate::answer::Interval;
use crate::memory::MemoryError;
use crate::spec::Load;

/// Fewest requests per second that are simulated.
const LEAST_RATE: f64 = 1e-6;

impl CostQuestion<'_> {
    /// Requests per second while the deployment is used, of a volume.
    fn rate_of(&self, volume: Volume, lengths: [f64; 2], most: f64) -> f64 {
        let duty = self.question.options.cost.duty();
        match volume {
            Volume::TokensPerMonth(tokens) => {
                tokens / (lengths[0] + lengths[1]) / (3600.0 * HOURS_PER_MONTH * duty)
            }
            Volume::RequestsPerDay(requests) => requests / (86_400.0 * duty),
            Volume::Load(share) => share * most * f64::from(self.replicas),
        }
    }

    /// Replicas that a rate takes of so much each: ⌈λ/X⌉, at least those asked for.
    fn needed(&self, rate: f64, each: f64) -> f64 {
        (rate / each * (1.0 - 1e-9)).ceil().max(f64::from(self.replicas))
    }
}

/// The deployment under a volume; `most` is a replica's saturated rate.
pub(super) fn at_your_load(
    asked: &CostQuestion<'_>,
    runs: &Runs<'_>,
    volume: Volume,
    most: f64,
    capacity: Capacity,
) -> Result<Situation, MemoryError> {
    let mean = asked.question.workload.at_mean();
    let rate = asked.rate_of(volume, [mean.input_len as f64, mean.output_len as f64], most);
    let grows = !matches!(volume, Volume::Load(_));
    let replicas = if grows { asked.needed(rate, capacity.per_s) } else { f64::from(asked.replicas) };
    asked.countable(replicas)?;
    let each = rate / replicas;
    // so rare that none meets another, and time stays exact
    let load = Load::Rate { per_s: each.max(LEAST_RATE), burstiness: asked.burstiness() };
    let run = runs.run(&runs.workload(load, asked.requests()), None, false)?;
    let mut at = asked.simulated(SituationKind::AtYourLoad, &run, replicas as u32, each.min(most), most);
    let [slow, fast] = capacity.slow_fast;
    if grows && slow > 0.0 {
        let [few, many] = [fast, slow].map(|each| asked.needed(rate, each).min(f64::from(u32::MAX)));
        at.replicas_interval = Some([few as u32, many as u32]);
        at.interval_factors = Some(Interval { low: few / replicas, high: many / replicas });
    }
    Ok(at)
}
