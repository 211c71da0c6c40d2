//! `MoonViT` of Kimi K2.5 and K3. Source: vLLM `kimi_k25_vit.py`.

use super::parts::{Block, Tower, linear, sum};
use crate::spec::SpecError;
use crate::spec::hf::layers::elements;
use crate::spec::model::Vision;

/// A learned table of positions, one norm at the end, patches merged by the projector.
pub(super) fn moon(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let width = tower.size("vt_hidden_size", 1152)?;
    let layers = fields.size_or("vt_num_hidden_layers", 27)?;
    // A LayerNorm has two vectors, an RMSNorm one.
    let norm = if fields.text("norm_type")? == Some("rmsnorm") { 1 } else { 2 };
    let attention_bias = fields.flag("attn_bias", true)?;
    let block = Block {
        attention: tower.size("qkv_hidden_size", width as u32)?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: fields.flag("linear_bias", true)?,
        vectors: 2 * norm,
        ..Block::plain(width, tower.size("vt_intermediate_size", 4304)?)
    };
    let patch_size = fields.size_or("patch_size", 14)?;
    let pixels = elements(&[&[3, patch_size.into(), patch_size.into()]]);
    let patch = linear(pixels, width, fields.flag("patch_embed_proj_bias", true)?);
    let [rows, columns] = ["init_pos_emb_height", "init_pos_emb_width"].map(|key| tower.size(key, 64));
    let merge = fields.counts("merge_kernel_size")?.and_then(|m| m.first().copied()).unwrap_or(2);
    let merged = elements(&[&[width, merge.into(), merge.into()]]);
    let out = tower.text_hidden;
    let projector = if fields.text("mm_projector_type")? == Some("patchmergerv2") {
        sum(&[linear(merged, merged, false), linear(merged, out, false), out])
    } else {
        sum(&[2 * width, linear(merged, merged, true), linear(merged, out, true)])
    };
    Ok(Vision {
        parameters: sum(&[
            patch,
            elements(&[&[rows?, columns?, width]]),
            block.parameters(layers.into()),
            norm * width,
            projector,
        ]),
        layers,
        hidden_size: width as u32,
        heads: fields.size_or("vt_num_attention_heads", 16)?,
        patch_size,
        merge_size: merge.max(1),
        tokens_per_image: None,
    })
}
