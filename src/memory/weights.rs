//! Weights on one accelerator, sharded and stored as the engine does.
//!
//! Tensor parallelism divides attention, feed-forward, vocabulary and vision tower; norms, routers
//! and the down-projections of latent attention are whole on every rank, KV heads from the point
//! where there are fewer of them than ranks. Routed experts are divided over all `tp × dp` ranks,
//! whole ones with expert parallelism, slices without. Multi-token-prediction layers are not loaded.

use serde::Serialize;
use std::collections::BTreeMap;

use super::experts;
use super::stage::{Stage, stages};
use crate::spec::model::{Mixer, TensorClass};
use crate::spec::{Accelerator, Deployment, EngineKind, Formats, ModelSpec, VOCABULARY_PADDING};
use crate::units::Bytes;

/// Weights on the fullest accelerator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weights {
    /// All of them.
    pub total: Bytes,
    /// By tensor class.
    pub by_class: BTreeMap<TensorClass, Bytes>,
}

/// Weights on the accelerator that holds the most, of a deployment that passed
/// [`crate::spec::check_deployment`].
#[must_use]
pub fn weights_per_gpu(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    formats: &Formats,
) -> Weights {
    stages(model, deployment.parallelism.pp)
        .iter()
        .map(|stage| stage_weights(model, accelerator, deployment, formats, stage))
        .max_by(|a, b| a.total.0.total_cmp(&b.total.0))
        .unwrap_or(Weights { total: Bytes::ZERO, by_class: BTreeMap::new() })
}

/// Weights of one rank of one pipeline stage.
pub(super) fn stage_weights(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    formats: &Formats,
    stage: &Stage,
) -> Weights {
    let p = deployment.parallelism;
    let d = u64::from(model.hidden_size);
    let tp = f64::from(p.tp);
    let mut by_class: BTreeMap<TensorClass, f64> = BTreeMap::new();
    let rounds = !matches!(deployment.engine.kind, EngineKind::Llamacpp | EngineKind::Ideal);
    let stored = |class: TensorClass, elements: f64| {
        let bytes = elements * formats.of(class).bytes_per_weight;
        if rounds { allocated(bytes) } else { bytes }
    };
    let mut add = |class: TensorClass, bytes: f64| *by_class.entry(class).or_insert(0.0) += bytes;
    for group in &model.layers {
        let count = f64::from(group.count) * stage.share;
        for linears in [group.mixer.linears(d), group.feed_forward.linears(d)] {
            // one tensor for consecutive layers of one label
            for fused in linears.chunk_by(|a, b| a.label == b.label) {
                let elements: u64 = fused.iter().map(|l| l.parameters_per_rank(p.tp)).sum();
                if let Some(first) = fused.first() {
                    add(first.class, count * stored(first.class, elements as f64));
                }
            }
        }
        for bytes in experts::tensors(&group.feed_forward, d, deployment, formats, accelerator) {
            add(TensorClass::Experts, count * if rounds { allocated(bytes) } else { bytes });
        }
        let small = group.norm_parameters
            + group.other_parameters
            + group.mixer.other_parameters(d)
            + group.feed_forward.other_parameters();
        add(TensorClass::Small, count * small as f64 * formats.of(TensorClass::Small).bytes_per_weight);
    }
    let padded = match deployment.engine.kind {
        EngineKind::Vllm | EngineKind::Sglang => {
            u64::from(model.vocab_size).next_multiple_of(VOCABULARY_PADDING)
        }
        _ => u64::from(model.vocab_size),
    };
    let table = (padded * d) as f64 / tp;
    let e = &model.embedding;
    if stage.first {
        let tables = e.per_layer_parameters as f64 / tp + e.position_parameters as f64;
        let bytes = stored(TensorClass::Embedding, table) + stored(TensorClass::Embedding, tables);
        add(TensorClass::Embedding, bytes);
        let vision = model.vision.as_ref().map_or(0.0, |v| v.parameters as f64 / tp);
        add(TensorClass::Vision, vision * formats.of(TensorClass::Vision).bytes_per_weight);
    }
    if stage.last {
        // A tied projection is the table itself, unless that lies on another stage.
        if !e.tied || !stage.first {
            add(TensorClass::LmHead, stored(TensorClass::LmHead, table));
        }
        add(TensorClass::Small, e.norm_parameters as f64 * formats.of(TensorClass::Small).bytes_per_weight);
    }
    add(TensorClass::Attention, latent_copies(model, formats, p.tp) * stage.share);
    add(TensorClass::Small, rotary_tables(model, formats));
    by_class.retain(|_, bytes| *bytes > 0.0);
    Weights {
        total: Bytes(by_class.values().sum()),
        by_class: by_class.into_iter().map(|(class, bytes)| (class, Bytes(bytes))).collect(),
    }
}

/// Bytes that PyTorch's caching allocator counts for a tensor. From 10 MiB on a tensor gets a segment
/// rounded up to 2 MiB, and what is left of it is split off only when it is more than 1 MiB
/// (`CUDACachingAllocator.cpp`: `kMinLargeAlloc`, `kRoundLarge`, `kSmallSize`). Phi-4's 75 MiB and
/// 175 MiB matrices so take 76 and 176, 0.08 GiB over 40 layers.
fn allocated(bytes: f64) -> f64 {
    const MIB: f64 = 1_048_576.0;
    let rest = (bytes / (2.0 * MIB)).ceil() * 2.0 * MIB - bytes;
    if bytes >= 10.0 * MIB && rest <= MIB { bytes + rest } else { bytes }
}

/// Bytes of the 16-bit copies of latent attention's up-projections that engines keep beside quantised
/// ones, to absorb them into queries and outputs in decode (vLLM `mla_attention.py`,
/// `process_weights_after_loading`: `W_UK_T` and `W_UV`, views of the weight when it is not quantised).
fn latent_copies(model: &ModelSpec, formats: &Formats, tp: u32) -> f64 {
    let d = u64::from(model.hidden_size);
    if formats.of(TensorClass::Attention).weights == formats.activations {
        return 0.0;
    }
    let of = |mixer: &Mixer| -> u64 {
        mixer.linears(d).iter().filter(|l| l.label == "kv_b_proj").map(|l| l.parameters_per_rank(tp)).sum()
    };
    let elements: f64 = model.layers.iter().map(|g| f64::from(g.count) * of(&g.mixer) as f64).sum();
    elements * formats.activations.bytes()
}

/// Bytes of the tables of sines and cosines: one row a position and as wide as the rotated part of a
/// head (taken to be the whole head), for every kind of attention that has its own. Layers that see a
/// window are not rescaled.
fn rotary_tables(model: &ModelSpec, formats: &Formats) -> f64 {
    if model.embedding.position_parameters > 0 {
        return 0.0;
    }
    let positions = model.max_position_embeddings.unwrap_or(0);
    let stretched = model.rotary_positions.unwrap_or(positions);
    let mut kinds: Vec<(u32, u64)> = model
        .layers
        .iter()
        .filter_map(|g| match g.mixer {
            Mixer::GroupedQuery { head_dim, window: Some(_), .. } => Some((head_dim, positions)),
            Mixer::GroupedQuery { head_dim, .. } => Some((head_dim, stretched)),
            Mixer::Latent { qk_rope_head_dim, .. } => Some((qk_rope_head_dim, stretched)),
            _ => None,
        })
        .collect();
    kinds.sort_unstable();
    // Gemma 2 shares one table between its windowed and its full layers.
    kinds.dedup();
    let elements: f64 = kinds.iter().map(|(width, rows)| f64::from(*width) * *rows as f64).sum();
    elements * formats.activations.bytes()
}
