//! The token mixer of a layer: attention in its kinds, linear attention, state space.

mod cache;
mod linears;

use serde::{Deserialize, Serialize};

use super::{is_false, is_zero};

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
    /// The picks of an earlier layer are reused: nothing computed, nothing cached (GLM-5.2).
    #[serde(default, skip_serializing_if = "is_false")]
    pub reused: bool,
}

impl Indexer {
    /// Elements that one token adds to the indexer's cache in one layer.
    #[must_use]
    pub fn cached_width(self) -> u64 {
        if self.reused { 0 } else { u64::from(self.head_dim) }
    }
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
    /// Attention over a sliding window and a compressed past (DeepSeek V4). Keys and values are one
    /// shared head; every `ratio` tokens are pooled into one further entry of the cache.
    ///
    /// Heavily compressed layers (ratio 128) attend to all entries. Compressed sparse layers (ratio 4)
    /// pool overlapping windows, and an indexer with a compressed cache of its own picks `top_k`
    /// entries. Source: `DeepSeek-V4` technical report §2.3, transformers `modeling_deepseek_v4.py`.
    Compressed {
        /// Query heads h.
        heads: u32,
        /// Width c of a head; keys and values are one head of this width.
        head_dim: u32,
        /// Rank of the query compression.
        q_lora_rank: u32,
        /// Groups of heads that the output projection compresses separately.
        output_groups: u32,
        /// Rank of the output compression of one group.
        output_lora_rank: u32,
        /// Uncompressed last tokens.
        window: u32,
        /// Tokens per compressed entry m; 0 for a layer with the window only.
        #[serde(default)]
        ratio: u32,
        /// Picks among the compressed entries; its `parameters` hold everything of it, compressor included.
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
        /// No gated norm before the out projection (Falcon-H1).
        #[serde(default, skip_serializing_if = "is_false")]
        without_norm: bool,
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
    /// Kimi Delta Attention: Gated DeltaNet whose decay is per channel (Kimi-Linear, Kimi-K3).
    /// Source: arXiv 2510.26692 §3, vLLM `kda.py`.
    KimiDelta {
        /// Heads; queries, keys and values have as many.
        heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// Taps of the causal convolutions.
        conv_kernel: u32,
        /// The output gate is one full projection, not a pair of rank `head_dim` (Kimi-K3).
        #[serde(default, skip_serializing_if = "is_false")]
        full_rank_gate: bool,
        /// The decay of each channel too (Ling 3).
        #[serde(default, skip_serializing_if = "is_false")]
        full_rank_decay: bool,
    },
    /// Lightning attention with an output gate (MiniMax-Text-01): linear attention with a fixed
    /// decay per head. Source: arXiv 2501.08313 §2.2, transformers `modeling_minimax.py`.
    Lightning {
        /// Heads; queries, keys and values have as many.
        heads: u32,
        /// Width of a head.
        head_dim: u32,
    },
    /// Gated short convolution (LFM2): the last `conv_kernel` − 1 inputs are the whole state.
    /// Source: transformers `modeling_lfm2.py`.
    ShortConv {
        /// Channels of the convolution.
        width: u32,
        /// Taps of the causal convolution.
        conv_kernel: u32,
        /// Biases on the convolution and the projections.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
    },
}
