//! Measured runs for the fit of engine terms: each with its deployment made ready once.

use rayon::prelude::*;
use std::collections::BTreeMap;

use super::names::Known;
use super::row::Asking;
use super::{KernelChoice, MeasuredTable, Quantity, Skipped};
use crate::answer::estimate::{Estimator, waves};
use crate::answer::{Options, engine_file};
use crate::calibrate::engine::{Latencies, Run, fit_range};
use crate::calibrate::fit::FitError;
use crate::memory::occupancy;
use crate::spec::catalog::Directories;
use crate::spec::deployment::Version;
use crate::spec::{EngineKind, Formats, SpecError, Workload};
use crate::time::Trust;
use crate::time::engine::{EngineFile, EngineTerms, Versions};

/// A run ready to be predicted under any terms.
struct Ready {
    run: Run,
    version: Version,
    estimator: Estimator,
    workload: Workload,
}

impl Ready {
    /// A static batch is answered in closed form; loops join once a simulator predicts them.
    fn predict(&self, terms: &EngineTerms) -> Latencies {
        let latency = self.estimator.with_terms(terms.clone()).latency(&self.workload, &mut vec![]);
        [latency.ttft_s, latency.tpot_s, latency.e2e_s]
    }
}

/// Engine terms fitted to measured runs.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineFit {
    /// The whole file, ranges without runs as they were.
    pub file: EngineFile,
    /// Ranges fitted.
    pub fitted: Vec<Versions>,
    /// Ranges not fitted, with the reason.
    pub refused: Vec<(Versions, FitError)>,
    /// Runs not used, by reason, most first.
    pub skipped: Vec<Skipped>,
}

/// Fits the terms of an engine to the measured runs of the files, range by range of its file in force.
///
/// Left out are runs of accelerators without a fitted or transferred calibration, whose residual is the
/// kernels', and batches that the KV pool does not hold at once, whose residual is the memory model's.
///
/// # Errors
/// When a cell holds what its column cannot, or no range could be fitted.
pub fn fit_engine(
    tables: &[MeasuredTable],
    engine: EngineKind,
    date: &str,
    directories: &Directories,
) -> Result<EngineFit, SpecError> {
    let mut file = engine_file(engine, directories)?;
    let rows: Vec<_> = tables.iter().flat_map(MeasuredTable::rows).collect();
    let known = Known::of(rows.iter().copied(), &KernelChoice::InForce, directories)?;
    let outcomes: Vec<_> = rows
        .par_iter()
        .map(|row| match Asking::of(*row, &known)? {
            Ok(asking) => Ok(ready(&asking, engine)),
            Err(reason) => Ok(Err(reason)),
        })
        .collect::<Result<Vec<_>, SpecError>>()?;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = vec![];
    for outcome in outcomes {
        match outcome {
            Ok(run) => all.push(run),
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    let (mut fitted, mut refused) = (vec![], vec![]);
    for range in file.ranges.iter_mut().filter(|r| !r.fitted.is_empty()) {
        let members: Vec<&Ready> = all.iter().filter(|r| range.versions.contains(r.version)).collect();
        let runs: Vec<Run> = members.iter().map(|r| r.run.clone()).collect();
        let predict = |i: usize, terms: &EngineTerms| members.get(i).map_or([0.0; 3], |r| r.predict(terms));
        match fit_range(range, &runs, date, &predict) {
            Ok(found) => {
                fitted.push(found.versions);
                *range = found;
            }
            Err(error) => refused.push((range.versions, error)),
        }
    }
    if fitted.is_empty() {
        let why = refused.first().map_or_else(
            || format!("no range of {} lists terms to fit (`fitted`)", engine.name()),
            |(versions, error)| format!("versions {versions}: {error}"),
        );
        return Err(SpecError::Usage(format!(
            "no engine terms could be fitted, and nothing was written: {why}"
        )));
    }
    let mut skipped: Vec<Skipped> =
        reasons.into_iter().map(|(reason, count)| Skipped { reason, count }).collect();
    skipped.sort_by_key(|s| std::cmp::Reverse(s.count));
    Ok(EngineFit { file, fitted, refused, skipped })
}

fn ready(asking: &Asking<'_>, engine: EngineKind) -> Result<Ready, String> {
    if !matches!(asking.asked.workload.load, crate::spec::Load::StaticBatch(_)) {
        return Err("a closed loop: engine terms are fitted to static batches".into());
    }
    let kind = asking.deployment.engine.kind;
    if kind != engine {
        return Err(format!("engine {}", kind.name()));
    }
    let refused = |e: &dyn std::fmt::Display| format!("refused: {e}");
    let options = Options::default();
    let question = asking.question(&options);
    let formats =
        Formats::resolve(asking.model, &asking.deployment, asking.accelerator).map_err(|e| refused(&e))?;
    let estimator = Estimator::new(&question, &formats).map_err(|e| refused(&e))?;
    if !matches!(estimator.trust(), Trust::Given | Trust::Fitted | Trust::SameChip | Trust::SameFamily) {
        return Err(format!("{}: no calibration of it or a relative", asking.accelerator.id));
    }
    let memory = occupancy(asking.model, asking.accelerator, &asking.deployment).map_err(|e| refused(&e))?;
    if !memory.fits || waves(&asking.asked.workload, &memory, &asking.deployment) > 1.0 {
        return Err("the KV pool does not hold the batch at once".into());
    }
    let value = |wanted| asking.measured.iter().find(|(q, _)| *q == wanted).map(|(_, v)| *v);
    let measured = [value(Quantity::Ttft), value(Quantity::Tpot), value(Quantity::E2e)];
    if measured.iter().all(Option::is_none) {
        return Err("no latency measured".into());
    }
    Ok(Ready {
        run: Run { model: asking.model.id.clone(), gpu: asking.accelerator.id.clone(), measured },
        version: asking.deployment.engine.version,
        estimator,
        workload: asking.asked.workload,
    })
}
