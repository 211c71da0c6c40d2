//! Operator samples against kernel models on paper.

use serde_json::json;

use super::{Report, Section, count, percent, versioned};
use crate::answer::{SampleGroup, SampleValidation};

/// Lays out a validation of operator samples.
#[must_use]
pub fn sample_validation(answer: &SampleValidation) -> Report {
    let mut section = Section::new(
        "",
        &["operator", "data type", "engine", "fits of", "n", "median", "MAPE", "p90", "bias", "within 20 %"],
    );
    for group in &answer.groups {
        let e = &group.errors;
        section.row([
            group.operator.replace('_', " "),
            group.dtype.clone(),
            group.engine.clone(),
            group.fitted_on.join(", "),
            count(e.n as f64),
            format!("{:.1} %", e.median_ape),
            format!("{:.1} %", e.mape),
            format!("{:.1} %", e.p90_ape),
            format!("{:+.1} %", e.bias),
            percent(e.within_20pct / 100.0),
        ]);
    }
    let mut sections = vec![section];
    if !answer.skipped.is_empty() {
        let mut skipped = Section::new("Skipped", &["samples", "reason"]);
        for s in &answer.skipped {
            skipped.row([count(s.count as f64), s.reason.clone()]);
        }
        sections.push(skipped);
    }
    Report {
        heading: vec![format!("{}: {} ({})", answer.gpu, answer.calibration, answer.trust)],
        sections,
        footer: vec![
            "Errors of samples that the fits were made from are smaller than those of new shapes: \
             `calibrations show` has the held-out ones."
                .into(),
        ],
        records: answer.groups.iter().map(record).collect(),
        json: versioned(&json!(answer)),
        ..Report::default()
    }
}

fn record(group: &SampleGroup) -> Vec<(String, String)> {
    let e = &group.errors;
    [
        ("operator", group.operator.to_owned()),
        ("dtype", group.dtype.clone()),
        ("engine", group.engine.clone()),
        ("fitted_on", group.fitted_on.join(";")),
        ("n", e.n.to_string()),
        ("mape", e.mape.to_string()),
        ("median_ape", e.median_ape.to_string()),
        ("p90_ape", e.p90_ape.to_string()),
        ("bias", e.bias.to_string()),
        ("within_20pct", e.within_20pct.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}
