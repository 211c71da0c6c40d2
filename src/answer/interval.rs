//! An interval on every predicted time.

use serde::{Serialize, Serializer};

use crate::spec::EngineKind;

/// Low and high end of an 80 % interval, in the unit of the value it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// One in ten true values lies below.
    pub low: f64,
    /// One in ten true values lies above.
    pub high: f64,
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.low, self.high].serialize(serializer)
    }
}

impl Interval {
    /// A value with multiplicative uncertainty.
    #[must_use]
    fn around(value: f64, [low, high]: [f64; 2]) -> Self {
        Self { low: value * low, high: value * high }
    }
}

/// Intervals of the main latencies in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    /// Time to first token.
    pub ttft_s: Interval,
    /// Time per output token.
    pub tpot_s: Interval,
    /// End to end.
    pub e2e_s: Interval,
}

/// How far the answer is from anything measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Regime {
    pub engine: EngineKind,
    /// The coefficients were fitted to operator tables of this architecture family.
    pub fitted_family: bool,
    /// More than one accelerator.
    pub parallel: bool,
    /// Continuous batching by the closed form instead of one static batch.
    pub closed_loop: bool,
}

impl Regime {
    /// Multiplicative 10 % and 90 % quantiles of measured over predicted.
    ///
    /// The bases are rounded outwards from the quantiles of the static rows of
    /// LLM-Inference-Bench (BSD-3) and TensorRT-LLM's documentation predicted by this first form
    /// (docs/ACCURACY.md); every distance from those rows widens both ends by a factor.
    fn factors(self) -> [[f64; 2]; 3] {
        let mut wider: f64 = 1.0;
        if !self.fitted_family {
            wider *= 1.25;
        }
        if self.parallel {
            wider *= 1.1;
        }
        if self.closed_loop {
            wider *= 1.15;
        }
        wider *= match self.engine {
            EngineKind::Vllm | EngineKind::Sglang | EngineKind::Trtllm => 1.0,
            EngineKind::Llamacpp => 1.1,
            EngineKind::Transformers => 1.4,
            EngineKind::Ideal => return [[1.0, 1.0]; 3],
        };
        let scaled = |[low, high]: [f64; 2]| [low / wider, high * wider];
        [scaled([0.55, 1.8]), scaled([0.80, 1.45]), scaled([0.78, 1.5])]
    }

    pub(super) fn intervals(self, ttft: f64, tpot: f64, e2e: f64) -> Intervals {
        let [first, each, all] = self.factors();
        Intervals {
            ttft_s: Interval::around(ttft, first),
            tpot_s: Interval::around(tpot, each),
            e2e_s: Interval::around(e2e, all),
        }
    }
}
