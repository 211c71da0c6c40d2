//! Llama derivatives whose layers differ: Nemotron-NAS (some layers lack attention or feed-forward) and
//! Llama 3.2 Vision (some layers attend to the image).

use super::decoder::{self, LLAMA};
use super::dense::{QWEN2, QWEN3};
use super::layers::layer;
use super::{Family, Fields};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("nemotron-nas", nemotron_nas),
    ("mllama", mllama),
    ("mllama_text_model", mllama),
    ("minicpmv", minicpmv),
    ("minicpmo", minicpmv),
];

/// Nemotron-NAS (`DeciLM`): `block_configs` gives every layer its KV heads and width, replaces a part by
/// one linear layer, or leaves it out with its norm. Source: `modeling_decilm.py` of the checkpoints.
fn nemotron_nas(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let hidden = u64::from(fields.size("hidden_size")?);
    let blocks = fields.objects("block_configs")?.ok_or_else(|| fields.missing("block_configs"))?;
    let mut all = vec![];
    for block in &blocks {
        let (mut norms, mut other) = (0, 0);
        let mut mixer = Mixer::None;
        if let Some(attention) = present(block, "attention")? {
            norms += hidden;
            if attention.flag("replace_with_linear", false)? {
                other += hidden * hidden;
            } else {
                mixer = grouped_query(fields, &attention)?;
            }
        }
        let mut feed_forward = FeedForward::None;
        if let Some(ffn) = present(block, "ffn")? {
            norms += hidden;
            if ffn.flag("replace_with_linear", false)? {
                other += hidden * hidden;
            } else {
                let width = width(&ffn, hidden)?;
                feed_forward = FeedForward::Dense { intermediate_size: width, gated: true, bias: false };
            }
        }
        all.push(LayerGroup { other_parameters: other, ..layer(mixer, feed_forward, norms) });
    }
    decoder::assemble(fields, decoder::embedding(fields, &LLAMA)?, all)
}

/// A part of a layer, unless it is left out.
fn present<'a>(block: &Fields<'a>, key: &'a str) -> Result<Option<Fields<'a>>, SpecError> {
    let part = block.nested(key)?;
    let left_out = part.as_ref().map_or(Ok(true), |p| p.flag("no_op", false))?;
    Ok(part.filter(|_| !left_out))
}

fn grouped_query(fields: &Fields<'_>, attention: &Fields<'_>) -> Result<Mixer, SpecError> {
    let mut mixer = decoder::attention(fields, &LLAMA)?;
    if let Mixer::GroupedQuery { heads, kv_heads, window, .. } = &mut mixer {
        *kv_heads = match attention.optional_size("n_heads_in_group")? {
            Some(per_group) => (*heads / per_group).max(1),
            None => attention.size_or("num_key_value_heads", *kv_heads)?,
        };
        *window = attention.optional_size("window_length")?;
    }
    Ok(mixer)
}

/// The width: given, or ⅔ · `ffn_mult` · d rounded up to a multiple of 256.
fn width(ffn: &Fields<'_>, hidden: u64) -> Result<u64, SpecError> {
    if let Some(width) = ffn.optional_size("intermediate_size")? {
        return Ok(width.into());
    }
    let factor =
        ffn.value("ffn_mult").and_then(serde_json::Value::as_f64).filter(|m| (0.0..1000.0).contains(m));
    let factor = factor.ok_or_else(|| ffn.missing("ffn_mult"))?;
    Ok(((2.0 * factor * hidden as f64 / 3.0) as u64).div_ceil(256).max(1) * 256)
}

/// MiniCPM-V and -o: another family's language model by `version`. Source: `modeling_minicpmv.py` of the
/// checkpoints.
fn minicpmv(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let version = fields.value("version").map(ToString::to_string).unwrap_or_default();
    let style = match version.trim_matches('"') {
        "2.5" | "4" | "4.0" => &LLAMA,
        "4.5" => &QWEN3,
        "2.6" => &QWEN2,
        _ if fields.text("model_type")? == Some("minicpmo") => &QWEN2,
        _ => {
            return Err(fields.wrong(
                "version",
                "no language model is known for this version of MiniCPM-V",
                "2.5, 2.6, 4.0 and 4.5 are known",
            ));
        }
    };
    decoder::model(fields, style)
}

/// Rows that the embedding of Llama 3.2 Vision has beyond the vocabulary, for the image token and its kin.
const MLLAMA_FURTHER_ROWS: u64 = 8;

/// Llama 3.2 Vision: the layers in `cross_attention_layers` attend to the image instead of the text.
/// Source: transformers `modeling_mllama.py`.
fn mllama(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let (heads, kv_heads, head_dim) = decoder::heads(fields)?;
    let crossed = fields.counts("cross_attention_layers")?;
    let crossed = crossed.ok_or_else(|| fields.missing("cross_attention_layers"))?;
    let text = decoder::attention(fields, &LLAMA)?;
    let dense = decoder::dense(fields, &LLAMA)?;
    let make = |i| {
        if !crossed.contains(&i) {
            return layer(text.clone(), dense.clone(), 2 * hidden);
        }
        let qk_norm_parameters = 2 * u64::from(head_dim);
        let mixer = Mixer::Cross { heads, kv_heads, head_dim, qk_norm_parameters };
        // A gate on each half.
        LayerGroup { other_parameters: 2, ..layer(mixer, dense.clone(), 2 * hidden) }
    };
    let mut embedding = decoder::embedding(fields, &LLAMA)?;
    embedding.position_parameters = MLLAMA_FURTHER_ROWS * hidden;
    decoder::assemble(fields, embedding, (0..layers).map(make))
}
