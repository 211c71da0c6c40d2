//! Tables for the terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt::Write;

use super::{Report, Section};

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for line in &report.heading {
        let _ = writeln!(out, "{line}");
    }
    for section in &report.sections {
        if !out.is_empty() {
            out.push('\n');
        }
        if !section.title.is_empty() {
            let _ = writeln!(out, "{}", section.title);
        }
        let _ = writeln!(out, "{}", table(section));
    }
    for picture in &report.drawn {
        let _ = write!(out, "\n{picture}");
    }
    if !report.footer.is_empty() && !out.is_empty() {
        out.push('\n');
    }
    for line in &report.footer {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn table(section: &Section) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !section.header.is_empty() {
        table.set_header(section.header.clone());
    }
    for row in &section.rows {
        table.add_row(row.clone());
    }
    table.discover_columns();
    for (index, column) in table.column_iter_mut().enumerate() {
        let numeric = section.rows.iter().filter_map(|r| r.get(index)).all(|cell| is_quantity(cell));
        if index > 0 && numeric && !section.header.is_empty() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A number, perhaps with its unit, or two of them (`24.4 ms – 69.1 ms`); a sentence that starts with a
/// digit is none, nor is a flag.
fn is_quantity(cell: &str) -> bool {
    let bare = cell.trim_start_matches(['-', '$']);
    let words = cell.split_whitespace().filter(|w| w.starts_with(char::is_alphabetic)).count();
    cell.is_empty()
        || (bare.starts_with(|c: char| c.is_ascii_digit()) && !cell.starts_with("--") && words <= 2)
}
