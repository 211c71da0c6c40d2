//! `validate`: predicted against measured. Every row of a result file becomes a question to
//! [`estimate`](super::estimate), so that what is validated is what users are told.

mod asked;
mod book;
mod engine_fit;
mod kernel_samples;
mod metrics;
mod names;
mod points;
mod quantity;
mod recipe;
mod row;
mod sample_operator;
mod samples;
mod table;

use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Kernels;
use crate::spec::catalog::Directories;
use crate::spec::{Accelerator, SpecError};
pub use book::{ACCURACY_HEADER, Beside, Book, Case, OLD_STACKS, accuracy_book, embedded_book};
pub use engine_fit::{EngineFit, RunFit, fit_engine};
pub use kernel_samples::kernel_samples;
pub use metrics::{Group, Metric, Metrics};
use names::Known;
pub use points::{PointError, PointsFit, fit_points};
pub use quantity::Quantity;
use row::{ComparedRow, Outcome, compare};
pub(super) use samples::{Predictor, Scores};
pub use samples::{SampleGroup, SampleValidation, validate_samples};
pub use table::{MeasuredRow, MeasuredTable};

/// Names that rows can be grouped by beside the columns of their files.
const DERIVED: [&str; 3] = ["batch", "kind", "room"];

/// Which kernel models predict.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum KernelChoice {
    /// Those in force for each accelerator.
    #[default]
    InForce,
    /// These, for every accelerator.
    Given(Box<Kernels>),
    /// The defaults of the architecture family.
    Defaults,
}

impl KernelChoice {
    fn of(&self, accelerator: &Accelerator, directories: &Directories) -> Result<Option<Kernels>, SpecError> {
        match self {
            Self::InForce => Kernels::in_force(accelerator, directories),
            Self::Given(kernels) => Kernels::clone(kernels).completed(accelerator).map(Some),
            Self::Defaults => Ok(None),
        }
    }
}

/// What to show beside the errors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ValidateOptions {
    /// Kernel models.
    pub kernels: KernelChoice,
    /// Columns to group by; `batch` is the concurrency (empty of open loops), `kind` the model's (dense, moe, mla), `room` whether the KV pool holds the batch.
    pub by: Vec<String>,
    /// How many of the worst rows to list.
    pub worst: usize,
}

/// Rows skipped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why.
    pub reason: String,
    /// How many rows.
    pub count: usize,
}

/// Rows that name no engine version, by what was assumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// Engine and version taken, and why.
    pub engine: String,
    /// How many rows.
    pub count: usize,
}

/// Rows whose weights were taken as a published checkpoint has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Checkpoint or rule, and why.
    pub checkpoint: String,
    /// How many rows.
    pub count: usize,
}

/// A quantity of a run that was missed by much.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstRow {
    /// The file's id of the run, or its line.
    pub id: String,
    /// Model, accelerator, engine and load.
    pub question: String,
    /// Key of the quantity.
    pub metric: &'static str,
    /// Measured, in SI units.
    pub measured: f64,
    /// Predicted, in SI units.
    pub predicted: f64,
    /// (predicted − measured) / measured in percent.
    pub error: f64,
}

/// Predicted against measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Rows read.
    pub rows: usize,
    /// Rows compared.
    pub predicted: usize,
    /// Rows not compared, by reason, most first.
    pub skipped: Vec<Skipped>,
    /// Engine versions taken for rows that name none, most rows first.
    pub assumed: Vec<Assumed>,
    /// Checkpoints taken for the weight formats of rows, most rows first.
    pub checkpoints: Vec<Taken>,
    /// Errors over all rows compared.
    pub metrics: Metrics,
    /// Columns grouped by.
    pub by: Vec<String>,
    /// Errors by group.
    pub groups: Vec<Group>,
    /// The worst rows by the ratio of predicted and measured, worst first.
    pub worst: Vec<WorstRow>,
}

/// Compares every row of the files. `progress` hears how many rows are done, from several threads.
///
/// # Errors
/// When a cell holds what its column cannot, a calibration cannot be read, or no file has a column to group by.
pub fn validate(
    tables: &[MeasuredTable],
    options: &ValidateOptions,
    directories: &Directories,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Validation, SpecError> {
    let (compared, skipped) = compare_all(tables, options, directories, progress)?;
    Ok(Validation {
        rows: tables.iter().map(|t| t.rows().count()).sum(),
        predicted: compared.len(),
        skipped,
        assumed: tally(compared.iter().filter_map(|r| r.assumed.as_deref()))
            .map(|(engine, count)| Assumed { engine, count })
            .collect(),
        checkpoints: tally(compared.iter().filter_map(|r| r.checkpoint.as_deref()))
            .map(|(checkpoint, count)| Taken { checkpoint, count })
            .collect(),
        metrics: metrics::metrics(compared.iter()),
        by: options.by.clone(),
        groups: if options.by.is_empty() { vec![] } else { metrics::groups(&compared, &options.by) },
        worst: worst(&compared, options.worst),
    })
}

/// How often each text occurs, most first.
fn tally<'a>(texts: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut all: Vec<(String, usize)> = counts.into_iter().map(|(t, n)| (t.to_owned(), n)).collect();
    all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    all.into_iter()
}

fn compare_all(
    tables: &[MeasuredTable],
    options: &ValidateOptions,
    directories: &Directories,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<ComparedRow>, Vec<Skipped>), SpecError> {
    check_columns(tables, &options.by)?;
    let rows: Vec<MeasuredRow<'_>> = tables.iter().flat_map(MeasuredTable::rows).collect();
    let known = Known::of(rows.iter().copied(), &options.kernels, directories)?;
    let done = AtomicUsize::new(0);
    let outcomes: Vec<_> = rows
        .par_iter()
        .map(|row| {
            let outcome = compare(*row, &known, &options.by);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        })
        .collect();
    let mut compared = vec![];
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        match outcome? {
            Outcome::Compared(row) => compared.push(*row),
            Outcome::Skipped(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    let mut skipped: Vec<Skipped> =
        reasons.into_iter().map(|(reason, count)| Skipped { reason, count }).collect();
    skipped.sort_by_key(|s| std::cmp::Reverse(s.count));
    Ok((compared, skipped))
}

fn check_columns(tables: &[MeasuredTable], by: &[String]) -> Result<(), SpecError> {
    for column in by.iter().filter(|c| !DERIVED.contains(&c.as_str())) {
        if !tables.iter().any(|t| t.has(column)) {
            let mut names: Vec<&str> =
                tables.iter().flat_map(MeasuredTable::columns).chain(DERIVED).collect();
            names.sort_unstable();
            names.dedup();
            return Err(SpecError::Unknown {
                kind: "column",
                name: column.clone(),
                similar: crate::spec::similar(column, names.iter().copied()),
                fix: format!("--by takes {}", names.join(", ")),
            });
        }
    }
    Ok(())
}

fn worst(rows: &[ComparedRow], most: usize) -> Vec<WorstRow> {
    let mut all: Vec<(f64, &ComparedRow, &row::Compared)> = rows
        .iter()
        .flat_map(|row| row.values.iter().map(move |v| ((v.predicted / v.measured).ln().abs(), row, v)))
        .collect();
    // stable: equal misses stay in the order of the file
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter()
        .take(most)
        .map(|(_, row, v)| WorstRow {
            id: row.id.clone(),
            question: row.question.clone(),
            metric: v.quantity.key(),
            measured: v.measured,
            predicted: v.predicted,
            error: 100.0 * (v.predicted - v.measured) / v.measured,
        })
        .collect()
}
