//! What tables of decode and prefill attention have in common.

use super::fit::mix;
use super::samples::{Record, Table};
use crate::spec::{DataType, SpecError};
use crate::time::Hardware;
use crate::time::calibration::ClassKey;

/// Width of a head in tables older than the column.
const HEAD_DIM: f64 = 128.0;

/// The columns that both have.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionRow<'a> {
    pub requests: f64,
    pub heads: f64,
    pub kv_heads: f64,
    pub head_dim: f64,
    pub window: Option<f64>,
    pub kv_bytes: f64,
    pub math: DataType,
    attention: &'a str,
    cache: &'a str,
    kernel: &'a str,
}

impl<'a> AttentionRow<'a> {
    /// Reads a row; none when its data types are unknown or the accelerator has no rate for them.
    pub fn read(record: &Record<'a>, hardware: &Hardware) -> Result<Option<Self>, SpecError> {
        let optional = |column: &str, otherwise: f64| {
            if record.text(column).is_empty() { Ok(otherwise) } else { record.number(column) }
        };
        let (attention, cache) = (record.text("attn_dtype"), record.text("kv_dtype"));
        let (Some(math), Some(stored)) = (format(attention, hardware), format(cache, hardware)) else {
            return Ok(None);
        };
        if hardware.peak(math) <= 0.0 {
            return Ok(None);
        }
        let window = optional("window", 0.0)?;
        Ok(Some(Self {
            requests: record.number("batch")?,
            heads: record.number("n_heads")?,
            kv_heads: record.number("n_kv_heads")?,
            head_dim: optional("head_dim", HEAD_DIM)?,
            window: (window > 0.0).then_some(window),
            kv_bytes: stored.bytes(),
            math,
            attention,
            cache,
            kernel: record.text("kernel"),
        }))
    }

    /// Head size, and whether there is a window.
    pub fn variant(&self) -> String {
        let window = if self.window.is_some() { ",window" } else { "" };
        format!("hd{}{window}", self.head_dim)
    }

    /// The class it belongs to.
    pub fn key(&self, table: &Table, variant: String) -> ClassKey {
        ClassKey {
            engine: table.engine.clone(),
            data_type: format!("{}/{}", short(self.attention), short(self.cache)),
            kernel: self.kernel.to_owned(),
            variant,
        }
    }
}

/// Shapes that are left out together: heads, KV heads, head size and window.
pub(super) fn group(row: &AttentionRow<'_>) -> u64 {
    [row.heads, row.kv_heads, row.head_dim, row.window.unwrap_or(0.0)]
        .into_iter()
        .fold(0, |hash, value| mix(hash ^ value.to_bits()))
}

/// Name of a data type in class keys.
pub(super) fn short(name: &str) -> &str {
    match name {
        "bfloat16" => "bf16",
        "float16" | "half" => "fp16",
        other => other,
    }
}

/// A data type of attention tables; 16 bit is what the accelerator has.
pub(super) fn format(name: &str, hardware: &Hardware) -> Option<DataType> {
    match name {
        "bfloat16" | "float16" | "half" => Some(hardware.half()),
        "fp8" => Some(DataType::Fp8),
        _ => None,
    }
}
