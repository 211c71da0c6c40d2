//! One model: shapes, parameters, cache and checkpoint.

use serde::Serialize;

use crate::spec::model::{Checkpoint, LayerGroup, ModelSource, Mtp, Parameters, Vision};
use crate::spec::{DataType, ModelSpec};

/// `models show` of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSummary {
    /// Catalog id, or the name of the file it was read from.
    pub id: String,
    /// Repository on Hugging Face.
    pub hf_id: Option<String>,
    /// `model_type` of the configuration.
    pub architecture: String,
    /// Number of layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Rows of the token embedding.
    pub vocab_size: u32,
    /// Longest position in tokens.
    pub max_position_embeddings: Option<u64>,
    /// Parameter counts.
    pub parameters: Parameters,
    /// Bytes that one token of context adds to the KV cache of one replica in bf16.
    pub kv_cache_bytes_per_token: f64,
    /// Bytes of the checkpoint: exact from its files where they were read, else parameters × format.
    pub checkpoint_bytes: f64,
    /// Precision of the checkpoint.
    pub checkpoint: Checkpoint,
    /// Groups of identical layers.
    pub layer_groups: Vec<LayerGroup>,
    /// Vision tower.
    pub vision: Option<Vision>,
    /// Multi-token-prediction layers.
    pub mtp: Option<Mtp>,
    /// Where the configuration was read.
    pub source: Option<ModelSource>,
    /// What the reader had to assume.
    pub warnings: Vec<String>,
}

/// Counts and sizes of a model. Checkpoint bytes are Σ n_c · b_c over tensor classes c.
#[must_use]
pub fn summarise_model(spec: &ModelSpec) -> ModelSummary {
    let parameters = spec.parameters();
    let counted: f64 = parameters
        .by_class
        .iter()
        .map(|(&class, &n)| n as f64 * spec.checkpoint.bytes_per_weight(class))
        .sum();
    ModelSummary {
        id: spec.id.clone(),
        hf_id: spec.hf_id.clone(),
        architecture: spec.architecture.clone(),
        layers: spec.layer_count(),
        hidden_size: spec.hidden_size,
        vocab_size: spec.vocab_size,
        max_position_embeddings: spec.max_position_embeddings,
        kv_cache_bytes_per_token: spec.kv_bytes_per_token(DataType::Bf16.bytes()),
        checkpoint_bytes: spec.checkpoint_bytes.map_or(counted, |bytes| bytes as f64),
        parameters,
        checkpoint: spec.checkpoint.clone(),
        layer_groups: spec.layers.clone(),
        vision: spec.vision.clone(),
        mtp: spec.mtp.clone(),
        source: spec.source.clone(),
        warnings: spec.warnings.clone(),
    }
}
