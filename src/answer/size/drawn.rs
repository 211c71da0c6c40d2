//! Lengths as a demand draws them, looked at once for all deployments.

use super::site::{FEWEST_REQUESTS, MOST_REQUESTS, Refusal};
use super::{Obstacle, SizeQuestion, bound};
use crate::answer::Estimator;
use crate::serving::{Arrivals, Lengths, Slo, Traffic};
use crate::spec::Workload;
use crate::units::{duration, percentile};

/// What is drawn.
pub(super) struct Drawn {
    /// Longest prompt and output together of the first requests; none of sessions, whose contexts grow.
    pub longest: Option<u64>,
    /// Prompts of the first requests, the shortest first.
    prompts: Vec<u32>,
    /// The shortest of their outputs.
    least_output: u32,
}

impl Drawn {
    /// Draws a demand's lengths; nothing where they make no sense, which the simulation says.
    pub(super) fn of(traffic: &Traffic) -> Self {
        let first = |requests: u64| {
            let some = Traffic { requests, arrivals: Arrivals::Burst, ..traffic.clone() };
            some.stream().into_iter().flatten()
        };
        let sessions = matches!(traffic.lengths, Lengths::Sessions(_));
        let longest = if sessions {
            None
        } else {
            first(MOST_REQUESTS).map(|r| u64::from(r.input) + u64::from(r.output)).max()
        };
        let mut prompts: Vec<u32> = first(FEWEST_REQUESTS).map(|r| r.input).collect();
        prompts.sort_unstable();
        let least_output = first(FEWEST_REQUESTS).map(|r| r.output).min().unwrap_or(u32::MAX);
        Self { longest, prompts, least_output }
    }

    /// A request alone keeps the limits. Of mixed lengths the one with the required share of prompts below it has to, which
    /// generates from its prompt on.
    pub(super) fn fast_enough(
        &self,
        question: &SizeQuestion<'_>,
        estimator: &Estimator,
        mean: &Workload,
    ) -> Result<(), Refusal> {
        let Slo { ttft_s, tpot_s, e2e_s } = question.demand.slo;
        let share = question.demand.share;
        let (prompts, least) = (&self.prompts, self.least_output);
        // with some to spare: as many requests may be drawn otherwise
        let place = (prompts.len() as f64 * (share - 0.05).max(0.0)) as usize;
        let (Some(longest), Some(shortest)) = (prompts.get(place), prompts.first()) else { return Ok(()) };
        let prompt = |tokens: u32, output: u64| Workload {
            input_len: u64::from(tokens),
            output_len: output.max(2),
            ..*mean
        };
        let of_long = bound::alone(estimator, &prompt(*longest, u64::from(least)));
        let of_short = bound::alone(estimator, &prompt(*shortest, u64::from(least)));
        for (name, time, limit) in [
            ("TTFT", of_long.ttft_s, ttft_s),
            ("TPOT", of_short.itl_s, tpot_s),
            ("E2E", of_short.e2e_s, e2e_s),
        ] {
            if let Some(limit) = limit.filter(|l| time > l * bound::ALONE) {
                let reason = format!(
                    "a request alone has a {name} of {} > {} ({})",
                    duration(time),
                    duration(limit),
                    percentile(share)
                );
                return Err((Obstacle::TooSlow, reason));
            }
        }
        Ok(())
    }
}
