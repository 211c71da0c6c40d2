//! Hybrids of attention and gated delta networks: Qwen3-Next, Qwen3.5, Kimi-Linear and Kimi-K3; with
//! them LFM2, whose other layers are short convolutions, and MiniMax-Text-01 with lightning attention.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::layers::{counts, layer, texts};
use super::{Family, Fields, experts, latent};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("qwen3_next", qwen),
    ("qwen3_5", qwen),
    ("qwen3_5_text", qwen),
    ("qwen3_5_moe", qwen),
    ("qwen3_5_moe_text", qwen),
    ("kimi_linear", kimi),
    ("kimi_k3", kimi),
    ("lfm2", lfm2),
    ("lfm2_moe", lfm2),
    ("minimax", minimax),
    ("minimax_text_01", minimax),
    ("minimax_m1", minimax),
];

const QWEN: Style = Style {
    mlp_bias: Switch::Off,
    qk_norm: (QkNorm::Shared, Switch::On),
    experts: experts::Experts { shared_gate: true, ..experts::PLAIN },
    ..LLAMA
};

/// The full attention of Qwen3-Next and Qwen3.5, gated by as many further outputs of the query projection.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn qwen_attention(fields: &Fields<'_>) -> Result<Mixer, SpecError> {
    let mut mixer = decoder::attention(fields, &QWEN)?;
    if let Mixer::GroupedQuery { heads, head_dim, output_gate_size, .. } = &mut mixer
        && fields.flag("attn_output_gate", true)?
    {
        *output_gate_size = u64::from(*heads) * u64::from(*head_dim);
    }
    Ok(mixer)
}

fn qwen(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let delta = Mixer::GatedDeltaNet {
        key_heads: fields.size_or("linear_num_key_heads", 16)?,
        value_heads: fields.size_or("linear_num_value_heads", 32)?,
        key_head_dim: fields.size_or("linear_key_head_dim", 128)?,
        value_head_dim: fields.size_or("linear_value_head_dim", 128)?,
        conv_kernel: fields.size_or("linear_conv_kernel_dim", 4)?,
    };
    let attention = qwen_attention(fields)?;
    let full: Vec<bool> = match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t == "full_attention").collect(),
        None => {
            let every = fields.size_or("full_attention_interval", 4)?;
            (0..layers).map(|i| (i + 1) % every == 0).collect()
        }
    };
    let norms = 2 * decoder::norm(fields, &QWEN)?;
    let pairs = full.into_iter().zip(experts::per_layer(fields, &QWEN, layers)?);
    let layers = pairs.map(|(full, feed_forward)| {
        layer(if full { attention.clone() } else { delta.clone() }, feed_forward, norms)
    });
    decoder::assemble(fields, decoder::embedding(fields, &QWEN)?, layers)
}

/// Kimi-Linear and Kimi-K3: Kimi Delta Attention, and latent attention in the layers that
/// `linear_attn_config` names (from 1). K3 gates the attention output, routes in a latent space and
/// mixes earlier layers into each (attention residuals: a norm and a scoring row before each half
/// and before the output). Source: vLLM `kimi_k3/nvidia/model.py`.
fn kimi(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { experts: experts::Experts { correction: Switch::On, ..experts::PLAIN }, ..LLAMA };
    let layers = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let (delta, full) = kimi_delta(fields, layers)?;
    let mut attention = latent::attention(fields)?;
    if let Mixer::Latent { heads, v_head_dim, output_gate_size, .. } = &mut attention
        && fields.flag("mla_use_output_gate", false)?
    {
        *output_gate_size = u64::from(*heads) * u64::from(*v_head_dim);
    }
    let latent_size = fields.optional_size("routed_expert_hidden_size")?.map_or(0, u64::from);
    let latent_norm = if fields.flag("latent_moe_use_norm", false)? { latent_size } else { 0 };
    let residuals = fields.has("attn_res_block_size");
    let norms = 2 * hidden;
    let make = |(i, feed_forward): (u32, FeedForward)| {
        let feed_forward = in_latent_space(feed_forward, latent_size, latent_norm);
        let mixer = if full.contains(&i) { attention.clone() } else { delta.clone() };
        LayerGroup {
            other_parameters: if residuals { 4 * hidden } else { 0 },
            ..layer(mixer, feed_forward, norms)
        }
    };
    let all = (0..layers).zip(experts::per_layer(fields, &style, layers)?).map(make);
    let mut embedding = decoder::embedding(fields, &style)?;
    if residuals {
        embedding.norm_parameters += 2 * hidden;
    }
    decoder::assemble(fields, embedding, all)
}

/// Kimi Delta Attention and the layers, from 0, that have full attention instead: `linear_attn_config`
/// counts them from 1; transformers 5 writes `layer_types` and `linear_*`.
fn kimi_delta(fields: &Fields<'_>, layers: u32) -> Result<(Mixer, Vec<u32>), SpecError> {
    let Some(linear) = fields.nested("linear_attn_config")? else {
        let types = texts(fields, "layer_types", layers)?;
        let types = types.ok_or_else(|| fields.missing("linear_attn_config"))?;
        let full = (0..).zip(types).filter(|(_, t)| *t == "full_attention").map(|(i, _)| i).collect();
        let delta = Mixer::KimiDelta {
            heads: fields.size("linear_num_heads")?,
            head_dim: fields.size("linear_head_dim")?,
            conv_kernel: fields.size_or("linear_conv_kernel_dim", 4)?,
            full_rank_gate: false,
            full_rank_decay: false,
        };
        return Ok((delta, full));
    };
    let full = linear.counts("full_attn_layers")?.ok_or_else(|| linear.missing("full_attn_layers"))?;
    let delta = Mixer::KimiDelta {
        heads: linear.size("num_heads")?,
        head_dim: linear.size("head_dim")?,
        conv_kernel: linear.size_or("short_conv_kernel_size", 4)?,
        full_rank_gate: linear.flag("use_full_rank_gate", false)?,
        full_rank_decay: false,
    };
    Ok((delta, full.into_iter().map(|i| i.saturating_sub(1)).collect()))
}

/// The same experts in a latent space, with a norm on what comes out of it.
fn in_latent_space(feed_forward: FeedForward, size: u64, norm: u64) -> FeedForward {
    match feed_forward {
        FeedForward::Moe {
            experts,
            top_k,
            intermediate_size,
            gated,
            bias,
            shared_intermediate_size,
            shared_gate,
            router_other_parameters,
            zero_experts,
            ..
        } => FeedForward::Moe {
            experts,
            top_k,
            intermediate_size,
            gated,
            bias,
            shared_intermediate_size,
            shared_gate,
            latent_size: size,
            router_other_parameters: router_other_parameters + norm,
            zero_experts,
        },
        other => other,
    }
}

/// LFM2: gated short convolutions, attention in the layers that `layer_types` or `full_attn_idxs` names.
fn lfm2(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style {
        qkv_bias: Switch::Off,
        output_bias: Switch::Off,
        mlp_bias: Switch::Off,
        qk_norm: (QkNorm::Shared, Switch::On),
        experts: experts::Experts { correction: Switch::Key("use_expert_bias", true), ..experts::PLAIN },
        tied: true,
        ..LLAMA
    };
    let layers = fields.layer_count()?;
    let width = fields.size("hidden_size")?;
    let convolution = Mixer::ShortConv {
        width,
        conv_kernel: fields.size_or("conv_L_cache", 3)?,
        bias: fields.flag("conv_bias", false)?,
    };
    let attention = decoder::attention(fields, &style)?;
    let attends: Vec<bool> = match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t == "full_attention").collect(),
        None => {
            let named = fields.counts("full_attn_idxs")?.ok_or_else(|| fields.missing("layer_types"))?;
            (0..layers).map(|i| named.contains(&i)).collect()
        }
    };
    let dense = FeedForward::Dense { intermediate_size: lfm2_width(fields)?, gated: true, bias: false };
    let experts = match fields.count_or("num_experts", 0)? {
        0 => dense.clone(),
        _ => experts::block(fields, &style)?,
    };
    let first = fields.count_or("num_dense_layers", 2)? as usize;
    let make = |(i, attends): (usize, bool)| {
        let mixer = if attends { attention.clone() } else { convolution.clone() };
        layer(mixer, if i < first { dense.clone() } else { experts.clone() }, 2 * u64::from(width))
    };
    let layers = attends.into_iter().enumerate().map(make);
    decoder::assemble(fields, decoder::embedding(fields, &style)?, layers)
}

/// The dense width, which LFM2 without experts cuts to two thirds and rounds up to a multiple.
fn lfm2_width(fields: &Fields<'_>) -> Result<u64, SpecError> {
    let width = match fields.optional_size("intermediate_size")? {
        Some(width) => width,
        None => fields.size("block_ff_dim")?,
    };
    let adjusts = fields.flag("block_auto_adjust_ff_dim", !fields.has("num_experts"))?;
    if !adjusts || fields.has("num_experts") {
        return Ok(width.into());
    }
    let factor = fields.value("block_ffn_dim_multiplier").and_then(serde_json::Value::as_f64).unwrap_or(1.0);
    let of = u64::from(fields.size_or("block_multiple_of", 256)?);
    let third = (2 * u64::from(width)) / 3;
    Ok(((factor.clamp(0.01, 100.0) * third as f64) as u64).div_ceil(of) * of)
}

/// MiniMax-Text-01 and M1: lightning attention, softmax attention where `layer_types` or
/// `attn_type_list` says, experts in all layers.
fn minimax(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { qkv_bias: Switch::Off, output_bias: Switch::Off, mlp_bias: Switch::Off, ..LLAMA };
    let layers = fields.layer_count()?;
    let (heads, _, head_dim) = decoder::heads(fields)?;
    let lightning = Mixer::Lightning { heads, head_dim };
    let attention = decoder::attention(fields, &style)?;
    let full: Vec<bool> = match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t == "full_attention").collect(),
        None => {
            let kinds = counts(fields, "attn_type_list", layers)?;
            let kinds = kinds.ok_or_else(|| fields.missing("attn_type_list"))?;
            kinds.into_iter().map(|kind| kind == 1).collect()
        }
    };
    let experts = experts::block(fields, &style)?;
    let norms = 2 * decoder::norm(fields, &style)?;
    let make = |full| layer(if full { attention.clone() } else { lightning.clone() }, experts.clone(), norms);
    let layers = full.into_iter().map(make);
    decoder::assemble(fields, decoder::embedding(fields, &style)?, layers)
}
