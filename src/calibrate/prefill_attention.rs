//! Samples of grouped-query prefill attention → fits.

use std::collections::BTreeMap;

use super::attention::{AttentionRow, group};
use super::fit::Refusal;
use super::fit::Row;
use super::heldout::fit_class;
use super::samples::Table;
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};
use crate::time::forms::prefill_attention::{PrefillAttention, PrefillAttentionForm};

/// Fits every kernel, head size and window of a prefill attention table into `out`; returns what could
/// not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut classes: BTreeMap<ClassKey, Vec<Row<PrefillAttention>>> = BTreeMap::new();
    for record in table.records() {
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
        };
        let key = row.key(table, row.variant());
        let seconds = record.seconds()?;
        classes.entry(key).or_default().push(Row { input, seconds, group: group(&row) });
    }
    let mut refused = vec![];
    for (key, rows) in classes {
        match fit_class::<PrefillAttentionForm>(key.clone(), &rows, hardware, None) {
            Ok(fitted) => out.prefill_attention.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
