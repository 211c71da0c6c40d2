//! Predicted against measured on paper.

use serde_json::json;

use super::{Report, Section, count, duration, number, percent, versioned};
use crate::answer::{Metric, Metrics, Validation, WorstRow};

/// Heads of the error columns.
const ERRORS: [&str; 8] = ["n", "median", "MAPE", "p90", "bias", "median bias", "within 20 %", "in interval"];

/// Lays out a validation.
#[must_use]
pub fn validation(answer: &Validation) -> Report {
    let heading = vec![format!(
        "{} of {} rows predicted and compared; errors are |predicted − measured| / measured",
        count(answer.predicted as f64),
        count(answer.rows as f64)
    )];
    let mut sections = vec![];
    if !answer.metrics.is_empty() {
        let mut all = Section::new("", &[&["metric"], &ERRORS[..]].concat());
        for (key, metric) in &answer.metrics {
            all.row([vec![(*key).to_owned()], cells(metric)].concat());
        }
        sections.push(all);
    }
    if !answer.groups.is_empty() {
        sections.push(groups(answer));
    }
    if !answer.worst.is_empty() {
        sections.push(worst(&answer.worst));
    }
    if !answer.assumed.is_empty() {
        let mut assumed = Section::new("Engine versions taken for rows that name none", &["rows", "engine"]);
        for a in &answer.assumed {
            assumed.row([count(a.count as f64), a.engine.clone()]);
        }
        sections.push(assumed);
    }
    if !answer.checkpoints.is_empty() {
        let mut taken = Section::new("Checkpoints taken for weight formats", &["rows", "checkpoint"]);
        for t in &answer.checkpoints {
            taken.row([count(t.count as f64), t.checkpoint.clone()]);
        }
        sections.push(taken);
    }
    if !answer.skipped.is_empty() {
        let mut skipped = Section::new("Skipped", &["rows", "reason"]);
        for s in &answer.skipped {
            skipped.row([count(s.count as f64), s.reason.clone()]);
        }
        sections.push(skipped);
    }
    Report {
        heading,
        sections,
        footer: vec![
            "A bias above 0 means that predictions are too long (times) or too high (rates).".into(),
        ],
        records: records(answer),
        json: versioned(&json!(answer)),
        ..Report::default()
    }
}

fn cells(metric: &Metric) -> Vec<String> {
    let e = &metric.errors;
    let mut cells = vec![count(e.n as f64)];
    cells.extend([e.median_ape, e.mape, e.p90_ape].map(points));
    cells.extend([e.bias, metric.median_bias].map(signed));
    cells.extend([e.within_20pct, metric.interval_coverage].map(|p| percent(p / 100.0)));
    cells
}

/// Percentage points with one decimal.
fn points(value: f64) -> String {
    format!("{value:.1} %")
}

fn signed(value: f64) -> String {
    format!("{value:+.1} %")
}

fn groups(answer: &Validation) -> Section {
    let by: Vec<&str> = answer.by.iter().map(String::as_str).collect();
    let mut section = Section::new("By group", &[&by[..], &["metric"], &ERRORS[..]].concat());
    for group in &answer.groups {
        for (key, metric) in &group.metrics {
            let mut row: Vec<String> =
                answer.by.iter().map(|b| group.key.get(b).cloned().unwrap_or_default()).collect();
            row.push((*key).to_owned());
            row.extend(cells(metric));
            section.row(row);
        }
    }
    section
}

fn worst(rows: &[WorstRow]) -> Section {
    let mut section = Section::new("Worst", &["id", "metric", "measured", "predicted", "error", "run"]);
    for row in rows {
        let value = |v: f64| {
            if row.metric.ends_with("_per_s") { format!("{}/s", number(v)) } else { duration(v) }
        };
        section.row([
            row.id.clone(),
            row.metric.to_owned(),
            value(row.measured),
            value(row.predicted),
            signed(row.error),
            row.question.clone(),
        ]);
    }
    section
}

/// One record a group and metric for CSV; the whole is the group without values.
fn records(answer: &Validation) -> Vec<Vec<(String, String)>> {
    let of = |metrics: &Metrics, value: &dyn Fn(&String) -> String| -> Vec<Vec<(String, String)>> {
        let record = |(name, m): (&&'static str, &Metric)| {
            let e = &m.errors;
            let mut record: Vec<(String, String)> = answer.by.iter().map(|b| (b.clone(), value(b))).collect();
            record.push(("metric".into(), (*name).to_owned()));
            record.push(("n".into(), e.n.to_string()));
            let errors = [
                ("mape", e.mape),
                ("median_ape", e.median_ape),
                ("p90_ape", e.p90_ape),
                ("bias", e.bias),
                ("median_bias", m.median_bias),
                ("within_20pct", e.within_20pct),
                ("interval_coverage", m.interval_coverage),
            ];
            record.extend(errors.map(|(key, percent)| (key.to_owned(), percent.to_string())));
            record
        };
        metrics.iter().map(record).collect()
    };
    let mut records = of(&answer.metrics, &|_| String::new());
    for group in &answer.groups {
        records.extend(of(&group.metrics, &|by| group.key.get(by).cloned().unwrap_or_default()));
    }
    records
}
