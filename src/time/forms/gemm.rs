//! Dense matrix products.

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

/// t = t₀ + [(2MNK/(e_c·P))^p + ((M·K·a + N·K·w + 2MN)/(e_b·B))^p]^(1/p) + 3MK/(c_q·B).
///
/// a and w are bytes per activation and weight; the last term quantises the activations (three bytes
/// moved per element) and vanishes for c_q = 100. Source: KERNELS section 3 (soft5).
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
    ];

    fn seconds(c: &[f64], x: &Gemm, hardware: &Hardware) -> f64 {
        let &[compute, memory, latency_us, p, quantise] = c else { return f64::NAN };
        let flops = 2.0 * x.m * x.n * x.k;
        let bytes = x.m * x.k * x.math.bytes() + x.n * x.k * x.weights.bytes() + 2.0 * x.m * x.n;
        latency_us * 1e-6
            + blend(flops / (compute * hardware.peak(x.math)), bytes / (memory * hardware.bandwidth), p)
            + 3.0 * x.m * x.k / (quantise * hardware.bandwidth)
    }
}
