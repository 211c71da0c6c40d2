//! JSON and JSON lines.

use super::Report;

pub(super) fn render(report: &Report) -> String {
    // a Value always serialises; the alternate form is the indented one
    format!("{:#}\n", report.json)
}

pub(super) fn render_lines(report: &Report) -> String {
    report.items().iter().map(|item| format!("{item}\n")).collect()
}
