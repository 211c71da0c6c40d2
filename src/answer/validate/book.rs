//! The book of accuracy: errors by accelerator, engine, kind of model and model, kept in the binary.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::metrics::metrics;
use super::row::{Compared, ComparedRow};
use super::{MeasuredTable, Quantity, Skipped, ValidateOptions, compare_all};
use crate::calibrate::statistics::Errors;
use crate::spec::SpecError;
use crate::spec::catalog::Directories;

/// The book that `just accuracy` writes.
const BOOK: &str = include_str!("../../../calibration/defaults/accuracy.csv");

/// First line of the book.
pub const ACCURACY_HEADER: &str =
    "mode,gpu,engine,kind,model,metric,n,median_ape,p90_ape,bias,within_20pct,interval_coverage";

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
    /// How requests came: `static` batches or `closed_loop`.
    #[serde(default = "batches")]
    pub mode: String,
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

/// Books before closed loops held static batches only.
fn batches() -> String {
    "static".into()
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
        format!("{},{},{},{},{}", self.mode, self.key().join(","), self.metric, self.n, rounded.join(","))
    }
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// Errors of every case.
    pub cases: Vec<Case>,
    /// Errors of closed loops beside another tool's.
    pub loops: Vec<Beside>,
    /// Rows left out, by reason.
    pub skipped: Vec<Skipped>,
}

/// Errors of closed loops, and another tool's on the rows that it answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    /// Engine, model and accelerator, or engine and requests in flight; `*` stands for any.
    pub key: [String; 4],
    /// Quantity.
    pub metric: &'static str,
    /// Ours on all rows.
    pub ours: Errors,
    /// Share inside the 80 % interval, in percent.
    pub coverage: f64,
    /// Ours on the rows that the other tool answered, and its own.
    pub both: Option<[Errors; 2]>,
}

/// Upper ends of the classes of requests in flight.
const IN_FLIGHT: [u32; 4] = [8, 32, 128, u32::MAX];

/// Errors of closed loops by engine, model and accelerator, and by engine and requests in flight.
fn loops(rows: &[ComparedRow]) -> Vec<Beside> {
    let mut parts: BTreeMap<[String; 4], Vec<&ComparedRow>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.mode == "closed_loop") {
        let [gpu, engine, _, model] = [0, 1, 2, 3].map(|i| row.group.get(i).cloned().unwrap_or_default());
        let any = || "*".to_owned();
        let at = IN_FLIGHT.partition_point(|end| *end < row.batch);
        let class = match at {
            0 => format!("≤ {}", IN_FLIGHT[0]),
            _ if at + 1 == IN_FLIGHT.len() => format!("> {}", IN_FLIGHT[at - 1]),
            _ => format!("{}–{}", IN_FLIGHT[at - 1] + 1, IN_FLIGHT[at]),
        };
        for key in [
            [any(), any(), any(), any()],
            [engine.clone(), any(), any(), any()],
            [engine.clone(), model, gpu, any()],
            [engine, any(), any(), class],
        ] {
            parts.entry(key).or_default().push(row);
        }
    }
    let mut all = vec![];
    for (key, rows) in parts {
        for quantity in [Quantity::Ttft, Quantity::Tpot, Quantity::E2e] {
            let values: Vec<&Compared> =
                rows.iter().flat_map(|r| &r.values).filter(|v| v.quantity == quantity).collect();
            let Some(ours) =
                Errors::of(&values.iter().map(|v| (v.predicted, v.measured)).collect::<Vec<_>>())
            else {
                continue;
            };
            let inside =
                values.iter().filter(|v| (v.interval.low..=v.interval.high).contains(&v.measured)).count();
            let shared: Vec<_> = values.iter().filter_map(|v| Some((v, v.peer?))).collect();
            let same: Vec<_> = shared.iter().map(|(v, _)| (v.predicted, v.measured)).collect();
            let peer: Vec<_> = shared.iter().map(|(v, p)| (*p, v.measured)).collect();
            all.push(Beside {
                key: key.clone(),
                metric: quantity.key(),
                ours,
                coverage: 100.0 * inside as f64 / values.len() as f64,
                both: Errors::of(&same).zip(Errors::of(&peer)).map(|(a, b)| [a, b]),
            });
        }
    }
    all
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
) -> Result<Book, SpecError> {
    let options = ValidateOptions { by: BY.map(str::to_owned).to_vec(), ..ValidateOptions::default() };
    let (rows, skipped) = compare_all(tables, &options, directories, progress)?;
    let mut cases: BTreeMap<(&'static str, [String; 4]), Vec<&ComparedRow>> = BTreeMap::new();
    // of open loops no results are known that may be passed on
    for row in rows.iter().filter(|r| r.mode != "open_loop") {
        for mask in 0..1_u8 << BY.len() {
            let old = row.group.first().is_some_and(|gpu| OLD_STACKS.contains(&gpu.as_str()));
            // a sum over kinds of a single model is that model again
            if mask & 0b1000 != 0 && mask & 0b0111 != 0b0111 || mask & 1 == 0 && old {
                continue;
            }
            let any = |i: usize| if mask & (1 << i) == 0 { None } else { row.group.get(i) };
            let key = [0, 1, 2, 3].map(|i| any(i).cloned().unwrap_or_else(|| "*".into()));
            cases.entry((row.mode, key)).or_default().push(row);
        }
    }
    let mut book = vec![];
    for ((mode, key), rows) in cases {
        let private = rows.iter().any(|r| r.private);
        let [gpu, engine, kind, model] = key;
        for (metric, m) in metrics(rows.into_iter()) {
            let tells = private && m.errors.n < LEAST_PRIVATE;
            if !tells && !metric.ends_with("_per_s") {
                book.push(Case {
                    mode: mode.to_owned(),
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
    Ok(Book { cases: book, loops: loops(&rows), skipped })
}
