//! The other towers, each after the transformers class of its `model_type`.

use super::parts::{Block, Tower, linear};
use crate::spec::SpecError;
use crate::spec::model::Vision;

/// Sizes that most towers name alike.
struct Sizes {
    width: u64,
    layers: u32,
    heads: u32,
    feed_forward: u64,
    patch: u32,
    /// Patches of an image of the default size.
    patches: u64,
}

/// Reads the sizes; `[width, layers, heads, feed_forward, patch, image]` are those of the released checkpoints.
fn sizes(tower: &Tower<'_>, released: [u32; 6]) -> Result<Sizes, SpecError> {
    let [width, layers, heads, feed_forward, patch, image] = released;
    let side = |key, default| match tower.fields.value(key).is_some_and(serde_json::Value::is_array) {
        true => {
            Ok(tower.fields.counts(key)?.and_then(|list| list.first().copied()).unwrap_or(default).max(1))
        }
        false => tower.fields.size_or(key, default),
    };
    let patch = side("patch_size", patch)?;
    Ok(Sizes {
        width: tower.size("hidden_size", width)?,
        layers: tower.fields.size_or("num_hidden_layers", layers)?,
        heads: tower.fields.size_or("num_attention_heads", heads)?,
        feed_forward: tower.size("intermediate_size", feed_forward)?,
        patch,
        patches: u64::from(side("image_size", image)? / patch).pow(2),
    })
}

impl Sizes {
    /// Inputs of the patch embedding: three colours.
    fn pixels(&self) -> u64 {
        3 * u64::from(self.patch).pow(2)
    }

    fn vision(&self, parameters: u64, merge_size: u32, tokens_per_image: Option<u32>) -> Vision {
        Vision {
            parameters,
            layers: self.layers,
            hidden_size: self.width as u32,
            heads: self.heads,
            patch_size: self.patch,
            merge_size,
            tokens_per_image,
        }
    }
}

/// `SigLIP` of Gemma 3 with its pooling projector: all patches become `mm_tokens_per_image` tokens.
pub(super) fn gemma3(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1152, 27, 16, 4304, 14, 896])?;
    let h = s.width;
    let blocks = Block::plain(h, s.feed_forward).parameters(s.layers.into());
    let parameters = linear(s.pixels(), h, true) + s.patches * h + blocks + 2 * h + h * tower.text_hidden + h;
    let tokens = tower.root.size_or("mm_tokens_per_image", 256)?;
    let merge = (s.patches / u64::from(tokens)).isqrt().max(1);
    Ok(s.vision(parameters, merge as u32, Some(tokens)))
}

/// Gemma 4: two tables of positions, norms around both halves and on queries and keys, a projection.
pub(super) fn gemma4(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1152, 27, 16, 4304, 16, 768])?;
    let h = s.width;
    let head_dim = tower.size("head_dim", (h as u32 / s.heads).max(1))?;
    let block =
        Block { attention: head_dim * u64::from(s.heads), vectors: 4, ..Block::gated(h, s.feed_forward) };
    let positions = 2 * tower.size("position_embedding_size", 10_240)? * h;
    // Offset and scale of standardised features, stored as tensors.
    let standardised = if tower.fields.flag("standardize", false)? { 2 * h } else { 0 };
    let blocks = block.parameters(s.layers.into()) + u64::from(s.layers) * 2 * head_dim;
    let parameters = linear(s.pixels(), h, false) + positions + blocks + standardised + h * tower.text_hidden;
    let tokens = match tower.root.optional_size("vision_soft_tokens_per_image")? {
        Some(tokens) => Some(tokens),
        None => tower.fields.optional_size("default_output_length")?,
    };
    Ok(s.vision(parameters, tower.fields.size_or("pooling_kernel_size", 3)?, tokens))
}

/// Llama 4: a class token, pixel shuffle, an adapter of two layers, a projection.
pub(super) fn llama4(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1408, 34, 16, 5632, 14, 336])?;
    let h = s.width;
    let blocks = Block::plain(h, s.feed_forward).parameters(s.layers.into());
    let (inner, outer) =
        (tower.size("projector_input_dim", 4096)?, tower.size("projector_output_dim", 4096)?);
    let out = tower.size("vision_output_dim", 4096)?;
    let adapter = linear(s.feed_forward, inner, false) + linear(inner, outer, false);
    let embedding = h + (s.patches + 1) * h + linear(s.pixels(), h, false);
    let parameters = embedding + 4 * h + blocks + adapter + linear(out, tower.text_hidden, false);
    // Pixel shuffle with ratio ½ merges 2 × 2 patches.
    Ok(s.vision(parameters, 2, Some((s.patches / 4) as u32)))
}

/// Llama 3.2 Vision: gated position and tile embeddings, further global layers, no bias in attention.
pub(super) fn mllama(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let mut s = sizes(tower, [1280, 32, 16, 5120, 14, 560])?;
    s.heads = tower.fields.size_or("attention_heads", s.heads)?;
    let h = s.width;
    let block = Block { qkv_bias: false, output_bias: false, ..Block::plain(h, s.feed_forward) };
    let global = tower.size("num_global_layers", 8)?;
    let tiles = tower.size("max_num_tiles", 4)?;
    let ratios = tower.fields.value("supported_aspect_ratios").and_then(|v| v.as_array()).map_or(8, Vec::len);
    let ratios = ratios as u64 + 1;
    let rows = s.patches + 1;
    let positions = 1 + rows * h + ratios * tiles * rows * h;
    let tile_embeddings = 2 * (1 + ratios * tiles * h);
    let blocks = block.parameters(u64::from(s.layers) + global) + 2 * global;
    let projector = linear(tower.size("vision_output_dim", 7680)?, tower.text_hidden, true);
    let embedding = h + linear(s.pixels(), h, false) + positions + tile_embeddings + 4 * h;
    s.layers = s.layers.saturating_add(global as u32);
    Ok(s.vision(embedding + blocks + projector, 1, None))
}

/// Pixtral in Mistral 3: rotary positions, RMSNorms, gated feed-forward, a merger of 2 × 2 patches.
pub(super) fn pixtral(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1024, 24, 16, 4096, 14, 1540])?;
    let (h, d) = (s.width, tower.text_hidden);
    let blocks = Block::gated(h, s.feed_forward).parameters(s.layers.into());
    let merge = tower.root.size_or("spatial_merge_size", 2)?;
    let bias = tower.root.flag("multimodal_projector_bias", false)?;
    let projector = h + h * h * u64::from(merge).saturating_pow(2) + linear(h, d, bias) + linear(d, d, bias);
    Ok(s.vision(linear(s.pixels(), h, false) + h + blocks + projector, merge, None))
}

/// MiniMax-M3-VL: patches of two frames, rotary positions, a projector before and one after merging.
pub(super) fn minimax(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1280, 32, 16, 5120, 14, 2016])?;
    let (h, d) = (s.width, tower.text_hidden);
    let (merge, frames) = match tower.fields.nested("img_token_compression_config")? {
        Some(config) => (config.size_or("spatial_merge_size", 2)?, config.size_or("temporal_patch_size", 2)?),
        None => (2, 2),
    };
    let blocks = Block::plain(h, s.feed_forward).parameters(s.layers.into());
    let inner = tower.root.size_or("projector_hidden_size", d as u32).map(u64::from)?;
    let merged = d.saturating_mul(u64::from(merge).saturating_pow(2));
    let projectors = linear(h, inner, true)
        + linear(inner, d, true)
        + linear(merged, inner, true)
        + linear(inner, d, true);
    let parameters = s.pixels() * u64::from(frames) * h + 2 * h + blocks + projectors;
    Ok(s.vision(parameters, merge, None))
}

/// Step 3.7: layer scales, learned positions, two convolutions with stride 2, a projection.
pub(super) fn step(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let mut s = sizes(tower, [1536, 47, 16, 8960, 14, 728])?;
    let h = s.width;
    if let Some(ratio) = tower.fields.value("mlp_ratio").and_then(serde_json::Value::as_f64) {
        s.feed_forward = (h as f64 * ratio.clamp(0.1, 100.0)).round() as u64;
    }
    let block = Block { vectors: 6, ..Block::plain(h, s.feed_forward) };
    let shrink = linear(9 * h, 2 * h, true) + linear(18 * h, 4 * h, true);
    let parameters = linear(s.pixels(), h, false)
        + s.patches * h
        + 2 * h
        + block.parameters(s.layers.into())
        + shrink
        + linear(4 * h, tower.text_hidden, false);
    Ok(s.vision(parameters, 4, None))
}

/// CLIP in LLaVA: a class token, learned positions, a projector of two layers.
pub(super) fn clip(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1024, 24, 16, 4096, 14, 336])?;
    let (h, d) = (s.width, tower.text_hidden);
    let embedding = h + linear(s.pixels(), h, false) + (s.patches + 1) * h;
    let blocks = Block::plain(h, s.feed_forward).parameters(s.layers.into());
    let projector = linear(h, d, true) + linear(d, d, true);
    Ok(s.vision(embedding + blocks + 4 * h + projector, 1, Some(s.patches as u32)))
}

/// `InternViT` with layer scales; pixel shuffle merges 2 × 2 patches before a normed projector.
pub(super) fn internvl(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1024, 24, 16, 4096, 14, 448])?;
    let (h, d) = (s.width, tower.text_hidden);
    let block = Block {
        qkv_bias: tower.fields.flag("attention_bias", false)?,
        vectors: if tower.fields.text("norm_type")? == Some("rms_norm") { 4 } else { 6 },
        ..Block::plain(h, s.feed_forward)
    };
    let qk_norm = if tower.fields.flag("use_qk_norm", false)? { 2 * h * u64::from(s.layers) } else { 0 };
    let embedding = h + (s.patches + 1) * h + linear(s.pixels(), h, true);
    let merged = 4 * h;
    let projector = 2 * merged + linear(merged, d, true) + linear(d, d, true);
    Ok(s.vision(
        embedding + block.parameters(s.layers.into()) + qk_norm + projector,
        2,
        Some((s.patches / 4) as u32),
    ))
}

/// GLM-4V: patches of two frames, a convolution that merges 2 × 2 patches, a gated merger.
pub(super) fn glm4v(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let mut s = sizes(tower, [1536, 24, 12, 13_696, 14, 336])?;
    s.layers = tower.fields.size_or("depth", s.layers)?;
    s.heads = tower.fields.size_or("num_heads", s.heads)?;
    let h = s.width;
    let out = tower.fields.optional_size("out_hidden_size")?.map_or(tower.text_hidden, u64::from);
    let frames = tower.size("temporal_patch_size", 2)?;
    let merge = tower.fields.size_or("spatial_merge_size", 2)?;
    let bias = tower.fields.flag("attention_bias", false)?;
    // The feed-forward part of a layer has the output's width, the merger the configured one.
    let block = Block { qkv_bias: bias, ..Block::gated(h, out) };
    let merger = out * out + 2 * out + 3 * out * s.feed_forward;
    let parameters = linear(s.pixels() * frames, h, true)
        + s.patches * h
        + block.parameters(s.layers.into())
        + 2 * h
        + linear(h * u64::from(merge).saturating_pow(2), out, true)
        + merger;
    Ok(s.vision(parameters, merge, None))
}
