//! Operator samples as CSV, gzipped or not: one table a GPU, engine and operator. The columns say
//! which operator it is.

use flate2::read::GzDecoder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::fit::Row;
use super::probe::SampleFile;
use crate::spec::SpecError;
use crate::time::calibration::ClassKey;

/// Largest table read, in bytes after decompression.
const LARGEST: u64 = 1 << 30;

/// Samples by class.
pub type Classes<I> = BTreeMap<ClassKey, Vec<Row<I>>>;

/// A table of samples.
#[derive(Debug, Clone)]
pub struct Table {
    /// The path as given.
    pub file: String,
    /// Engine and version from the file's name (`vllm-0.24.0`), or `measured`.
    pub engine: String,
    /// The operator, where the table says it in a column; else its columns tell.
    pub operator: Option<String>,
    /// Of a file that `calibrate` measured: its probes time kernels, never their launch from the host.
    pub probed: bool,
    columns: BTreeMap<String, usize>,
    records: Vec<csv::StringRecord>,
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    table: &'a Table,
    line: usize,
    record: &'a csv::StringRecord,
}

/// The text of a CSV file, unpacked where its name ends in `.gz`.
///
/// # Errors
/// When it cannot be read, is no UTF-8, or has more than 1 GiB.
pub fn read_csv(path: &Path) -> Result<String, SpecError> {
    let unreadable = |e: std::io::Error| SpecError::Unreadable {
        file: path.display().to_string(),
        message: e.to_string(),
    };
    let raw = std::fs::File::open(path).map_err(unreadable)?;
    let packed = path.extension().is_some_and(|e| e == "gz");
    let mut reader: Box<dyn Read> = if packed { Box::new(GzDecoder::new(raw)) } else { Box::new(raw) };
    let mut text = String::new();
    let read = reader.by_ref().take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > LARGEST {
        return Err(unreadable(std::io::Error::other("it has more than 1 GiB")));
    }
    Ok(text)
}

impl Table {
    /// Reads the tables of a file: one, or one an operator of a file that `calibrate` measured.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn read_all(path: &Path) -> Result<Vec<Self>, SpecError> {
        let text = read_csv(path)?;
        if !text.starts_with('#') {
            return Ok(vec![Self::read(path)?]);
        }
        let file = path.display().to_string();
        Ok(Self::of_samples(&SampleFile::parse(&text, &file)?, &file))
    }

    /// The tables of a measured file, one an operator, in the order of its first rows.
    #[must_use]
    pub fn of_samples(samples: &SampleFile, file: &str) -> Vec<Self> {
        let mut tables: Vec<Self> = vec![];
        for row in &samples.rows {
            let name = row.get("operator").map_or("", String::as_str);
            if tables.iter().all(|t| t.operator.as_deref() != Some(name)) {
                let columns: BTreeSet<&String> = samples
                    .rows
                    .iter()
                    .filter(|r| r.get("operator").is_some_and(|o| o == name))
                    .flat_map(BTreeMap::keys)
                    .collect();
                tables.push(Self {
                    file: file.into(),
                    engine: samples.origin.engine.clone(),
                    operator: Some(name.into()),
                    probed: true,
                    columns: columns.into_iter().enumerate().map(|(i, c)| (c.clone(), i)).collect(),
                    records: vec![],
                });
            }
            if let Some(table) = tables.iter_mut().find(|t| t.operator.as_deref() == Some(name)) {
                let mut cells: Vec<(usize, &str)> =
                    table.columns.iter().map(|(c, i)| (*i, row.get(c).map_or("", String::as_str))).collect();
                cells.sort_unstable();
                table.records.push(cells.into_iter().map(|(_, cell)| cell).collect());
            }
        }
        tables
    }

    /// Reads a table. The file's name may carry the engine: `<gpu>__<engine-version>__<operator>.csv.gz`.
    ///
    /// # Errors
    /// When the file cannot be read, is no CSV, or has no `latency_us` column.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = read_csv(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let engine = name.split("__").nth(1).unwrap_or("measured").to_owned();
        Self::parse(&text, &path.display().to_string(), &engine)
    }

    /// Parses the text of a table.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(text: &str, file: &str, engine: &str) -> Result<Self, SpecError> {
        let syntax =
            |e: csv::Error| SpecError::Syntax { file: file.into(), format: "CSV", message: e.to_string() };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns: BTreeMap<String, usize> =
            reader.headers().map_err(syntax)?.iter().enumerate().map(|(i, h)| (h.to_owned(), i)).collect();
        if !columns.contains_key("latency_us") {
            return Err(SpecError::Missing {
                file: file.into(),
                key: "latency_us".into(),
                fix: "operator samples need a column latency_us and the columns of their operator".into(),
            });
        }
        let records = reader.records().collect::<Result<_, _>>().map_err(syntax)?;
        Ok(Self { file: file.into(), engine: engine.into(), operator: None, probed: false, columns, records })
    }

    /// True when the table has all these columns.
    #[must_use]
    pub fn has(&self, columns: &[&str]) -> bool {
        columns.iter().all(|c| self.columns.contains_key(*c))
    }

    /// The rows.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().enumerate().map(|(i, record)| Record { table: self, line: i + 2, record })
    }
}

impl<'a> Record<'a> {
    /// Text of a column; empty where the table has no such column.
    #[must_use]
    pub fn text(&self, column: &str) -> &'a str {
        self.table.columns.get(column).and_then(|i| self.record.get(*i)).unwrap_or("")
    }

    /// Number of a column.
    ///
    /// # Errors
    /// When it is missing, no number, negative or not finite.
    pub fn number(&self, column: &str) -> Result<f64, SpecError> {
        let text = self.text(column);
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
            _ => Err(SpecError::Value {
                file: self.table.file.clone(),
                key: format!("{column} (line {})", self.line),
                value: if text.is_empty() { "(empty)".into() } else { text.chars().take(40).collect() },
                problem: "must be a number, 0 or more".into(),
                fix: "correct or remove the row".into(),
            }),
        }
    }

    /// The measured time in seconds.
    ///
    /// # Errors
    /// As [`Record::number`].
    pub fn seconds(&self) -> Result<f64, SpecError> {
        Ok(self.number("latency_us")? * 1e-6)
    }
}
