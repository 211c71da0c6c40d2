//! What an engine adds to the kernels: host time per request, step and row.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::CoefficientError;
use crate::spec::EngineKind;

/// Engine terms, all zero for `ideal`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineTerms {
    /// Arrival to first scheduling in milliseconds.
    pub request_ms: f64,
    /// Host time per layer of a step with prefill tokens, in milliseconds: a floor, not an addition.
    pub prefill_floor_ms: f64,
    /// Slowdown of prefill kernels inside the engine.
    pub prefill_scale: f64,
    /// Host time per step in microseconds.
    pub step_us: f64,
    /// Host time per sampled row in microseconds.
    pub row_us: f64,
    /// Host time per kernel launch relative to a bare launch, without graphs.
    pub host_slowdown: f64,
    /// Decode runs from captured graphs.
    pub decode_graphs: bool,
    /// Where the numbers came from.
    pub source: String,
}

#[derive(Deserialize)]
struct File {
    schema: u32,
    #[serde(flatten)]
    engines: BTreeMap<String, EngineTerms>,
}

const FILE: &str = "calibration/defaults/engines.toml";

impl EngineTerms {
    /// The embedded terms of an engine.
    ///
    /// # Errors
    /// When the embedded file is broken, which a test excludes.
    pub fn default_for(engine: EngineKind) -> Result<Self, CoefficientError> {
        let mut file: File = toml::from_str(include_str!("../../calibration/defaults/engines.toml"))
            .map_err(|e| CoefficientError::Syntax { file: FILE.into(), message: e.message().to_owned() })?;
        if file.schema != 1 {
            return Err(CoefficientError::Schema { file: FILE.into(), schema: file.schema });
        }
        file.engines.remove(engine.name()).ok_or_else(|| CoefficientError::Syntax {
            file: FILE.into(),
            message: format!("no table [{}]", engine.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_terms() {
        for (kind, _) in EngineKind::ALL {
            let terms = EngineTerms::default_for(kind).unwrap();
            assert!(terms.prefill_scale >= 1.0 && terms.request_ms >= 0.0);
        }
    }
}
