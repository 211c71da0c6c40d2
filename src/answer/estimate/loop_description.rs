//! A deployment described for an answer about a loop, whose latencies a simulation gives.

use super::provenance;
use super::regime::{Course, regime};
use super::{Estimator, Inputs, Latency, Provenance, Question, check_workload, inputs};
use crate::answer::interval::Regime;
use crate::memory::MemoryError;
use crate::spec::{Formats, Load, Workload};

/// What every answer about a loop says of its deployment.
pub(in crate::answer) struct Described {
    pub estimator: Estimator,
    pub inputs: Inputs,
    pub warnings: Vec<String>,
    pub formats: Formats,
}

impl Described {
    /// What is known of the error of a simulation's latencies, and where its numbers come from.
    pub(in crate::answer) fn regime(
        &self,
        question: &Question<'_>,
        latency: &Latency,
        rows: f64,
        course: Course,
    ) -> (Regime, Provenance) {
        let load = Load::Concurrency(rows.round().max(1.0) as u32);
        let shown = Workload { load, ..question.workload.at_mean() };
        let (regime, shares) = regime(question, &self.estimator, &shown, 1.0, latency, course);
        (regime, provenance::provenance(question, &self.estimator, &shares))
    }
}

/// Makes the deployment of a question ready for a simulation.
///
/// # Errors
/// When the deployment cannot run the model.
pub(in crate::answer) fn described(question: &Question<'_>) -> Result<Described, MemoryError> {
    check_workload(&question.workload.at_mean())?;
    let formats = Formats::resolve(question.model, question.deployment, question.accelerator)?;
    let estimator = Estimator::new(question, &formats)?;
    let mut warnings = question.model.warnings.clone();
    warnings.extend(formats.warnings.iter().cloned());
    warnings.extend(estimator.engine_warning().map(str::to_owned));
    Ok(Described {
        inputs: inputs(question, question.workload, &formats, &estimator),
        warnings,
        estimator,
        formats,
    })
}
