//! Quantisation of activations before a product, where it is a kernel of its own.

use super::{Coefficient, Form, Hardware};

/// M rows of K elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantise {
    /// Rows M.
    pub m: f64,
    /// Elements of a row K.
    pub k: f64,
}

/// t = t₀ + τ·K + min(Q, C)/(e₁·B) + max(Q − C, 0)/(e₂·B), Q = 3·M·K bytes, C = s·(last-level cache).
///
/// Two bytes read and one written per element; a row is one block's, which passes over it in τ per element;
/// what the producer has just written comes from the cache (e₁ may exceed 1), what no longer fits from memory.
#[derive(Debug, Clone, Copy)]
pub struct CachedPass;

impl Form for CachedPass {
    type Input = Quantise;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("latency_us", 0.05, 100.0, 3.0),
        Coefficient::new("row_ns_per_element", 1e-4, 2.0, 0.02),
        Coefficient::new("cache", 0.02, 10.0, 1.5),
        Coefficient::new("memory", 0.02, 1.0, 0.6),
        Coefficient::new("share_of_cache", 0.05, 1.5, 0.5),
    ];

    fn seconds(c: &[f64], x: &Quantise, hardware: &Hardware) -> f64 {
        let &[latency, row, cache, memory, share] = c else { return f64::NAN };
        let bytes = 3.0 * x.m * x.k;
        let kept = bytes.min(share * hardware.cache);
        latency * 1e-6
            + row * 1e-9 * x.k
            + kept / (cache * hardware.bandwidth)
            + (bytes - kept) / (memory * hardware.bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn by_hand() {
        // H100: 50 MB of cache, 3.35 TB/s. 8192 × 4096: Q = 100.66 MB, C = 25 MB
        let hardware = Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap());
        let t =
            CachedPass::seconds(&[3.0, 0.1, 2.0, 0.5, 0.5], &Quantise { m: 8192.0, k: 4096.0 }, &hardware);
        // 3 + 0.4096 + 25/(2·3.35) + 75.66/(0.5·3.35)
        assert!((t * 1e6 - 52.3136).abs() < 1e-3, "{t}");
    }
}
