//! JSON and JSON lines.

use super::Report;
use serde_json::Value;

pub(super) fn render(report: &Report) -> String {
    // a Value always serialises; the alternate form is the indented one
    format!("{:#}\n", report.json)
}

pub(super) fn render_lines(report: &Report) -> String {
    match &report.json {
        Value::Array(items) => items.iter().map(|item| format!("{item}\n")).collect(),
        one => format!("{one}\n"),
    }
}
