//! The token mixer of a layer: attention in its kinds, linear attention, state space.

use serde::{Deserialize, Serialize};

use super::{Linear, Split, TensorClass, is_false, is_zero};

/// Lightning indexer of sparse attention: a small attention that picks the positions to attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indexer {
    /// Heads of the indexer.
    pub heads: u32,
    /// Width of one.
    pub head_dim: u32,
    /// Positions kept per query.
    pub top_k: u32,
    /// Parameters of the indexer's projections and norms in one layer.
    pub parameters: u64,
}

/// Token mixer of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mixer {
    /// None: the layer is a feed-forward block only (Nemotron-H).
    None,
    /// Softmax attention with grouped key–value heads: multi-head (`kv_heads` = `heads`),
    /// grouped-query and multi-query (`kv_heads` = 1).
    GroupedQuery {
        /// Query heads h.
        heads: u32,
        /// Key–value heads.
        kv_heads: u32,
        /// Width of a query and key head.
        head_dim: u32,
        /// Width of a value head, when it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_head_dim: Option<u32>,
        /// Attends to this many last tokens only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u32>,
        /// A learned sink logit per head (gpt-oss).
        #[serde(default, skip_serializing_if = "is_false")]
        sinks: bool,
        /// Biases on query, key and value projections.
        #[serde(default, skip_serializing_if = "is_false")]
        qkv_bias: bool,
        /// Bias on the output projection.
        #[serde(default, skip_serializing_if = "is_false")]
        output_bias: bool,
        /// Elements of the norms on queries and keys.
        #[serde(default, skip_serializing_if = "is_zero")]
        qk_norm_parameters: u64,
        /// Further outputs of the query projection that gate the attention output.
        #[serde(default, skip_serializing_if = "is_zero")]
        output_gate_size: u64,
        /// Values are the keys: no value projection (Gemma 4 global layers). Both are still cached.
        #[serde(default, skip_serializing_if = "is_false")]
        key_is_value: bool,
        /// Keys and values of an earlier layer are reused: no projections, nothing cached.
        #[serde(default, skip_serializing_if = "is_false")]
        reuses_kv: bool,
        /// Sparse attention (MiniMax-M3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        indexer: Option<Indexer>,
    },
    /// Cross-attention to image tokens (Llama 3.2 Vision): keys and values are computed once per image.
    Cross {
        /// Query heads.
        heads: u32,
        /// Key–value heads.
        kv_heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// Elements of q/k norms and gates.
        #[serde(default, skip_serializing_if = "is_zero")]
        qk_norm_parameters: u64,
    },
    /// Multi-head latent attention (DeepSeek V2–V3.2, Kimi K2): one compressed latent is cached per token.
    Latent {
        /// Query heads.
        heads: u32,
        /// Rank of the query compression; none when queries are projected directly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        q_lora_rank: Option<u32>,
        /// Rank of the cached latent.
        kv_lora_rank: u32,
        /// Width of the part of a head without rotary embedding.
        qk_nope_head_dim: u32,
        /// Width of the rotary part, shared by all heads on the key side.
        qk_rope_head_dim: u32,
        /// Width of a value head.
        v_head_dim: u32,
        /// Biases on the down and output projections.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
        /// Outputs of a gate on the attention output (Kimi K3).
        #[serde(default, skip_serializing_if = "is_zero")]
        output_gate_size: u64,
        /// Sparse attention (DeepSeek V3.2, GLM-5).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        indexer: Option<Indexer>,
    },
    /// Gated DeltaNet (Qwen3-Next, Qwen3.5): a fixed state per sequence instead of a cache.
    GatedDeltaNet {
        /// Key (and query) heads.
        key_heads: u32,
        /// Value heads.
        value_heads: u32,
        /// Width of a key head.
        key_head_dim: u32,
        /// Width of a value head.
        value_head_dim: u32,
        /// Taps of the causal convolution.
        conv_kernel: u32,
    },
    /// Mamba-2 (Nemotron-H, Granite 4-H).
    Mamba2 {
        /// Heads.
        heads: u32,
        /// Width of a head; heads × width is the inner width.
        head_dim: u32,
        /// State size N.
        state_size: u32,
        /// Groups that share B and C.
        groups: u32,
        /// Taps of the causal convolution.
        conv_kernel: u32,
        /// Bias of the convolution.
        #[serde(default, skip_serializing_if = "is_false")]
        conv_bias: bool,
        /// Biases on the in and out projections.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
    },
    /// Mamba-1 (Falcon-Mamba, Jamba).
    Mamba1 {
        /// Inner width.
        inner_size: u32,
        /// State size N.
        state_size: u32,
        /// Rank of the time-step projection.
        time_step_rank: u32,
        /// Taps of the causal convolution.
        conv_kernel: u32,
        /// Bias of the convolution.
        #[serde(default, skip_serializing_if = "is_false")]
        conv_bias: bool,
        /// Biases on the in and out projections.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
        /// Elements of norms on dt, B and C (Jamba).
        #[serde(default, skip_serializing_if = "is_zero")]
        norm_parameters: u64,
    },
}

impl Mixer {
    /// Linear layers in the order they run, whole.
    #[must_use]
    pub fn linears(&self, hidden_size: u64) -> Vec<Linear> {
        use TensorClass::{Attention, LinearAttention};
        let d = hidden_size;
        let u = u64::from;
        match *self {
            Self::None => vec![],
            Self::GroupedQuery {
                heads,
                kv_heads,
                head_dim,
                value_head_dim,
                qkv_bias,
                output_bias,
                output_gate_size,
                key_is_value,
                reuses_kv,
                ..
            } => {
                let dv = u(value_head_dim.unwrap_or(head_dim));
                let q = u(heads) * u(head_dim) + output_gate_size;
                let values = if key_is_value { 0 } else { dv };
                let kv = if reuses_kv { 0 } else { u(kv_heads) * (u(head_dim) + values) };
                let mut all =
                    vec![Linear::new("qkv_proj", Attention, d, q, Split::Columns).with_bias(qkv_bias)];
                if kv > 0 {
                    all.push(
                        Linear::new("qkv_proj", Attention, d, kv, Split::KvHeads(kv_heads))
                            .with_bias(qkv_bias),
                    );
                }
                all.push(
                    Linear::new("o_proj", Attention, u(heads) * dv, d, Split::Rows).with_bias(output_bias),
                );
                all
            }
            Self::Cross { heads, kv_heads, head_dim, .. } => {
                let (q, kv) = (u(heads) * u(head_dim), 2 * u(kv_heads) * u(head_dim));
                vec![
                    Linear::new("cross_q_proj", Attention, d, q, Split::Columns),
                    Linear::new("cross_kv_proj", Attention, d, kv, Split::KvHeads(kv_heads)),
                    Linear::new("o_proj", Attention, q, d, Split::Rows),
                ]
            }
            Self::Latent {
                heads,
                q_lora_rank,
                kv_lora_rank,
                qk_nope_head_dim,
                qk_rope_head_dim,
                v_head_dim,
                bias,
                output_gate_size,
                ..
            } => {
                let (h, r) = (u(heads), u(kv_lora_rank));
                let q_out = h * u(qk_nope_head_dim + qk_rope_head_dim);
                let mut all = vec![];
                if let Some(rank) = q_lora_rank {
                    all.push(
                        Linear::new("q_a_proj", Attention, d, u(rank), Split::Replicated).with_bias(bias),
                    );
                    all.push(Linear::new("q_b_proj", Attention, u(rank), q_out, Split::Columns));
                } else {
                    all.push(Linear::new("q_proj", Attention, d, q_out, Split::Columns));
                }
                let latent = r + u(qk_rope_head_dim);
                all.push(Linear::new("kv_a_proj", Attention, d, latent, Split::Replicated).with_bias(bias));
                let up = h * u(qk_nope_head_dim + v_head_dim);
                all.push(Linear::new("kv_b_proj", Attention, r, up, Split::Columns));
                if output_gate_size > 0 {
                    all.push(Linear::new("gate_proj", Attention, d, output_gate_size, Split::Columns));
                }
                all.push(Linear::new("o_proj", Attention, h * u(v_head_dim), d, Split::Rows).with_bias(bias));
                all
            }
            Self::GatedDeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, .. } => {
                let (k, v) = (u(key_heads) * u(key_head_dim), u(value_heads) * u(value_head_dim));
                vec![
                    // q, k, v and the output gate z; then the two gates b and a, one value a head.
                    Linear::new("in_proj_qkvz", LinearAttention, d, 2 * k + 2 * v, Split::Columns),
                    Linear::new("in_proj_ba", LinearAttention, d, 2 * u(value_heads), Split::Columns),
                    Linear::new("out_proj", LinearAttention, v, d, Split::Rows),
                ]
            }
            Self::Mamba2 { heads, head_dim, state_size, groups, bias, .. } => {
                let inner = u(heads) * u(head_dim);
                let outputs = 2 * inner + 2 * u(groups) * u(state_size) + u(heads);
                vec![
                    Linear::new("in_proj", LinearAttention, d, outputs, Split::Columns).with_bias(bias),
                    Linear::new("out_proj", LinearAttention, inner, d, Split::Rows).with_bias(bias),
                ]
            }
            Self::Mamba1 { inner_size, state_size, time_step_rank, bias, .. } => {
                let (inner, rank) = (u(inner_size), u(time_step_rank));
                let x = rank + 2 * u(state_size);
                vec![
                    Linear::new("in_proj", LinearAttention, d, 2 * inner, Split::Columns).with_bias(bias),
                    Linear::new("x_proj", LinearAttention, inner, x, Split::Rows),
                    Linear::new("dt_proj", LinearAttention, rank, inner, Split::Columns).with_bias(true),
                    Linear::new("out_proj", LinearAttention, inner, d, Split::Rows).with_bias(bias),
                ]
            }
        }
    }

    /// Elements of everything in the mixer that is no linear layer: q/k norms, convolutions, decay
    /// rates, sinks, indexer.
    #[must_use]
    pub fn other_parameters(&self, _hidden_size: u64) -> u64 {
        let u = u64::from;
        match *self {
            Self::None => 0,
            Self::GroupedQuery { heads, sinks, qk_norm_parameters, indexer, .. } => {
                qk_norm_parameters + if sinks { u(heads) } else { 0 } + indexer.map_or(0, |i| i.parameters)
            }
            Self::Cross { qk_norm_parameters, .. } => qk_norm_parameters,
            Self::Latent { q_lora_rank, kv_lora_rank, indexer, .. } => {
                u(q_lora_rank.unwrap_or(0)) + u(kv_lora_rank) + indexer.map_or(0, |i| i.parameters)
            }
            Self::GatedDeltaNet { value_heads, value_head_dim, conv_kernel, .. } => {
                // depth-wise convolution over q, k, v; A_log and dt_bias per head; gated norm
                u(conv_kernel) * self.conv_channels() + 2 * u(value_heads) + u(value_head_dim)
            }
            Self::Mamba2 { heads, head_dim, conv_kernel, conv_bias, .. } => {
                // convolution over x, B, C; A_log, D and dt_bias per head; gated norm
                self.conv_channels() * (u(conv_kernel) + u(u32::from(conv_bias)))
                    + 3 * u(heads)
                    + u(heads) * u(head_dim)
            }
            Self::Mamba1 { inner_size, state_size, conv_kernel, conv_bias, norm_parameters, .. } => {
                // convolution; A_log and D; norms
                u(inner_size) * (u(conv_kernel) + u(u32::from(conv_bias)))
                    + u(inner_size) * (u(state_size) + 1)
                    + norm_parameters
            }
        }
    }

    /// Channels of the causal convolution; 0 without one.
    #[must_use]
    pub fn conv_channels(&self) -> u64 {
        let u = u64::from;
        match *self {
            Self::GatedDeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, .. } => {
                2 * u(key_heads) * u(key_head_dim) + u(value_heads) * u(value_head_dim)
            }
            Self::Mamba2 { heads, head_dim, state_size, groups, .. } => {
                u(heads) * u(head_dim) + 2 * u(groups) * u(state_size)
            }
            Self::Mamba1 { inner_size, .. } => u(inner_size),
            _ => 0,
        }
    }

    /// Elements that one token adds to the cache of one layer (up to the window, where there is one).
    /// A latent is cached whole on every tensor-parallel rank.
    #[must_use]
    pub fn kv_elements_per_token(&self) -> u64 {
        let u = u64::from;
        match *self {
            Self::GroupedQuery { reuses_kv: true, .. } => 0,
            Self::GroupedQuery { kv_heads, head_dim, value_head_dim, indexer, .. } => {
                u(kv_heads) * (u(head_dim) + u(value_head_dim.unwrap_or(head_dim)))
                    + indexer.map_or(0, |i| u(i.head_dim))
            }
            Self::Latent { kv_lora_rank, qk_rope_head_dim, indexer, .. } => {
                u(kv_lora_rank + qk_rope_head_dim) + indexer.map_or(0, |i| u(i.head_dim))
            }
            _ => 0,
        }
    }

    /// The sliding window in tokens, where there is one.
    #[must_use]
    pub fn window(&self) -> Option<u32> {
        match *self {
            Self::GroupedQuery { window, .. } => window,
            _ => None,
        }
    }

    /// Bytes of the recurrent state of one sequence in one layer: the state in fp32, the
    /// convolution's last inputs in 16 bit. 0 for attention.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let u = u64::from;
        let (state, kernel) = match *self {
            Self::GatedDeltaNet { value_heads, key_head_dim, value_head_dim, conv_kernel, .. } => {
                (u(value_heads) * u(key_head_dim) * u(value_head_dim), conv_kernel)
            }
            Self::Mamba2 { heads, head_dim, state_size, conv_kernel, .. } => {
                (u(heads) * u(head_dim) * u(state_size), conv_kernel)
            }
            Self::Mamba1 { inner_size, state_size, conv_kernel, .. } => {
                (u(inner_size) * u(state_size), conv_kernel)
            }
            _ => return 0,
        };
        4 * state + 2 * self.conv_channels() * u(kernel.saturating_sub(1))
    }
}
