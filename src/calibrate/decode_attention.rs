//! Samples of grouped-query decode attention → fits.

use super::attention::{AttentionRow, group};
use super::fit::{FitError, Refusal, Row};
use super::heldout::fit_class_scored;
use super::probe::KV_READ;
use super::samples::{Classes, Table};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::Calibration;
use crate::time::forms::decode_attention::{DecodeAttention, DecodeAttentionForm};

/// Most query heads a KV head for which TensorRT-LLM's tables show its own decode kernel; above, they show
/// a fallback at a few percent of the bandwidth.
const TENSORRT_GROUP: f64 = 16.0;

/// Most of a class's samples beyond the cache that may read faster than the memory, as a share.
const IMPOSSIBLE: f64 = 0.1;

/// Samples of decode attention by kernel, head size and window, without broken ones.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table, hardware: &Hardware) -> Result<Classes<DecodeAttention>, SpecError> {
    Ok(read(table, hardware)?.0)
}

/// The classes, and those that are broken as a whole.
fn read(table: &Table, hardware: &Hardware) -> Result<(Classes<DecodeAttention>, Vec<Refusal>), SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        // it reads a cache and computes nothing: a bound, not a kernel that any engine has
        if record.text("kernel") == KV_READ {
            continue;
        }
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
        let key = row.key(table, row.variant());
        let seconds = record.seconds()?;
        classes.entry(key).or_default().push(Row { input, seconds, group: group(&row) });
    }
    let mut refused = vec![];
    classes.retain(|key, rows| {
        let beyond = rows.iter().filter(|r| r.input.is_beyond_cache(hardware)).count();
        let before = rows.len();
        rows.retain(|r| is_possible(r, hardware));
        let share = (before - rows.len()) as f64 / beyond.max(1) as f64;
        if share > IMPOSSIBLE {
            refused.push((key.clone(), FitError::Impossible { share }));
        }
        share <= IMPOSSIBLE
    });
    Ok((classes, refused))
}

/// No kernel reads faster than the memory: samples that do, beyond the cache and by more than the doubt about a
/// datasheet, are broken.
fn is_possible(row: &Row<DecodeAttention>, hardware: &Hardware) -> bool {
    let rate = row.input.cache_bytes() / row.seconds;
    !row.input.is_beyond_cache(hardware) || rate <= hardware.bandwidth * 1.05
}

/// Fits every kernel of a decode attention table into `out`; returns what could not be fitted.
/// The held-out error is that of rows whose cache lies beyond the last-level cache, where there are any:
/// the others were timed on a warm cache, which serving never sees.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let (classes, mut refused) = read(table, hardware)?;
    for (key, rows) in classes {
        let scored = |x: &DecodeAttention| x.is_beyond_cache(hardware);
        match fit_class_scored::<DecodeAttentionForm>(key.clone(), &rows, hardware, None, scored) {
            Ok(fitted) => out.decode_attention.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
