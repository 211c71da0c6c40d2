//! Answers on paper: one small file per output format. Nothing here computes.

mod accuracy;
mod board;
mod calibrated;
mod calibrations;
mod check;
mod cost;
mod csv;
mod doctor;
mod engines;
mod estimate;
mod explain;
mod gpus;
mod html;
mod json;
mod logged;
mod markdown;
mod memory;
mod models;
mod picture;
mod points;
mod simulate;
mod size;
mod svg;
mod sweep;
mod table;
mod terminal;
mod transfer;
mod validate;
mod validate_samples;

pub use crate::units::{bytes_gib, count, duration, number, percent, percentile, usd};
pub use accuracy::{accuracy, accuracy_document};
pub use board::{cost_board, estimate_board, memory_board, simulation_board, size_board, sweep_board};
pub use calibrated::{Measuring, calibrated};
pub use calibrations::{calibrated_families, calibration, calibration_list};
pub use check::check;
pub use cost::cost;
pub use doctor::doctor;
pub use engines::engine_fitted;
pub use estimate::estimate;
pub use explain::{conversion, metric, metrics};
pub use gpus::{gpu, gpu_list};
pub use memory::memory;
pub use models::{model, model_list};
pub use picture::{
    Axis, Bar, Bars, Board, Chart, Draw, Drawing, Headline, Mark, Picture, Point, Series, Spacing, Stack,
    Unit,
};
pub use points::points_fitted;
pub use simulate::simulation;
pub use size::sized;
pub use sweep::{SweepView, sweep};
pub use terminal::{NO_PICTURES, Terminal, drawn};
pub use validate::validation;
pub use validate_samples::sample_validation;

use crate::answer::Provenance;

/// A table of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// Heading; empty for none.
    pub title: String,
    /// Column heads; empty for key–value rows.
    pub header: Vec<String>,
    /// Rows of cells.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// A section without rows.
    #[must_use]
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), header: header.iter().map(|h| (*h).to_owned()).collect(), rows: vec![] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

/// Where the coefficients of an answer came from, in a line.
fn coefficients(provenance: &Provenance) -> String {
    let Provenance { trust, kernels, engine, .. } = provenance;
    format!("Kernel times: {} ({kernels}). Engine: {engine}.", trust.words())
}

/// An answer ready to print: words and tables for people, JSON for scripts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Lines before the tables.
    pub heading: Vec<String>,
    /// Tables.
    pub sections: Vec<Section>,
    /// Lines after the tables.
    pub footer: Vec<String>,
    /// What to know before using the answer; goes to stderr in formats for people.
    pub warnings: Vec<String>,
    /// Rows of CSV as columns and cells, where they are not the items of `json`.
    pub records: Vec<Vec<(String, String)>>,
    /// Key of the list in `json` whose items are the rows of CSV and of JSON lines; none where `json` itself is.
    pub rows: Option<&'static str>,
    /// The answer in the layout of `vllm bench serve`, where it has one.
    pub vllm: Option<String>,
    /// What a page shows at a glance and draws; empty unless pictures were asked for.
    pub board: Board,
    /// Pictures as text, between the tables and the footer of formats for people.
    pub drawn: Vec<String>,
    /// The whole answer in SI base units with `schema_version`; an array prints as JSON lines.
    pub json: serde_json::Value,
}

impl Report {
    /// Rows of CSV and of JSON lines.
    fn items(&self) -> &[serde_json::Value] {
        let list = self.rows.and_then(|key| self.json.get(key)).unwrap_or(&self.json);
        match list {
            serde_json::Value::Array(items) => items,
            one => std::slice::from_ref(one),
        }
    }
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For the terminal.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
    /// Markdown.
    Markdown,
    /// The layout of `vllm bench serve`; a table where an answer has none.
    Vllm,
    /// One page that needs nothing else.
    Html,
    /// All pictures on one sheet; an empty text where an answer has none.
    Svg,
}

impl Format {
    /// Renders a report.
    #[must_use]
    pub fn render(self, report: &Report) -> String {
        match self {
            Self::Table => table::render(report),
            Self::Json => json::render(report),
            Self::Jsonl => json::render_lines(report),
            Self::Csv => csv::render(report),
            Self::Markdown => markdown::render(report),
            Self::Html => html::page(report),
            Self::Svg => svg::board(report).unwrap_or_default(),
            Self::Vllm => report.vllm.clone().unwrap_or_else(|| table::render(report)),
        }
    }
}

/// The object with a `schema_version`.
fn versioned(object: &serde_json::Value) -> serde_json::Value {
    let mut versioned = serde_json::json!({ "schema_version": 1 });
    if let (Some(map), Some(fields)) = (versioned.as_object_mut(), object.as_object()) {
        map.extend(fields.clone());
    }
    versioned
}
