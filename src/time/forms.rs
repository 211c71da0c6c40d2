//! Closed forms of kernel time, one file an operator class. The same function predicts and is
//! fitted: a form is coefficients with bounds and a function of a shape and the hardware.

pub mod collective;
pub mod decode_attention;
pub mod experts;
pub mod gemm;
mod grid;
pub mod latent;
pub mod latent_module;
pub mod matvec;
pub mod power;
pub mod prefill_attention;
pub mod quantise;

pub use grid::{Axes, Cell, Grid};

use super::Hardware;
use power::power;

/// A coefficient of a form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Name, with the unit where it has one.
    pub name: &'static str,
    /// Smallest value that makes sense; above 0, fits run in the logarithm.
    pub low: f64,
    /// Largest value that makes sense.
    pub high: f64,
    /// Where a fit starts.
    pub start: f64,
    /// The only values that it may have, of which a fit tries every one; empty for all within the bounds.
    pub choices: &'static [f64],
    /// A refinement, without effect at its low bound, where it stays when samples are too few for it.
    pub refines: bool,
}

impl Coefficient {
    /// A coefficient with its bounds and start.
    #[must_use]
    pub const fn new(name: &'static str, low: f64, high: f64, start: f64) -> Self {
        Self { name, low, high, start, choices: &[], refines: false }
    }

    /// The same, needed only where samples are many.
    #[must_use]
    pub const fn refining(self) -> Self {
        Self { refines: true, ..self }
    }

    /// One of a few ways that kernels work: numbers that name them, ascending from the usual one.
    #[must_use]
    pub const fn choice(name: &'static str, choices: &'static [f64]) -> Self {
        let (low, high) = match choices {
            [first, .., last] => (*first, *last),
            _ => (1.0, 1.0),
        };
        Self { name, low, high, start: low, choices, refines: false }
    }
}

/// A closed form of kernel time.
pub trait Form {
    /// What it needs of an operator.
    type Input: Copy + Send + Sync;
    /// Its coefficients, in the order in which files list them.
    const COEFFICIENTS: &'static [Coefficient];
    /// Seconds of one execution. `c` has as many values as [`Form::COEFFICIENTS`].
    fn seconds(c: &[f64], input: &Self::Input, hardware: &Hardware) -> f64;
}

/// Two times that overlap: (a^p + b^p)^(1/p), at least the larger.
#[must_use]
pub fn blend(a: f64, b: f64, p: f64) -> f64 {
    blended(a, b, p, 1.0 / p)
}

/// The same with 1/p worked out.
#[inline]
fn blended(a: f64, b: f64, p: f64, inverse: f64) -> f64 {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if small > 0.0 { large * power(1.0 + power(small / large, p), inverse) } else { large }
}
