//! Samples of grouped-query decode attention → fits.

use super::attention::{AttentionRow, group};
use super::fit::Refusal;
use super::fit::Row;
use super::heldout::fit_class_scored;
use super::samples::{Classes, Table};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::Calibration;
use crate::time::forms::decode_attention::{DecodeAttention, DecodeAttentionForm};

/// Most query heads a KV head for which TensorRT-LLM's tables show its own decode kernel; above, they show
/// a fallback at a few percent of the bandwidth.
const TENSORRT_GROUP: f64 = 16.0;

/// Samples of decode attention by kernel, head size and window, without broken rows.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table, hardware: &Hardware) -> Result<Classes<DecodeAttention>, SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        let Some(row) = AttentionRow::read(&record, hardware)? else { continue };
        if table.engine.starts_with("trtllm") && row.heads > TENSORRT_GROUP * row.kv_heads {
            continue;
        }
        let input = DecodeAttention {
            rows: row.requests,
            context: record.number("step")? + 1.0,
            heads: row.heads,
            kv_heads: row.kv_heads,
            head_dim: row.head_dim,
            window: row.window,
            kv_bytes: row.kv_bytes,
            math: row.math,
            warm: true,
        };
        // no kernel reads faster than the memory: such rows are broken
        let seconds = record.seconds()?;
        if input.is_beyond_cache(hardware) && input.cache_bytes() / seconds > hardware.bandwidth * 1.05 {
            continue;
        }
        let key = row.key(table, row.variant());
        classes.entry(key).or_default().push(Row { input, seconds, group: group(&row) });
    }
    Ok(classes)
}

/// Fits every kernel of a decode attention table into `out`; returns what could not be fitted.
/// The held-out error is that of rows whose cache lies beyond the last-level cache, where there are any:
/// the others were timed on a warm cache, which serving never sees.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    for (key, rows) in classes(table, hardware)? {
        let scored = |x: &DecodeAttention| x.is_beyond_cache(hardware);
        match fit_class_scored::<DecodeAttentionForm>(key.clone(), &rows, hardware, None, scored) {
            Ok(fitted) => out.decode_attention.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
