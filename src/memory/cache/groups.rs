//! Groups of layers that share a block table, and the pages that make them equal.

use super::kinds::{Growth, Kind};
use crate::spec::deployment::{Deployment, Version};
use crate::spec::model::Mixer;
use crate::spec::{EngineDefaults, ModelSpec};

/// What a layer of one group holds per block table entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub growth: Growth,
    pub block: u64,
}

/// How recurrent states are kept for prefix caching (`mamba_cache_mode`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum StateMode {
    /// One state a sequence.
    Single,
    /// The running state and one at a block border.
    Aligned,
    /// One state a block.
    EveryBlock,
}

/// Makes the pages of attention and state layers equal: the attention block grows to the next
/// multiple of the kernel's alignment whose page holds a state, and the state's page is padded to it.
pub(super) fn align(
    kinds: &mut [Kind],
    model: &ModelSpec,
    deployment: &Deployment,
    settings: &EngineDefaults,
    notes: &mut Vec<String>,
) -> StateMode {
    let largest = |growth: fn(&Growth) -> bool, kinds: &[Kind]| {
        kinds.iter().filter(|k| growth(&k.growth)).map(|k| k.bytes).fold(0.0, f64::max)
    };
    let state = largest(|g| *g == Growth::State, kinds);
    let attention = largest(|g| *g != Growth::State, kinds);
    if state <= 0.0 {
        return StateMode::Single;
    }
    // Generative hybrid models cache prefixes by default from 0.26 on; Mamba kernels keep a state for
    // every block (from 0.12 on, pull request 25752), the others one at a border (0.15, 30877).
    let version = deployment.engine.version;
    let cached = deployment.scheduling.prefix_caching.unwrap_or(version >= Version(0, 26));
    let mamba = kinds.len() > 1
        && model.layers.iter().any(|g| matches!(g.mixer, Mixer::Mamba1 { .. } | Mixer::Mamba2 { .. }));
    let mode = match mamba {
        true if cached && version >= Version(0, 12) => StateMode::EveryBlock,
        false if cached && version >= Version(0, 15) => StateMode::Aligned,
        _ => StateMode::Single,
    };
    if attention <= 0.0 {
        // One state a sequence, in blocks as long as the longest request.
        kinds.iter_mut().for_each(|k| k.block = settings.max_model_len);
        return StateMode::Single;
    }
    let latent = model.layers.iter().any(|g| matches!(g.mixer, Mixer::Latent { .. }));
    let alignment = match (mode, latent) {
        (StateMode::EveryBlock, _) => 256,
        (_, true) => 64,
        (_, false) => 16,
    };
    let needed = alignment * (state / (alignment as f64 * attention)).ceil() as u64;
    let block = needed.max(u64::from(settings.block_size));
    notes.push(format!("attention blocks hold {block} tokens, so that a page holds a recurrent state"));
    for kind in kinds.iter_mut() {
        let whole = kind.growth == Growth::State && mode == StateMode::Single;
        kind.block = if whole { settings.max_model_len.max(block) } else { block };
        if kind.growth == Growth::State {
            kind.bytes = block as f64 * attention;
        }
    }
    mode
}

/// Bytes of one page of a kind.
fn page(kind: &Kind) -> f64 {
    if kind.growth == Growth::State { kind.bytes } else { kind.bytes * kind.block as f64 }
}

/// Divides the layers into groups that share a block table. All layers of one type make one group;
/// mixed types are cut into groups of equally many layers whose pages are made equal by larger blocks.
pub(super) fn group(kinds: &[Kind], version: Version, notes: &mut Vec<String>) -> (Vec<Group>, f64) {
    let Some(first) = kinds.first() else { return (vec![], 0.0) };
    if kinds.iter().all(|k| k.growth == first.growth && k.block == first.block) {
        let bytes = kinds.iter().map(|k| page(k) * k.layers as f64).sum();
        return (vec![Group { growth: first.growth, block: first.block }], bytes);
    }
    let largest = kinds.iter().map(page).fold(0.0, f64::max);
    let fewest = kinds.iter().map(|k| k.layers).min().unwrap_or(1);
    let most = kinds.iter().map(|k| k.layers).max().unwrap_or(1);
    let similar = match version {
        v if v < Version(0, 12) => 1.0,
        v if v < Version(0, 19) => 1.25,
        _ => 1.5,
    };
    let size = if (most as f64) < fewest as f64 * similar { most } else { fewest };
    let mut groups = vec![];
    for kind in kinds {
        let ratio = largest / page(kind);
        if (ratio - ratio.round()).abs() > 1e-6 {
            notes.push(
                "pages of different layers do not divide each other: vLLM may refuse this model".into(),
            );
        }
        let block = if kind.growth == Growth::State {
            kind.block
        } else {
            (kind.block as f64 * ratio).floor() as u64
        };
        let count = kind.layers.div_ceil(size);
        groups.extend((0..count).map(|_| Group { growth: kind.growth, block }));
    }
    (groups, largest * size as f64)
}
