//! A language model as shapes: groups of identical layers, embeddings, an optional vision tower
//! and multi-token-prediction head, and the precision of its checkpoint. Parameter counts
//! ([`ModelSpec::parameters`]) come out of the same list of linear layers that the work room
//! lowers to operators, so the two cannot disagree.

mod feed_forward;
mod mixer;
mod parameters;
mod validate;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{DataType, SpecError};
pub use feed_forward::FeedForward;
pub use mixer::{Indexer, Mixer};
pub use parameters::Parameters;

/// What a weight belongs to; quantisation is decided per class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorClass {
    /// Token (and learned position) embeddings.
    Embedding,
    /// Output projection to the vocabulary.
    LmHead,
    /// Attention projections.
    Attention,
    /// Projections of linear-attention and state-space layers.
    LinearAttention,
    /// Dense feed-forward projections.
    Mlp,
    /// Routed experts.
    Experts,
    /// Shared experts, always active.
    SharedExperts,
    /// Expert router.
    Router,
    /// Norms, convolutions, gates and other small tensors; never quantised.
    Small,
    /// Vision tower and projector.
    Vision,
    /// Multi-token-prediction head.
    Mtp,
}

/// How tensor parallelism cuts a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Outputs are divided by the tensor-parallel degree.
    Columns,
    /// Inputs are divided; partial sums are all-reduced.
    Rows,
    /// Outputs belong to this many KV heads: divided until one head is left, then replicated.
    KvHeads(u32),
    /// Every rank holds the whole layer.
    Replicated,
}

/// One linear layer, whole (before any parallelism).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Name in the breakdown. Consecutive layers of one name run as one fused GEMM.
    pub label: &'static str,
    /// What it belongs to.
    pub class: TensorClass,
    /// Input width K.
    pub inputs: u64,
    /// Output width N.
    pub outputs: u64,
    /// A bias of `outputs` elements.
    pub bias: bool,
    /// How tensor parallelism cuts it.
    pub split: Split,
}

impl Linear {
    /// A bias-free linear layer.
    #[must_use]
    pub fn new(label: &'static str, class: TensorClass, inputs: u64, outputs: u64, split: Split) -> Self {
        Self { label, class, inputs, outputs, bias: false, split }
    }

    /// The same with or without a bias.
    #[must_use]
    pub fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Weights and bias.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.inputs * self.outputs + if self.bias { self.outputs } else { 0 }
    }

    /// Output and input width on one of `tp` ranks. KV heads are divided until one is left, then
    /// replicated; widths that do not divide are padded up, as engines do.
    #[must_use]
    pub fn per_rank(&self, tp: u32) -> (u64, u64) {
        let share = |width: u64, ranks: u32| width.div_ceil(u64::from(ranks.max(1)));
        match self.split {
            Split::Columns => (share(self.outputs, tp), self.inputs),
            Split::Rows => (self.outputs, share(self.inputs, tp)),
            Split::KvHeads(heads) => (share(self.outputs, tp.min(heads)), self.inputs),
            Split::Replicated => (self.outputs, self.inputs),
        }
    }

    /// Weights and bias on one of `tp` ranks.
    #[must_use]
    pub fn parameters_per_rank(&self, tp: u32) -> u64 {
        let (outputs, inputs) = self.per_rank(tp);
        outputs * inputs + if self.bias { outputs } else { 0 }
    }
}

/// `count` identical layers. The order of groups carries no meaning; time and memory add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerGroup {
    /// How many layers look like this.
    pub count: u32,
    /// Token mixer: attention, linear attention, state space or none.
    pub mixer: Mixer,
    /// Feed-forward part.
    pub feed_forward: FeedForward,
    /// Elements of all norms of one layer around mixer and feed-forward (weights and biases;
    /// norms inside the mixer, such as q/k norms, are the mixer's).
    #[serde(default)]
    pub norm_parameters: u64,
    /// Elements of anything else small in one layer (layer scalars, hyper-connections …).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_parameters: u64,
}

impl LayerGroup {
    /// Parameters of all layers of the group, and how many of them one token touches.
    #[must_use]
    pub fn parameters(&self, hidden_size: u64) -> (u64, u64) {
        let d = hidden_size;
        let linears = self.mixer.linears(d).into_iter().chain(self.feed_forward.linears(d));
        let shared = linears.map(|l| l.parameters()).sum::<u64>()
            + self.norm_parameters
            + self.other_parameters
            + self.mixer.other_parameters(d)
            + self.feed_forward.other_parameters();
        let (experts, top_k) = self.feed_forward.experts();
        let expert = self.feed_forward.expert_parameters(d);
        let count = u64::from(self.count);
        (count * (shared + u64::from(experts) * expert), count * (shared + u64::from(top_k) * expert))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// Input and output embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// The output projection shares the input table.
    #[serde(default)]
    pub tied: bool,
    /// Elements of learned position (and token-type) tables.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub position_parameters: u64,
    /// Elements of per-layer input embeddings (Gemma 3n/4).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub per_layer_parameters: u64,
    /// The output projection has a bias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lm_head_bias: bool,
    /// Elements of the final norm and of a norm after the embedding.
    #[serde(default)]
    pub norm_parameters: u64,
}

/// A vision (or audio) encoder with its projector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vision {
    /// All parameters of encoder and projector.
    pub parameters: u64,
    /// Transformer layers of the encoder.
    pub layers: u32,
    /// Width of the encoder.
    pub hidden_size: u32,
    /// Attention heads of the encoder.
    pub heads: u32,
    /// Pixels along one side of a patch.
    pub patch_size: u32,
    /// Patches along one side that merge into one token of the language model.
    pub merge_size: u32,
    /// Language-model tokens of an image of the default size, when the config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_image: Option<u32>,
}

impl Vision {
    /// Tokens that an image of so many pixels becomes: patches over the merged square.
    #[must_use]
    pub fn tokens(&self, width: u32, height: u32) -> u64 {
        let side = self.patch_size.max(1) * self.merge_size.max(1);
        u64::from(width.div_ceil(side)) * u64::from(height.div_ceil(side))
    }
}

/// Multi-token-prediction layers stored in the checkpoint; engines load them only for speculative decoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mtp {
    /// How many tokens ahead (modules).
    pub layers: u32,
    /// All parameters of the modules as the checkpoint stores them, its copies of the embedding and
    /// the output projection included (`DeepSeek` V3 stores both).
    pub parameters: u64,
    /// Parameters that one token touches in one module, tables not included.
    pub active_parameters: u64,
}

/// Precision of the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Data type of tensors that are not quantised.
    pub data_type: DataType,
    /// `quant_method` of the config: fp8, awq, gptq, compressed-tensors, modelopt, mxfp4, gguf …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Quantised classes and their format; a class not named is in `data_type`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantized: BTreeMap<TensorClass, DataType>,
    /// Elements per scale, where it differs from the format's own (AWQ group 64, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<u32>,
    /// Data type in which the quantised layers multiply; none for weight-only quantisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<DataType>,
    /// KV-cache data type that the checkpoint asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<DataType>,
}

impl Checkpoint {
    /// An unquantised checkpoint.
    #[must_use]
    pub fn plain(data_type: DataType) -> Self {
        Self {
            data_type,
            method: None,
            quantized: BTreeMap::new(),
            group_size: None,
            activations: None,
            kv_cache: None,
        }
    }

    /// Format of the weights of one class.
    #[must_use]
    pub fn format(&self, class: TensorClass) -> DataType {
        self.quantized.get(&class).copied().unwrap_or(self.data_type)
    }

    /// Bytes per weight of one class, scales included (with this checkpoint's group size).
    #[must_use]
    pub fn bytes_per_weight(&self, class: TensorClass) -> f64 {
        let format = self.format(class);
        match (format, self.group_size) {
            // 4 bit + (16-bit scale + 4-bit zero point) / group
            (DataType::Int4, Some(group)) => (4.0 + 20.0 / f64::from(group)) / 8.0,
            _ => format.bytes(),
        }
    }
}

/// Where a catalog entry came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSource {
    /// Repository or package the configuration was read from.
    pub repository: String,
    /// Path inside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Revision (commit) of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// verbatim, or how else it was obtained and confirmed.
    pub kind: String,
    /// Licence of the source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Other repositories whose model has the same shapes and context, fine-tunes mostly; they find
    /// this entry too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// A language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Catalog id or the name of the file it was read from.
    pub id: String,
    /// Repository name on Hugging Face, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hf_id: Option<String>,
    /// `model_type` of the config.
    pub architecture: String,
    /// Width D of the residual stream.
    pub hidden_size: u32,
    /// Rows of the token embedding.
    pub vocab_size: u32,
    /// Longest position the model was made for, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_position_embeddings: Option<u64>,
    /// Rows of the longest rotary table, where rescaled positions make it longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_positions: Option<u64>,
    /// Embeddings and output projection.
    pub embedding: Embedding,
    /// Layer groups.
    pub layers: Vec<LayerGroup>,
    /// Vision tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<Vision>,
    /// Multi-token-prediction head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtp: Option<Mtp>,
    /// Precision of the checkpoint.
    pub checkpoint: Checkpoint,
    /// Bytes of the weight files when known exactly (safetensors index, GGUF header).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes: Option<u64>,
    /// Where a catalog entry came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// What the reader had to assume; printed with every answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ModelSpec {
    /// Number of layers.
    #[must_use]
    pub fn layer_count(&self) -> u32 {
        self.layers.iter().map(|g| g.count).sum()
    }

    /// The same model with only `layers` layers (depth pruning): every group keeps its share, the
    /// largest remainders are rounded up.
    #[must_use]
    pub fn with_layers(&self, layers: u32) -> Self {
        let mut pruned = self.clone();
        let whole = u64::from(self.layer_count().max(1));
        let wanted = u64::from(layers);
        let mut remainders = vec![];
        for (index, group) in pruned.layers.iter_mut().enumerate() {
            let share = u64::from(group.count) * wanted;
            remainders.push((share % whole, index));
            group.count = u32::try_from(share / whole).unwrap_or(group.count);
        }
        remainders.sort_by_key(|(rest, index)| (std::cmp::Reverse(*rest), *index));
        let missing = layers.saturating_sub(pruned.layer_count()) as usize;
        for (_, index) in remainders.into_iter().take(missing) {
            if let Some(group) = pruned.layers.get_mut(index) {
                group.count += 1;
            }
        }
        pruned.layers.retain(|g| g.count > 0);
        pruned.checkpoint_bytes = None;
        pruned
    }

    /// Reads one of our TOML files.
    ///
    /// # Errors
    /// When the text is no TOML of a model, or its values are absurd.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text).map_err(|e| SpecError::toml(&e, text, file, "model TOML"))?;
        spec.validate(file)?;
        Ok(spec)
    }

    /// KV-cache bytes that one more token of context adds to one replica, all layers whose cache
    /// grows, at `bytes` per element (windowed layers grow only up to their window and count).
    #[must_use]
    pub fn kv_bytes_per_token(&self, bytes: f64) -> f64 {
        self.layers.iter().map(|g| f64::from(g.count) * g.mixer.kv_elements_per_token() as f64 * bytes).sum()
    }
}
