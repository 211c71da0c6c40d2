//! One kernel (or a few that always run together) with what it computes and moves.

use serde::Serialize;

use crate::spec::DataType;
use crate::units::{Bytes, Flops};

/// A collective operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Collective {
    /// Sum over ranks, result everywhere.
    AllReduce,
    /// Concatenation over ranks, result everywhere.
    AllGather,
    /// Every rank sends a part to every other.
    AllToAll,
    /// One rank to the next (pipeline stages).
    SendReceive,
}

/// Causal attention over a latent that is expanded to keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expanded {
    /// Requests.
    pub requests: f64,
    /// New tokens of each.
    pub new_tokens: f64,
    /// Past tokens of each.
    pub past_tokens: f64,
    /// Query heads on this rank.
    pub heads: f64,
    /// Width of an expanded head (mean of key and value width).
    pub head_dim: f64,
    /// Format of the cache.
    pub cache: DataType,
    /// The mean over kernels of several steps.
    pub averaged: bool,
}

/// The shape of an operator: what a kernel-time model needs beside FLOPs and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Matrix product M × K by K × N.
    Gemm {
        /// Rows: tokens.
        m: f64,
        /// Output width.
        n: f64,
        /// Input width.
        k: f64,
    },
    /// Routed experts of one rank: up and down products over the tokens routed to it.
    Experts {
        /// Tokens entering the layer, of all ranks that share the experts.
        tokens: f64,
        /// Experts per token.
        top_k: f64,
        /// Token copies that reach this rank.
        copies: f64,
        /// Experts of this rank that at least one token is routed to.
        active: f64,
        /// Experts held by this rank.
        local: f64,
        /// Tiles of [`super::TILE_ROWS`] rows that the copies fill, expert by expert.
        tiles: [f64; 4],
        /// Width in and out.
        width: f64,
        /// Width of an expert on this rank.
        intermediate: f64,
        /// A gate beside the up-projection.
        gated: bool,
    },
    /// Causal attention of new tokens over past and themselves.
    PrefillAttention {
        /// Requests.
        requests: f64,
        /// New tokens of each.
        new_tokens: f64,
        /// Past tokens of each.
        past_tokens: f64,
        /// Query heads on this rank.
        heads: f64,
        /// KV heads on this rank.
        kv_heads: f64,
        /// Width of a head (mean of key and value width).
        head_dim: f64,
        /// Most positions that a query sees; infinite without a window.
        window: f64,
        /// Format of the cache.
        cache: DataType,
        /// The mean over kernels of several steps.
        averaged: bool,
    },
    /// One query token a row over its context.
    DecodeAttention {
        /// Requests.
        rows: f64,
        /// Positions in the cache of each.
        context: f64,
        /// Query heads on this rank.
        heads: f64,
        /// KV heads on this rank.
        kv_heads: f64,
        /// Width of a head.
        head_dim: f64,
        /// Most positions that are read; infinite without a window.
        window: f64,
        /// Format of the cache.
        cache: DataType,
    },
    /// Prefill over an expanded latent.
    LatentPrefill(Expanded),
    /// Prefill over the positions of a latent cache that an indexer picked, projections absorbed.
    SparsePrefill {
        /// Query heads on this rank, which a kernel pads to its tile of heads.
        heads: f64,
        /// A kernel that expands the latent and sees as many positions as are picked: no kernel gathers entries
        /// faster than this one reads neighbours.
        window: Expanded,
        /// Its operations.
        window_flops: Flops,
        /// Its bytes.
        window_bytes: Bytes,
    },
    /// Decode over the latent itself.
    LatentDecode {
        /// Requests.
        rows: f64,
        /// Positions read of each.
        context: f64,
        /// Query heads on this rank.
        heads: f64,
        /// Rank of the latent.
        rank: f64,
        /// Width of the rotary part cached beside it.
        rope: f64,
        /// Format of the cache.
        cache: DataType,
    },
    /// Scores of a sparse-attention indexer.
    Indexer,
    /// Linear attention or state space: a scan over tokens with a state per sequence.
    Recurrent {
        /// Tokens scanned.
        tokens: f64,
        /// Sequences.
        sequences: f64,
        /// Chunks of the longest sequence, which are scanned one after the other.
        chunks: f64,
    },
    /// Norms, rotary embedding, activation, residual: bandwidth only.
    Elementwise,
    /// Communication between ranks.
    Collective {
        /// Which.
        kind: Collective,
        /// Ranks taking part.
        ranks: u32,
    },
}

/// Bytes moved, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Traffic {
    /// Weights read from device memory.
    pub weights: Bytes,
    /// KV cache or recurrent state, read and written.
    pub kv: Bytes,
    /// Activations read and written.
    pub activations: Bytes,
    /// Bytes over links between accelerators: the size of the message, whatever the algorithm sends.
    pub link: Bytes,
    /// Bytes over the link to the host (offloaded weights or KV cache).
    pub host: Bytes,
}

impl Traffic {
    /// Bytes through device memory.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        Bytes(self.weights.0 + self.kv.0 + self.activations.0)
    }
}

/// An operator. Numbers are for one execution; it runs `repeat` times in the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operator {
    /// Name in the breakdown.
    pub label: &'static str,
    /// Shape.
    pub shape: Shape,
    /// Format of the weights in memory.
    pub weights: DataType,
    /// Format in which it multiplies.
    pub math: DataType,
    /// Executions in the step.
    pub repeat: f64,
    /// Operations (multiply and add are two).
    pub flops: Flops,
    /// Bytes.
    pub traffic: Traffic,
    /// Kernels started by one execution.
    pub launches: f64,
    /// It runs on a second stream beside a longer kernel: its latency is hidden, its share of memory and
    /// arithmetic is not.
    pub concurrent: bool,
}

impl Operator {
    /// A bandwidth-only operator over so many bytes of activations.
    #[must_use]
    pub fn elementwise(label: &'static str, data_type: DataType, bytes: f64, launches: f64) -> Self {
        Self {
            label,
            shape: Shape::Elementwise,
            weights: data_type,
            math: data_type,
            repeat: 1.0,
            flops: Flops::ZERO,
            traffic: Traffic { activations: Bytes(bytes), ..Traffic::default() },
            launches,
            concurrent: false,
        }
    }

    /// A collective over a message of so many bytes.
    #[must_use]
    pub fn collective(
        label: &'static str,
        kind: Collective,
        data_type: DataType,
        ranks: u32,
        bytes: f64,
    ) -> Self {
        Self {
            shape: Shape::Collective { kind, ranks },
            traffic: Traffic { link: Bytes(bytes), ..Traffic::default() },
            launches: 1.0,
            ..Self::elementwise(label, data_type, 0.0, 1.0)
        }
    }

    /// The same, run so many times.
    #[must_use]
    pub fn repeated(self, repeat: f64) -> Self {
        Self { repeat, ..self }
    }
}
