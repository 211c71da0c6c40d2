//! Nemotron-H and Nemotron 3: every layer is one thing only, by a pattern. Shapes follow the
//! transformers class `NemotronHForCausalLM`. The router's correction bias is a buffer there, and the
//! published counts leave it out; so does this one.

use super::decoder::{self, LLAMA, Style, Switch};
use super::layers::layer;
use super::{Family, Fields};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[("nemotron_h", read)];

const STYLE: Style = Style {
    qkv_bias: Switch::Key("attention_bias", false),
    output_bias: Switch::Key("attention_bias", false),
    mlp_bias: Switch::Key("mlp_bias", false),
    gated: false,
    ..LLAMA
};

/// What one layer of the pattern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Mamba,
    Attention,
    Mlp,
    Moe,
}

fn read(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let blocks = blocks(fields, "hybrid_override_pattern", "layers_block_type")?;
    let blocks = blocks.ok_or_else(|| fields.missing("hybrid_override_pattern"))?;
    let layers = groups(fields, &blocks)?;
    decoder::assemble(fields, decoder::embedding(fields, &STYLE)?, layers)
}

/// The layers of one multi-token-prediction module, when the fields describe one.
///
/// # Errors
/// When the pattern or a size makes no sense.
pub(crate) fn mtp_layers(fields: &Fields<'_>) -> Result<Option<Vec<LayerGroup>>, SpecError> {
    let blocks = blocks(fields, "mtp_hybrid_override_pattern", "mtp_layers_block_type")?;
    blocks.map(|blocks| groups(fields, &blocks)).transpose()
}

/// The pattern: one character a layer (`M` Mamba-2, `*` attention, `-` feed-forward, `E` experts), or
/// one word a layer.
fn blocks<'a>(fields: &Fields<'a>, pattern: &'a str, list: &'a str) -> Result<Option<Vec<Block>>, SpecError> {
    let fix = "take the model's original config.json";
    if let Some(words) = fields.texts(list)? {
        let block = |word: &str| match word {
            "mamba" | "linear_attention" => Ok(Block::Mamba),
            "attention" | "full_attention" => Ok(Block::Attention),
            "mlp" => Ok(Block::Mlp),
            "moe" => Ok(Block::Moe),
            other => Err(fields.wrong(list, &format!("knows no layer `{}`", other.escape_debug()), fix)),
        };
        return words.into_iter().map(block).collect::<Result<_, _>>().map(Some);
    }
    let Some(pattern_text) = fields.text(pattern)? else { return Ok(None) };
    let block = |c: char| match c {
        'M' => Ok(Block::Mamba),
        '*' => Ok(Block::Attention),
        '-' => Ok(Block::Mlp),
        'E' => Ok(Block::Moe),
        other => Err(fields.wrong(pattern, &format!("knows no layer `{}`", other.escape_debug()), fix)),
    };
    pattern_text.chars().map(block).collect::<Result<_, _>>().map(Some)
}

fn groups(fields: &Fields<'_>, blocks: &[Block]) -> Result<Vec<LayerGroup>, SpecError> {
    let norm = decoder::norm(fields, &STYLE)?;
    let mut all: Vec<LayerGroup> = vec![];
    for kind in [Block::Mamba, Block::Attention, Block::Mlp, Block::Moe] {
        let count = blocks.iter().filter(|b| **b == kind).count() as u32;
        if count == 0 {
            continue;
        }
        let (mixer, feed_forward) = match kind {
            Block::Mamba => (mamba(fields)?, FeedForward::None),
            Block::Attention => (decoder::attention(fields, &STYLE)?, FeedForward::None),
            Block::Mlp => (Mixer::None, decoder::dense(fields, &STYLE)?),
            Block::Moe => (Mixer::None, experts(fields)?),
        };
        all.push(LayerGroup { count, ..layer(mixer, feed_forward, norm) });
    }
    Ok(all)
}

fn mamba(fields: &Fields<'_>) -> Result<Mixer, SpecError> {
    Ok(Mixer::Mamba2 {
        heads: fields.size_or("mamba_num_heads", 128)?,
        head_dim: fields.size_or("mamba_head_dim", 64)?,
        state_size: fields.size_or("ssm_state_size", 128)?,
        groups: fields.size_or("n_groups", 8)?,
        conv_kernel: fields.size_or("conv_kernel", 4)?,
        conv_bias: fields.flag("use_conv_bias", true)?,
        bias: fields.flag("use_bias", false)?,
        without_norm: false,
    })
}

/// Experts without a gate; in Nemotron 3 Super and Ultra they work in a latent space.
fn experts(fields: &Fields<'_>) -> Result<FeedForward, SpecError> {
    let width = fields.size("moe_intermediate_size")?;
    let shared = match fields.count_or("n_shared_experts", 1)? {
        0 => 0,
        _ => fields.size_or("moe_shared_expert_intermediate_size", width)?,
    };
    Ok(FeedForward::Moe {
        experts: fields.size("num_experts")?,
        top_k: fields.size("num_experts_per_tok")?,
        intermediate_size: width.into(),
        gated: false,
        bias: false,
        shared_intermediate_size: shared.into(),
        shared_gate: false,
        latent_size: fields.optional_size("moe_latent_size")?.unwrap_or(0).into(),
        router_other_parameters: 0,
        zero_experts: 0,
    })
}
