//! Mamba and the hybrids that mix it with attention. Shapes follow the transformers modelling
//! classes of the same `model_type`.

use super::decoder::{self, LLAMA, Style, Switch};
use super::layers::{layer, size_or_auto, texts};
use super::{Family, Fields, experts};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("mamba", |f| pure(f, true)),
    ("falcon_mamba", |f| pure(f, false)),
    ("mamba2", pure2),
    ("jamba", jamba),
    ("granitemoehybrid", granite),
    ("bamba", bamba),
    ("falcon_h1", falcon_h1),
];

/// Attention and feed-forward without biases.
const PLAIN: Style =
    Style { qkv_bias: Switch::Off, output_bias: Switch::Off, mlp_bias: Switch::Off, ..LLAMA };

/// Mamba-1 in every layer, nothing else (Mamba, Falcon-Mamba). The norms on dt, B and C of
/// Falcon-Mamba have no weights.
fn pure(fields: &Fields<'_>, tied: bool) -> Result<ModelSpec, SpecError> {
    let style = Style { tied, ..PLAIN };
    let hidden = fields.size("hidden_size")?;
    let inner = inner_size(fields, "intermediate_size", "expand")?;
    let mixer = Mixer::Mamba1 {
        inner_size: inner,
        state_size: fields.size_or("state_size", 16)?,
        time_step_rank: size_or_auto(fields, "time_step_rank", hidden.div_ceil(16))?,
        conv_kernel: fields.size_or("conv_kernel", 4)?,
        conv_bias: fields.flag("use_conv_bias", true)?,
        bias: fields.flag("use_bias", false)?,
        norm_parameters: 0,
    };
    let group = LayerGroup {
        count: fields.layer_count()?,
        ..layer(mixer, FeedForward::None, decoder::norm(fields, &style)?)
    };
    decoder::assemble(fields, decoder::embedding(fields, &style)?, [group])
}

/// Mamba-2 in every layer, nothing else.
fn pure2(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let heads = fields.size_or("num_heads", 128)?;
    let inner = inner_size(fields, "intermediate_size", "expand")?;
    let mixer = Mixer::Mamba2 {
        heads,
        head_dim: fields.size_or("head_dim", inner / heads)?,
        state_size: fields.size_or("state_size", 128)?,
        groups: fields.size_or("n_groups", 8)?,
        conv_kernel: fields.size_or("conv_kernel", 4)?,
        conv_bias: fields.flag("use_conv_bias", true)?,
        bias: fields.flag("use_bias", false)?,
        without_norm: false,
    };
    let group = LayerGroup {
        count: fields.layer_count()?,
        ..layer(mixer, FeedForward::None, decoder::norm(fields, &PLAIN)?)
    };
    decoder::assemble(fields, decoder::embedding(fields, &PLAIN)?, [group])
}

/// The inner width: given, or the hidden width times an expansion (2 by default).
fn inner_size<'a>(fields: &Fields<'a>, key: &'a str, expand: &'a str) -> Result<u32, SpecError> {
    match fields.optional_size(key)? {
        Some(width) => Ok(width),
        None => Ok(fields.size("hidden_size")?.saturating_mul(fields.size_or(expand, 2)?)),
    }
}

/// Jamba: attention in every eighth layer, Mamba-1 with normed dt, B and C in the others, experts in
/// every second layer.
fn jamba(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let hidden = fields.size("hidden_size")?;
    let state_size = fields.size_or("mamba_d_state", 16)?;
    let time_step_rank = size_or_auto(fields, "mamba_dt_rank", hidden.div_ceil(16))?;
    let mamba = Mixer::Mamba1 {
        inner_size: hidden.saturating_mul(fields.size_or("mamba_expand", 2)?),
        state_size,
        time_step_rank,
        conv_kernel: fields.size_or("mamba_d_conv", 4)?,
        conv_bias: fields.flag("mamba_conv_bias", true)?,
        bias: fields.flag("mamba_proj_bias", false)?,
        norm_parameters: u64::from(time_step_rank) + 2 * u64::from(state_size),
    };
    let attention = decoder::attention(fields, &PLAIN)?;
    let dense = decoder::dense(fields, &PLAIN)?;
    let experts =
        if fields.count_or("num_experts", 1)? > 1 { experts::block(fields, &PLAIN)? } else { dense.clone() };
    let every = |period, offset, defaults: (u32, u32)| {
        let (period, offset) = (fields.size_or(period, defaults.0)?, fields.count_or(offset, defaults.1)?);
        Ok::<_, SpecError>(move |i: u32| i % period == offset)
    };
    let attends = every("attn_layer_period", "attn_layer_offset", (8, 4))?;
    let routes = every("expert_layer_period", "expert_layer_offset", (2, 1))?;
    let norms = 2 * decoder::norm(fields, &PLAIN)?;
    let layer = |i| {
        let mixer = if attends(i) { attention.clone() } else { mamba.clone() };
        layer(mixer, if routes(i) { experts.clone() } else { dense.clone() }, norms)
    };
    decoder::assemble(fields, decoder::embedding(fields, &PLAIN)?, (0..layers).map(layer))
}

/// Mamba-2 under the names that Bamba gave its sizes.
fn bamba_mixer(fields: &Fields<'_>, state_size: u32) -> Result<Mixer, SpecError> {
    let inner = inner_size(fields, "mamba_d_ssm", "mamba_expand")?;
    let heads = fields.size_or("mamba_n_heads", (inner / 64).max(1))?;
    Ok(Mixer::Mamba2 {
        heads,
        head_dim: size_or_auto(fields, "mamba_d_head", (inner / heads).max(1))?,
        state_size: fields.size_or("mamba_d_state", state_size)?,
        groups: fields.size_or("mamba_n_groups", 1)?,
        conv_kernel: fields.size_or("mamba_d_conv", 4)?,
        conv_bias: fields.flag("mamba_conv_bias", true)?,
        bias: fields.flag("mamba_proj_bias", false)?,
        without_norm: false,
    })
}

/// Bamba: Mamba-2 with attention in the layers that `attn_layer_indices` names, dense feed-forward.
fn bamba(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { qkv_bias: LLAMA.qkv_bias, output_bias: LLAMA.output_bias, ..PLAIN };
    let (mamba, attention) = (bamba_mixer(fields, 256)?, decoder::attention(fields, &style)?);
    let attends = fields.counts("attn_layer_indices")?.unwrap_or_default();
    let dense = decoder::dense(fields, &style)?;
    let norms = 2 * decoder::norm(fields, &style)?;
    let layer = |i| {
        let mixer = if attends.contains(&i) { attention.clone() } else { mamba.clone() };
        layer(mixer, dense.clone(), norms)
    };
    let layers = fields.layer_count()?;
    decoder::assemble(fields, decoder::embedding(fields, &style)?, (0..layers).map(layer))
}

/// Granite 4: Mamba-2 or attention by `layer_types`, experts with a shared one, or the shared one
/// alone. Reduced configurations without `layer_types` are read like the released 4.0 models: with
/// experts, attention in layers 5, 15, 25 …; without, attention in all.
fn granite(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let mut warnings = vec![];
    let experts = fields.count_or("num_experts", 0)?;
    let attends: Vec<bool> = match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t != "mamba" && t != "linear_attention").collect(),
        None => {
            let all = experts == 0 && !fields.has("mamba_n_heads");
            let which = if all {
                "all layers"
            } else {
                "layers 5, 15, 25 …, Mamba-2 of the released 4.0-H shape in the others"
            };
            warnings.push(format!("no layer_types; assumed attention in {which}"));
            (0..layers).map(|i| all || i % 10 == 5).collect()
        }
    };
    let tied = !fields.has("tie_word_embeddings") && !warnings.is_empty();
    let style = Style { qkv_bias: LLAMA.qkv_bias, output_bias: LLAMA.output_bias, tied, ..PLAIN };
    let feed_forward = if experts > 0 {
        let routed = experts::block(fields, &style)?;
        with_shared(fields, routed)?
    } else {
        let width = fields.optional_size("shared_intermediate_size")?;
        let width = if let Some(width) = width { width } else { fields.size("intermediate_size")? };
        FeedForward::Dense { intermediate_size: width.into(), gated: true, bias: false }
    };
    let (mamba, attention) = (bamba_mixer(fields, 128)?, decoder::attention(fields, &style)?);
    let norms = 2 * decoder::norm(fields, &style)?;
    let layer = |attends: bool| {
        let mixer = if attends { attention.clone() } else { mamba.clone() };
        layer(mixer, feed_forward.clone(), norms)
    };
    let embedding = decoder::embedding(fields, &style)?;
    let mut spec = decoder::assemble(fields, embedding, attends.into_iter().map(layer))?;
    spec.warnings = warnings;
    Ok(spec)
}

/// The shared expert of Granite 4, twice as wide as a routed one where its width is not given.
fn with_shared(fields: &Fields<'_>, routed: FeedForward) -> Result<FeedForward, SpecError> {
    let given = fields.optional_size("shared_intermediate_size")?.map(u64::from);
    Ok(match routed {
        FeedForward::Moe { experts, top_k, intermediate_size, gated, bias, .. } => FeedForward::Moe {
            experts,
            top_k,
            intermediate_size,
            gated,
            bias,
            shared_intermediate_size: given.unwrap_or(2 * intermediate_size),
            shared_gate: false,
            latent_size: 0,
            router_other_parameters: 0,
            zero_experts: 0,
        },
        other => other,
    })
}

/// Falcon-H1: attention and Mamba-2 side by side in every layer. Read as two layers, of which the
/// second has the feed-forward part, so that counts, cache and state add up.
fn falcon_h1(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let style = LLAMA;
    let attention = decoder::attention(fields, &style)?;
    let mut mamba = bamba_mixer(fields, 256)?;
    if let Mixer::Mamba2 { without_norm, .. } = &mut mamba {
        *without_norm = !fields.flag("mamba_rms_norm", false)?;
    }
    let norm = decoder::norm(fields, &style)?;
    let groups = [
        LayerGroup { count: layers, ..layer(mamba, FeedForward::None, 0) },
        LayerGroup { count: layers, ..layer(attention, decoder::dense(fields, &style)?, 2 * norm) },
    ];
    let mut spec = decoder::assemble(fields, decoder::embedding(fields, &style)?, groups)?;
    spec.warnings
        .push(format!("attention and Mamba run side by side; {layers} layers are counted as {}", 2 * layers));
    Ok(spec)
}
