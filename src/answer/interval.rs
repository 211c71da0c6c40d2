//! An interval on every predicted time.

use serde::{Serialize, Serializer};

use crate::spec::EngineKind;
use crate::time::Trust;

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
    /// How near the kernel coefficients are to the accelerator.
    pub trust: Trust,
    /// More than one accelerator.
    pub parallel: bool,
    /// Continuous batching by the closed form instead of one static batch.
    pub closed_loop: bool,
}

impl Regime {
    /// Multiplicative 10 % and 90 % quantiles of measured over predicted: TTFT, TPOT, E2E.
    ///
    /// The bases are the quantiles of this first form, without any fit, on the static rows of
    /// LLM-Inference-Bench (BSD-3; vLLM and TensorRT-LLM of 2024 on A100 and H100) and on published
    /// llama.cpp rates, rounded outwards; docs/DESIGN.md has the table. What no row covers is widened.
    fn factors(self) -> [[f64; 2]; 3] {
        let base = match self.engine {
            EngineKind::Ideal => return [[1.0, 1.0]; 3],
            EngineKind::Vllm | EngineKind::Sglang | EngineKind::Trtllm => {
                [[0.6, 1.7], [0.8, 1.75], [0.8, 1.75]]
            }
            EngineKind::Llamacpp => [[0.45, 3.2], [0.85, 1.8], [0.8, 2.0]],
            EngineKind::Transformers => [[0.5, 3.0], [0.6, 3.0], [0.6, 3.0]],
        };
        let mut wider: [f64; 2] = [1.0, 1.0];
        let mut widen = |low: f64, high: f64| wider = [wider[0] * low, wider[1] * high];
        match self.trust {
            Trust::Given | Trust::Fitted | Trust::FamilyDefault | Trust::Limit => {}
            Trust::SameChip => widen(1.05, 1.1),
            Trust::SameFamily => widen(1.1, 1.3),
            // MI250X and MI300X rows of 2024 ran 1.5 to 3 times slower than their datasheets promise
            Trust::Default => widen(1.2, 1.7),
        }
        if self.parallel {
            widen(1.05, 1.1);
        }
        if self.closed_loop {
            widen(1.1, 1.2);
        }
        base.map(|[low, high]| [low / wider[0], high * wider[1]])
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
