//! What the layers of a stage cache, sharded: keys and values, latents, recurrent states.

use crate::spec::deployment::Version;
use crate::spec::model::Mixer;
use crate::spec::{DataType, Deployment, EngineDefaults, EngineKind, Formats, ModelSpec};

use super::super::stage::Stage;

/// How the cache of a layer grows with the context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Growth {
    /// One slot a token.
    Full,
    /// One slot a token, up to this many.
    Window(u64),
    /// A fixed state a sequence.
    State,
}

impl Growth {
    /// Slots that a sequence of `tokens` tokens takes at least.
    pub fn slots(self, tokens: u64) -> f64 {
        match self {
            Self::Full => tokens as f64,
            Self::Window(w) => tokens.min(w) as f64,
            Self::State => 1.0,
        }
    }
}

/// Layers with the same cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kind {
    pub growth: Growth,
    /// Bytes of a token in one layer, or of the whole state.
    pub bytes: f64,
    pub layers: u64,
    /// Tokens in a block of this kind.
    pub block: u64,
}

/// The kinds of cached layers of one stage, sharded.
pub(super) fn kinds(
    model: &ModelSpec,
    deployment: &Deployment,
    formats: &Formats,
    settings: &EngineDefaults,
    stage: &Stage,
    notes: &mut Vec<String>,
) -> Vec<Kind> {
    let tp = deployment.parallelism.tp;
    let version = deployment.engine.version;
    let element = formats.kv_cache.bytes();
    let block = u64::from(settings.block_size);
    // Without the hybrid manager (before 0.9; for chunked attention always) windows save nothing.
    let windows = deployment.engine.kind != EngineKind::Vllm
        || (version >= Version(0, 9) && !model.architecture.starts_with("llama4"));
    let mut all: Vec<Kind> = vec![];
    let mut add = |growth: Growth, bytes: f64, layers: f64| {
        let layers = layers.ceil() as u64;
        if bytes <= 0.0 || layers == 0 {
            return;
        }
        match all.iter_mut().find(|k| k.growth == growth && (k.bytes - bytes).abs() < 1e-9) {
            Some(kind) => kind.layers += layers,
            None => all.push(Kind { growth, bytes, layers, block }),
        }
    };
    for group in &model.layers {
        let layers = f64::from(group.count) * stage.share;
        match group.mixer {
            Mixer::GroupedQuery { reuses_kv: true, .. } => {}
            Mixer::GroupedQuery { kv_heads, head_dim, value_head_dim, window, indexer, .. } => {
                let heads = f64::from(kv_heads.div_ceil(tp.min(kv_heads)));
                let bytes = heads * f64::from(head_dim + value_head_dim.unwrap_or(head_dim)) * element;
                let growth =
                    window.filter(|_| windows).map_or(Growth::Full, |w| Growth::Window(u64::from(w)));
                add(growth, bytes, layers);
                if let Some(indexer) = indexer {
                    add(Growth::Full, f64::from(indexer.head_dim) * element, layers);
                }
            }
            Mixer::Latent { kv_lora_rank, qk_rope_head_dim, indexer, .. } => {
                let latent = f64::from(kv_lora_rank + qk_rope_head_dim) * element;
                match indexer {
                    // fp8 latents of sparse attention carry scales and a 16-bit rotary part: 656 bytes; the
                    // indexer's keys are fp8 with one fp32 scale (vLLM `flashmla_sparse.py`, `deepseek_v2.py`)
                    Some(indexer) => {
                        let sparse = if formats.kv_cache == DataType::Fp8 { 656.0 } else { latent };
                        add(Growth::Full, sparse, layers);
                        add(Growth::Full, f64::from(indexer.head_dim) + 4.0, layers);
                    }
                    None => add(Growth::Full, latent, layers),
                }
            }
            Mixer::Compressed { .. } => {
                let elements = group.mixer.kv_elements_per_token() as f64;
                add(Growth::Full, elements * element, layers);
                notes.push(
                    "compressed attention: the cache is counted in averages; engines' exact page layout is not modelled"
                        .into(),
                );
            }
            // keys and values of an image are cached for the encoder's tokens only
            Mixer::None | Mixer::Cross { .. } => {}
            _ => add(Growth::State, state_bytes(model, &group.mixer, formats, deployment), layers),
        }
    }
    notes.dedup();
    all
}

/// Bytes of a recurrent state on one rank. vLLM keeps the state in the model's type unless the
/// architecture asks for fp32 (`MambaStateDtypeCalculator`; Nemotron-H, from 0.13 on, and Qwen3.5 do).
fn state_bytes(model: &ModelSpec, mixer: &Mixer, formats: &Formats, deployment: &Deployment) -> f64 {
    let (tp, version) = (deployment.parallelism.tp, deployment.engine.version);
    let (u, ranks) = (|n: u32| f64::from(n), f64::from(tp));
    let element = formats.activations.bytes();
    let named = |name| model.architecture.starts_with(name);
    let wide = named("qwen3_5")
        || named("nemotron") && (deployment.engine.kind != EngineKind::Vllm || version >= Version(0, 13));
    let state = if wide { 4.0 } else { element };
    let taps = |kernel: u32| f64::from(kernel.saturating_sub(1));
    match *mixer {
        Mixer::GatedDeltaNet { value_heads, key_head_dim, value_head_dim, conv_kernel, .. } => {
            (u(value_heads) * u(key_head_dim) * u(value_head_dim) * state
                + mixer.conv_channels() as f64 * taps(conv_kernel) * element)
                / ranks
        }
        Mixer::Mamba2 { heads, head_dim, state_size, groups, conv_kernel, .. } => {
            // groups that ranks do not divide are repeated until each rank has whole ones
            let groups = if groups.is_multiple_of(tp) { groups } else { tp };
            let channels = u(heads) * u(head_dim) + 2.0 * u(groups) * u(state_size);
            (u(heads) * u(head_dim) * u(state_size) * state + channels * taps(conv_kernel) * element) / ranks
        }
        Mixer::Mamba1 { inner_size, state_size, conv_kernel, .. } => {
            u(inner_size) * (u(state_size) * state + taps(conv_kernel) * element) / ranks
        }
        Mixer::KimiDelta { heads, head_dim, conv_kernel, .. } => {
            (u(heads) * u(head_dim) * u(head_dim) * 4.0
                + mixer.conv_channels() as f64 * taps(conv_kernel) * element)
                / ranks
        }
        Mixer::Lightning { heads, head_dim } => u(heads) * u(head_dim) * u(head_dim) * element / ranks,
        Mixer::ShortConv { width, conv_kernel, .. } => u(width) * taps(conv_kernel) * element / ranks,
        _ => 0.0,
    }
}
