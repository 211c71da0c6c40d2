//! How far an answer is from anything measured.

use super::{Estimator, Latency, Question};
use crate::answer::interval::{Regime, Share, shares};
use crate::serving::Outcome;
use crate::spec::Workload;

/// How the requests of an answer run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::answer) enum Course {
    /// As one static batch.
    Batch,
    /// Over time.
    Loop {
        /// They filled the KV pool.
        kv_limited: bool,
    },
}

/// Share of the KV pool in use from which it counts as full: one a little smaller than computed would have been. Judged.
const FULL: f64 = 0.95;

impl Course {
    /// That of a run.
    pub(in crate::answer) fn of(outcome: &Outcome) -> Self {
        Self::Loop { kv_limited: outcome.metrics.preemptions > 0 || outcome.peak_occupancy >= FULL }
    }
}

/// What is known of the errors of `latency`, and the shares of kernels in prefill and decode. `shown` is the step that
/// stands for the load, in so many waves.
pub(super) fn regime(
    question: &Question<'_>,
    estimator: &Estimator,
    shown: &Workload,
    waves: f64,
    latency: &Latency,
    course: Course,
) -> (Regime, [Vec<Share>; 2]) {
    let kernels = estimator.shares(shown, waves);
    let regime = Regime {
        engine: question.deployment.engine.kind,
        gpu: question.accelerator.id.clone(),
        shares: estimator.transferred(shares(&kernels, latency)),
        measured: estimator.engine_spread(latency),
        judged: estimator.default_spread(),
        closed_loop: course != Course::Batch,
        kv_limited: course == Course::Loop { kv_limited: true },
    };
    (regime, kernels)
}
