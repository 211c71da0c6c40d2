//! Causal attention of new tokens over past and themselves.

use super::decode_attention::hit;
use super::power::power;
use super::{Coefficient, Form, Hardware};
use crate::spec::DataType;
use crate::work::pairs;

/// Query rows of a tile.
const TILE: f64 = 128.0;

/// New tokens of each of `requests` requests over their past and themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillAttention {
    /// Requests b.
    pub requests: f64,
    /// New tokens t of each.
    pub new_tokens: f64,
    /// Past tokens p of each.
    pub past_tokens: f64,
    /// Query heads h on this rank.
    pub heads: f64,
    /// KV heads on this rank.
    pub kv_heads: f64,
    /// Width d of a head (mean of key and value width).
    pub head_dim: f64,
    /// Sliding window in tokens.
    pub window: Option<f64>,
    /// Bytes per cached element.
    pub kv_bytes: f64,
    /// Format in which it multiplies.
    pub math: DataType,
    /// The mean over the kernels of several steps, whose requests differ.
    pub averaged: bool,
}

/// t = t₀ + [(F/(e_c·P)·w^g)^p + (Q/(e_b·B·(1 + (l − 1)·hit)))^p + (c_p·4·128·d·1024·(l/1024)^a·S/(e_c·P))^p]^(1/p).
///
/// F = 4·n·128·d·(k̄ + β/2) operations: n tiles of 128 queries, k̄ the keys that a query sees on average
/// (t padded to tiles, and w_f of those that a window hides), β a block of wasted keys on the diagonal.
/// n = b·(h·⌈t/128⌉)^(1−q)·max(k, h·t/128)^q, q = 1 when a kernel packs the query heads of a KV head into one
/// tile, q = 0 when it does not. Tiles run in waves on S multiprocessors, w = ⌈n/S⌉·S/n; in the mean over steps with
/// some tiles more or less, a kernel loses half of its last wave: w = max(1, n/S + ½)·S/n. The last term is the
/// longest tile with l keys, a < 1 where a kernel splits long contexts. g ≤ 1 keeps F·w^g from falling as
/// tiles are added. What fits into the last-level cache is found there, just written by the projections. Source: KERNELS section 5 (pre3) and EQUATIONS section 3 (wave+cp), extended by the past,
/// packing and splitting.
#[derive(Debug, Clone, Copy)]
pub struct PrefillAttentionForm;

impl Form for PrefillAttentionForm {
    type Input = PrefillAttention;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("compute", 0.02, 1.0, 0.6),
        Coefficient::new("latency_us", 0.5, 400.0, 12.0),
        Coefficient::new("diagonal_tokens", 1.0, 600.0, 64.0),
        Coefficient::new("wave", 0.01, 1.0, 0.3),
        Coefficient::new("memory", 0.02, 1.0, 0.5),
        Coefficient::new("blend", 1.0, 20.0, 1.5),
        Coefficient::new("beyond_window", 1e-3, 1.0, 0.02),
        Coefficient::new("longest_tile", 0.01, 8.0, 0.5),
        Coefficient::new("packing", 1e-3, 1.0, 0.3),
        Coefficient::new("tile_growth", 0.2, 1.0, 0.9),
        Coefficient::new("cache_speed", 1.0, 8.0, 1.5),
    ];

    fn seconds(c: &[f64], x: &PrefillAttention, hardware: &Hardware) -> f64 {
        let &[compute, latency_us, diagonal, wave, memory, p, beyond, longest, packing, growth, cache_speed] =
            c
        else {
            return f64::NAN;
        };
        let peak = compute * hardware.peak(x.math);
        let units = hardware.multiprocessors.max(1.0);
        let (new, past) = (x.new_tokens, x.past_tokens);
        let padded = (new / TILE).ceil() * TILE;
        let everything = pairs(padded, past, None);
        let inside = pairs(padded, past, x.window.map(|w| w.max(1.0)));
        let seen = (inside + beyond * (everything - inside)) / padded + diagonal / 2.0;
        let apart = x.heads * padded / TILE;
        let packed = (x.heads * new / TILE).max(x.kv_heads);
        let tiles = x.requests * apart * power(packed / apart, packing);
        let flops = 4.0 * tiles * TILE * x.head_dim * seen;
        let waves = if x.averaged { (tiles / units + 0.5).max(1.0) } else { (tiles / units).ceil() };
        let waves = waves * units / tiles;
        let keys = x.window.map_or(new + past, |w| (new + past).min(w + TILE));
        let tile = longest * 4.0 * TILE * x.head_dim * 1024.0 * power(keys / 1024.0, growth) * units / peak;
        let queries = 4.0 * x.requests * new * x.heads * x.head_dim;
        let cache = 2.0 * x.requests * x.kv_heads * (keys.max(new) + new) * x.head_dim * x.kv_bytes;
        let moved = queries + cache;
        let faster = 1.0 + (cache_speed - 1.0) * hit(moved, hardware);
        let terms = [flops / peak * power(waves, wave), moved / (memory * faster * hardware.bandwidth), tile];
        let largest = terms.iter().fold(0.0, |a: f64, b| a.max(*b));
        let sum: f64 = terms.iter().map(|t| power(t / largest, p)).sum();
        latency_us * 1e-6 + largest * power(sum, 1.0 / p)
    }
}
