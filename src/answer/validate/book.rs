//! The book of accuracy: errors by accelerator, engine, kind of model and model, kept in the binary.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::metrics::metrics;
use super::row::ComparedRow;
use super::{MeasuredTable, Skipped, ValidateOptions, compare_all};
use crate::spec::SpecError;
use crate::spec::catalog::Directories;

/// The book that `just accuracy` writes.
const BOOK: &str = include_str!("../../../calibration/defaults/accuracy.csv");

/// First line of the book.
pub const ACCURACY_HEADER: &str =
    "gpu,engine,kind,model,metric,n,median_ape,p90_ape,bias,within_20pct,interval_coverage";

/// Accelerators whose published static results are of old or untuned stacks of 2024; they have cases of
/// their own and do not count where any accelerator is meant.
pub const OLD_STACKS: [&str; 3] = ["mi250x", "mi300x", "max-1550"];

/// What the cases are told apart by, coarse to fine.
const BY: [&str; 4] = ["gpu", "engine", "kind", "model"];

/// Fewest runs of a case with rows that may not be passed on: an error of one run would give it away.
const LEAST_PRIVATE: usize = 5;

/// Errors over the runs of one case, in percent; `*` stands for any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Accelerator.
    pub gpu: String,
    /// Engine.
    pub engine: String,
    /// Kind of model: dense, moe (routed experts) or mla (latent attention).
    pub kind: String,
    /// Model.
    pub model: String,
    /// Quantity: `ttft_s`, `tpot_s` or `e2e_s`.
    pub metric: String,
    /// Runs.
    pub n: usize,
    /// Median absolute percentage error.
    pub median_ape: f64,
    /// 90 % quantile of the absolute percentage error.
    pub p90_ape: f64,
    /// Median of (predicted − measured) / measured.
    pub bias: f64,
    /// Share missed by at most 20 %.
    pub within_20pct: f64,
    /// Share inside the 80 % interval.
    pub interval_coverage: f64,
}

impl Case {
    /// The values of [`BY`].
    fn key(&self) -> [&str; 4] {
        [&self.gpu, &self.engine, &self.kind, &self.model]
    }

    /// The line of the book.
    #[must_use]
    pub fn line(&self) -> String {
        let rounded = [self.median_ape, self.p90_ape, self.bias, self.within_20pct, self.interval_coverage]
            .map(|v| format!("{v:.1}"));
        format!("{},{},{},{}", self.key().join(","), self.metric, self.n, rounded.join(","))
    }
}

/// The cases in the binary.
///
/// # Errors
/// When the embedded book is broken, which a test excludes.
pub fn embedded_book() -> Result<Vec<Case>, SpecError> {
    csv::Reader::from_reader(BOOK.as_bytes()).deserialize().collect::<Result<_, _>>().map_err(|e| {
        SpecError::Syntax {
            file: "calibration/defaults/accuracy.csv".into(),
            format: "CSV",
            message: e.to_string(),
        }
    })
}

/// Validates the files and writes the book anew: every model on every accelerator and engine, and all
/// sums over models, accelerators, engines and kinds. Latencies only; rates say the same again.
///
/// # Errors
/// As [`validate`](super::validate).
pub fn accuracy_book(
    tables: &[MeasuredTable],
    directories: &Directories,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Case>, Vec<Skipped>), SpecError> {
    let options = ValidateOptions { by: BY.map(str::to_owned).to_vec(), ..ValidateOptions::default() };
    let (rows, skipped) = compare_all(tables, &options, directories, progress)?;
    let mut cases: BTreeMap<[String; 4], Vec<&ComparedRow>> = BTreeMap::new();
    for row in &rows {
        for mask in 0..1_u8 << BY.len() {
            let old = row.group.first().is_some_and(|gpu| OLD_STACKS.contains(&gpu.as_str()));
            // a sum over kinds of a single model is that model again
            if mask & 0b1000 != 0 && mask & 0b0111 != 0b0111 || mask & 1 == 0 && old {
                continue;
            }
            let any = |i: usize| if mask & (1 << i) == 0 { None } else { row.group.get(i) };
            let key = [0, 1, 2, 3].map(|i| any(i).cloned().unwrap_or_else(|| "*".into()));
            cases.entry(key).or_default().push(row);
        }
    }
    let mut book = vec![];
    for (key, rows) in cases {
        let private = rows.iter().any(|r| r.private);
        let [gpu, engine, kind, model] = key;
        for (metric, m) in metrics(rows.into_iter()) {
            let tells = private && m.errors.n < LEAST_PRIVATE;
            if !tells && !metric.ends_with("_per_s") {
                book.push(Case {
                    gpu: gpu.clone(),
                    engine: engine.clone(),
                    kind: kind.clone(),
                    model: model.clone(),
                    metric: metric.to_owned(),
                    n: m.errors.n,
                    median_ape: m.errors.median_ape,
                    p90_ape: m.errors.p90_ape,
                    bias: m.median_bias,
                    within_20pct: m.errors.within_20pct,
                    interval_coverage: m.interval_coverage,
                });
            }
        }
    }
    Ok((book, skipped))
}
