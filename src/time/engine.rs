//! What an engine adds to the kernels: host time per request, step, row and cached token, and how its own
//! kernels of a version differ from those that the calibrations hold.

mod file;
mod terms;

use serde::{Deserialize, Serialize};

pub use file::{EngineFile, EngineRange, InForce, LeftOut, RangeFit, Versions};
pub use terms::{Absent, TERMS, Term, term};

use super::hardware::Hardware;
use crate::spec::DataType;
use crate::work::{Operator, Shape};

/// Engine terms, all zero for `ideal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineTerms {
    /// Arrival to first scheduling in milliseconds.
    pub request_ms: f64,
    /// Host time per weighted layer of a step with prefill tokens, in milliseconds: a floor, not an addition.
    pub prefill_floor_ms: f64,
    /// Slowdown of prefill kernels inside the engine.
    pub prefill_scale: f64,
    /// Host time per step in microseconds.
    pub step_us: f64,
    /// Host time per sampled row in microseconds.
    pub row_us: f64,
    /// Host time per step and doubling of the tensor-parallel ranks, in microseconds.
    #[serde(default)]
    pub rank_us: f64,
    /// Time per sampled row and doubling of the tensor-parallel ranks, in microseconds: what every rank is told of
    /// every row.
    #[serde(default)]
    pub rank_row_us: f64,
    /// Time per step and layer of routed experts in block-scaled 8 bit, in microseconds, beyond the calibration's
    /// kernels: what a backend of the version does outside the fused kernels of other engines' tables.
    #[serde(default)]
    pub block_experts_us: f64,
    /// Time per routed copy of a token on a rank of the same, in nanoseconds.
    #[serde(default)]
    pub block_copy_ns: f64,
    /// Factor on `prefill_scale` where the tensor cores multiply in 4 bit (Blackwell): kernels of a version that are
    /// less tuned for the newest chips than those of the tables.
    #[serde(default = "one")]
    pub prefill_scale_4bit: f64,
    /// Time per step and layer with a recurrent or sparse mixer, in microseconds, beyond the defaults of its kernels:
    /// no tables are known of them.
    #[serde(default)]
    pub mixer_us: f64,
    /// Host time per step and cached token of its decode rows, in nanoseconds: block tables built anew.
    #[serde(default)]
    pub context_ns: f64,
    /// Time by which every collective is longer than the calibration's, in microseconds.
    #[serde(default)]
    pub collective_us: f64,
    /// Host time per kernel launch relative to a bare launch, without graphs.
    pub host_slowdown: f64,
    /// Decode runs from captured graphs.
    pub decode_graphs: bool,
    /// The engine's decode attention.
    #[serde(default)]
    pub attention: AttentionTerms,
    /// Where the numbers came from.
    #[serde(skip)]
    pub source: String,
}

const fn one() -> f64 {
    1.0
}

/// How an engine's decode attention over grouped-query caches differs from the calibration's.
///
/// A kernel that is not written for grouped queries reads the cache once per query head. With Q bytes of
/// keys and values, g = heads / KV heads and B the memory bandwidth,
/// t = max(scale·t₀, g·Q/(x·B)); x = `reread` where there are more than [`SPLIT_ROWS_HEADS`] rows × heads a
/// rank, else `reread_split`, because fewer split the context and share what the L2 holds. A cache format
/// that the device cannot multiply in is converted in software: t ≥ elements·g/(rate·multiprocessors).
/// Source: vLLM's `paged_attention_v1`/`_v2` and their choice in `PagedAttention.forward_decode` (0.2 to
/// 0.7); the rates are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionTerms {
    /// Factor on the calibration's time.
    pub scale: f64,
    /// Rereading and conversion happen with 8-bit caches and windows only.
    pub paged_only: bool,
    /// x above: share of the memory bandwidth that rereading reaches; above 1 when the L2 serves part of
    /// it, 0 where the kernel does not reread.
    pub reread: f64,
    /// x with few rows × heads; 0 as above.
    pub reread_split: f64,
    /// Elements of an 8-bit cache that a multiprocessor converts in software, in 10⁹ a second; 0 where the
    /// conversion costs nothing.
    pub software_fp8: f64,
}

/// Rows × query heads of a rank up to which vLLM's paged attention splits the context over blocks.
const SPLIT_ROWS_HEADS: f64 = 512.0;

impl Default for AttentionTerms {
    fn default() -> Self {
        Self { scale: 1.0, paged_only: false, reread: 0.0, reread_split: 0.0, software_fp8: 0.0 }
    }
}

impl AttentionTerms {
    /// Seconds of a decode attention that take `seconds` by the calibration.
    fn seconds(&self, operator: &Operator, seconds: f64, hardware: &Hardware) -> f64 {
        let Shape::DecodeAttention { rows, context, heads, kv_heads, head_dim, window, cache } =
            operator.shape
        else {
            return seconds;
        };
        let mut longest = self.scale * seconds;
        let eight_bit = cache.bytes() <= 1.0;
        if self.paged_only && !eight_bit && window.is_infinite() {
            return longest;
        }
        let elements = 2.0 * rows * context.min(window) * heads * head_dim;
        let reread = if rows * heads > SPLIT_ROWS_HEADS { self.reread } else { self.reread_split };
        if reread > 0.0 && heads > kv_heads && hardware.bandwidth > 0.0 {
            longest = longest.max(elements * cache.bytes() / (reread * hardware.bandwidth));
        }
        let software = cache == DataType::Fp8 && hardware.peak(DataType::Fp8) <= 0.0;
        if software && self.software_fp8 > 0.0 && hardware.multiprocessors > 0.0 {
            longest = longest.max(elements / (1e9 * self.software_fp8 * hardware.multiprocessors));
        }
        longest
    }
}

impl EngineTerms {
    /// True when kernels take as long under other terms: only host time differs.
    #[must_use]
    pub fn has_kernels_of(&self, other: &Self) -> bool {
        self.attention == other.attention
            && self.collective_us == other.collective_us
            && self.block_experts_us == other.block_experts_us
            && self.block_copy_ns == other.block_copy_ns
    }

    /// Seconds of an operator that takes `seconds` by the calibration.
    #[must_use]
    pub fn kernel_seconds(&self, operator: &Operator, seconds: f64, hardware: &Hardware) -> f64 {
        match operator.shape {
            Shape::DecodeAttention { .. } => self.attention.seconds(operator, seconds, hardware),
            Shape::Experts { copies, .. } if operator.weights == DataType::Fp8Block => {
                seconds + 1e-6 * self.block_experts_us + 1e-9 * self.block_copy_ns * copies
            }
            Shape::Collective { ranks, .. } if ranks > 1 => seconds + 1e-6 * self.collective_us,
            _ => seconds,
        }
    }

    /// Slowdown of prefill kernels on a device.
    #[must_use]
    pub fn prefill_slowdown(&self, hardware: &Hardware) -> f64 {
        self.prefill_scale * if hardware.multiplies_in_4_bit() { self.prefill_scale_4bit } else { 1.0 }
    }

    /// Host seconds of a step: t_step + t_row·rows + (t_rank + t_rank_row·rows)·log₂(ranks) + t_ctx·cached tokens.
    #[must_use]
    pub fn host_seconds(&self, rows: f64, tensor_ranks: f64, cached_tokens: f64) -> f64 {
        let doublings = tensor_ranks.max(1.0).log2();
        let us = self.step_us + self.row_us * rows + (self.rank_us + self.rank_row_us * rows) * doublings;
        1e-6 * us + 1e-9 * self.context_ns * cached_tokens
    }
}
