//! Dense matrix products.

use super::power::{ceil, power};
use super::{Coefficient, Form, Hardware, blended};
use crate::spec::DataType;

/// A product of M × K activations by K × N weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows M.
    pub m: f64,
    /// Output width N.
    pub n: f64,
    /// Input width K.
    pub k: f64,
    /// Format of the weights.
    pub weights: DataType,
    /// Format in which it multiplies.
    pub math: DataType,
}

impl Gemm {
    /// M, N and K, the axes of the residual grid.
    #[must_use]
    pub fn point(&self) -> [f64; 3] {
        [self.m, self.n, self.k]
    }
}

/// Tiles that outputs are cut into, rows by columns, largest first, with the share l of `small_tile_loss` that each
/// has: (128/r + 128/c − 1.5)/2.
const TILES: [(f64, f64, f64); 4] =
    [(128.0, 256.0, 0.0), (128.0, 128.0, 0.25), (128.0, 64.0, 0.75), (64.0, 64.0, 1.25)];

/// t = t₀ + [(2MNK·w^g/(e_c·P))^p + ((M·K·a + N·K·w_b + 2MN)/(e_b·B))^p]^(1/p) + 3MK/(c_q·B).
///
/// w = min over tiles of ⌈⌈M/r⌉·⌈N/c⌉/SMs⌉·SMs·r·c·(1 + c_t·l)/(M·N): outputs computed when tiles of r × c run in whole
/// waves, over outputs wanted; l how much a tile loses against the largest, in halves of 128/r + 128/c. g ≤ 1 keeps
/// time from falling with M or N (0: perfect balance, 1: nothing shared between waves). a and w_b are bytes per
/// activation and weight; the last term quantises the activations (three bytes moved per element) and vanishes for
/// c_q = 100. Source: KERNELS section 3 (soft5, with the waves of wq8 and the tiles of tile9).
#[derive(Debug, Clone, Copy)]
pub struct SoftGemm;

impl SoftGemm {
    /// t₀ in seconds.
    #[must_use]
    pub fn latency(c: &[f64]) -> f64 {
        c.get(2).map_or(f64::NAN, |t| t * 1e-6)
    }
}

impl Form for SoftGemm {
    type Input = Gemm;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("compute", 0.05, 1.0, 0.7),
        Coefficient::new("memory", 0.05, 1.0, 0.8),
        Coefficient::new("latency_us", 0.5, 400.0, 4.0),
        Coefficient::new("blend", 1.0, 10.0, 2.0),
        Coefficient::new("quantise", 0.05, 100.0, 5.0),
        Coefficient::new("wave", 0.01, 1.0, 0.3).refining(),
        Coefficient::new("small_tile_loss", 1e-3, 2.0, 0.1).refining(),
    ];

    fn seconds(c: &[f64], x: &Gemm, hardware: &Hardware) -> f64 {
        Widths::new(c, x, hardware).map_or(f64::NAN, |widths| widths.seconds(x.m))
    }
}

/// [`SoftGemm`] of products that differ in M alone, with all worked out that does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Widths {
    n: f64,
    k: f64,
    /// t₀ in seconds.
    latency: f64,
    /// e_c·P.
    rate: f64,
    /// e_b·B.
    bandwidth: f64,
    /// c_q·B.
    quantise: f64,
    /// N·K·w_b.
    weight_bytes: f64,
    /// a.
    activation_bytes: f64,
    wave: f64,
    /// p and 1/p.
    blend: [f64; 2],
    units: f64,
    /// ⌈N/c⌉ and 1 + c_t·l of each tile.
    tiles: [(f64, f64); 4],
}

impl Widths {
    /// Those of a product; none where coefficients are missing.
    #[must_use]
    pub fn new(c: &[f64], x: &Gemm, hardware: &Hardware) -> Option<Self> {
        let &[compute, memory, latency_us, p, quantise, wave, tile_loss] = c else { return None };
        Some(Self {
            n: x.n,
            k: x.k,
            latency: latency_us * 1e-6,
            rate: compute * hardware.peak(x.math),
            bandwidth: memory * hardware.bandwidth,
            quantise: quantise * hardware.bandwidth,
            weight_bytes: x.n * x.k * x.weights.bytes(),
            activation_bytes: x.math.bytes(),
            wave,
            blend: [p, 1.0 / p],
            units: hardware.multiprocessors.max(1.0),
            tiles: TILES.map(|(_, columns, loss)| (ceil(x.n / columns), 1.0 + tile_loss * loss)),
        })
    }

    /// Seconds of M rows.
    #[must_use]
    #[inline]
    pub fn seconds(&self, m: f64) -> f64 {
        let Self { n, k, .. } = *self;
        let flops = 2.0 * m * n * k;
        let bytes = m * k * self.activation_bytes + self.weight_bytes + 2.0 * m * n;
        let flops = flops * power(self.whole_waves(m) / (m * n), self.wave);
        let [p, inverse] = self.blend;
        self.latency
            + blended(flops / self.rate, bytes / self.bandwidth, p, inverse)
            + 3.0 * m * k / self.quantise
    }

    /// Outputs computed when tiles run in whole waves on all multiprocessors, with the tile that wastes least.
    #[inline]
    fn whole_waves(&self, m: f64) -> f64 {
        let [(high, ..), .., (low, ..)] = TILES;
        let (few, many) = (ceil(m / high), ceil(m / low));
        let mut least = f64::INFINITY;
        for ((rows, columns, _), (across, loss)) in TILES.iter().zip(&self.tiles) {
            let tiles = if *rows < high { many } else { few } * across;
            least = least.min(ceil(tiles / self.units) * self.units * rows * columns * loss);
        }
        least
    }
}
