//! What an estimate is asked.

use serde::Serialize;
use std::path::PathBuf;
use std::str::FromStr;

use crate::answer::cost::CostInputs;
use crate::answer::kernels::Kernels;
use crate::answer::speculation::SpeculationOptions;
use crate::spec::{Accelerator, Deployment, ModelSpec, SpecError, Workload};
use crate::work::Overrides;

/// Images sent with every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Images {
    /// Images per request.
    pub count: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// How TPOT is printed. The prediction itself is always vLLM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpotDefinition {
    /// (E2E − TTFT) / (N − 1): vLLM, `GenAI-Perf`, `AIPerf`.
    #[default]
    Vllm,
    /// (E2E − TTFT) / N.
    PerToken,
    /// E2E / N: the first token included, as LLMPerf's inter-token latency.
    Inclusive,
}

impl TpotDefinition {
    /// All definitions.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::PerToken, Self::Inclusive];

    /// The name used in flags and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::PerToken => "per-token",
            Self::Inclusive => "inclusive",
        }
    }

    /// The formula, with N generated tokens.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Vllm => "(E2E − TTFT) / (N − 1)",
            Self::PerToken => "(E2E − TTFT) / N",
            Self::Inclusive => "E2E / N",
        }
    }
}

impl FromStr for TpotDefinition {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| {
            SpecError::Usage(format!(
                "`{text}` is no TPOT definition; use vllm, per-token or inclusive (see `foretoken explain tpot`)"
            ))
        })
    }
}

/// Everything else that a question may say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Directories of the user's engine terms, which win over the embedded ones.
    pub engines: Vec<PathBuf>,
    /// Changes to the model.
    pub overrides: Overrides,
    /// Requests at a time that are one request repeated, as some benchmarks send them: they share their experts. 0 and
    /// 1 where all differ.
    pub same_requests: u32,
    /// Images per request.
    pub images: Option<Images>,
    /// Round trip to the client in seconds.
    pub network_rtt_s: f64,
    /// The cached prefix lies in host memory and crosses the host link first.
    pub kv_offload: bool,
    /// Bytes per second at which a cold start reads the weights; none without a cold start.
    pub cold_start_bytes_per_s: Option<f64>,
    /// Definition under which TPOT is reported.
    pub tpot_definition: TpotDefinition,
    /// Money.
    pub cost: CostInputs,
    /// Drafts verified several tokens at a time.
    pub speculation: Option<SpeculationOptions>,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The accelerator.
    pub accelerator: &'a Accelerator,
    /// Engine, parallelism, formats.
    pub deployment: &'a Deployment,
    /// Lengths and load.
    pub workload: &'a Workload,
    /// Fitted kernel models; none for the family defaults.
    pub kernels: Option<&'a Kernels>,
    /// Everything else.
    pub options: &'a Options,
}
