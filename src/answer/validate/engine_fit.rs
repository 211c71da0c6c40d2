//! Measured runs for the fit of engine terms: each with its deployment made ready once.

use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

use super::asked::OPEN;
use super::names::Known;
use super::row::Asking;
use super::{KernelChoice, MeasuredTable, Quantity, Skipped};
use crate::answer::estimate::{Estimator, loop_service, waves};
use crate::answer::{Service, engine_file, traffic};
use crate::calibrate::engine::{Latencies, Prediction, Run, fit_range};
use crate::calibrate::fit::FitError;
use crate::memory::occupancy;
use crate::serving::RunOptions;
use crate::spec::catalog::Directories;
use crate::spec::deployment::Release;
use crate::spec::{EngineKind, Formats, Load, SpecError, Workload};
use crate::time::Trust;
use crate::time::engine::{EngineFile, EngineTerms};

/// A run ready to be predicted under any terms.
struct Ready {
    id: String,
    run: Run,
    version: Release,
    architecture: String,
    workload: Workload,
    prepared: Prepared,
}

/// What predicts it.
enum Prepared {
    /// A static batch, in closed form.
    Batch(Box<Estimator>),
    /// A loop, by simulation. The tables of its clock are filled by a first run.
    Loop(Box<Service>),
}

impl Ready {
    fn predict(&self, terms: &EngineTerms) -> Latencies {
        match &self.prepared {
            Prepared::Batch(estimator) => {
                let latency = estimator.with_terms(terms.clone()).latency(&self.workload, &mut vec![]);
                [latency.ttft_s, latency.tpot_s, latency.e2e_s]
            }
            Prepared::Loop(service) => simulate(&mut service.with_terms(terms), &self.workload),
        }
    }
}

/// Mean TTFT, TPOT and end-to-end time of a loop; no times where it cannot be sent.
fn simulate(service: &mut Service, workload: &Workload) -> Latencies {
    let outcome = traffic(workload).and_then(|t| service.serve(&t, &RunOptions::default()));
    outcome.map_or([f64::NAN; 3], |o| [o.metrics.ttft.mean(), o.metrics.tpot.mean(), o.metrics.e2e.mean()])
}

/// A run of the fit: what was measured and what terms say to it, in seconds, in the order of
/// [`METRICS`](crate::calibrate::engine::METRICS).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFit {
    /// The file's id of the run, or its line.
    pub id: String,
    /// Model.
    pub model: String,
    /// Accelerator.
    pub gpu: String,
    /// Requests in the batch or in flight.
    pub batch: u32,
    /// Measured.
    pub measured_s: [Option<f64>; 3],
    /// By terms fitted to all runs.
    pub fitted_s: Latencies,
    /// By terms fitted to the runs of other models.
    pub without_model_s: Option<Latencies>,
    /// By terms fitted to the runs of other accelerators.
    pub without_gpu_s: Option<Latencies>,
}

/// Engine terms fitted to measured runs.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineFit {
    /// The whole file, ranges without runs as they were.
    pub file: EngineFile,
    /// Names of the ranges fitted.
    pub fitted: Vec<String>,
    /// Ranges not fitted, with the reason.
    pub refused: Vec<(String, FitError)>,
    /// Runs not used, by reason, most first.
    pub skipped: Vec<Skipped>,
    /// The runs fitted to.
    pub runs: Vec<RunFit>,
}

/// Fits the terms of an engine to the measured runs of the files, range by range of its file in force.
///
/// Left out are runs of accelerators without a fitted or transferred calibration, whose residual is the
/// kernels' (but of ranges for one architecture, which may hold terms for those), and batches that the KV pool does not hold at once, whose residual is the memory model's.
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
            Ok(asking) if asking.asked.is_open() => Ok(Err(OPEN.into())),
            Ok(asking) => Ok(ready(row.id(), &asking, engine, &file)),
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
    let (mut fitted, mut refused, mut all_runs) = (vec![], vec![], vec![]);
    let whose: Vec<Option<String>> = all
        .iter()
        .map(|r| file.range(r.version, &r.architecture).filter(|f| !f.outside).map(|f| f.range.name()))
        .collect();
    for range in file.ranges.iter_mut().filter(|r| !r.fitted.is_empty()) {
        let name = range.name();
        let mine = all.iter().zip(&whose).filter(|(_, w)| w.as_ref() == Some(&name));
        let members: Vec<&Ready> = mine.map(|(r, _)| r).collect();
        let runs: Vec<Run> = members.iter().map(|r| r.run.clone()).collect();
        let predict = |i: usize, terms: &EngineTerms| members.get(i).map_or([0.0; 3], |r| r.predict(terms));
        match fit_range(range, &runs, date, &predict) {
            Ok((found, predictions)) => {
                fitted.push(name);
                *range = found;
                all_runs.extend(members.iter().zip(predictions).map(|(ready, p)| ready.with(p)));
            }
            Err(error) => refused.push((name, error)),
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
    Ok(EngineFit { file, fitted, refused, skipped, runs: all_runs })
}

impl Ready {
    fn with(&self, p: Prediction) -> RunFit {
        let batch = match self.workload.load {
            Load::StaticBatch(n) | Load::Concurrency(n) => n,
            Load::Rate { .. } => 0,
        };
        RunFit {
            id: self.id.clone(),
            model: self.run.model.clone(),
            gpu: self.run.gpu.clone(),
            batch,
            measured_s: self.run.measured,
            fitted_s: p.fitted,
            without_model_s: p.without_model,
            without_gpu_s: p.without_gpu,
        }
    }
}

fn ready(id: String, asking: &Asking<'_>, engine: EngineKind, file: &EngineFile) -> Result<Ready, String> {
    let kind = asking.deployment.engine.kind;
    if kind != engine {
        return Err(format!("engine {}", kind.name()));
    }
    let refused = |e: &dyn std::fmt::Display| format!("refused: {e}");
    let options = asking.options(&[]);
    let question = asking.question(&options);
    let formats =
        Formats::resolve(asking.model, &asking.deployment, asking.accelerator).map_err(|e| refused(&e))?;
    let estimator = Estimator::new(&question, &formats).map_err(|e| refused(&e))?;
    let known =
        matches!(estimator.trust(), Trust::Given | Trust::Fitted | Trust::SameChip | Trust::SameFamily);
    let (release, architecture) = (asking.deployment.engine.release(), &asking.accelerator.architecture);
    let own = file.range(release, architecture).is_some_and(|f| f.range.is_own(architecture));
    if !known && !own {
        return Err(format!("{}: no calibration of it or a relative", asking.accelerator.id));
    }
    let value = |wanted| asking.measured.iter().find(|(q, _)| *q == wanted).map(|(_, v)| *v);
    let measured = [value(Quantity::Ttft), value(Quantity::Tpot), value(Quantity::E2e)];
    if measured.iter().all(Option::is_none) {
        return Err("no latency measured".into());
    }
    let memory = occupancy(asking.model, asking.accelerator, &asking.deployment).map_err(|e| refused(&e))?;
    let workload = asking.asked.workload;
    let batch = matches!(workload.load, Load::StaticBatch(_));
    if !memory.fits || waves(&workload, &memory, &asking.deployment) > 1.0 {
        return Err("the KV pool does not hold the batch at once".into());
    }
    let prepared = if batch {
        Prepared::Batch(Box::new(estimator))
    } else {
        let (mut service, _) = loop_service(&question, &estimator, &memory).map_err(|e| refused(&e))?;
        simulate(&mut service, &workload);
        Prepared::Loop(Box::new(service))
    };
    Ok(Ready {
        id,
        run: Run {
            model: asking.family.to_owned(),
            gpu: asking.accelerator.id.clone(),
            measured,
            simulated: !batch,
        },
        version: release,
        architecture: architecture.clone(),
        workload,
        prepared,
    })
}
