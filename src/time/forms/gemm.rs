//! Dense matrix products.

use super::power::power;
use super::{Coefficient, Form, Hardware, blend};
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

/// Outputs computed when tiles run in whole waves on all multiprocessors, with the tile that wastes least.
fn whole_waves(x: &Gemm, tile_loss: f64, multiprocessors: f64) -> f64 {
    let units = multiprocessors.max(1.0);
    let outputs = |(rows, columns, loss): (f64, f64, f64)| {
        let tiles = (x.m / rows).ceil() * (x.n / columns).ceil();
        (tiles / units).ceil() * units * rows * columns * (1.0 + tile_loss * loss)
    };
    TILES.into_iter().map(outputs).fold(f64::INFINITY, f64::min)
}

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
        let &[compute, memory, latency_us, p, quantise, wave, tile_loss] = c else { return f64::NAN };
        let flops = 2.0 * x.m * x.n * x.k;
        let bytes = x.m * x.k * x.math.bytes() + x.n * x.k * x.weights.bytes() + 2.0 * x.m * x.n;
        let whole = whole_waves(x, tile_loss, hardware.multiprocessors) / (x.m * x.n);
        let flops = flops * power(whole, wave);
        latency_us * 1e-6
            + blend(flops / (compute * hardware.peak(x.math)), bytes / (memory * hardware.bandwidth), p)
            + 3.0 * x.m * x.k / (quantise * hardware.bandwidth)
    }
}
