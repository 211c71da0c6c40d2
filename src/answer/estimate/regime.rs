//! How far an answer is from anything measured.

use super::{Estimator, Latency, Question};
use crate::answer::interval::{Regime, Share, shares};
use crate::spec::Workload;

/// What is known of the errors of `latency`, and the shares of kernels in prefill and decode. `shown` is the step that
/// stands for the load, in so many waves.
pub(super) fn regime(
    question: &Question<'_>,
    estimator: &Estimator,
    shown: &Workload,
    waves: f64,
    latency: &Latency,
    closed_loop: bool,
) -> (Regime, [Vec<Share>; 2]) {
    let kernels = estimator.shares(shown, waves);
    let regime = Regime {
        engine: question.deployment.engine.kind,
        gpu: question.accelerator.id.clone(),
        shares: estimator.transferred(shares(&kernels, latency)),
        measured: estimator.engine_spread(latency),
        judged: estimator.default_spread(),
        closed_loop,
    };
    (regime, kernels)
}
