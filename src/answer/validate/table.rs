//! Measured results as CSV: one row a run, every column checked where it is read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::calibrate::samples::read_csv;
use crate::spec::SpecError;

/// Columns without which a row means nothing.
const REQUIRED: [&str; 6] = ["engine", "model", "gpu", "mode", "input_len", "output_len"];

/// A file of measured results.
#[derive(Debug, Clone)]
pub struct MeasuredTable {
    file: String,
    columns: BTreeMap<String, usize>,
    records: Vec<csv::StringRecord>,
}

/// One measured run.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredRow<'a> {
    table: &'a MeasuredTable,
    record: &'a csv::StringRecord,
    line: usize,
}

impl MeasuredTable {
    /// Reads a file, gzipped or not.
    ///
    /// # Errors
    /// When it cannot be read, is no CSV, lacks a column that is needed, or holds no rows.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        Self::parse(&read_csv(path)?, &path.display().to_string())
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// As [`MeasuredTable::read`].
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let syntax =
            |e: csv::Error| SpecError::Syntax { file: file.into(), format: "CSV", message: e.to_string() };
        let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let header = reader.headers().map_err(syntax)?;
        let columns: BTreeMap<String, usize> =
            header.iter().enumerate().map(|(i, name)| (name.trim().to_owned(), i)).collect();
        let missing =
            |key: &str, fix: &str| SpecError::Missing { file: file.into(), key: key.into(), fix: fix.into() };
        if let Some(column) = REQUIRED.iter().find(|c| !columns.contains_key(**c)) {
            return Err(missing(
                column,
                "measured results need the columns engine, model, gpu, mode, input_len, output_len, concurrency (of \
                 batches and closed loops) or request_rate (of open loops) and what was measured",
            ));
        }
        if !columns.contains_key("concurrency") && !columns.contains_key("request_rate") {
            return Err(missing(
                "concurrency",
                "give concurrency (of batches and closed loops) or request_rate (of open loops)",
            ));
        }
        let quantities = super::Quantity::ALL.map(super::Quantity::column);
        if !super::Quantity::ALL.iter().flat_map(|q| q.columns()).any(|c| columns.contains_key(*c)) {
            return Err(missing(quantities[0], &format!("give at least one of {}", quantities.join(", "))));
        }
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().map_err(syntax)?;
        if records.is_empty() {
            return Err(missing("(rows)", "the file holds a header only; add measured rows"));
        }
        Ok(Self { file: file.into(), columns, records })
    }

    /// True when the file has this column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// Names of the columns in alphabetical order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// The rows in the order of the file.
    pub fn rows(&self) -> impl Iterator<Item = MeasuredRow<'_>> {
        self.records.iter().enumerate().map(|(i, record)| MeasuredRow {
            table: self,
            record,
            line: record.position().map_or(i + 2, |p| usize::try_from(p.line()).unwrap_or(i + 2)),
        })
    }
}

impl<'a> MeasuredRow<'a> {
    /// Trimmed text of a column; empty where the file has no such column.
    #[must_use]
    pub fn text(&self, column: &str) -> &'a str {
        self.table.columns.get(column).and_then(|i| self.record.get(*i)).map_or("", str::trim)
    }

    /// The file's own `id` of the row, else its line.
    #[must_use]
    pub fn id(&self) -> String {
        match self.text("id") {
            "" => format!("line {}", self.line),
            id => id.to_owned(),
        }
    }

    /// A positive number; none where the cell is empty.
    ///
    /// # Errors
    /// When the cell holds something else.
    pub fn positive(&self, column: &str) -> Result<Option<f64>, SpecError> {
        let text = self.text(column);
        match text.parse::<f64>() {
            _ if text.is_empty() => Ok(None),
            Ok(value) if value > 0.0 && value < 1e15 => Ok(Some(value)),
            _ => Err(self.bad(column, "must be a number above 0, or empty where it is unknown")),
        }
    }

    /// A whole number from `least` to 10⁹; none where the cell is empty.
    ///
    /// # Errors
    /// When the cell holds something else.
    pub fn whole(&self, column: &str, least: u32) -> Result<Option<u32>, SpecError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(value) if value >= f64::from(least) && value <= 1e9 && value.fract() == 0.0 => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked above
                Ok(Some(value as u32))
            }
            _ => Err(self.bad(column, &format!("must be a whole number from {least} to 1,000,000,000"))),
        }
    }

    /// A share above 0 and at most 1; none where the cell is empty.
    ///
    /// # Errors
    /// When the cell holds something else.
    pub fn share(&self, column: &str) -> Result<Option<f64>, SpecError> {
        match self.positive(column)? {
            Some(value) if value > 1.0 => Err(self.bad(column, "must be a share above 0 and at most 1")),
            value => Ok(value),
        }
    }

    fn bad(&self, column: &str, problem: &str) -> SpecError {
        SpecError::Value {
            file: self.table.file.clone(),
            key: format!("{column} (line {})", self.line),
            value: self.text(column).chars().take(40).collect(),
            problem: problem.into(),
            fix: "correct or remove the row".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,engine,model,gpu,mode,concurrency,input_len,output_len,e2e_ms\n";

    #[test]
    fn cells_are_checked_where_they_are_read() {
        let text = format!(
            "{HEADER}7,vllm,llama-3.1-8b,h100-sxm,static,1,128,128,\n,vllm,m,g,static,x,1.5,-1,nan\n"
        );
        let table = MeasuredTable::parse(&text, "a.csv").unwrap();
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows[0].id(), "7");
        assert_eq!(rows[0].whole("input_len", 0).unwrap(), Some(128));
        assert_eq!(rows[0].positive("e2e_ms").unwrap(), None);
        assert_eq!(rows[1].id(), "line 3");
        for column in ["concurrency", "input_len", "output_len"] {
            let message = rows[1].whole(column, 0).unwrap_err().to_string();
            assert!(message.contains("a.csv") && message.contains(column) && message.contains("line 3"));
        }
        assert!(rows[1].positive("e2e_ms").is_err());
    }

    #[test]
    fn files_without_what_is_needed_are_refused() {
        for (text, needle) in [
            ("", "engine"),
            ("engine,model\n", "gpu"),
            (HEADER, "rows"),
            ("engine,model,gpu,mode,input_len,output_len,e2e_ms\nv,m,g,open_loop,1,1,1\n", "request_rate"),
            ("engine,model,gpu,mode,concurrency,input_len,output_len\nv,m,g,static,1,1,1\n", "ttft_ms"),
        ] {
            let message = MeasuredTable::parse(text, "a.csv").unwrap_err().to_string();
            assert!(message.contains(needle), "{message}");
        }
    }
}
