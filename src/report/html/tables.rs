//! Tables of a page: those of the report, the numbers behind pictures, and what the question was.

use serde_json::Value;

use crate::report::picture::{Chart, Draw, Drawing, Picture, axis};
use crate::report::svg::markup::Markup;
use crate::report::{Report, Section, count, number};

/// Rows of a table that a page shows; files have all.
const ROWS: usize = 200;

/// Points of a picture that are listed.
const POINTS: usize = 60;

/// The tables of the report.
pub(super) fn sections(report: &Report) -> Markup {
    let mut out = Markup::default();
    let shown = report.sections.iter().filter(|s| !s.rows.is_empty());
    let (wide, slim): (Vec<&Section>, Vec<&Section>) =
        shown.partition(|s| s.rows.iter().map(Vec::len).max().unwrap_or(0) > 5);
    if wide.is_empty() && slim.is_empty() {
        return out;
    }
    out.element("h2", &[], "In numbers");
    out.open("div", &[("class", &"tables")]);
    for section in slim {
        table(&mut out, section);
    }
    out.close("div");
    for section in wide {
        table(&mut out, section);
    }
    out
}

fn table(out: &mut Markup, section: &Section) {
    out.open("section", &[]);
    if !section.title.is_empty() {
        out.element("h3", &[], &section.title);
    }
    let label = if section.title.is_empty() { "table" } else { section.title.as_str() };
    out.open("div", &[("class", &"scroll"), ("tabindex", &0), ("role", &"region"), ("aria-label", &label)]);
    let columns = section.rows.iter().map(Vec::len).chain([section.header.len()]).max().unwrap_or(0);
    let kind = if columns <= 2 && section.header.is_empty() { "kv" } else { "" };
    out.open("table", &[("class", &kind)]);
    let empty = String::new();
    let right = |column: usize| {
        let mut cells =
            section.rows.iter().filter_map(|r| r.get(column)).filter(|c| !c.is_empty()).peekable();
        column > 0 && !section.header.is_empty() && cells.peek().is_some() && cells.all(|c| is_number(c))
    };
    let aligned: Vec<&str> = (0..columns).map(|c| if right(c) { "r" } else { "" }).collect();
    if section.header.iter().any(|h| !h.is_empty()) {
        out.open("thead", &[]).open("tr", &[]);
        for (column, class) in aligned.iter().enumerate() {
            let name = section.header.get(column).unwrap_or(&empty);
            out.element("th", &[("class", class), ("scope", &"col")], name);
        }
        out.close("tr").close("thead");
    }
    out.open("tbody", &[]).line();
    for row in section.rows.iter().take(ROWS) {
        out.open("tr", &[]);
        for (column, class) in aligned.iter().enumerate() {
            let cell = row.get(column).unwrap_or(&empty);
            match column {
                0 => {
                    let inner = if cell.starts_with("  ") { "in" } else { "" };
                    out.element("th", &[("scope", &"row"), ("class", &inner)], cell.trim());
                }
                _ => {
                    out.element("td", &[("class", class)], cell);
                }
            }
        }
        out.close("tr").line();
    }
    out.close("tbody").close("table").close("div");
    if section.rows.len() > ROWS {
        let text = format!("{} of {} rows: --export-csv has all.", ROWS, count(section.rows.len() as f64));
        out.element("p", &[("class", &"note")], &text);
    }
    out.close("section").line();
}

/// Starts with a digit and has few words: a quantity.
fn is_number(cell: &str) -> bool {
    let bare = cell.trim_start_matches(['-', '$', '–']);
    let first = bare.split_whitespace().next().unwrap_or_default();
    let counts = first.starts_with(|c: char| c.is_ascii_digit()) && !first.contains('×');
    bare.is_empty() || (counts && cell.split_whitespace().count() <= 5)
}

/// The points of a chart as a table that opens: what eyes cannot read off.
pub(super) fn numbers(picture: &Picture) -> Markup {
    let mut out = Markup::default();
    let Drawing::Chart(chart) = &picture.drawing else { return out };
    let section = points(chart);
    if section.rows.is_empty() || section.rows.len() > POINTS {
        return out;
    }
    out.open("details", &[]).element("summary", &[], "Numbers");
    table(&mut out, &section);
    out.close("details");
    out
}

fn points(chart: &Chart) -> Section {
    let listed = |d: Draw| matches!(d, Draw::Line | Draw::Named | Draw::Cloud);
    let shown = || {
        let series = chart.series.iter().filter(|s| listed(s.draw));
        series.flat_map(|s| s.points.iter().map(move |p| (s, p))).filter(|(_, p)| chart.shows(p))
    };
    let named = shown().any(|(s, p)| !s.name.is_empty() || !p.name.is_empty());
    let ends = shown().any(|(_, p)| p.ends.is_some());
    let shares = shown().any(|(_, p)| p.share > 0.0);
    let mut header = if named { vec![""] } else { vec![] };
    header.extend([chart.x.label.as_str(), chart.y.label.as_str()]);
    header.extend(ends.then_some("80 % interval"));
    header.extend(shares.then_some("share of time"));
    let mut section = Section::new("", &header);
    for (series, point) in shown() {
        let mut row = vec![];
        if named {
            let words = [series.name.as_str(), point.name.as_str()];
            row.push(words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(": "));
        }
        row.push(precise(chart.x.unit, point.x));
        row.push(precise(chart.y.unit, point.y));
        if ends {
            let of = |v| precise(chart.y.unit, v);
            row.push(
                point.ends.map_or_else(String::new, |[low, high]| format!("{} – {}", of(low), of(high))),
            );
        }
        if shares {
            row.push(format!("{:.1} %", 100.0 * point.share));
        }
        section.row(row);
    }
    section
}

/// A value as tables print it.
fn precise(unit: crate::report::Unit, value: f64) -> String {
    use crate::report::Unit;
    match unit {
        Unit::Seconds => crate::report::duration(value),
        Unit::Dollars => crate::report::usd(value),
        Unit::Number if value.fract() == 0.0 => count(value),
        Unit::Number => number(value),
        Unit::Share => axis::text(unit, value),
    }
}

/// The question as it was understood, and where the numbers come from: `inputs` and `provenance` of the JSON.
pub(super) fn inputs(report: &Report) -> Markup {
    let mut out = Markup::default();
    for (key, title) in
        [("inputs", "The question as understood"), ("provenance", "Where the numbers come from")]
    {
        let Some(Value::Object(map)) = report.json.get(key) else { continue };
        out.element("h2", &[], title);
        let class = if key == "inputs" { "inputs" } else { "inputs one" };
        out.open("dl", &[("class", &class)]).line();
        for (name, value) in map {
            let text = plain(value);
            if !text.is_empty() {
                out.open("div", &[]).element("dt", &[], &name.replace('_', " "));
                out.element("dd", &[], &text).close("div").line();
            }
        }
        out.close("dl");
    }
    out
}

/// A JSON value in words; nothing for what is empty.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::Number(n) => match n.as_f64() {
            Some(v) if v.fract() == 0.0 && v.abs() < 1e15 => count(v),
            _ => n.to_string(),
        },
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let part = |(key, value): (&String, &Value)| {
                let text = plain(value);
                (!text.is_empty()).then(|| format!("{}: {text}", key.replace('_', " ")))
            };
            map.iter().filter_map(part).collect::<Vec<_>>().join("; ")
        }
    }
}
