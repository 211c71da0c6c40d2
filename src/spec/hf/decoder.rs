//! What decoder-only transformers have in common, and where they differ: biases, norms, gating,
//! windows, tying. A family is a [`Style`]; its shapes come from the fields.

use super::windows::{self, Windows};
use super::{Fields, experts, latent};
use crate::spec::DataType;
use crate::spec::SpecError;
use crate::spec::model::{Checkpoint, Embedding, FeedForward, LayerGroup, Mixer, ModelSpec};

/// Something that is on, off, or as a key of the configuration says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Switch {
    /// Never.
    Off,
    /// Always.
    On,
    /// As this key says, with the default of the architecture's class.
    Key(&'static str, bool),
}

impl Switch {
    /// On or off, decided beforehand.
    pub(crate) fn fixed(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }

    /// Reads the key where there is one.
    pub(crate) fn read(self, fields: &Fields<'_>) -> Result<bool, SpecError> {
        match self {
            Self::Off => Ok(false),
            Self::On => Ok(true),
            Self::Key(key, default) => fields.flag(key, default),
        }
    }
}

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum QkNorm {
    /// None.
    None,
    /// One weight of a head's width for all query heads and one for all key heads.
    Shared,
    /// The same with biases.
    SharedWithBias,
    /// One weight over all query heads' widths, one over all key heads'.
    Whole,
    /// Two norms of the hidden width with the biases that the other norms have.
    WholeModel,
}

/// Learned position embeddings.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Positions {
    /// None: rotary, ALiBi or nothing.
    None,
    /// One row a position, and so many more.
    Learned(u64),
}

/// How an architecture differs from its kin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Biases on the query, key and value projections.
    pub qkv_bias: Switch,
    /// Bias on the attention's output projection.
    pub output_bias: Switch,
    /// Biases in the feed-forward part.
    pub mlp_bias: Switch,
    /// A gate projection beside up and down.
    pub gated: bool,
    /// Feed-forward width in hidden widths where the key is absent.
    pub widening: Option<u32>,
    /// A learned sink logit per head.
    pub sinks: bool,
    /// Norms of the hidden width in one layer.
    pub norms: u64,
    /// Norms have biases (LayerNorm).
    pub norm_bias: Switch,
    /// Norms on queries and keys, and when.
    pub qk_norm: (QkNorm, Switch),
    /// What the fields do not say about experts.
    pub experts: experts::Experts,
    /// Which layers attend to a window only.
    pub windows: Windows,
    /// Learned positions.
    pub positions: Positions,
    /// A norm after the embedding.
    pub embedding_norm: bool,
    /// A norm after the last layer.
    pub final_norm: bool,
    /// The class ties output projection and embedding by default.
    pub tied: bool,
    /// The output projection has a bias.
    pub lm_head_bias: Switch,
}

/// Llama: RMSNorm before attention and feed-forward, gated feed-forward, biases by key (off),
/// rotary positions, output projection of its own.
pub(crate) const LLAMA: Style = Style {
    qkv_bias: Switch::Key("attention_bias", false),
    output_bias: Switch::Key("attention_bias", false),
    mlp_bias: Switch::Key("mlp_bias", false),
    gated: true,
    widening: None,
    sinks: false,
    norms: 2,
    norm_bias: Switch::Off,
    qk_norm: (QkNorm::None, Switch::Off),
    experts: experts::PLAIN,
    windows: Windows::None,
    positions: Positions::None,
    embedding_norm: false,
    final_norm: true,
    tied: false,
    lm_head_bias: Switch::Off,
};

/// Query heads, key–value heads and the width of a head.
///
/// # Errors
/// When one is missing or absurd.
pub(crate) fn heads(fields: &Fields<'_>) -> Result<(u32, u32, u32), SpecError> {
    let heads = fields.size("num_attention_heads")?;
    let kv_heads = fields.size_or("num_key_value_heads", heads)?;
    let head_dim = match fields.optional_size("head_dim")? {
        Some(width) => width,
        None => fields.size("hidden_size")? / heads,
    };
    if head_dim == 0 {
        return Err(fields.wrong(
            "num_attention_heads",
            "more heads than the hidden width has elements",
            "correct it, or take the model's original config.json",
        ));
    }
    Ok((heads, kv_heads, head_dim))
}

/// Grouped-query attention without a window.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn attention(fields: &Fields<'_>, style: &Style) -> Result<Mixer, SpecError> {
    let (heads, kv_heads, head_dim) = heads(fields)?;
    let qk_norm_parameters = match style.qk_norm {
        (_, when) if !when.read(fields)? => 0,
        (QkNorm::None, _) => 0,
        (QkNorm::Shared, _) => 2 * u64::from(head_dim),
        (QkNorm::SharedWithBias, _) => 4 * u64::from(head_dim),
        (QkNorm::WholeModel, _) => 2 * norm(fields, style)?,
        (QkNorm::Whole, _) => (u64::from(heads) + u64::from(kv_heads)) * u64::from(head_dim),
    };
    Ok(Mixer::GroupedQuery {
        heads,
        kv_heads,
        head_dim,
        value_head_dim: None,
        window: None,
        sinks: style.sinks,
        qkv_bias: style.qkv_bias.read(fields)?,
        output_bias: style.output_bias.read(fields)?,
        qk_norm_parameters,
        output_gate_size: 0,
        key_is_value: false,
        reuses_kv: false,
        indexer: None,
    })
}

/// The same attention with a window.
pub(crate) fn windowed(mut mixer: Mixer, last: Option<u32>) -> Mixer {
    if let Mixer::GroupedQuery { window, .. } = &mut mixer {
        *window = last;
    }
    mixer
}

/// The dense feed-forward block.
///
/// # Errors
/// When the width is missing or absurd.
pub(crate) fn dense(fields: &Fields<'_>, style: &Style) -> Result<FeedForward, SpecError> {
    let width = match (fields.optional_size("intermediate_size")?, style.widening) {
        (Some(width), _) => width.into(),
        (None, Some(factor)) => u64::from(factor) * u64::from(fields.size("hidden_size")?),
        (None, None) => return Err(fields.missing("intermediate_size")),
    };
    Ok(FeedForward::Dense {
        intermediate_size: width,
        gated: style.gated,
        bias: style.mlp_bias.read(fields)?,
    })
}

/// Elements of one norm of the hidden width.
///
/// # Errors
/// When the hidden width is missing or absurd.
pub(crate) fn norm(fields: &Fields<'_>, style: &Style) -> Result<u64, SpecError> {
    let width = u64::from(fields.size("hidden_size")?);
    Ok(if style.norm_bias.read(fields)? { 2 * width } else { width })
}

/// Input and output embeddings.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn embedding(fields: &Fields<'_>, style: &Style) -> Result<Embedding, SpecError> {
    let tied = match fields.optional_flag("tie_word_embeddings")? {
        Some(tied) => tied,
        None => fields.root().flag("tie_word_embeddings", style.tied)?,
    };
    let position_parameters = match style.positions {
        Positions::None => 0,
        Positions::Learned(more) => {
            let rows = fields.positions("max_position_embeddings")?;
            let rows = rows.ok_or_else(|| fields.missing("max_position_embeddings"))?;
            (rows + more).saturating_mul(fields.size("hidden_size")?.into())
        }
    };
    let norms = u64::from(style.embedding_norm) + u64::from(style.final_norm);
    Ok(Embedding {
        tied,
        position_parameters,
        per_layer_parameters: 0,
        lm_head_bias: style.lm_head_bias.read(fields)?,
        norm_parameters: norms * norm(fields, style)?,
    })
}

/// Adds up equal layers, in the order in which they first appear.
pub(crate) fn grouped(layers: impl IntoIterator<Item = LayerGroup>) -> Vec<LayerGroup> {
    let mut groups: Vec<LayerGroup> = vec![];
    for layer in layers {
        let same = |g: &&mut LayerGroup| LayerGroup { count: layer.count, ..(**g).clone() } == layer;
        match groups.iter_mut().find(same) {
            Some(group) => group.count = group.count.saturating_add(layer.count),
            None => groups.push(layer),
        }
    }
    groups
}

/// A model from its layers; the frame adds what is the same for every architecture.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn assemble(
    fields: &Fields<'_>,
    embedding: Embedding,
    layers: impl IntoIterator<Item = LayerGroup>,
) -> Result<ModelSpec, SpecError> {
    Ok(ModelSpec {
        id: String::new(),
        hf_id: None,
        architecture: String::new(),
        hidden_size: fields.size("hidden_size")?,
        vocab_size: fields.size("vocab_size")?,
        max_position_embeddings: fields.positions("max_position_embeddings")?,
        rotary_positions: None,
        embedding,
        layers: grouped(layers),
        vision: None,
        mtp: None,
        checkpoint: Checkpoint::plain(DataType::Bf16),
        checkpoint_bytes: None,
        source: None,
        warnings: vec![],
    })
}

/// A whole model of a style: grouped-query or latent attention and dense or expert feed-forward,
/// as the fields say.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn model(fields: &Fields<'_>, style: &Style) -> Result<ModelSpec, SpecError> {
    let feed_forward = experts::per_layer(fields, style, fields.layer_count()?)?;
    with_feed_forward(fields, style, feed_forward)
}

/// The same with the feed-forward part of each layer given.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn with_feed_forward(
    fields: &Fields<'_>,
    style: &Style,
    feed_forward: Vec<FeedForward>,
) -> Result<ModelSpec, SpecError> {
    let count = fields.layer_count()?;
    let mixers = if fields.has("kv_lora_rank") {
        latent::per_layer(fields, count)?
    } else {
        let plain = attention(fields, style)?;
        let windows = windows::per_layer(fields, style.windows, count)?;
        windows.into_iter().map(|window| windowed(plain.clone(), window)).collect()
    };
    let norm_parameters = style.norms * norm(fields, style)?;
    let layers = mixers.into_iter().zip(feed_forward).map(|(mixer, feed_forward)| LayerGroup {
        count: 1,
        mixer,
        feed_forward,
        norm_parameters,
        other_parameters: 0,
    });
    assemble(fields, embedding(fields, style)?, layers)
}
