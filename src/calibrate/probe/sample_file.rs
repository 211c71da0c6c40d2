//! The samples of a run in one file, written as they come and read back for another fit.
//!
//! A CSV of operator samples with the columns of all operators, `operator` in front; the device's facts stand above as
//! TOML in comments.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{DeviceFacts, INTERRUPTED, Measurement};
use crate::spec::SpecError;

/// Columns of shapes, of all operators.
const SHAPE: [&str; 20] = [
    "mode",
    "kind",
    "bytes",
    "threads",
    "m",
    "n",
    "k",
    "batch",
    "step",
    "isl",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "attn_dtype",
    "kv_dtype",
    "op",
    "gpus",
    "elements",
    "duration_s",
    "dtype",
];
/// Columns of what was measured; times are of one execution.
const MEASURED: [&str; 15] = [
    "latency_us",
    "low_us",
    "high_us",
    "shortest_us",
    "samples",
    "outliers",
    "rule",
    "converged",
    "slowed",
    "contended",
    "clock_mhz",
    "memory_clock_mhz",
    "temperature_c",
    "power_w",
    "cpu_busy",
];

/// What stands above the rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Version of the tool.
    pub tool_version: String,
    /// When measured (ISO date).
    pub date: String,
    /// Whose kernels: the engine of the classes that are fitted, `measured` and `measured-cpu`.
    pub engine: String,
    /// The device.
    pub device: DeviceFacts,
}

/// Samples of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SampleFile {
    /// What stands above the rows.
    pub origin: Origin,
    /// Rows by column; empty cells are left out.
    pub rows: Vec<BTreeMap<String, String>>,
}

impl SampleFile {
    /// Takes a measurement in; one of the same benchmark is replaced.
    pub fn push(&mut self, measurement: &Measurement) {
        let label = measurement.benchmark.label();
        self.rows.retain(|row| self::label(row) != label);
        self.rows.push(row(measurement));
    }

    /// Labels of the benchmarks that it holds, without those that were stopped half-way.
    #[must_use]
    pub fn known(&self) -> BTreeSet<String> {
        let half_way = |row: &&BTreeMap<String, String>| row.get("rule").is_some_and(|r| r == INTERRUPTED);
        self.rows.iter().filter(|row| !half_way(row)).map(label).collect()
    }

    /// Reads a samples file.
    ///
    /// # Errors
    /// When its comments are no TOML of a device or its rows no CSV.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let comments = text.lines().map_while(|l| l.strip_prefix("# ").or_else(|| l.strip_prefix('#')));
        let head: Vec<&str> = comments.collect();
        let head = head.join("\n");
        let origin: Origin = toml::from_str(&head)
            .map_err(|e| SpecError::toml(&e, &head, file, "comments of a samples file"))?;
        let syntax =
            |e: csv::Error| SpecError::Syntax { file: file.into(), format: "CSV", message: e.to_string() };
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
        let headers = reader.headers().map_err(syntax)?.clone();
        let mut rows = vec![];
        for record in reader.records() {
            let record = record.map_err(syntax)?;
            let cells = headers.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
            rows.push(cells.map(|(h, c)| (h.to_owned(), c.to_owned())).collect());
        }
        Ok(Self { origin, rows })
    }

    /// The text of the file.
    ///
    /// # Errors
    /// When the facts cannot be written as TOML, which a test excludes.
    pub fn text(&self) -> Result<String, SpecError> {
        let failed = |message: String| SpecError::Syntax { file: "samples".into(), format: "CSV", message };
        let head = toml::to_string(&self.origin).map_err(|e| failed(e.to_string()))?;
        let mut out: String = head.lines().map(|l| format!("# {l}\n")).collect();
        let columns: Vec<&str> = std::iter::once("operator")
            .chain(SHAPE)
            .chain(["kernel"])
            .filter(|c| self.rows.iter().any(|r| r.contains_key(*c)))
            .chain(MEASURED)
            .collect();
        let mut writer = csv::Writer::from_writer(vec![]);
        let empty = String::new();
        writer.write_record(&columns).map_err(|e| failed(e.to_string()))?;
        for row in &self.rows {
            let cells = columns.iter().map(|c| row.get(*c).unwrap_or(&empty));
            writer.write_record(cells).map_err(|e| failed(e.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|e| failed(e.to_string()))?;
        out += &String::from_utf8_lossy(&bytes);
        Ok(out)
    }
}

/// The benchmark's label from a row: its operator and shape.
fn label(row: &BTreeMap<String, String>) -> String {
    let mut cells: Vec<String> = row
        .iter()
        .filter(|(name, _)| SHAPE.contains(&name.as_str()) || *name == "kernel")
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    cells.sort_unstable();
    format!("{} {}", row.get("operator").map_or("", String::as_str), cells.join(" "))
}

fn row(measurement: &Measurement) -> BTreeMap<String, String> {
    let Measurement { benchmark, summary, ending, telemetry, slowed, contended } = measurement;
    let mut row: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, text: String| {
        if !text.is_empty() {
            row.insert(name.to_owned(), text);
        }
    };
    set("operator", benchmark.operator().into());
    for (name, text) in benchmark.cells() {
        set(name, text);
    }
    // six digits: a nanosecond in a millisecond
    let us = |seconds: f64| significant(seconds * 1e6);
    set("latency_us", us(summary.median));
    set("low_us", us(summary.interval[0]));
    set("high_us", us(summary.interval[1]));
    set("shortest_us", us(summary.shortest));
    set("samples", summary.kept.to_string());
    set("outliers", summary.outliers.to_string());
    set("rule", ending.rule.into());
    set("converged", ending.converged.to_string());
    set("slowed", slowed.to_string());
    set("contended", contended.to_string());
    let optional = |value: Option<f64>| value.map(significant).unwrap_or_default();
    set("clock_mhz", optional(telemetry.clock_mhz));
    set("memory_clock_mhz", optional(telemetry.memory_clock_mhz));
    set("temperature_c", optional(telemetry.temperature_c));
    set("power_w", optional(telemetry.power_w));
    set("cpu_busy", optional(telemetry.cpu_busy));
    row
}

/// Six significant digits.
fn significant(value: f64) -> String {
    format!("{value:.5e}").parse::<f64>().unwrap_or(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::probe::{Benchmark, Ending, Summary, Telemetry, Work};

    fn measurement(m: u64) -> Measurement {
        Measurement {
            benchmark: Benchmark::from(Work::Gemm { m, n: 4096, k: 1024, dtype: "bfloat16", kernel: "x" }),
            summary: Summary {
                median: 1.234_567_89e-5,
                shortest: 1.2e-5,
                interval: [1.23e-5, 1.24e-5],
                kept: 20,
                outliers: 1,
            },
            ending: Ending { rule: "precise", converged: true },
            telemetry: Telemetry { power_w: Some(412.0), ..Telemetry::default() },
            slowed: 2,
            contended: 0,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let device = DeviceFacts { gpu: "h200-sxm".into(), ecc: Some(true), ..DeviceFacts::default() };
        let origin =
            Origin { date: "2026-11-21".into(), engine: "measured".into(), device, ..Origin::default() };
        let mut file = SampleFile { origin, rows: vec![] };
        file.push(&measurement(8));
        file.push(&measurement(16));
        file.push(&measurement(8));
        let text = file.text().unwrap();
        assert!(text.contains("12.3457,12.3,12.4,12,20,1,precise,true,2,0,,,,412,"), "{text}");
        let back = SampleFile::parse(&text, "x.csv").unwrap();
        assert_eq!(back, file);
        assert_eq!(back.rows.len(), 2);
        assert!(back.known().contains(&measurement(16).benchmark.label()));
    }
}
