//! Samples of grouped-query prefill attention → fits.

use super::attention::{AttentionRow, group};
use super::fit::Refusal;
use super::fit::Row;
use super::heldout::fit_class;
use super::samples::{Classes, Table};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::Calibration;
use crate::time::forms::prefill_attention::{PrefillAttention, PrefillAttentionForm};

/// Samples of prefill attention by kernel, head size and window, without broken rows.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table, hardware: &Hardware) -> Result<Classes<PrefillAttention>, SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        // a decode kernel run on one new token is another operator
        if record.text("kernel").ends_with("decode") {
            continue;
        }
        let Some(row) = AttentionRow::read(&record, hardware)? else { continue };
        let input = PrefillAttention {
            requests: row.requests,
            new_tokens: record.number("isl")?,
            past_tokens: record.number("prefix")?,
            heads: row.heads,
            kv_heads: row.kv_heads,
            head_dim: row.head_dim,
            window: row.window,
            kv_bytes: row.kv_bytes,
            math: row.math,
            averaged: false,
        };
        let key = row.key(table, row.variant());
        let seconds = record.seconds()?;
        classes.entry(key).or_default().push(Row { input, seconds, group: group(&row) });
    }
    Ok(classes)
}

/// Fits every kernel, head size and window of a prefill attention table into `out`; returns what could
/// not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    for (key, rows) in classes(table, hardware)? {
        match fit_class::<PrefillAttentionForm>(key.clone(), &rows, hardware, None) {
            Ok(fitted) => out.prefill_attention.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
