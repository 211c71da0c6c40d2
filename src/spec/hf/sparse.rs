//! Expert models whose layers differ in attention or in what runs beside the experts: MiniMax-M3,
//! LongCat-Flash, Step 3.7, MiMo-V2-Flash.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::layers::{counts, elements, layer, texts};
use super::{Family, Fields, experts, latent};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, Indexer, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("minimax_m3", minimax_m3),
    ("minimax_m3_vl", minimax_m3),
    ("minimax_m3_vl_text", minimax_m3),
    ("longcat_flash", longcat),
    ("step3p5", step),
    ("step3p7", step),
    ("mimo_v2_flash", mimo),
    ("mimo_v2", mimo),
];

const CORRECTED: experts::Experts = experts::Experts { correction: Switch::On, ..experts::PLAIN };

const NORMED: Style =
    Style { qk_norm: (QkNorm::Shared, Switch::On), mlp_bias: Switch::Off, experts: CORRECTED, ..LLAMA };

/// MiniMax-M3: in most layers four indexer heads with one shared key pick blocks of the past. Source:
/// transformers `modeling_minimax_m3_vl.py`.
fn minimax_m3(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style {
        qk_norm: (QkNorm::Shared, Switch::Key("use_qk_norm", true)),
        experts: experts::Experts { correction: Switch::Key("use_routing_bias", true), ..experts::PLAIN },
        ..NORMED
    };
    let layers = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let full = decoder::attention(fields, &style)?;
    let mut sparse = full.clone();
    let settings = fields.nested("sparse_attention_config")?;
    let marks = match &settings {
        Some(settings) if settings.flag("use_sparse_attention", true)? => {
            if let Mixer::GroupedQuery { indexer, .. } = &mut sparse {
                *indexer = Some(minimax_indexer(settings, hidden)?);
            }
            counts(settings, "sparse_attention_freq", layers)?.unwrap_or_else(|| vec![1; layers as usize])
        }
        _ => vec![0; layers as usize],
    };
    let mut experts = experts::block(fields, &style)?;
    if let FeedForward::Moe { intermediate_size, shared_intermediate_size, .. } = &mut experts {
        let width = fields.size_or("shared_intermediate_size", *intermediate_size as u32)?;
        *shared_intermediate_size = u64::from(fields.count_or("n_shared_experts", 1)?) * u64::from(width);
    }
    let width = match fields.optional_size("dense_intermediate_size")? {
        Some(width) => width,
        None => fields.size("intermediate_size")?,
    };
    let dense = FeedForward::Dense { intermediate_size: width.into(), gated: true, bias: false };
    let routed = experts::sparse_layers(fields, layers)?;
    let norms = 2 * decoder::norm(fields, &style)?;
    let all = marks.into_iter().zip(routed).map(|(mark, routed)| {
        let mixer = if mark > 0 { sparse.clone() } else { full.clone() };
        layer(mixer, if routed { experts.clone() } else { dense.clone() }, norms)
    });
    decoder::assemble(fields, decoder::embedding(fields, &style)?, all)
}

/// Query projection of all indexer heads, one key projection, a norm on each.
fn minimax_indexer(settings: &Fields<'_>, hidden: u64) -> Result<Indexer, SpecError> {
    let heads = settings.size_or("sparse_num_index_heads", 4)?;
    let head_dim = settings.size_or("sparse_index_dim", 128)?;
    let blocks = settings.size_or("sparse_topk_blocks", 16)?;
    let (h, c) = (u64::from(heads), u64::from(head_dim));
    Ok(Indexer {
        heads,
        head_dim,
        top_k: blocks.saturating_mul(settings.size_or("sparse_block_size", 128)?),
        parameters: elements(&[&[hidden, h + 1, c], &[2, c]]),
        reused: false,
    })
}

/// LongCat-Flash: each layer is two latent-attention sublayers with a dense block each, and experts
/// (some of them without weights) beside the first. Read as two layers; the first dense block stands
/// as the shared expert. Source: transformers `modeling_longcat_flash.py`.
fn longcat(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { mlp_bias: Switch::Off, experts: CORRECTED, ..LLAMA };
    let layers = fields.layer_count()?;
    let mixer = latent::attention(fields)?;
    let norms = 2 * decoder::norm(fields, &style)?;
    let dense = decoder::dense(fields, &style)?;
    let mut experts = experts::block(fields, &style)?;
    if let (
        FeedForward::Moe { experts, shared_intermediate_size, zero_experts, router_other_parameters, .. },
        FeedForward::Dense { intermediate_size, .. },
    ) = (&mut experts, &dense)
    {
        *shared_intermediate_size = *intermediate_size;
        *zero_experts = fields.count_or("zero_expert_num", 0)?.into();
        *router_other_parameters = u64::from(*experts) + *zero_experts;
    }
    let both = [layer(mixer.clone(), experts, norms), layer(mixer, dense, norms)];
    let all = (0..layers).flat_map(|_| both.clone());
    decoder::assemble(fields, decoder::embedding(fields, &style)?, all)
}

/// Heads of the windowed layers of Step 3.5 and 3.7 where the configuration leaves them out: those of
/// the released checkpoints.
const STEP_WINDOWED_HEADS: u32 = 96;

/// Step 3.5 and 3.7: more query heads in windowed layers, one gate value a head. Source: transformers
/// `modeling_step3p7.py`.
fn step(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let mut warnings = vec![];
    let types = texts(fields, "layer_types", layers)?;
    let local = types.map_or_else(
        || vec![false; layers as usize],
        |types| types.into_iter().map(|t| t.starts_with("sliding")).collect(),
    );
    let full = step_attention(fields, None)?;
    let windowed = step_attention(fields, Some(step_heads(fields, &mut warnings)?))?;
    let mut experts = experts::block(fields, &NORMED)?;
    if let FeedForward::Moe { shared_intermediate_size, .. } = &mut experts {
        *shared_intermediate_size = fields.size_or("share_expert_dim", 1280)?.into();
    }
    let dense = decoder::dense(fields, &NORMED)?;
    let routed = step_experts(fields, layers)?;
    let norms = 2 * decoder::norm(fields, &NORMED)?;
    let all = local.into_iter().zip(routed).map(|(local, routed)| {
        let mixer = if local { windowed.clone() } else { full.clone() };
        layer(mixer, if routed { experts.clone() } else { dense.clone() }, norms)
    });
    let mut spec = decoder::assemble(fields, decoder::embedding(fields, &NORMED)?, all)?;
    spec.warnings = warnings;
    Ok(spec)
}

/// Query heads in windowed layers.
fn step_heads(fields: &Fields<'_>, warnings: &mut Vec<String>) -> Result<u32, SpecError> {
    if let Some(heads) = fields.optional_size("num_sliding_attention_heads")? {
        return Ok(heads);
    }
    if let Some(other) = fields.nested("attention_other_setting")? {
        return other.size("num_attention_heads");
    }
    warnings.push(format!(
        "no num_sliding_attention_heads; assumed the {STEP_WINDOWED_HEADS} of the released models"
    ));
    Ok(STEP_WINDOWED_HEADS)
}

/// Attention with one gate a head; with the heads of a windowed layer, or as the fields say.
fn step_attention(fields: &Fields<'_>, windowed: Option<u32>) -> Result<Mixer, SpecError> {
    let mut mixer = decoder::attention(fields, &NORMED)?;
    if let Mixer::GroupedQuery { heads, kv_heads, window, output_gate_size, .. } = &mut mixer {
        *kv_heads = fields.size_or("num_attention_groups", *kv_heads)?;
        if let Some(count) = windowed {
            *heads = count;
            *window = Some(fields.size_or("sliding_window", 512)?);
        }
        *output_gate_size = u64::from(*heads);
    }
    Ok(mixer)
}

/// Layers with experts: `mlp_layer_types`, `moe_layers_enum` ("3,4,5" or a list), or all from the
/// fourth on.
fn step_experts(fields: &Fields<'_>, layers: u32) -> Result<Vec<bool>, SpecError> {
    if fields.has("mlp_layer_types") || !fields.has("moe_layers_enum") {
        let first = fields.count_or("first_k_dense_replace", 3)?;
        return Ok(match texts(fields, "mlp_layer_types", layers)? {
            Some(types) => types.into_iter().map(|t| t != "dense").collect(),
            None => (0..layers).map(|i| i >= first).collect(),
        });
    }
    let named: Vec<u32> = if fields.value("moe_layers_enum").is_some_and(serde_json::Value::is_string) {
        let text = fields.text("moe_layers_enum")?.unwrap_or_default();
        let number = |part: &str| part.trim().parse().ok();
        text.split(',').map(number).collect::<Option<_>>().ok_or_else(|| {
            fields.wrong("moe_layers_enum", "is no list of layer numbers", "write \"3,4,5\"")
        })?
    } else {
        fields.counts("moe_layers_enum")?.unwrap_or_default()
    };
    Ok((0..layers).map(|i| named.contains(&i)).collect())
}

/// MiMo-V2-Flash: more key–value heads and a sink in windowed layers, values narrower than keys.
/// Source: transformers `modeling_mimo_v2_flash.py`.
fn mimo(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { mlp_bias: Switch::Off, experts: CORRECTED, ..LLAMA };
    let layers = fields.layer_count()?;
    let local: Vec<bool> = match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t.starts_with("sliding")).collect(),
        None => match counts(fields, "hybrid_layer_pattern", layers)? {
            Some(marks) => marks.into_iter().map(|mark| mark == 1).collect(),
            None => (0..layers).map(|i| i != 0 && (i + 1) % 6 != 0).collect(),
        },
    };
    let (full, windowed) = (mimo_attention(fields, &style, false)?, mimo_attention(fields, &style, true)?);
    let norms = 2 * decoder::norm(fields, &style)?;
    let all =
        local.into_iter().zip(experts::per_layer(fields, &style, layers)?).map(|(local, feed_forward)| {
            layer(if local { windowed.clone() } else { full.clone() }, feed_forward, norms)
        });
    decoder::assemble(fields, decoder::embedding(fields, &style)?, all)
}

/// The attention of a full or a windowed layer of MiMo-V2-Flash.
///
/// # Errors
/// When a size is missing or absurd.
fn mimo_attention(fields: &Fields<'_>, style: &Style, local: bool) -> Result<Mixer, SpecError> {
    let mut mixer = decoder::attention(fields, style)?;
    if let Mixer::GroupedQuery { heads, kv_heads, head_dim, value_head_dim, window, sinks, .. } = &mut mixer {
        let value = fields.size_or("v_head_dim", *head_dim)?;
        *value_head_dim = Some(value);
        if local {
            *heads = fields.size_or("swa_num_attention_heads", *heads)?;
            *kv_heads = fields.size_or("swa_num_key_value_heads", *kv_heads)?;
            *head_dim = fields.size_or("swa_head_dim", *head_dim)?;
            *value_head_dim = Some(fields.size_or("swa_v_head_dim", value)?);
            *window = Some(fields.size_or("sliding_window", 128)?);
            *sinks = fields.flag("add_swa_attention_sink_bias", true)?;
        } else {
            *sinks = fields.flag("add_full_attention_sink_bias", false)?;
        }
    }
    Ok(mixer)
}
