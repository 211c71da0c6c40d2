//! Further hybrids of attention and linear attention: OLMo Hybrid (gated delta networks), Ling 3 and
//! GLM-5.3 (Kimi delta attention beside latent attention). Shapes follow the transformers classes of
//! the same name.

use super::decoder::{self, LLAMA, Style};
use super::dense::OLMO2;
use super::experts::{self, CORRECTED};
use super::layers::{elements, layer, texts};
use super::{Family, Fields, latent};
use crate::spec::SpecError;
use crate::spec::model::{Indexer, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] =
    &[("olmo_hybrid", olmo), ("bailing_hybrid", bailing), ("glm5_next", glm), ("glm5_next_text", glm)];

/// Sparse layers correct their routing.
const ROUTED: Style = Style { experts: CORRECTED, ..LLAMA };

/// Which layers are linear: by `layer_types`, else all but every `every`-th.
fn linear_layers(fields: &Fields<'_>, every: u32) -> Result<Vec<bool>, SpecError> {
    let count = fields.layer_count()?;
    Ok(match texts(fields, "layer_types", count)? {
        Some(types) => types.into_iter().map(|t| t == "linear_attention").collect(),
        None => (0..count).map(|i| (i + 1) % every != 0).collect(),
    })
}

/// OLMo Hybrid: gated delta networks with an output gate of their own width, and the attention of OLMo 2.
fn olmo(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let heads = fields.size("num_attention_heads")?;
    let delta = Mixer::GatedDeltaNet {
        key_heads: fields.size_or("linear_num_key_heads", heads)?,
        value_heads: fields.size_or("linear_num_value_heads", heads)?,
        key_head_dim: fields.size("linear_key_head_dim")?,
        value_head_dim: fields.size("linear_value_head_dim")?,
        conv_kernel: fields.size_or("linear_conv_kernel_dim", 4)?,
    };
    let attention = decoder::attention(fields, &OLMO2)?;
    let dense = decoder::dense(fields, &OLMO2)?;
    let norms = 2 * decoder::norm(fields, &OLMO2)?;
    let all = linear_layers(fields, 4)?
        .into_iter()
        .map(|linear| layer(if linear { delta.clone() } else { attention.clone() }, dense.clone(), norms));
    decoder::assemble(fields, decoder::embedding(fields, &OLMO2)?, all)
}

/// Kimi delta attention as its fields describe it.
fn delta(fields: &Fields<'_>, full_rank: bool) -> Result<Mixer, SpecError> {
    let heads = fields.size("num_attention_heads")?;
    let taps = if fields.has("linear_conv_kernel_dim") {
        "linear_conv_kernel_dim"
    } else {
        "short_conv_kernel_size"
    };
    Ok(Mixer::KimiDelta {
        heads: fields.size_or("linear_num_heads", heads)?,
        head_dim: fields.size_or("linear_head_dim", 128)?,
        conv_kernel: fields.size_or(taps, 4)?,
        full_rank_gate: full_rank,
        full_rank_decay: full_rank,
    })
}

/// Ling 3: decay and gate of the linear layers are full projections; latent attention with one gate
/// value a head in every `layer_group_size`-th layer.
fn bailing(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let delta = delta(fields, true)?;
    let mut attention = latent::attention(fields)?;
    if let Mixer::Latent { heads, output_gate_size, .. } = &mut attention {
        *output_gate_size = (*heads).into();
    }
    let every = fields.size_or("layer_group_size", 6)?;
    let norms = 2 * decoder::norm(fields, &ROUTED)?;
    let feed_forward = experts::per_layer(fields, &ROUTED, fields.layer_count()?)?;
    let all = linear_layers(fields, every)?.into_iter().zip(feed_forward).map(|(linear, feed_forward)| {
        layer(if linear { delta.clone() } else { attention.clone() }, feed_forward, norms)
    });
    decoder::assemble(fields, decoder::embedding(fields, &ROUTED)?, all)
}

/// GLM-5.3: sparse latent attention in every fourth layer, four streams joined by hyper-connections
/// around both halves of each layer.
fn glm(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let count = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let delta = delta(fields, false)?;
    let picks = latent::per_layer(fields, count)?;
    let streams = u64::from(fields.size_or("hc_mult", 4)?);
    // As in DeepSeek V4: n² + 2n coefficients over n·D inputs, their offsets, three scales.
    let mixed = (streams + 2) * streams;
    let connection = elements(&[&[mixed, streams, hidden], &[mixed], &[3]]).saturating_mul(2);
    let norms = 2 * decoder::norm(fields, &ROUTED)?;
    // Keys of the indexer are pooled in blocks: a gate and a table of positions.
    let block = u64::from(fields.size_or("index_kpool", 16)?);
    let pooled = |mut mixer: Mixer| {
        if let Mixer::Latent { indexer: Some(Indexer { parameters, head_dim, .. }), .. } = &mut mixer {
            *parameters += elements(&[&[hidden, (*head_dim).into()], &[block, (*head_dim).into()]]);
        }
        mixer
    };
    let feed_forward = experts::per_layer(fields, &ROUTED, count)?;
    let all = linear_layers(fields, 4)?.into_iter().zip(picks).zip(feed_forward);
    let all = all.map(|((linear, sparse), feed_forward)| LayerGroup {
        other_parameters: connection,
        ..layer(if linear { delta.clone() } else { pooled(sparse) }, feed_forward, norms)
    });
    decoder::assemble(fields, decoder::embedding(fields, &ROUTED)?, all)
}
