//! The vision tower: one image through the encoder.

use super::operator::{Operator, Shape, Traffic};
use crate::spec::DataType;
use crate::spec::model::Vision;
use crate::units::{Bytes, Flops};

/// Operators of encoding `images` images of `width` × `height` pixels: 2·parameters FLOP per patch,
/// bidirectional attention 4·D·T² per layer (EQUATIONS section 1). Every rank runs the whole tower.
#[must_use]
pub fn lower_image(vision: &Vision, images: f64, width: u32, height: u32, math: DataType) -> [Operator; 2] {
    let (p, d) = (vision.patch_size.max(1), f64::from(vision.hidden_size));
    let patches = f64::from(width.div_ceil(p)) * f64::from(height.div_ceil(p));
    let parameters = vision.parameters as f64;
    let layers = f64::from(vision.layers);
    let tokens = images * patches;
    [
        Operator {
            shape: Shape::Gemm { m: tokens, n: parameters / d, k: d },
            flops: Flops(2.0 * parameters * tokens),
            traffic: Traffic {
                weights: Bytes(parameters * math.bytes()),
                activations: Bytes(tokens * 16.0 * d * layers * math.bytes()),
                ..Traffic::default()
            },
            ..Operator::elementwise("vision_encoder", math, 0.0, 10.0 * layers)
        },
        Operator {
            shape: Shape::PrefillAttention {
                requests: images,
                new_tokens: patches,
                past_tokens: 0.0,
                heads: f64::from(vision.heads),
                kv_heads: f64::from(vision.heads),
                head_dim: d / f64::from(vision.heads.max(1)),
                window: f64::INFINITY,
                cache: math,
                averaged: false,
            },
            flops: Flops(4.0 * d * patches * patches * images),
            traffic: Traffic { activations: Bytes(4.0 * tokens * d * math.bytes()), ..Traffic::default() },
            ..Operator::elementwise("vision_attention", math, 0.0, 1.0)
        }
        .repeated(layers),
    ]
}
