//! Errors by quantity, over all rows and by group.

use serde::Serialize;
use std::collections::BTreeMap;

use super::Quantity;
use super::row::{Compared, ComparedRow};
use crate::calibrate::statistics::Errors;

/// Errors of one quantity, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    /// Errors; the bias is the mean of (predicted − measured) / measured.
    #[serde(flatten)]
    pub errors: Errors,
    /// Median of (predicted − measured) / measured: the sign without the tail.
    pub median_bias: f64,
    /// Share of measured values inside the 80 % interval of their prediction.
    pub interval_coverage: f64,
}

/// Errors of every quantity that was measured, by its key.
pub type Metrics = BTreeMap<&'static str, Metric>;

/// Rows that agree in the columns grouped by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Column → value.
    #[serde(flatten)]
    pub key: BTreeMap<String, String>,
    /// Rows compared.
    pub predicted: usize,
    /// Errors.
    pub metrics: Metrics,
}

pub(super) fn metrics<'a>(rows: impl Iterator<Item = &'a ComparedRow>) -> Metrics {
    let mut values: BTreeMap<Quantity, Vec<Compared>> = BTreeMap::new();
    for value in rows.flat_map(|row| &row.values) {
        values.entry(value.quantity).or_default().push(*value);
    }
    values.into_iter().filter_map(|(quantity, values)| Some((quantity.key(), metric(&values)?))).collect()
}

fn metric(values: &[Compared]) -> Option<Metric> {
    let pairs: Vec<(f64, f64)> = values.iter().map(|v| (v.predicted, v.measured)).collect();
    let covered = values.iter().filter(|v| (v.interval.low..=v.interval.high).contains(&v.measured)).count();
    let mut signed: Vec<f64> = pairs.iter().map(|(p, m)| 100.0 * (p - m) / m).collect();
    signed.sort_by(f64::total_cmp);
    let middle = |i: usize| signed.get(i).copied().unwrap_or_default();
    Some(Metric {
        errors: Errors::of(&pairs)?,
        median_bias: f64::midpoint(middle((signed.len() - 1) / 2), middle(signed.len() / 2)),
        interval_coverage: 100.0 * covered as f64 / values.len() as f64,
    })
}

/// Groups in the order of their values, numbers by size.
pub(super) fn groups(rows: &[ComparedRow], by: &[String]) -> Vec<Group> {
    let mut parts: BTreeMap<Vec<(u64, &str)>, Vec<&ComparedRow>> = BTreeMap::new();
    for row in rows {
        let key = row.group.iter().map(|v| (v.parse().unwrap_or(u64::MAX), v.as_str())).collect();
        parts.entry(key).or_default().push(row);
    }
    parts
        .into_iter()
        .map(|(key, rows)| Group {
            key: by.iter().cloned().zip(key.into_iter().map(|(_, v)| v.to_owned())).collect(),
            predicted: rows.len(),
            metrics: metrics(rows.into_iter()),
        })
        .collect()
}
