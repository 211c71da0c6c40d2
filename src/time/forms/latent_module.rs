//! Multi-head latent attention with its projections, as engines run it: one module a layer.

use super::decode_attention::{blend4, hit};
use super::latent::{LatentDecode, LatentDims};
use super::power::log2;
use super::{Coefficient, Form, Hardware, blend};
use crate::spec::DataType;
use crate::work::pairs;

/// Query rows of a tile of the prefill kernel.
const TILE: f64 = 128.0;
/// Tokens of context that a block of the decode kernel takes.
const SPLIT_TOKENS: f64 = 256.0;
/// Longest fixed part in microseconds of a module launched from a graph: tables timed in a graph show 24 to
/// 60, those without one 65 to 280. Source: KERNELS section 6, trap 1.
pub const GRAPH_US: f64 = 60.0;

/// What both modules share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projections {
    /// Widths of the layer.
    pub dims: LatentDims,
    /// Format of the projections' weights.
    pub weights: DataType,
    /// Format in which the projections multiply.
    pub math: DataType,
    /// True for samples whose kernels were launched one by one without a graph, so that launches count too.
    /// False to predict.
    pub eager: bool,
}

/// A product of m × k by k × n.
type Product = (f64, f64, f64);

impl Projections {
    /// (into the latents, out of the query's latent, output) over m tokens.
    fn products(&self, m: f64, heads: f64) -> [Product; 3] {
        let d = &self.dims;
        let query = heads * (d.nope + d.rope);
        let latents = d.rank + d.rope + if d.query_rank > 0.0 { d.query_rank } else { query };
        [
            (m, latents, d.hidden),
            (if d.query_rank > 0.0 { m } else { 0.0 }, query, d.query_rank),
            (m, d.hidden, heads * d.value),
        ]
    }
}

/// Soft roofline of a product of which `count` run side by side.
fn product((m, n, k): Product, count: f64, formats: (DataType, DataType), e: [f64; 3], h: &Hardware) -> f64 {
    if m <= 0.0 || n <= 0.0 || k <= 0.0 {
        return 0.0;
    }
    let ((weights, math), [compute, memory, p]) = (formats, e);
    let bytes = m * k * math.bytes() + n * k * weights.bytes() + 2.0 * m * n;
    let flops = 2.0 * m * n * k;
    blend(count * flops / (compute * h.peak(math)), count * bytes / (memory * h.bandwidth), p)
}

/// Decode: projections, absorbed up-projections and the core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentDecodeModule {
    /// The core.
    pub core: LatentDecode,
    /// The projections.
    pub projections: Projections,
}

/// t = t₀ + Σ softroof(e_c, e_b, p) over the five products + t_u·b·(1 + h/64) + t_s·log₂(1 + s/256)
///   + [((Q/u + q)/(e_a·B))⁴ + (F/(e_f·P·u))⁴]^¼, bandwidth times 1 + (l − 1)·hit on a warm cache.
///
/// The products: hidden to latents, query's latent to heads, q·W_uk and o·W_uv a head each in 16 bit, output.
/// Core as in [`super::latent::LatentDecodeForm`] with blocks of 256 tokens. In a graph t₀ is at most [`GRAPH_US`].
/// Source: KERNELS section 2 (module decode).
#[derive(Debug, Clone, Copy)]
pub struct LatentDecodeModuleForm;

impl Form for LatentDecodeModuleForm {
    type Input = LatentDecodeModule;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("latency_us", 0.5, 300.0, 30.0),
        Coefficient::new("compute", 0.02, 1.0, 0.5),
        Coefficient::new("memory", 0.05, 1.0, 0.8),
        Coefficient::new("blend", 1.0, 10.0, 2.5),
        Coefficient::new("core_memory", 0.02, 1.0, 0.8),
        Coefficient::new("core_compute", 0.01, 1.0, 0.6),
        Coefficient::new("split_us", 1e-2, 20.0, 1.3),
        Coefficient::new("per_row_us", 1e-4, 10.0, 0.03),
        Coefficient::new("occupancy", 0.02, 30.0, 3.0),
        Coefficient::new("cache_speed", 1.0, 8.0, 1.5),
    ];

    fn seconds(c: &[f64], x: &LatentDecodeModule, hardware: &Hardware) -> f64 {
        let &[
            latency_us,
            compute,
            memory,
            p,
            core_memory,
            core_compute,
            split_us,
            row_us,
            occupancy,
            cache_speed,
        ] = c
        else {
            return f64::NAN;
        };
        let (core, d) = (&x.core, &x.projections.dims);
        let (cache, queries, flops) = core.work();
        let products = x.projections.products(core.rows, core.heads);
        let (up, down) = ((core.rows, d.rank, d.nope), (core.rows, d.value, d.rank));
        let weights = products.iter().map(|(_, n, k)| n * k).sum::<f64>() * x.projections.weights.bytes();
        let absorbed = 2.0 * core.heads * (d.nope + d.value) * d.rank;
        let found = if core.warm { hit(cache + weights + absorbed, hardware) } else { 0.0 };
        let faster = 1.0 + (cache_speed - 1.0) * found;
        let e = [compute, memory * faster, p];
        let formats = (x.projections.weights, x.projections.math);
        let linear: f64 = products.iter().map(|g| product(*g, 1.0, formats, e, hardware)).sum();
        let half = hardware.half();
        let absorbed: f64 =
            [up, down].iter().map(|g| product(*g, core.heads, (half, half), e, hardware)).sum();
        let units = hardware.multiprocessors.max(1.0);
        let share = (occupancy * core.rows * (core.context / SPLIT_TOKENS).max(1.0) / units).min(1.0);
        let moved = (cache / share + queries) / (core_memory * faster * hardware.bandwidth);
        let computed = flops / (core_compute * hardware.peak(core.math) * share);
        let start_us = if x.projections.eager { latency_us } else { latency_us.min(GRAPH_US) };
        let fixed_us = start_us
            + row_us * core.rows * (1.0 + core.heads / 64.0)
            + split_us * log2(1.0 + core.context / 256.0);
        fixed_us * 1e-6 + linear + absorbed + blend4(moved, computed)
    }
}

/// Prefill: projections, expansion of the latent and the core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentPrefillModule {
    /// Requests b.
    pub requests: f64,
    /// New tokens t of each.
    pub new_tokens: f64,
    /// Past tokens p of each.
    pub past_tokens: f64,
    /// Query heads h on this rank.
    pub heads: f64,
    /// Format in which the core multiplies.
    pub math: DataType,
    /// The projections.
    pub projections: Projections,
}

/// t = t₀ + Σ softroof(e_c, e_b, p) over the four products + [(F/(e_a·P))⁴ + (c_p·4·128·d·(p + t)·S/(e_a·P))⁴]^¼
///   + b·t·(4D + 4h·(d_n + d_r + d_n + d_v))/(c_q·B).
///
/// The products: hidden to latents, query's latent to heads, latent to keys and values (past tokens too), output.
/// F as in [`super::prefill_attention::PrefillAttentionForm`] with d = (d_n + d_r + d_v)/2; the last term moves
/// activations between kernels. Without a graph no run is shorter than its launches. Source: KERNELS section 2
/// (module prefill).
#[derive(Debug, Clone, Copy)]
pub struct LatentPrefillModuleForm;

impl Form for LatentPrefillModuleForm {
    type Input = LatentPrefillModule;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("latency_us", 0.5, 400.0, 30.0),
        Coefficient::new("compute", 0.02, 1.0, 0.7),
        Coefficient::new("memory", 0.05, 1.0, 0.8),
        Coefficient::new("blend", 1.0, 10.0, 2.5),
        Coefficient::new("core_compute", 0.02, 1.0, 0.6),
        Coefficient::new("diagonal_tokens", 1.0, 600.0, 100.0),
        Coefficient::new("longest_tile", 0.01, 8.0, 0.7),
        Coefficient::new("elementwise", 0.02, 20.0, 0.5),
        Coefficient::new("launch_us", 1.0, 600.0, 100.0),
    ];

    fn seconds(c: &[f64], x: &LatentPrefillModule, hardware: &Hardware) -> f64 {
        let &[latency_us, compute, memory, p, core_compute, diagonal, longest, elementwise, launch_us] = c
        else {
            return f64::NAN;
        };
        let d = &x.projections.dims;
        let tokens = x.requests * x.new_tokens;
        let everything = x.requests * (x.new_tokens + x.past_tokens);
        let formats = (x.projections.weights, x.projections.math);
        let e = [compute, memory, p];
        let expand = (everything, x.heads * (d.nope + d.value), d.rank);
        let linear: f64 = x
            .projections
            .products(tokens, x.heads)
            .iter()
            .chain([&expand])
            .map(|g| product(*g, 1.0, formats, e, hardware))
            .sum();
        let dim = (d.nope + d.rope + d.value) / 2.0;
        let padded = (x.new_tokens / TILE).ceil() * TILE;
        let seen = pairs(padded, x.past_tokens, None) + padded * diagonal / 2.0;
        let peak = core_compute * hardware.peak(x.math);
        let core = 4.0 * x.requests * x.heads * dim * seen / peak;
        let keys = x.new_tokens + x.past_tokens;
        let tile = longest * 4.0 * TILE * dim * keys * hardware.multiprocessors.max(1.0) / peak;
        let widths = 4.0 * d.hidden + 4.0 * x.heads * (2.0 * d.nope + d.rope + d.value);
        let moved = tokens * widths / (elementwise * hardware.bandwidth);
        let seconds = latency_us * 1e-6 + linear + blend4(core, tile) + moved;
        // the longer of launches and kernels
        if x.projections.eager { blend4(launch_us * 1e-6, seconds) } else { seconds }
    }
}
