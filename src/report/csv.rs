//! CSV: a list becomes one row an item, a single answer one row; nested keys are joined by dots.

use super::Report;
use serde_json::Value;

pub(super) fn render(report: &Report) -> String {
    let items = report.items();
    let flattened: Vec<Vec<(String, String)>>;
    let rows = if report.records.is_empty() {
        flattened = items
            .iter()
            .map(|item| {
                let mut cells = vec![];
                flatten("", item, &mut cells);
                cells
            })
            .collect();
        &flattened
    } else {
        &report.records
    };
    let mut header: Vec<&str> = vec![];
    for (key, _) in rows.iter().flatten() {
        if !header.contains(&key.as_str()) {
            header.push(key);
        }
    }
    let mut writer = csv::Writer::from_writer(vec![]);
    // writing to memory cannot fail
    let _ = writer.write_record(&header);
    for row in rows {
        let cells = header.iter().map(|h| row.iter().find(|(k, _)| k == h).map_or("", |(_, v)| v.as_str()));
        let _ = writer.write_record(cells);
    }
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Scalars under their dotted keys. Lists of numbers become `a;b`, lists of objects are left to JSON.
fn flatten(prefix: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, inner, cells);
            }
        }
        Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {}
        Value::Array(items) => {
            let joined: Vec<String> = items.iter().map(scalar).collect();
            cells.push((prefix.to_owned(), joined.join(";")));
        }
        scalar_value => cells.push((prefix.to_owned(), scalar(scalar_value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
