//! The question as it was understood.

use serde::Serialize;

use super::super::Layout;
use super::loops::is_alone;
use super::{Estimator, Images, Question, TpotDefinition};
use crate::spec::{Formats, Load, SpecError, Workload};
use crate::work::Overrides;

/// The question as it was understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inputs {
    /// Model, accelerator, engine, degrees, formats of weights and cache.
    #[serde(flatten)]
    pub layout: Layout,
    /// Format of activations between layers.
    pub activation_dtype: String,
    /// Prompt tokens, image tokens included.
    pub input_len: u64,
    /// Generated tokens.
    pub output_len: u64,
    /// Prompt tokens already cached.
    pub prefix_len: u64,
    /// Requests in a static batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Requests in flight of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests per second of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rate_per_s: Option<f64>,
    /// Shape of the gaps of an open loop: 1 is a Poisson process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<f64>,
    /// Requests simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_prompts: Option<u64>,
    /// Shortest length over the nominal one; the lengths above are means.
    pub length_ratio_min: f64,
    /// Most tokens in one step.
    pub max_num_batched_tokens: u32,
    /// Definition under which TPOT is reported.
    pub tpot_definition: TpotDefinition,
    /// What-if changes to the model.
    pub overrides: Overrides,
    /// Images per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
}

pub(super) fn check_workload(workload: &Workload) -> Result<(), SpecError> {
    if workload.prefix_len >= workload.input_len {
        return Err(SpecError::Usage(format!(
            "--prefix-len {} must be smaller than the {} prompt tokens of --input-len: at least one is computed",
            workload.prefix_len, workload.input_len
        )));
    }
    Ok(())
}

/// Image tokens join the prompt.
pub(super) fn resolve_images(question: &Question<'_>) -> Result<Workload, SpecError> {
    let mut workload = *question.workload;
    if let Some(images) = question.options.images {
        let Some(vision) = &question.model.vision else {
            return Err(SpecError::Usage(format!(
                "--images needs a model with a vision tower; {} has none",
                question.model.id
            )));
        };
        workload.input_len += u64::from(images.count) * vision.tokens(images.width, images.height);
    }
    Ok(workload)
}

pub(super) fn inputs(
    question: &Question<'_>,
    asked: &Workload,
    formats: &Formats,
    estimator: &Estimator,
) -> Inputs {
    let Question { model, accelerator, deployment, options, .. } = *question;
    let workload = asked.at_mean();
    let (batch_size, concurrency) = match workload.load {
        Load::StaticBatch(n) => (Some(n), None),
        Load::Concurrency(n) => (None, Some(n)),
        Load::Rate { .. } => (None, None),
    };
    let (request_rate_per_s, burstiness) = match workload.load {
        Load::Rate { per_s, burstiness } => (Some(per_s), Some(burstiness)),
        _ => (None, None),
    };
    Inputs {
        layout: Layout::of(model, accelerator, deployment, Some(formats)),
        activation_dtype: formats.activations.name().into(),
        input_len: workload.input_len,
        output_len: workload.output_len,
        prefix_len: workload.prefix_len,
        batch_size,
        concurrency,
        request_rate_per_s,
        burstiness,
        num_prompts: (!is_alone(asked)).then(|| asked.requests()),
        length_ratio_min: asked.length_ratio_min,
        max_num_batched_tokens: estimator.token_budget(),
        tpot_definition: options.tpot_definition,
        overrides: options.overrides,
        images: options.images,
    }
}
