//! Grouped-query attention of one new token a request over its cache.

use super::power::log2;
use super::{Coefficient, Form, Hardware, blend};
use crate::spec::DataType;

/// Query heads that a tensor-core tile holds: fewer heads per KV head cost as much.
const TILE_HEADS: f64 = 64.0;
/// Tokens that a window kernel reads beside the window: the page that it starts in.
const PAGE: f64 = 64.0;
/// Footprint over cache size from which on nothing is found in the cache, and the width of the transition.
const HIT_END: f64 = 1.15;
const HIT_WIDTH: f64 = 0.4;

/// One query token of each of `rows` requests over `context` cached tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeAttention {
    /// Requests b.
    pub rows: f64,
    /// Cached tokens of each request, before the window is applied.
    pub context: f64,
    /// Query heads h on this rank.
    pub heads: f64,
    /// KV heads on this rank.
    pub kv_heads: f64,
    /// Width d of a head.
    pub head_dim: f64,
    /// Sliding window in tokens.
    pub window: Option<f64>,
    /// Bytes per cached element.
    pub kv_bytes: f64,
    /// Format in which it multiplies.
    pub math: DataType,
    /// True when the same cache was read just before, as a benchmark loop does: part of it is then found
    /// in the last-level cache. False to predict serving.
    pub warm: bool,
}

impl DecodeAttention {
    /// Tokens read: the context, within the window and the page it starts in.
    #[must_use]
    pub fn seen(&self) -> f64 {
        self.window.map_or(self.context, |w| self.context.min(w + PAGE))
    }

    /// Bytes of the cache read.
    #[must_use]
    pub fn cache_bytes(&self) -> f64 {
        2.0 * self.rows * self.kv_heads * self.seen() * self.head_dim * self.kv_bytes
    }

    /// True when what is read does not fit into the last-level cache, where its size is known.
    #[must_use]
    pub fn is_beyond_cache(&self, hardware: &Hardware) -> bool {
        hardware.cache > 0.0 && self.cache_bytes() >= HIT_END * hardware.cache
    }
}

/// Share of bytes found in the last-level cache when the same bytes were read just before:
/// clip((1.15 − Q/L₂)/0.4, 0, 1). Source: KERNELS section 5.
pub(super) fn hit(bytes: f64, hardware: &Hardware) -> f64 {
    if hardware.cache > 0.0 { ((HIT_END - bytes / hardware.cache) / HIT_WIDTH).clamp(0.0, 1.0) } else { 0.0 }
}

/// t = t₀ + t_s·log₂(1 + s/256) + [(b·(t_u·k + t_q·h)/S·d/128)^p + m^p]^(1/p),
/// m = [(Q/(e_b·B·u·(1 + (l − 1)·hit)) + 4bhd/(e_b·B))⁴ + (4b·max(h, 64k)·d·s/(e_c·P))⁴]^¼.
///
/// b rows, k KV heads, s tokens seen, Q bytes of cache, S multiprocessors; u = min(1, c·b·k·max(1, s/s_c)/S)
/// is the share of the bandwidth that so many blocks of work can draw. Starting blocks (t_u, t_q) overlaps in
/// part with reading. Every term grows with b, s, k and h for any positive coefficients. Source: KERNELS
/// section 5 (dec3), with the query bytes outside the occupancy and a smooth tile of heads so that time never
/// falls as heads are added, and the overlap, which halves the error of windows.
#[derive(Debug, Clone, Copy)]
pub struct DecodeAttentionForm;

impl Form for DecodeAttentionForm {
    type Input = DecodeAttention;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("memory", 0.02, 1.0, 0.8),
        Coefficient::new("latency_us", 0.5, 400.0, 8.0),
        Coefficient::new("per_kv_head_us", 1e-3, 60.0, 0.5),
        Coefficient::new("occupancy", 0.02, 30.0, 2.0),
        Coefficient::new("split_tokens", 16.0, 1e5, 256.0),
        Coefficient::new("cache_speed", 1.0, 8.0, 2.0),
        Coefficient::new("compute", 0.01, 1.0, 0.5),
        Coefficient::new("per_head_us", 1e-3, 60.0, 0.05),
        Coefficient::new("split_us", 1e-2, 20.0, 0.8),
        Coefficient::new("blend", 1.0, 8.0, 1.5),
    ];

    fn seconds(c: &[f64], x: &DecodeAttention, hardware: &Hardware) -> f64 {
        let &[memory, latency_us, kv_head_us, occupancy, split, cache_speed, compute, head_us, split_us, p] =
            c
        else {
            return f64::NAN;
        };
        let (seen, cache) = (x.seen(), x.cache_bytes());
        let units = hardware.multiprocessors.max(1.0);
        let share = (occupancy * x.rows * x.kv_heads * (seen / split).max(1.0) / units).min(1.0);
        let faster = if x.warm { 1.0 + (cache_speed - 1.0) * hit(cache, hardware) } else { 1.0 };
        let queries = 4.0 * x.rows * x.heads * x.head_dim;
        let moved = (cache / (share * faster) + queries) / (memory * hardware.bandwidth);
        let padded = x.heads.max(TILE_HEADS * x.kv_heads);
        let computed = 4.0 * x.rows * padded * x.head_dim * seen / (compute * hardware.peak(x.math));
        let fixed_us = latency_us + split_us * log2(1.0 + seen / 256.0);
        let started_us = x.rows * (kv_head_us * x.kv_heads + head_us * x.heads) / units * x.head_dim / 128.0;
        fixed_us * 1e-6 + blend(started_us * 1e-6, blend4(moved, computed), p)
    }
}

/// (a⁴ + b⁴)^¼.
pub(super) fn blend4(a: f64, b: f64) -> f64 {
    let (a2, b2) = (a * a, b * b);
    (a2 * a2 + b2 * b2).sqrt().sqrt()
}
