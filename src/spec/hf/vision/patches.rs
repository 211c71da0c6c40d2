//! Towers of models that ship their own code or came late: InternVL chat models, ERNIE 4.5 VL, LFM2-VL,
//! MiniCPM-V, GLM-5.3.

use super::parts::{Block, Tower, linear, sum};
use super::towers;
use crate::spec::SpecError;
use crate::spec::hf::layers::elements;
use crate::spec::hf::{ernie_vl, language_fields};
use crate::spec::model::Vision;

/// `InternViT` with layer scales under the keys of its own code; pixel shuffle merges 2 × 2 patches
/// before a projector with a norm. Source: `modeling_intern_vit.py` of the checkpoints.
pub(super) fn internvl_chat(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let h = tower.size("hidden_size", 1024)?;
    let layers = fields.size_or("num_hidden_layers", 24)?;
    let (image, patch) = (fields.size_or("image_size", 448)?, fields.size_or("patch_size", 14)?);
    let patches = u64::from(image / patch).pow(2);
    let normed = u64::from(fields.flag("qk_normalization", false)?);
    let block = Block {
        qkv_bias: fields.flag("qkv_bias", true)?,
        // Two norms, with biases or without, and two scales.
        vectors: if fields.text("norm_type")? == Some("rms_norm") { 4 } else { 6 },
        ..Block::plain(h, tower.size("intermediate_size", 4096)?)
    };
    let d = tower.text_hidden;
    let parameters = sum(&[
        linear(3 * u64::from(patch).pow(2), h, true),
        elements(&[&[h], &[patches + 1, h], &[2, h, layers.into(), normed]]),
        block.parameters(layers.into()),
        8 * h,
        linear(4 * h, d, true),
        linear(d, d, true),
    ]);
    Ok(Vision {
        parameters,
        layers,
        hidden_size: h as u32,
        heads: fields.size_or("num_attention_heads", 16)?,
        patch_size: patch,
        merge_size: 2,
        tokens_per_image: u32::try_from(patches / 4).ok().filter(|n| *n > 0),
    })
}

/// The tower of LLaVA and an embedding that ends a row of image tokens.
pub(super) fn llava_next(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let vision = towers::clip(tower)?;
    Ok(Vision { parameters: vision.parameters.saturating_add(tower.text_hidden), ..vision })
}

/// ERNIE 4.5 VL: a plain tower with rotary positions; a resampler that merges 2 × 2 patches, then two
/// frames; and the experts of the language model that only images run through.
pub(super) fn ernie(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let h = tower.size("hidden_size", 1280)?;
    let ratio = fields.value("mlp_ratio").and_then(serde_json::Value::as_f64).unwrap_or(4.0);
    let wide = (h as f64 * ratio.clamp(0.1, 100.0)) as u32;
    let (layers, patch) = (fields.size_or("depth", 32)?, fields.size_or("patch_size", 14)?);
    let merge = fields.size_or("spatial_merge_size", 2)?;
    let spatial = elements(&[&[h, merge.into(), merge.into()]]);
    let temporal = spatial.saturating_mul(tower.size("temporal_merge_size", 2)?);
    let text = language_fields(&tower.root)?;
    let parameters = sum(&[
        linear(3 * u64::from(patch).pow(2), h, false),
        Block::plain(h, tower.size("intermediate_size", wide)?).parameters(layers.into()),
        2 * h,
        // Two linear layers and a LayerNorm each, one linear layer, an RMSNorm.
        sum(&[linear(spatial, spatial, true), linear(spatial, spatial, true), 2 * spatial]),
        sum(&[linear(temporal, spatial, true), linear(spatial, spatial, true), 2 * spatial]),
        sum(&[linear(spatial, tower.text_hidden, true), tower.text_hidden]),
        ernie_vl::image_experts(&text)?,
    ]);
    Ok(Vision {
        parameters,
        layers,
        hidden_size: h as u32,
        heads: fields.size_or("num_heads", 16)?,
        patch_size: patch,
        merge_size: merge,
        tokens_per_image: None,
    })
}

/// `SigLIP` 2 of LFM2-VL: a table of `num_patches` positions; 2 × 2 patches merge before a projector.
pub(super) fn lfm2(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let h = tower.size("hidden_size", 768)?;
    let wide = tower.size("intermediate_size", 3072)?;
    let (layers, patch) = (fields.size_or("num_hidden_layers", 12)?, fields.size_or("patch_size", 16)?);
    let merge = tower.root.size_or("downsample_factor", 2)?;
    let merged = elements(&[&[h, merge.into(), merge.into()]]);
    let inner = tower.root.size_or("projector_hidden_size", 2560).map(u64::from)?;
    let bias = tower.root.flag("projector_bias", true)?;
    let norm = u64::from(tower.root.flag("projector_use_layernorm", true)?);
    // The pooling head: a query, attention, a LayerNorm, a feed-forward part.
    let head = sum(&[h, 4 * linear(h, h, true), 2 * h, linear(h, wide, true), linear(wide, h, true)]);
    let parameters = sum(&[
        linear(3 * u64::from(patch).pow(2), h, true),
        elements(&[&[tower.size("num_patches", 256)?, h], &[2, h]]),
        Block::plain(h, wide).parameters(layers.into()),
        if fields.flag("vision_use_head", true)? { head } else { 0 },
        elements(&[&[2, merged, norm]]),
        linear(merged, inner, bias),
        linear(inner, tower.text_hidden, bias),
    ]);
    Ok(Vision {
        parameters,
        layers,
        hidden_size: h as u32,
        heads: fields.size_or("num_attention_heads", 12)?,
        patch_size: patch,
        merge_size: merge,
        tokens_per_image: None,
    })
}

/// `SigLIP` of MiniCPM-V with a resampler: `query_num` learned queries attend to the patches of a slice
/// with the language model's width. Source: `resampler.py` of the checkpoints.
pub(super) fn minicpm(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let h = tower.size("hidden_size", 1152)?;
    let (image, patch) = (fields.size_or("image_size", 980)?, fields.size_or("patch_size", 14)?);
    let last = u32::from(tower.root.flag("drop_vision_last_layer", false)?);
    let layers = fields.size_or("num_hidden_layers", 27)?.saturating_sub(last).max(1);
    let queries = tower.root.size_or("query_num", 64)?;
    let d = tower.text_hidden;
    let parameters = sum(&[
        linear(3 * u64::from(patch).pow(2), h, true),
        elements(&[&[u64::from(image / patch).pow(2), h], &[2, h]]),
        Block::plain(h, tower.size("intermediate_size", 4304)?).parameters(layers.into()),
        // Queries; keys and values in the width d; attention; three LayerNorms; a projection.
        sum(&[elements(&[&[queries.into(), d], &[h, d], &[6, d], &[d, d]]), 4 * linear(d, d, true)]),
    ]);
    Ok(Vision {
        parameters,
        layers,
        hidden_size: h as u32,
        heads: fields.size_or("num_attention_heads", 16)?,
        patch_size: patch,
        merge_size: 1,
        tokens_per_image: Some(queries),
    })
}

/// GLM-5.3: patches of two frames, RMSNorms, norms on queries and keys, a convolution that merges 2 × 2
/// patches, a gated merger. Source: transformers `modeling_glm5_next.py`.
pub(super) fn glm5(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let fields = &tower.fields;
    let h = tower.size("hidden_size", 1024)?;
    let (layers, patch) = (fields.size_or("depth", 24)?, fields.size_or("patch_size", 14)?);
    let (heads, merge) = (fields.size_or("num_heads", 16)?, fields.size_or("spatial_merge_size", 2)?);
    let out = tower.size("out_hidden_size", 1536)?;
    let inner = tower.size("projection_intermediate_size", 10_240)?;
    let frames = tower.size("temporal_patch_size", 2)?;
    let block = Block { gated: true, vectors: 2, ..Block::plain(h, tower.size("intermediate_size", 4096)?) };
    let parameters = sum(&[
        linear(elements(&[&[3, patch.into(), patch.into(), frames]]), h, true),
        block.parameters(layers.into()),
        elements(&[&[layers.into(), 2, h / u64::from(heads)], &[h]]),
        linear(elements(&[&[h, merge.into(), merge.into()]]), out, true),
        elements(&[&[out, out], &[2, out], &[3, out, inner]]),
    ]);
    Ok(Vision {
        parameters,
        layers,
        hidden_size: h as u32,
        heads,
        patch_size: patch,
        merge_size: merge,
        tokens_per_image: None,
    })
}
