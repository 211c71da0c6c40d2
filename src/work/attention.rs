//! The attention core: scores, softmax and weighted sum, grouped-query and latent.

use super::operator::{Expanded, Operator, Shape, Traffic};
use super::plan::{GroupPlan, LinearPlan, Plan};
use super::{DecodeRows, PrefillChunk, Step};
use crate::spec::model::{Indexer, Mixer};
use crate::units::{Bytes, Flops};

/// Cross-attention layers have nothing to attend to without an image; engines skip them.
pub(super) fn is_skipped(group: &GroupPlan) -> bool {
    matches!(group.mixer, Mixer::Cross { .. })
}

/// True for the latent's up-projection, whose work depends on the past.
pub(super) fn follows_past(linear: &LinearPlan) -> bool {
    linear.label == "kv_b_proj"
}

/// Tokens that a projection before the core runs over; none when it does not run.
/// The latent's up-projection runs over prefill tokens (with their past) only: decode absorbs it.
pub(super) fn linear_tokens(linear: &LinearPlan, step: &Step<'_>, tokens: f64) -> Option<f64> {
    if !follows_past(linear) {
        return Some(tokens);
    }
    let prefill: f64 = step.prefill.iter().map(|c| c.requests * (c.new_tokens + c.past_tokens)).sum();
    (prefill > 0.0).then_some(prefill)
}

/// Small kernels of an indexer beside its products and scores: norm of the key, rotary embedding, two
/// Hadamard transforms, two quantisations, write to the cache, scaling of the head weights, top-k and the
/// translation of its picks to cache pages. Counted in SGLang's and vLLM's indexer of DeepSeek-V3.2.
const INDEXER_KERNELS: f64 = 10.0;

/// Appends an indexer's three projections (queries, key, head weights), whole on every rank, and its small
/// kernels.
fn project(plan: &Plan, group: &GroupPlan, indexer: Indexer, tokens: f64, out: &mut Vec<Operator>) {
    let Some(like) = group.before.first() else { return };
    let n = indexer.parameters as f64 / (3.0 * plan.hidden);
    let projection = LinearPlan {
        label: "indexer_projections",
        n,
        k: plan.hidden,
        factors: 1.0,
        weight_bytes: n * plan.hidden * like.format.bytes_per_weight,
        reduced: false,
        ..*like
    };
    out.push(plan.gemm(&projection, tokens, 0.0).repeated(3.0));
    let width = f64::from(indexer.heads + 1) * f64::from(indexer.head_dim);
    let bytes = 4.0 * tokens * width * plan.activation.bytes();
    out.push(Operator::elementwise("indexer_elementwise", plan.activation, bytes, INDEXER_KERNELS));
}

/// Appends the attention core of one layer.
pub(super) fn lower(plan: &Plan, group: &GroupPlan, step: &Step<'_>, out: &mut Vec<Operator>) {
    let tp = plan.parallelism.tp;
    match group.mixer {
        Mixer::GroupedQuery { indexer: Some(indexer), .. }
        | Mixer::Latent { indexer: Some(indexer), .. }
        | Mixer::Compressed { indexer: Some(indexer), .. }
            if !indexer.reused =>
        {
            project(plan, group, indexer, step.tokens(), out);
        }
        _ => {}
    }
    match group.mixer {
        Mixer::GroupedQuery { heads, kv_heads, head_dim, value_head_dim, window, indexer, .. } => {
            let core = Core {
                heads: per_rank(heads, tp),
                kv_heads: per_rank(kv_heads, tp),
                key_dim: f64::from(head_dim),
                value_dim: f64::from(value_head_dim.unwrap_or(head_dim)),
                window: window.map(f64::from),
                indexer,
            };
            core.lower(plan, step, out);
        }
        Mixer::Latent {
            heads,
            kv_lora_rank,
            qk_nope_head_dim,
            qk_rope_head_dim,
            v_head_dim,
            indexer,
            ..
        } => {
            let latent = Latent {
                heads: per_rank(heads, tp),
                rank: f64::from(kv_lora_rank),
                nope: f64::from(qk_nope_head_dim),
                rope: f64::from(qk_rope_head_dim),
                value: f64::from(v_head_dim),
                indexer,
            };
            latent.lower(plan, step, out);
        }
        Mixer::Compressed { heads, head_dim, window, ratio, indexer, .. } => {
            let compressed = Compressed {
                heads: per_rank(heads, tp),
                dim: f64::from(head_dim),
                window: f64::from(window),
                ratio: f64::from(ratio),
                indexer,
            };
            compressed.lower(plan, step, out);
        }
        _ => {}
    }
}

/// Heads of one rank; KV heads are replicated once there are more ranks than heads.
fn per_rank(heads: u32, tp: u32) -> f64 {
    f64::from(heads.div_ceil(tp.max(1)))
}

/// Query–key pairs of one request's `t` new tokens on `p` past ones: t·p + t(t+1)/2, each query seeing at
/// most `window` positions.
#[must_use]
pub fn pairs(t: f64, p: f64, window: Option<f64>) -> f64 {
    match window {
        Some(w) if p + t > w => {
            // queries whose whole context fits into the window come first
            let short = (w - p).clamp(0.0, t);
            short * p + short * (short + 1.0) / 2.0 + (t - short) * w
        }
        _ => t * p + t * (t + 1.0) / 2.0,
    }
}

struct Core {
    heads: f64,
    kv_heads: f64,
    key_dim: f64,
    value_dim: f64,
    window: Option<f64>,
    indexer: Option<Indexer>,
}

impl Core {
    fn lower(&self, plan: &Plan, step: &Step<'_>, out: &mut Vec<Operator>) {
        let dims = self.key_dim + self.value_dim;
        let activation = plan.activation.bytes();
        let kv_token = self.kv_heads * dims * plan.kv_bytes;
        for chunk in step.prefill {
            index(
                plan,
                self.indexer,
                chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, None),
                chunk.requests * chunk.new_tokens,
                out,
            );
            let keep = self.indexer.map(|i| f64::from(i.top_k));
            let limit = minimum(self.window, keep);
            let seen = limit.map_or(chunk.past_tokens, |w| chunk.past_tokens.min(w)) + chunk.new_tokens;
            let queries = chunk.requests * chunk.new_tokens;
            out.push(Operator {
                shape: Shape::PrefillAttention {
                    requests: chunk.requests,
                    new_tokens: chunk.new_tokens,
                    past_tokens: chunk.past_tokens,
                    heads: self.heads,
                    kv_heads: self.kv_heads,
                    head_dim: dims / 2.0,
                    window: limit.unwrap_or(f64::INFINITY),
                    cache: plan.kv_format,
                    averaged: chunk.mean_with.is_some(),
                },
                // scores and weighted sum: 2·h·(d_k + d_v) per query–key pair
                flops: Flops(
                    2.0 * self.heads
                        * dims
                        * chunk.requests
                        * pairs(chunk.new_tokens, chunk.past_tokens, limit),
                ),
                traffic: Traffic {
                    kv: Bytes(chunk.requests * (seen + chunk.new_tokens) * kv_token),
                    activations: Bytes(queries * self.heads * dims * activation),
                    ..Traffic::default()
                },
                ..Operator::elementwise("prefill_attention", plan.activation, 0.0, 1.0)
            });
        }
        for decode in step.decode {
            index(plan, self.indexer, decode.rows * decode.context, decode.rows, out);
            let keep = self.indexer.map(|i| f64::from(i.top_k));
            let window = minimum(self.window, keep).unwrap_or(f64::INFINITY);
            let context = decode.context.min(window);
            out.push(Operator {
                shape: Shape::DecodeAttention {
                    rows: decode.rows,
                    context: decode.context,
                    heads: self.heads,
                    kv_heads: self.kv_heads,
                    head_dim: dims / 2.0,
                    window,
                    cache: plan.kv_format,
                },
                flops: Flops(2.0 * self.heads * dims * decode.rows * context),
                traffic: Traffic {
                    kv: Bytes(decode.rows * (context + 1.0) * kv_token),
                    activations: Bytes(decode.rows * self.heads * dims * activation),
                    ..Traffic::default()
                },
                ..Operator::elementwise("decode_attention", plan.activation, 0.0, 1.0)
            });
        }
    }
}

fn minimum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The indexer scores every position in 8 bit: 2·h_i·d_i per pair, d_i bytes (and a scale) per cached token.
fn index(plan: &Plan, indexer: Option<Indexer>, pairs: f64, queries: f64, out: &mut Vec<Operator>) {
    let Some(indexer) = indexer.filter(|i| !i.reused) else { return };
    let (heads, dim) = (f64::from(indexer.heads), f64::from(indexer.head_dim));
    out.push(Operator {
        flops: Flops(2.0 * heads * dim * pairs),
        traffic: Traffic {
            // every cached key once per query block of 64
            kv: Bytes(pairs / queries.clamp(1.0, 64.0) * (dim + 4.0)),
            activations: Bytes(queries * heads * dim * plan.activation.bytes()),
            ..Traffic::default()
        },
        shape: Shape::Indexer,
        ..Operator::elementwise("sparse_indexer", plan.activation, 0.0, 2.0)
    });
}

/// Multi-head latent attention. Prefill expands the latent to full keys and values; decode absorbs
/// the up-projections into query and output and reads the latent itself (DeepSeek-V2, §2.1;
/// FLOP counts as in EQUATIONS: core 2·h·s·(r + d_r) + 2·h·s·r).
struct Latent {
    heads: f64,
    rank: f64,
    nope: f64,
    rope: f64,
    value: f64,
    indexer: Option<Indexer>,
}

impl Latent {
    fn lower(&self, plan: &Plan, step: &Step<'_>, out: &mut Vec<Operator>) {
        for chunk in step.prefill {
            self.prefill(plan, chunk, out);
        }
        for decode in step.decode {
            self.decode(plan, decode, out);
        }
    }

    fn prefill(&self, plan: &Plan, chunk: &PrefillChunk, out: &mut Vec<Operator>) {
        let keep = self.indexer.map(|i| f64::from(i.top_k));
        let queries = chunk.requests * chunk.new_tokens;
        index(
            plan,
            self.indexer,
            chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, None),
            queries,
            out,
        );
        out.push(match keep.filter(|keep| chunk.past_tokens + chunk.new_tokens > *keep) {
            Some(keep) => self.sparse_prefill(plan, chunk, keep),
            None => self.expanded_prefill(plan, chunk),
        });
    }

    fn expanded(&self, plan: &Plan, chunk: &PrefillChunk) -> Expanded {
        Expanded {
            requests: chunk.requests,
            new_tokens: chunk.new_tokens,
            past_tokens: chunk.past_tokens,
            heads: self.heads,
            head_dim: (self.nope + self.rope + self.value) / 2.0,
            cache: plan.kv_format,
            averaged: chunk.mean_with.is_some(),
        }
    }

    fn expanded_prefill(&self, plan: &Plan, chunk: &PrefillChunk) -> Operator {
        let dims = self.nope + self.rope + self.value;
        let queries = chunk.requests * chunk.new_tokens;
        let context = chunk.requests * (chunk.past_tokens + chunk.new_tokens);
        Operator {
            shape: Shape::LatentPrefill(self.expanded(plan, chunk)),
            flops: Flops(
                2.0 * self.heads * dims * chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, None),
            ),
            traffic: Traffic {
                kv: Bytes((context + queries) * (self.rank + self.rope) * plan.kv_bytes),
                activations: Bytes((queries + context) * self.heads * dims * plan.activation.bytes()),
                ..Traffic::default()
            },
            ..Operator::elementwise("prefill_attention", plan.activation, 0.0, 1.0)
        }
    }

    /// Beyond the positions that the indexer picks, engines multiply picked entries of the latent cache itself
    /// (2·h·((r + d_r) + r) a pair; each query gathers its own); up to there they expand as without an indexer.
    /// The up-projection of keys and values then stands for the absorbed ones, which have as many operations.
    /// Source: `forward_extend` of SGLang's NSA backend and vLLM's `flashmla_sparse` (both Apache-2.0).
    fn sparse_prefill(&self, plan: &Plan, chunk: &PrefillChunk, keep: f64) -> Operator {
        let latent = self.rank + self.rope;
        let seen = chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, Some(keep));
        let queries = chunk.requests * chunk.new_tokens;
        // as many pairs a query in neighbours; what is new beyond those that are picked counts as further requests
        let new = chunk.new_tokens.min(keep);
        let neighbours = PrefillChunk {
            requests: queries / new,
            new_tokens: new,
            past_tokens: (seen / queries - (new + 1.0) / 2.0).max(0.0),
            ..*chunk
        };
        let window = self.expanded_prefill(plan, &neighbours);
        Operator {
            shape: Shape::SparsePrefill {
                heads: self.heads,
                window: self.expanded(plan, &neighbours),
                window_flops: window.flops,
                window_bytes: window.traffic.memory(),
            },
            flops: Flops(2.0 * self.heads * (latent + self.rank) * seen),
            traffic: Traffic {
                // what is picked more than once comes out of the last-level cache
                kv: Bytes(
                    (chunk.requests * (chunk.past_tokens + chunk.new_tokens) + queries)
                        * latent
                        * plan.kv_bytes,
                ),
                activations: Bytes(queries * self.heads * (latent + self.rank) * plan.activation.bytes()),
                ..Traffic::default()
            },
            ..Operator::elementwise("prefill_attention", plan.activation, 0.0, 1.0)
        }
    }

    fn decode(&self, plan: &Plan, decode: &DecodeRows, out: &mut Vec<Operator>) {
        let activation = plan.activation.bytes();
        let rows = decode.rows;
        let absorbed = self.heads * (self.nope + self.value) * self.rank;
        out.push(Operator {
            shape: Shape::Gemm { m: rows, n: self.heads * (self.nope + self.value), k: self.rank },
            flops: Flops(2.0 * rows * absorbed),
            traffic: Traffic {
                weights: Bytes(absorbed * activation),
                activations: Bytes(
                    rows * self.heads * (self.nope + self.value + 2.0 * self.rank) * activation,
                ),
                ..Traffic::default()
            },
            ..Operator::elementwise("absorbed_projections", plan.activation, 0.0, 2.0)
        });
        index(plan, self.indexer, rows * decode.context, rows, out);
        let context = self.indexer.map_or(decode.context, |i| decode.context.min(f64::from(i.top_k)));
        let latent = self.rank + self.rope;
        out.push(Operator {
            shape: Shape::LatentDecode {
                rows,
                context,
                heads: self.heads,
                rank: self.rank,
                rope: self.rope,
                cache: plan.kv_format,
            },
            flops: Flops(2.0 * self.heads * (latent + self.rank) * rows * context),
            traffic: Traffic {
                kv: Bytes(rows * (context + 1.0) * latent * plan.kv_bytes),
                activations: Bytes(rows * self.heads * (latent + self.rank) * activation),
                ..Traffic::default()
            },
            ..Operator::elementwise("decode_attention", plan.activation, 0.0, 1.0)
        });
    }
}

/// A sliding window and a compressed past (DeepSeek V4): one shared key–value head, an entry per
/// `ratio` tokens, of which an indexer may pick `top_k`.
struct Compressed {
    heads: f64,
    dim: f64,
    window: f64,
    ratio: f64,
    indexer: Option<Indexer>,
}

impl Compressed {
    /// Entries attended to, summed over so many queries with so many query–key pairs.
    fn entries(&self, pairs: f64, queries: f64) -> f64 {
        if self.ratio < 1.0 {
            return 0.0;
        }
        let keep = self.indexer.map_or(f64::INFINITY, |i| f64::from(i.top_k));
        (pairs / self.ratio).min(keep * queries)
    }

    fn lower(&self, plan: &Plan, step: &Step<'_>, out: &mut Vec<Operator>) {
        let entry = self.dim * plan.kv_bytes;
        let query = 2.0 * self.heads * self.dim * plan.activation.bytes();
        let compressed = |pairs: f64| if self.ratio < 1.0 { 0.0 } else { pairs / self.ratio };
        for chunk in step.prefill {
            let all = chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, None);
            let queries = chunk.requests * chunk.new_tokens;
            index(plan, self.indexer, compressed(all), queries, out);
            let context = chunk.past_tokens + chunk.new_tokens;
            let seen = chunk.requests * (context.min(self.window + chunk.new_tokens) + compressed(context));
            let attended = chunk.requests * pairs(chunk.new_tokens, chunk.past_tokens, Some(self.window))
                + self.entries(all, queries);
            out.push(Operator {
                shape: Shape::PrefillAttention {
                    requests: chunk.requests,
                    new_tokens: chunk.new_tokens,
                    past_tokens: chunk.past_tokens,
                    heads: self.heads,
                    kv_heads: 1.0,
                    head_dim: self.dim,
                    window: self.window,
                    cache: plan.kv_format,
                    averaged: chunk.mean_with.is_some(),
                },
                flops: Flops(4.0 * self.heads * self.dim * attended),
                traffic: Traffic {
                    kv: Bytes((seen + queries) * entry),
                    activations: Bytes(queries * query),
                    ..Traffic::default()
                },
                ..Operator::elementwise("prefill_attention", plan.activation, 0.0, 2.0)
            });
        }
        for decode in step.decode {
            index(plan, self.indexer, compressed(decode.rows * decode.context), decode.rows, out);
            let context = decode.context.min(self.window) + self.entries(decode.context, 1.0);
            out.push(Operator {
                shape: Shape::DecodeAttention {
                    rows: decode.rows,
                    context,
                    heads: self.heads,
                    kv_heads: 1.0,
                    head_dim: self.dim,
                    window: f64::INFINITY,
                    cache: plan.kv_format,
                },
                flops: Flops(4.0 * self.heads * self.dim * decode.rows * context),
                traffic: Traffic {
                    kv: Bytes(decode.rows * (context + 1.0) * entry),
                    activations: Bytes(decode.rows * query),
                    ..Traffic::default()
                },
                ..Operator::elementwise("decode_attention", plan.activation, 0.0, 2.0)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_pairs_by_hand() {
        // 3 new tokens on a past of 2: 3 + 4 + 5 = 12
        assert_eq!(pairs(3.0, 2.0, None), 12.0);
        // window 4: 3 + 4 + 4 = 11
        assert_eq!(pairs(3.0, 2.0, Some(4.0)), 11.0);
        // window smaller than the past: 3 × 1
        assert_eq!(pairs(3.0, 2.0, Some(1.0)), 3.0);
    }

    #[test]
    fn a_wide_window_changes_nothing() {
        assert_eq!(pairs(100.0, 20.0, Some(1e6)), pairs(100.0, 20.0, None));
    }

    #[test]
    fn chunking_keeps_the_number_of_pairs() {
        let whole = pairs(1000.0, 0.0, Some(300.0));
        let halves = pairs(500.0, 0.0, Some(300.0)) + pairs(500.0, 500.0, Some(300.0));
        assert!((whole - halves).abs() < 1e-6);
    }
}
