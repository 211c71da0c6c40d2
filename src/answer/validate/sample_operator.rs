//! Samples as operators, so that the defaults of an architecture family predict them as they predict a model's.
//! FLOPs and bytes are counted as `work` counts them.

use crate::spec::DataType;
use crate::time::calibration::ClassKey;
use crate::time::forms::collective::Message;
use crate::time::forms::decode_attention::DecodeAttention;
use crate::time::forms::experts::ExpertLayer;
use crate::time::forms::gemm::Gemm;
use crate::time::forms::latent::LatentDecode;
use crate::time::forms::latent_module::{LatentDecodeModule, LatentPrefillModule};
use crate::time::forms::prefill_attention::PrefillAttention;
use crate::time::forms::quantise::Quantise;
use crate::units::{Bytes, Flops};
use crate::work::{Collective, Expanded, Operator, Shape, Traffic, pairs};

/// An input of a form that a step would lower to one operator.
pub(super) trait AsOperator {
    /// The operator; none where a step has several for it or counts it in another.
    fn operator(&self, _key: &ClassKey) -> Option<Operator> {
        None
    }
}

fn kernel(shape: Shape, weights: DataType, math: DataType, flops: f64, traffic: Traffic) -> Operator {
    Operator {
        shape,
        weights,
        flops: Flops(flops),
        traffic,
        ..Operator::elementwise("sample", math, 0.0, 1.0)
    }
}

/// The format of a cache by the bytes of its elements.
fn cache(bytes: f64) -> DataType {
    if bytes < 2.0 { DataType::Fp8 } else { DataType::Bf16 }
}

impl AsOperator for Gemm {
    fn operator(&self, _: &ClassKey) -> Option<Operator> {
        let Self { m, n, k, weights, math } = *self;
        let traffic = Traffic {
            weights: Bytes(n * k * weights.bytes()),
            activations: Bytes(m * k * math.bytes() + 2.0 * m * n),
            ..Traffic::default()
        };
        Some(kernel(Shape::Gemm { m, n, k }, weights, math, 2.0 * m * n * k, traffic))
    }
}

impl AsOperator for ExpertLayer {
    fn operator(&self, _: &ClassKey) -> Option<Operator> {
        let columns = if self.gated { 3.0 } else { 2.0 } * self.intermediate;
        let shape = Shape::Experts {
            tokens: self.tokens,
            top_k: self.top_k,
            copies: self.copies,
            active: self.active,
            local: self.local,
            tiles: self.tiles,
            width: self.width,
            intermediate: self.intermediate,
            gated: self.gated,
        };
        let traffic = Traffic {
            weights: Bytes(self.active * self.width * columns * self.weights.bytes()),
            activations: Bytes(2.0 * self.copies * (4.0 * self.width + 2.0 * columns)),
            ..Traffic::default()
        };
        let flops = 2.0 * self.copies * self.width * columns;
        Some(kernel(shape, self.weights, self.math, flops, traffic))
    }
}

impl AsOperator for DecodeAttention {
    fn operator(&self, _: &ClassKey) -> Option<Operator> {
        let Self { rows, context, heads, kv_heads, head_dim, kv_bytes, .. } = *self;
        let window = self.window.unwrap_or(f64::INFINITY);
        let seen = context.min(window);
        let shape = Shape::DecodeAttention {
            rows,
            context,
            heads,
            kv_heads,
            head_dim,
            window,
            cache: cache(kv_bytes),
        };
        let traffic = Traffic {
            kv: Bytes(2.0 * rows * (seen + 1.0) * kv_heads * head_dim * kv_bytes),
            activations: Bytes(4.0 * rows * heads * head_dim),
            ..Traffic::default()
        };
        let flops = 4.0 * rows * heads * head_dim * seen;
        Some(kernel(shape, self.math, self.math, flops, traffic))
    }
}

impl AsOperator for PrefillAttention {
    fn operator(&self, key: &ClassKey) -> Option<Operator> {
        let Self { requests, new_tokens, past_tokens, heads, kv_heads, head_dim, kv_bytes, averaged, .. } =
            *self;
        let window = self.window.unwrap_or(f64::INFINITY);
        let cache = cache(kv_bytes);
        let shape = if key.variant.is_empty() && heads == kv_heads {
            Shape::LatentPrefill(Expanded {
                requests,
                new_tokens,
                past_tokens,
                heads,
                head_dim,
                cache,
                averaged,
            })
        } else {
            Shape::PrefillAttention {
                requests,
                new_tokens,
                past_tokens,
                heads,
                kv_heads,
                head_dim,
                window,
                cache,
                averaged,
            }
        };
        let seen = (past_tokens + new_tokens).min(window);
        let traffic = Traffic {
            kv: Bytes(2.0 * requests * (seen + new_tokens) * kv_heads * head_dim * kv_bytes),
            activations: Bytes(4.0 * requests * new_tokens * heads * head_dim),
            ..Traffic::default()
        };
        let flops = 4.0 * requests * heads * head_dim * pairs(new_tokens, past_tokens, self.window);
        Some(kernel(shape, self.math, self.math, flops, traffic))
    }
}

impl AsOperator for LatentDecode {
    fn operator(&self, _: &ClassKey) -> Option<Operator> {
        let Self { rows, context, heads, rank, rope, kv_bytes, .. } = *self;
        let shape = Shape::LatentDecode { rows, context, heads, rank, rope, cache: cache(kv_bytes) };
        let traffic = Traffic {
            kv: Bytes(rows * (context + 1.0) * (rank + rope) * kv_bytes),
            activations: Bytes(2.0 * rows * heads * (2.0 * rank + rope)),
            ..Traffic::default()
        };
        let flops = 2.0 * heads * (2.0 * rank + rope) * rows * context;
        Some(kernel(shape, self.math, self.math, flops, traffic))
    }
}

impl AsOperator for Message {
    /// The collective whose link carries these bytes, by the class's variant (`all_reduce,8`).
    fn operator(&self, key: &ClassKey) -> Option<Operator> {
        let (name, ranks) = key.variant.split_once(',')?;
        let ranks: u32 = ranks.parse().ok()?;
        let kind = match name {
            "all_reduce" => Collective::AllReduce,
            "all_to_all" => Collective::AllToAll,
            "all_gather" | "reduce_scatter" => Collective::AllGather,
            _ => return None,
        };
        let share = Self::of(kind, f64::from(ranks), 1.0).bytes;
        (share > 0.0).then(|| Operator::collective("sample", kind, DataType::Bf16, ranks, self.bytes / share))
    }
}

impl AsOperator for LatentDecodeModule {}
impl AsOperator for LatentPrefillModule {}
impl AsOperator for Quantise {}
