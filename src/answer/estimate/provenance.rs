//! Where the numbers of an answer come from.

use serde::Serialize;
use std::collections::BTreeSet;

use super::{Estimator, Question};
use crate::answer::interval::Share;
use crate::time::Trust;

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// Trust level of the kernel coefficients.
    pub trust: Trust,
    /// Source of the kernel coefficients.
    pub kernels: String,
    /// Operators that they do not cover; none where all or none are.
    pub defaults: Option<DefaultKernels>,
    /// Source of the engine terms.
    pub engine: String,
    /// Where the model came from.
    pub model: String,
    /// Version of this tool.
    pub tool_version: &'static str,
}

/// Operators that no fit covers and the family's defaults time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefaultKernels {
    /// Their classes.
    pub classes: Vec<&'static str>,
    /// Source of the defaults.
    pub source: String,
}

pub(super) fn provenance(
    question: &Question<'_>,
    estimator: &Estimator,
    shares: &[Vec<Share>; 2],
) -> Provenance {
    let model = &question.model;
    let uncovered = shares.iter().flatten().filter(|s| s.trust != estimator.trust());
    let classes: BTreeSet<&str> = uncovered.map(|s| s.class.key()).collect();
    Provenance {
        trust: estimator.trust(),
        kernels: estimator.kernel_source().to_owned(),
        defaults: (!classes.is_empty()).then(|| DefaultKernels {
            classes: classes.into_iter().collect(),
            source: estimator.default_source().to_owned(),
        }),
        engine: estimator.engine_source().to_owned(),
        model: model.source.as_ref().map_or_else(
            || model.architecture.clone(),
            |s| format!("{} {} {}", s.repository, s.path, s.revision).trim().to_owned(),
        ),
        tool_version: env!("CARGO_PKG_VERSION"),
    }
}
