//! The other towers, each after the transformers class of its `model_type`.

use super::parts::{Block, Tower, linear, sum};
use crate::spec::SpecError;
use crate::spec::hf::layers::elements;
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

    /// Tokens of an image of the default size, when so many patches make one.
    fn tokens(&self, patches: u64) -> Option<u32> {
        u32::try_from(self.patches / patches).ok().filter(|n| *n > 0)
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
    let (h, d) = (s.width, tower.text_hidden);
    let parameters = sum(&[
        linear(s.pixels(), h, true),
        Block::plain(h, s.feed_forward).parameters(s.layers.into()),
        // Positions; the last LayerNorm; projection and its norm.
        elements(&[&[s.patches, h], &[2, h], &[h, d], &[h]]),
    ]);
    let tokens = tower.root.size_or("mm_tokens_per_image", 256)?;
    let merge = (s.patches / u64::from(tokens)).isqrt().max(1);
    Ok(s.vision(parameters, merge as u32, Some(tokens)))
}

/// Gemma 4: two tables of positions, norms around both halves and on queries and keys, a projection.
pub(super) fn gemma4(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1152, 27, 16, 4304, 16, 768])?;
    let (h, d) = (s.width, tower.text_hidden);
    let head_dim = tower.size("head_dim", (h as u32 / s.heads).max(1))?;
    let attention = head_dim * u64::from(s.heads);
    let block = Block { attention, vectors: 4, ..Block::gated(h, s.feed_forward) };
    let rows = tower.size("position_embedding_size", 10_240)?;
    // Offset and scale of standardised features, stored as tensors.
    let standardised = u64::from(tower.fields.flag("standardize", false)?);
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        block.parameters(s.layers.into()),
        elements(&[&[2, rows, h], &[s.layers.into(), 2, head_dim], &[2, h, standardised], &[h, d]]),
    ]);
    let tokens = match tower.root.optional_size("vision_soft_tokens_per_image")? {
        Some(tokens) => Some(tokens),
        None => tower.fields.optional_size("default_output_length")?,
    };
    Ok(s.vision(parameters, tower.fields.size_or("pooling_kernel_size", 3)?, tokens))
}

/// Llama 4: a class token, pixel shuffle, an adapter of two layers, a projection.
pub(super) fn llama4(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1408, 34, 16, 5632, 14, 336])?;
    let (h, d) = (s.width, tower.text_hidden);
    let inner = tower.size("projector_input_dim", 4096)?;
    let outer = tower.size("projector_output_dim", 4096)?;
    let out = tower.size("vision_output_dim", 4096)?;
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        Block::plain(h, s.feed_forward).parameters(s.layers.into()),
        // Class token; positions; LayerNorms before and after; adapter; projection.
        elements(&[&[h], &[s.patches + 1, h], &[4, h], &[s.feed_forward, inner], &[inner, outer], &[out, d]]),
    ]);
    // Pixel shuffle with ratio ½ merges 2 × 2 patches.
    Ok(s.vision(parameters, 2, s.tokens(4)))
}

/// Llama 3.2 Vision: gated position and tile embeddings, further global layers, no bias in attention.
pub(super) fn mllama(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let mut s = sizes(tower, [1280, 32, 16, 5120, 14, 560])?;
    s.heads = tower.fields.size_or("attention_heads", s.heads)?;
    let (h, d) = (s.width, tower.text_hidden);
    let block = Block { qkv_bias: false, output_bias: false, ..Block::plain(h, s.feed_forward) };
    let global = tower.fields.size_or("num_global_layers", 8)?;
    let tiles = tower.size("max_num_tiles", 4)?;
    let ratios = tower.fields.value("supported_aspect_ratios").and_then(|v| v.as_array()).map_or(8, Vec::len);
    let (ratios, rows) = (ratios as u64 + 1, s.patches + 1);
    s.layers = s.layers.saturating_add(global);
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        block.parameters(s.layers.into()),
        // Two gates in each global layer; class token; LayerNorms before and after.
        elements(&[&[2, global.into()], &[h], &[4, h]]),
        // Positions and their gate; positions by tile; tile embeddings before and after with a gate each.
        elements(&[&[rows, h], &[1], &[ratios, tiles, rows, h], &[2, ratios, tiles, h], &[2]]),
        linear(tower.size("vision_output_dim", 7680)?, d, true),
    ]);
    Ok(s.vision(parameters, 1, None))
}

/// Pixtral in Mistral 3: rotary positions, RMSNorms, gated feed-forward, a merger of 2 × 2 patches.
pub(super) fn pixtral(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1024, 24, 16, 4096, 14, 1540])?;
    let (h, d) = (s.width, tower.text_hidden);
    let merge = tower.root.size_or("spatial_merge_size", 2)?;
    let side = u64::from(merge);
    let bias = tower.root.flag("multimodal_projector_bias", false)?;
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        Block::gated(h, s.feed_forward).parameters(s.layers.into()),
        // A norm before the layers and one before the merger.
        elements(&[&[2, h], &[h, side, side, h]]),
        linear(h, d, bias),
        linear(d, d, bias),
    ]);
    Ok(s.vision(parameters, merge, None))
}

/// MiniMax-M3-VL: patches of two frames, rotary positions, a projector before and one after merging.
pub(super) fn minimax(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1280, 32, 16, 5120, 14, 2016])?;
    let (h, d) = (s.width, tower.text_hidden);
    let (merge, frames) = match tower.fields.nested("img_token_compression_config")? {
        Some(config) => (config.size_or("spatial_merge_size", 2)?, config.size_or("temporal_patch_size", 2)?),
        None => (2, 2),
    };
    let inner = tower.root.size_or("projector_hidden_size", d as u32).map(u64::from)?;
    let merged = elements(&[&[d, merge.into(), merge.into()]]);
    let parameters = sum(&[
        elements(&[&[s.pixels(), frames.into(), h], &[2, h]]),
        Block::plain(h, s.feed_forward).parameters(s.layers.into()),
        linear(h, inner, true),
        linear(inner, d, true),
        linear(merged, inner, true),
        linear(inner, d, true),
    ]);
    Ok(s.vision(parameters, merge, None))
}

/// Step 3.7: layer scales, learned positions, two convolutions with stride 2, a projection.
pub(super) fn step(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let mut s = sizes(tower, [1536, 47, 16, 8960, 14, 728])?;
    let (h, d) = (s.width, tower.text_hidden);
    if let Some(ratio) = tower.fields.value("mlp_ratio").and_then(serde_json::Value::as_f64) {
        s.feed_forward = (h as f64 * ratio.clamp(0.1, 100.0)).round() as u64;
    }
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        elements(&[&[s.patches, h], &[2, h]]),
        Block { vectors: 6, ..Block::plain(h, s.feed_forward) }.parameters(s.layers.into()),
        // 3 × 3 convolutions.
        linear(9 * h, 2 * h, true),
        linear(18 * h, 4 * h, true),
        linear(4 * h, d, false),
    ]);
    Ok(s.vision(parameters, 4, None))
}

/// CLIP in LLaVA: a class token, learned positions, a projector of two layers.
pub(super) fn clip(tower: &Tower<'_>) -> Result<Vision, SpecError> {
    let s = sizes(tower, [1024, 24, 16, 4096, 14, 336])?;
    let (h, d) = (s.width, tower.text_hidden);
    let parameters = sum(&[
        linear(s.pixels(), h, false),
        elements(&[&[h], &[s.patches + 1, h], &[4, h]]),
        Block::plain(h, s.feed_forward).parameters(s.layers.into()),
        linear(h, d, true),
        linear(d, d, true),
    ]);
    Ok(s.vision(parameters, 1, s.tokens(1)))
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
    let qk_norm = u64::from(tower.fields.flag("use_qk_norm", false)?);
    let parameters = sum(&[
        linear(s.pixels(), h, true),
        elements(&[&[h], &[s.patches + 1, h], &[2, h, s.layers.into(), qk_norm]]),
        block.parameters(s.layers.into()),
        8 * h,
        linear(4 * h, d, true),
        linear(d, d, true),
    ]);
    Ok(s.vision(parameters, 2, s.tokens(4)))
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
    let qkv_bias = tower.fields.flag("attention_bias", false)?;
    let parameters = sum(&[
        linear(elements(&[&[s.pixels(), frames]]), h, true),
        elements(&[&[s.patches, h], &[2, h]]),
        // The feed-forward part of a layer has the output's width, the merger the configured one.
        Block { qkv_bias, ..Block::gated(h, out) }.parameters(s.layers.into()),
        linear(elements(&[&[h, merge.into(), merge.into()]]), out, true),
        elements(&[&[out, out], &[2, out], &[3, out, s.feed_forward]]),
    ]);
    Ok(s.vision(parameters, merge, None))
}
