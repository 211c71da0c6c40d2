//! `accuracy`: how far an answer can be trusted, from what was validated before.

use serde::Serialize;

use super::kernels::Kernels;
use super::validate::{Case, embedded_book};
use crate::spec::catalog::{self, Directories};
use crate::spec::{Accelerator, EngineKind, SpecError};
use crate::time::kinship;

/// How many of the nearest cases are listed.
const NEAREST: usize = 8;

/// What is asked; none stands for any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccuracyQuestion {
    /// Accelerator.
    pub gpu: Option<Accelerator>,
    /// Engine.
    pub engine: Option<EngineKind>,
    /// Kind of model: dense, moe or mla.
    pub kind: Option<String>,
}

/// Held-out errors of one operator, over its classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorAccuracy {
    /// Operator.
    pub operator: &'static str,
    /// Data type.
    pub dtype: String,
    /// Classes fitted.
    pub classes: usize,
    /// Samples in them.
    pub samples: usize,
    /// Median over the classes of the median absolute percentage error on shapes left out.
    pub heldout_median_ape: f64,
    /// The worst class's.
    pub worst_median_ape: f64,
}

/// How far answers can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// Accelerator, or `*`.
    pub gpu: String,
    /// Engine, or `*`.
    pub engine: String,
    /// Kind of model, or `*`.
    pub kind: String,
    /// Errors of exactly this, by quantity; empty where nothing was measured.
    pub cases: Vec<Case>,
    /// Single models measured nearest to it, nearest first.
    pub nearest: Vec<Case>,
    /// What the kernel models rest on, in words.
    pub kernels: String,
    /// Kernel models in force, by operator and data type.
    pub operators: Vec<OperatorAccuracy>,
}

/// Looks up what was validated.
///
/// # Errors
/// When a calibration cannot be read.
pub fn accuracy(question: &AccuracyQuestion, directories: &Directories) -> Result<Accuracy, SpecError> {
    let book = embedded_book()?;
    let any = || "*".to_owned();
    let gpu = question.gpu.as_ref().map_or_else(any, |g| g.id.clone());
    let engine = question.engine.map_or_else(any, |e| e.name().to_owned());
    let kind = question.kind.clone().unwrap_or_else(any);
    let of =
        |case: &&Case| case.gpu == gpu && case.engine == engine && case.kind == kind && case.model == "*";
    let cases = book.iter().filter(of).cloned().collect();
    let mut nearest: Vec<(f64, &Case)> = book
        .iter()
        .filter(|c| c.model != "*" && c.metric != "ttft_s")
        .map(|c| (distance(c, question, &engine, &kind, directories), c))
        .collect();
    nearest.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.n.cmp(&a.1.n)));
    let in_force = match &question.gpu {
        Some(gpu) => Kernels::in_force(gpu, directories)?,
        None => None,
    };
    Ok(Accuracy {
        gpu,
        engine,
        kind,
        cases,
        nearest: nearest.into_iter().take(NEAREST).map(|(_, c)| c.clone()).collect(),
        kernels: match (&in_force, &question.gpu) {
            (Some(kernels), _) => format!("{}: {}", kernels.file, kernels.trust.words()),
            (None, Some(_)) => "defaults of the architecture family".into(),
            (None, None) => "those in force for each accelerator".into(),
        },
        operators: in_force.as_ref().map(operators).unwrap_or_default(),
    })
}

/// How far a case is from what is asked: another accelerator counts by kinship, then the engine, then
/// the kind of model.
fn distance(
    case: &Case,
    question: &AccuracyQuestion,
    engine: &str,
    kind: &str,
    directories: &Directories,
) -> f64 {
    let differs = |asked: &str, has: &str| if asked == "*" || asked == has { 0.0 } else { 1.0 };
    let gpu = match &question.gpu {
        Some(gpu) if gpu.id != case.gpu => catalog::accelerator(&case.gpu, directories)
            .ok()
            .and_then(|donor| kinship(gpu, &donor))
            .map_or(6.0, |(_, distance)| 1.0 + distance.min(4.0)),
        _ => 0.0,
    };
    gpu + 3.0 * differs(engine, &case.engine) + 2.0 * differs(kind, &case.kind)
}

/// Held-out errors by operator and data type.
#[must_use]
pub fn operators(kernels: &Kernels) -> Vec<OperatorAccuracy> {
    let mut all: Vec<OperatorAccuracy> = vec![];
    for (operator, list) in kernels.calibration.classes() {
        let mut types: Vec<&str> = list.iter().map(|f| f.key.data_type.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        for dtype in types {
            let of: Vec<_> = list.iter().filter(|f| f.key.data_type == dtype).collect();
            let mut medians: Vec<f64> = of.iter().map(|f| f.heldout_ape[1]).collect();
            medians.sort_by(f64::total_cmp);
            let at = |i: usize| medians.get(i).copied().unwrap_or_default();
            all.push(OperatorAccuracy {
                operator,
                dtype: dtype.to_owned(),
                classes: of.len(),
                samples: of.iter().map(|f| f.samples).sum(),
                heldout_median_ape: f64::midpoint(at((medians.len() - 1) / 2), at(medians.len() / 2)),
                worst_median_ape: at(medians.len() - 1),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(gpu: Option<&str>, engine: Option<EngineKind>) -> Accuracy {
        let directories = Directories::default();
        let gpu = gpu.map(|g| catalog::accelerator(g, &directories).unwrap());
        accuracy(&AccuracyQuestion { gpu, engine, kind: None }, &directories).unwrap()
    }

    #[test]
    fn the_book_answers_for_what_was_measured() {
        let found = asked(Some("h100-sxm"), Some(EngineKind::Vllm));
        assert!(found.cases.iter().any(|c| c.metric == "e2e_s" && c.n > 100), "{:?}", found.cases);
        assert!(found.nearest.iter().take(5).all(|c| c.gpu == "h100-sxm" && c.engine == "vllm"));
        assert!(asked(None, None).cases.iter().any(|c| c.n > 1000));
    }

    #[test]
    fn where_nothing_was_measured_the_nearest_stands_in() {
        let found = asked(Some("gb200"), Some(EngineKind::Vllm));
        assert!(found.cases.is_empty());
        assert!(found.nearest.first().is_some_and(|c| c.gpu.starts_with("b200")), "{:?}", found.nearest);
    }
}
