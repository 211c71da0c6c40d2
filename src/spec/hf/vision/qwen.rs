//! The towers of Qwen2-VL, Qwen2.5-VL, and Qwen3-VL with Qwen3.5: patches of two frames, a merger of
//! 2 × 2 patches into one token.

use super::parts::{Block, Tower, linear, sum};
use crate::spec::SpecError;
use crate::spec::hf::layers::elements;
use crate::spec::model::Vision;

/// Patches of `temporal_patch_size` frames, three colours.
fn patch(tower: &Tower<'_>, width: u64, size: u32) -> Result<u64, SpecError> {
    let side = tower.size("patch_size", size)?;
    let frames = tower.size("temporal_patch_size", 2)?;
    let colours = tower.size("in_channels", 3)?;
    Ok(elements(&[&[side, side, colours, frames, width]]))
}

/// Width of the patches that merge into one token, side by side.
fn merged(tower: &Tower<'_>, width: u64) -> Result<u64, SpecError> {
    let side = tower.size("spatial_merge_size", 2)?;
    Ok(elements(&[&[width, side, side]]))
}

/// Two linear layers with biases from the merged width to the language model's.
fn projector(merged: u64, out: u64) -> u64 {
    sum(&[linear(merged, merged, true), linear(merged, out, true)])
}

fn finish(tower: &Tower<'_>, parameters: u64, width: u64, patch: u32) -> Result<Vision, SpecError> {
    Ok(Vision {
        parameters,
        layers: tower.fields.size_or("depth", 32)?,
        hidden_size: width as u32,
        heads: tower.fields.size_or("num_heads", 16)?,
        patch_size: tower.fields.size_or("patch_size", patch)?,
        merge_size: tower.fields.size_or("spatial_merge_size", 2)?,
        tokens_per_image: None,
    })
}

/// Qwen2-VL: LayerNorms, feed-forward `mlp_ratio` times as wide. `hidden_size` is the output width here.
pub(super) fn qwen2(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let width = tower.size("embed_dim", 1280)?;
    let layers = tower.size("depth", 32)?;
    let out = tower.fields.optional_size("hidden_size")?.map_or(tower.text_hidden, u64::from);
    let merged = merged(tower, width)?;
    let ratio = tower.fields.value("mlp_ratio").and_then(serde_json::Value::as_f64).unwrap_or(4.0);
    let blocks = Block::plain(width, (width as f64 * ratio.clamp(0.1, 100.0)) as u64).parameters(layers);
    let parameters = sum(&[patch(tower, width, 14)?, blocks, 2 * width, projector(merged, out)]);
    finish(tower, parameters, width, 14)
}

/// Qwen2.5-VL: RMSNorms, gated feed-forward, biases everywhere but on the patches.
pub(super) fn qwen2_5(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let width = tower.size("hidden_size", 1280)?;
    let layers = tower.size("depth", 32)?;
    let out = tower.fields.optional_size("out_hidden_size")?.map_or(tower.text_hidden, u64::from);
    let merged = merged(tower, width)?;
    let block =
        Block { gated: true, vectors: 2, ..Block::plain(width, tower.size("intermediate_size", 3420)?) };
    // EXAONE 4.5 has fewer key and value heads than query heads.
    let heads = tower.size("num_heads", 16)?;
    let kv_heads = tower.size("num_key_value_heads", heads as u32)?.min(heads);
    let saved = elements(&[&[layers, 2, width + 1, width / heads, heads - kv_heads]]);
    let parameters =
        sum(&[patch(tower, width, 14)?, block.parameters(layers), width, projector(merged, out)]);
    finish(tower, parameters.saturating_sub(saved), width, 14)
}

/// Qwen3-VL and Qwen3.5: learned positions, and in Qwen3-VL further mergers that feed features of some
/// layers into the language model.
pub(super) fn qwen3(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let width = tower.size("hidden_size", 1152)?;
    let layers = tower.size("depth", 27)?;
    let out = tower.fields.optional_size("out_hidden_size")?.map_or(tower.text_hidden, u64::from);
    let merged = merged(tower, width)?;
    let deep = tower.fields.counts("deepstack_visual_indexes")?.map_or(0, |d| d.len() as u64);
    let blocks = Block::plain(width, tower.size("intermediate_size", 4304)?).parameters(layers);
    let positions = tower.size("num_position_embeddings", 2304)? * width;
    // The last merger norms before merging, the others after it.
    let deeper = elements(&[&[deep, 2, merged], &[deep, projector(merged, out)]]);
    let mergers = sum(&[2 * width, projector(merged, out), deeper]);
    let parameters = sum(&[patch(tower, width, 16)?, width, positions, blocks, mergers]);
    let vision = finish(tower, parameters, width, 16)?;
    Ok(Vision { layers: layers as u32, ..vision })
}
