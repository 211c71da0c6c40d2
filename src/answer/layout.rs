//! A deployment in the words of answers.

use serde::Serialize;

use crate::spec::{Accelerator, DataType, Deployment, Formats, ModelSpec};

/// A deployment as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Layout {
    /// Model id.
    pub model: String,
    /// Accelerator id.
    pub gpu: String,
    /// Accelerators in all.
    pub num_gpus: u32,
    /// Engine with version.
    pub engine: String,
    /// Tensor parallel degree.
    pub tensor_parallel_size: u32,
    /// Pipeline parallel degree.
    pub pipeline_parallel_size: u32,
    /// Data parallel degree.
    pub data_parallel_size: u32,
    /// Expert parallel degree.
    pub expert_parallel_size: u32,
    /// Format of the bulk of the weights; as asked where the accelerator cannot run it.
    pub weight_dtype: String,
    /// Format of the KV cache; as asked where the accelerator cannot run it.
    pub kv_cache_dtype: String,
}

impl Layout {
    /// That of a deployment, with the formats it resolves to; none where the accelerator cannot run them.
    pub(super) fn of(
        model: &ModelSpec,
        accelerator: &Accelerator,
        deployment: &Deployment,
        formats: Option<&Formats>,
    ) -> Self {
        let p = deployment.parallelism;
        let asked = |d: Option<DataType>| d.map_or("auto", DataType::name);
        let (weights, cache) = match formats {
            Some(formats) => (formats.main(model).weights.name(), formats.kv_cache.name()),
            None => (
                asked(deployment.quantization.or(deployment.data_type)),
                asked(deployment.kv_cache_data_type),
            ),
        };
        Self {
            model: model.id.clone(),
            gpu: accelerator.id.clone(),
            // flags that are refused may multiply beyond any machine
            num_gpus: p.tp.saturating_mul(p.pp).saturating_mul(p.dp),
            engine: deployment.engine.to_string(),
            tensor_parallel_size: p.tp,
            pipeline_parallel_size: p.pp,
            data_parallel_size: p.dp,
            expert_parallel_size: p.ep,
            weight_dtype: weights.into(),
            kv_cache_dtype: cache.into(),
        }
    }

    /// Degrees as people write them: `tp2 dp2`.
    #[must_use]
    pub fn degrees(&self) -> String {
        degrees([
            self.tensor_parallel_size,
            self.pipeline_parallel_size,
            self.data_parallel_size,
            self.expert_parallel_size,
        ])
    }
}

/// Tensor, pipeline, data and expert parallel degrees as people write them; those of 1 go without saying, but for tensor.
pub(super) fn degrees(all: [u32; 4]) -> String {
    let named = ["tp", "pp", "dp", "ep"].iter().zip(all);
    let shown: Vec<String> = named
        .filter(|(name, degree)| *degree > 1 || **name == "tp")
        .map(|(name, degree)| format!("{name}{degree}"))
        .collect();
    shown.join(" ")
}
