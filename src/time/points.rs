//! What a few end-to-end times that a person measured say of one engine on one accelerator: factors on the times that the
//! calibration and the engine's terms give.

use serde::{Deserialize, Serialize};

use super::engine::EngineTerms;
use crate::spec::EngineKind;

/// Largest factor and, turned around, the smallest that a file may hold.
pub const MOST: f64 = 4.0;

/// Factors of one engine; 1 where no point tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointScale {
    /// The engine's name.
    pub engine: String,
    /// Points fitted to.
    pub points: usize,
    /// Where they came from.
    pub source: String,
    /// When they were fitted (ISO date).
    pub date: String,
    /// On steps with prompt tokens: their kernels and the floor that the host sets.
    pub prefill: f64,
    /// On the kernels of decode steps.
    pub decode: f64,
    /// On the host's time for a request.
    pub request: f64,
    /// On the host's time for a step.
    pub step: f64,
    /// Mean absolute percentage error of the points before.
    pub before_mape: f64,
    /// The same with the factors.
    pub after_mape: f64,
    /// The same, each point predicted by factors fitted to the others; none of a single point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_mape: Option<f64>,
}

impl PointScale {
    /// Factors of 1 on an engine, from nothing measured.
    #[must_use]
    pub fn unscaled(engine: EngineKind) -> Self {
        Self {
            engine: engine.name().into(),
            points: 0,
            source: String::new(),
            date: String::new(),
            prefill: 1.0,
            decode: 1.0,
            request: 1.0,
            step: 1.0,
            before_mape: 0.0,
            after_mape: 0.0,
            left_out_mape: None,
        }
    }

    /// Names of the factors, in the order of [`PointScale::factors`].
    pub const NAMES: [&str; 4] = ["prefill", "decode", "request", "step"];

    /// The factors.
    #[must_use]
    pub fn factors(&self) -> [f64; 4] {
        [self.prefill, self.decode, self.request, self.step]
    }

    /// The same with other factors.
    #[must_use]
    pub fn with(self, [prefill, decode, request, step]: [f64; 4]) -> Self {
        Self { prefill, decode, request, step, ..self }
    }

    /// Whether it is of this engine.
    #[must_use]
    pub fn is_of(&self, engine: EngineKind) -> bool {
        self.engine == engine.name()
    }

    /// The engine's terms with the factors that are the host's and prefill's; that on decode kernels is the step
    /// timer's.
    #[must_use]
    pub fn terms(&self, terms: EngineTerms) -> EngineTerms {
        EngineTerms {
            request_ms: self.request * terms.request_ms,
            prefill_floor_ms: self.prefill * terms.prefill_floor_ms,
            prefill_scale: self.prefill * terms.prefill_scale,
            step_us: self.step * terms.step_us,
            row_us: self.step * terms.row_us,
            rank_us: self.step * terms.rank_us,
            rank_row_us: self.step * terms.rank_row_us,
            context_ns: self.step * terms.context_ns,
            source: format!(
                "{}; scaled to {} points of one's own ({})",
                terms.source, self.points, self.source
            ),
            ..terms
        }
    }

    /// The first factor that is none, with its name.
    #[must_use]
    pub fn unsound(&self) -> Option<(&'static str, f64)> {
        let sound = |f: f64| (1.0 / MOST..=MOST).contains(&f);
        Self::NAMES.into_iter().zip(self.factors()).find(|(_, factor)| !sound(*factor))
    }
}
