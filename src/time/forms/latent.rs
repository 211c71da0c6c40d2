//! Multi-head latent attention, the kernel alone. Prefill expands the latent to keys and values and runs as
//! [`super::prefill_attention`]; decode reads the latent itself.

use super::decode_attention::{blend4, hit};
use super::power::log2;
use super::prefill_attention::PrefillAttention;
use super::{Coefficient, Form, Hardware};
use crate::spec::DataType;

/// Query heads that a tensor-core tile holds at least.
const TILE_HEADS: f64 = 16.0;

/// Widths of a latent attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentDims {
    /// Hidden width D.
    pub hidden: f64,
    /// Rank of the query's projection; 0 where queries are projected in one step.
    pub query_rank: f64,
    /// Rank r of the latent.
    pub rank: f64,
    /// Width of the part with rotary embedding, per head and in the cache.
    pub rope: f64,
    /// Width of keys without rotary embedding, per head.
    pub nope: f64,
    /// Width of values, per head.
    pub value: f64,
}

impl LatentDims {
    /// DeepSeek-V3's widths, on which the operator tables were taken.
    /// Source: `config.json` of deepseek-ai/DeepSeek-V3.
    pub const DEEPSEEK_V3: Self =
        Self { hidden: 7168.0, query_rank: 1536.0, rank: 512.0, rope: 64.0, nope: 128.0, value: 128.0 };

    /// Prefill of the expanded heads: as many KV heads as query heads, 16-bit keys and values.
    #[must_use]
    pub fn prefill(
        &self,
        requests: f64,
        new: f64,
        past: f64,
        heads: f64,
        math: DataType,
    ) -> PrefillAttention {
        PrefillAttention {
            requests,
            new_tokens: new,
            past_tokens: past,
            heads,
            kv_heads: heads,
            head_dim: (self.nope + self.rope + self.value) / 2.0,
            window: None,
            kv_bytes: 2.0,
            math,
            averaged: false,
        }
    }
}

/// One query token of each of `rows` requests over `context` cached latents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentDecode {
    /// Requests b.
    pub rows: f64,
    /// Cached tokens s of each.
    pub context: f64,
    /// Query heads h on this rank.
    pub heads: f64,
    /// Rank r of the latent.
    pub rank: f64,
    /// Width of the part with rotary embedding.
    pub rope: f64,
    /// Bytes per cached element.
    pub kv_bytes: f64,
    /// Format in which it multiplies.
    pub math: DataType,
    /// True when the same cache was read just before, as a benchmark loop does.
    pub warm: bool,
}

impl LatentDecode {
    /// Bytes of the cache read; every rank reads all of it.
    #[must_use]
    pub fn cache_bytes(&self) -> f64 {
        self.rows * self.context * (self.rank + self.rope) * self.kv_bytes
    }

    /// Width of a score and of a weighted sum together: (r + d_r) + r.
    fn dims(&self) -> f64 {
        2.0 * self.rank + self.rope
    }

    /// (bytes of cache, bytes of queries and outputs, operations).
    pub(super) fn work(&self) -> (f64, f64, f64) {
        let dims = self.dims();
        let flops = 2.0 * self.rows * self.heads.max(TILE_HEADS) * dims * self.context;
        (self.cache_bytes(), 2.0 * self.rows * self.heads * dims, flops)
    }
}

/// t = t₀ + t_u·b·(1 + h/64) + t_s·log₂(1 + s/256)
///   + [((Q/(u·(1 + (l − 1)·hit)) + q)/(e_b·B))⁴ + (F/(e_c·P·u))⁴]^¼.
///
/// Q = b·s·(r + d_r)·c bytes of cache, q bytes of queries, F = 2·b·max(h, 16)·(2r + d_r)·s operations,
/// u = min(1, c·b·max(1, s/s_c)/S) the share of the accelerator that so many blocks of work fill.
/// Source: KERNELS section 2 (kernel decode); the occupancy does not count heads, so that time never
/// falls as heads are added.
#[derive(Debug, Clone, Copy)]
pub struct LatentDecodeForm;

impl Form for LatentDecodeForm {
    type Input = LatentDecode;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("memory", 0.02, 1.0, 0.8),
        Coefficient::new("latency_us", 0.5, 400.0, 10.0),
        Coefficient::new("per_row_us", 1e-4, 10.0, 0.03),
        Coefficient::new("occupancy", 0.02, 30.0, 3.0),
        Coefficient::new("split_tokens", 16.0, 1e5, 128.0),
        Coefficient::new("cache_speed", 1.0, 8.0, 2.0),
        Coefficient::new("compute", 0.01, 1.0, 0.6),
        Coefficient::new("split_us", 1e-2, 20.0, 1.3),
    ];

    fn seconds(c: &[f64], x: &LatentDecode, hardware: &Hardware) -> f64 {
        let &[memory, latency_us, row_us, occupancy, split, cache_speed, compute, split_us] = c else {
            return f64::NAN;
        };
        let (cache, queries, flops) = x.work();
        let units = hardware.multiprocessors.max(1.0);
        let share = (occupancy * x.rows * (x.context / split).max(1.0) / units).min(1.0);
        let faster = if x.warm { 1.0 + (cache_speed - 1.0) * hit(cache, hardware) } else { 1.0 };
        let moved = (cache / (share * faster) + queries) / (memory * hardware.bandwidth);
        let computed = flops / (compute * hardware.peak(x.math) * share);
        let fixed_us =
            latency_us + row_us * x.rows * (1.0 + x.heads / 64.0) + split_us * log2(1.0 + x.context / 256.0);
        fixed_us * 1e-6 + blend4(moved, computed)
    }
}
