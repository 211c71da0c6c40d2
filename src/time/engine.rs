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
    /// Share of the peak that products of 16-bit weights reach at most with up to [`FEW_ROWS`] rows, by libraries
    /// without kernels tuned for the architecture; 0 where they are no slower than the calibration says.
    #[serde(default)]
    pub product_few: f64,
    /// The same of the rows beyond.
    #[serde(default)]
    pub product_many: f64,
    /// Factor on routed experts, whose Triton kernel has no launch configurations for the architecture.
    #[serde(default = "one")]
    pub experts_scale: f64,
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

/// Rows of a product up to which the rate of few rows holds: batches of 32 to 256 requests took LLM-Inference-Bench's
/// MI300X the same time a request, prompts of thousands of tokens half of it a token.
pub const FEW_ROWS: f64 = 256.0;

const fn one() -> f64 {
    1.0
}

/// How an engine's decode attention over grouped-query caches differs from the calibration's.
///
/// A kernel that is not written for grouped queries reads the cache once per query head. With Q bytes of
/// keys and values, g = heads / KV heads and B the memory bandwidth,
/// t = max(scale·t₀, g·Q/(x·B)); x = `reread` where there are more than `split_rows_heads` rows × heads a
/// rank, else `reread_split`, because fewer split the context and share what the L2 holds. A cache format
/// that the device cannot multiply in is converted in software: t ≥ elements·g/(rate·busy), busy the multiprocessors that
/// have one of the rows × heads × splits blocks.
/// Source: vLLM's `paged_attention_v1`/`_v2` and their choice in `PagedAttention.forward_decode` (0.2 to
/// 0.7); the rates are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionTerms {
    /// Factor on the calibration's time.
    pub scale: f64,
    /// Rows × query heads of the accelerator up to which the kernel splits the context over blocks; twice the rule's where
    /// one accelerator is two devices with half the heads each.
    pub split_rows_heads: f64,
    /// Positions of a split, where there are few rows × heads; 0 where a block takes the whole context.
    pub split_positions: f64,
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
        Self {
            scale: 1.0,
            split_rows_heads: SPLIT_ROWS_HEADS,
            split_positions: 0.0,
            paged_only: false,
            reread: 0.0,
            reread_split: 0.0,
            software_fp8: 0.0,
        }
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
        let reread = if rows * heads > self.split_rows_heads { self.reread } else { self.reread_split };
        if reread > 0.0 && heads > kv_heads && hardware.bandwidth > 0.0 {
            longest = longest.max(elements * cache.bytes() / (reread * hardware.bandwidth));
        }
        let software = cache == DataType::Fp8 && hardware.peak(DataType::Fp8) <= 0.0;
        if software && self.software_fp8 > 0.0 && hardware.multiprocessors > 0.0 {
            let few = self.split_positions > 0.0 && rows * heads <= self.split_rows_heads;
            let splits = if few { (context.min(window) / self.split_positions).max(1.0) } else { 1.0 };
            let busy = (rows * heads * splits).clamp(1.0, hardware.multiprocessors);
            longest = longest.max(elements / (1e9 * self.software_fp8 * busy));
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
            && self.experts_scale == other.experts_scale
            && self.product_few == other.product_few
            && self.product_many == other.product_many
    }

    /// Seconds of an operator that takes `seconds` by the calibration.
    #[must_use]
    pub fn kernel_seconds(&self, operator: &Operator, seconds: f64, hardware: &Hardware) -> f64 {
        match operator.shape {
            Shape::DecodeAttention { .. } => self.attention.seconds(operator, seconds, hardware),
            Shape::Gemm { m, n, k } if operator.weights.bytes() >= 2.0 => {
                seconds.max(self.untuned_product(m, n, k, hardware.peak(operator.math)))
            }
            Shape::Experts { copies, .. } if operator.weights == DataType::Fp8Block => {
                seconds + 1e-6 * self.block_experts_us + 1e-9 * self.block_copy_ns * copies
            }
            Shape::Experts { .. } => self.experts_scale * seconds,
            Shape::Collective { ranks, .. } if ranks > 1 => seconds + 1e-6 * self.collective_us,
            _ => seconds,
        }
    }

    /// Least seconds of a product of 16-bit weights, M × K by K × N, at P operations a second:
    /// t = 2NK/P·(min(M, M₀)/x_few + max(0, M − M₀)/x_many), M₀ = [`FEW_ROWS`].
    fn untuned_product(&self, m: f64, n: f64, k: f64, peak: f64) -> f64 {
        let part =
            |rows: f64, share: f64| if share > 0.0 && peak > 0.0 { rows / (share * peak) } else { 0.0 };
        2.0 * n
            * k
            * (part(m.min(FEW_ROWS), self.product_few) + part((m - FEW_ROWS).max(0.0), self.product_many))
    }

    /// Slowdown of prefill kernels on a device.
    #[must_use]
    pub fn prefill_slowdown(&self, hardware: &Hardware) -> f64 {
        self.prefill_scale * if hardware.multiplies_in_4_bit() { self.prefill_scale_4bit } else { 1.0 }
    }

    /// Host seconds of a step: t_step + t_row·rows + (t_rank + t_rank_row·rows)·log₂(ranks) + t_ctx·cached tokens.
    #[must_use]
    pub fn host_seconds(&self, rows: f64, tensor_ranks: f64, cached_tokens: f64) -> f64 {
        let doublings = if tensor_ranks > 1.0 { tensor_ranks.log2() } else { 0.0 };
        let us = self.step_us + self.row_us * rows + (self.rank_us + self.rank_row_us * rows) * doublings;
        1e-6 * us + 1e-9 * self.context_ns * cached_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};
    use crate::units::Flops;

    #[test]
    fn untuned_products_are_paid_by_the_row() {
        let text = "request_ms = 1\nprefill_floor_ms = 0\nprefill_scale = 1\nstep_us = 1\nrow_us = 1\n\
                    product_few = 0.05\nproduct_many = 0.1\nhost_slowdown = 1\ndecode_graphs = false";
        let terms: EngineTerms = toml::from_str(text).unwrap();
        let gpu = catalog::accelerator("mi300x", &Directories::default()).unwrap();
        let hardware = Hardware::of(&gpu);
        let seconds = |m: f64, weights| {
            let (n, k) = (4096.0, 4096.0);
            let operator = Operator {
                shape: Shape::Gemm { m, n, k },
                weights,
                math: DataType::Fp16,
                flops: Flops(2.0 * m * n * k),
                ..Operator::elementwise("x", DataType::Fp16, 0.0, 1.0)
            };
            terms.kernel_seconds(&operator, 1e-6, &hardware)
        };
        // 2 x 4096^2 operations a row at 5 % of 1307.4 T, beyond 256 rows at 10 %
        let row = 2.0 * 4096.0 * 4096.0 / (0.05 * 1307.4e12);
        for (rows, expected) in [(32.0, 32.0 * row), (256.0, 256.0 * row), (1256.0, 756.0 * row)] {
            let found = seconds(rows, DataType::Fp16);
            assert!((found / expected - 1.0).abs() < 1e-9, "{rows} {found}");
        }
        assert!((seconds(256.0, DataType::Fp8) - 1e-6).abs() < 1e-18);
    }

    /// Decode attention of 32 heads of 128.
    fn decode(rows: f64, context: f64, kv_heads: f64, cache: DataType) -> Operator {
        let (heads, head_dim, window) = (32.0, 128.0, f64::INFINITY);
        let shape = Shape::DecodeAttention { rows, context, heads, kv_heads, head_dim, window, cache };
        Operator { shape, ..Operator::elementwise("x", DataType::Fp16, 0.0, 1.0) }
    }

    #[test]
    fn a_board_of_two_devices_splits_up_to_twice_the_heads() {
        let gpu = catalog::accelerator("mi250x", &Directories::default()).unwrap();
        let hardware = Hardware::of(&gpu);
        let operator = decode(32.0, 4096.0, 8.0, DataType::Fp16);
        let seconds = |split_rows_heads| {
            let terms = AttentionTerms { split_rows_heads, reread: 0.3, ..AttentionTerms::default() };
            terms.seconds(&operator, 1e-3, &hardware)
        };
        assert!((seconds(1024.0) - 1e-3).abs() < 1e-12 && seconds(512.0) > 2e-3);
    }

    #[test]
    fn one_row_converts_on_as_many_multiprocessors_as_it_has_blocks() {
        let gpu = catalog::accelerator("a100-sxm-40", &Directories::default()).unwrap();
        let hardware = Hardware::of(&gpu);
        let operator = decode(1.0, 1024.0, 32.0, DataType::Fp8);
        let seconds = |split_positions| {
            let terms = AttentionTerms { split_positions, software_fp8: 2.0, ..AttentionTerms::default() };
            terms.seconds(&operator, 1e-9, &hardware)
        };
        // 2 x 1024 x 32 x 128 elements at 2e9 a second on 32 multiprocessors, on 64 with two splits
        let elements = 2.0 * 1024.0 * 32.0 * 128.0;
        assert!((seconds(0.0) / (elements / 64e9) - 1.0).abs() < 1e-12);
        assert!((seconds(512.0) / (elements / 128e9) - 1.0).abs() < 1e-12);
    }
}
