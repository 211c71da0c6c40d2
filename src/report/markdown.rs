//! Markdown tables.

use super::Report;
use std::fmt::Write;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for line in &report.heading {
        let _ = writeln!(out, "{line}\n");
    }
    for section in &report.sections {
        if !section.title.is_empty() {
            let _ = writeln!(out, "### {}\n", section.title);
        }
        let columns =
            section.rows.iter().map(Vec::len).chain([section.header.len()]).max().unwrap_or_default();
        let row = |cells: &[String]| {
            let padded: Vec<String> = (0..columns)
                .map(|i| cells.get(i).map(|c| c.replace('|', "\\|")).unwrap_or_default())
                .collect();
            format!("| {} |\n", padded.join(" | "))
        };
        out.push_str(&row(&section.header));
        out.push_str(&format!("|{}\n", "---|".repeat(columns)));
        for cells in &section.rows {
            out.push_str(&row(cells));
        }
        out.push('\n');
    }
    for picture in &report.drawn {
        let _ = writeln!(out, "```text\n{picture}```\n");
    }
    for line in &report.footer {
        let _ = writeln!(out, "{line}\n");
    }
    out
}
