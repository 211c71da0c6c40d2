//! The KV cache as vLLM lays it out: pages, groups of layers, blocks, tokens and concurrency.
//!
//! Source: vLLM `kv_cache_utils.py` and `kv_cache_interface.py`, 0.8.5 to 0.33.0
//! (`get_kv_cache_groups`, `get_kv_cache_config_from_groups`, `get_max_concurrency_for_kv_cache_config`,
//! `_report_kv_cache_config`), and `HybridAttentionMambaModelConfig.verify_and_update_config` for
//! models with recurrent states.

use super::stage::Stage;
use crate::spec::deployment::Version;
use crate::spec::model::Mixer;
use crate::spec::{DataType, Deployment, EngineDefaults, EngineKind, Formats, ModelSpec};

/// How the cache of a layer grows with the context.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Growth {
    /// One slot a token.
    Full,
    /// One slot a token, up to this many.
    Window(u64),
    /// A fixed state a sequence.
    State,
}

impl Growth {
    /// Slots that a sequence of `tokens` tokens takes at least.
    fn slots(self, tokens: u64) -> f64 {
        match self {
            Self::Full => tokens as f64,
            Self::Window(w) => tokens.min(w) as f64,
            Self::State => 1.0,
        }
    }
}

/// Layers with the same cache.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    growth: Growth,
    /// Bytes of a token in one layer, or of the whole state.
    bytes: f64,
    layers: u64,
    /// Tokens in a block of this kind.
    block: u64,
}

/// What a layer of one group holds per block table entry.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Group {
    growth: Growth,
    block: u64,
}

/// How recurrent states are kept for prefix caching (`mamba_cache_mode`).
#[derive(Debug, Clone, Copy, PartialEq)]
enum StateMode {
    /// One state a sequence.
    Single,
    /// The running state and one at a block border.
    Aligned,
    /// One state a block.
    EveryBlock,
}

/// Layout of the cache on one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    groups: Vec<Group>,
    /// Bytes of one block over all layers of a group.
    block_bytes: f64,
    state_mode: StateMode,
    version: Version,
    /// Allocated by the byte and not in pages: the kinds as they are.
    exact: Option<Vec<Kind>>,
    /// Tokens that may be scheduled and not yet settled.
    in_flight: u64,
    /// Bytes that one more token of a long sequence takes, all layers.
    pub bytes_per_token: f64,
    /// Bytes of the recurrent states of one sequence, all layers.
    pub state_bytes: f64,
    /// What was assumed.
    pub notes: Vec<String>,
}

impl Layout {
    /// The layout of one stage.
    pub fn new(
        model: &ModelSpec,
        deployment: &Deployment,
        formats: &Formats,
        settings: &EngineDefaults,
        stage: &Stage,
    ) -> Self {
        let version = deployment.engine.version;
        let mut notes = vec![];
        let mut kinds = kinds(model, deployment, formats, settings, stage, &mut notes);
        let paged = deployment.engine.kind == EngineKind::Vllm;
        let exact = (!paged).then(|| kinds.clone());
        let state_mode =
            if paged { align(&mut kinds, model, version, settings, &mut notes) } else { StateMode::Single };
        let bytes_per_token = kinds
            .iter()
            .filter(|k| k.growth == Growth::Full)
            .map(|k| k.layers as f64 * k.bytes)
            .fold(0.0, |a, b| a + b);
        let state_bytes = kinds
            .iter()
            .filter(|k| k.growth == Growth::State)
            .map(|k| k.layers as f64 * k.bytes)
            .fold(0.0, |a, b| a + b);
        let (groups, block_bytes) =
            if paged { group(&kinds, version, &mut notes) } else { (vec![], f64::from(!kinds.is_empty())) };
        let batches = if version >= Version(0, 26) { u64::from(deployment.parallelism.pp) + 1 } else { 1 };
        Self {
            groups,
            block_bytes,
            state_mode,
            version,
            exact,
            in_flight: batches * u64::from(settings.max_num_batched_tokens),
            bytes_per_token,
            state_bytes,
            notes,
        }
    }

    /// Blocks in a pool of so many bytes.
    pub fn blocks(&self, pool: f64) -> u64 {
        if self.block_bytes <= 0.0 || pool <= 0.0 { 0 } else { (pool / self.block_bytes) as u64 }
    }

    /// Blocks that one sequence of `tokens` tokens may take, over all groups.
    pub fn blocks_per_sequence(&self, tokens: u64) -> u64 {
        if let Some(kinds) = &self.exact {
            let bytes: f64 = kinds.iter().map(|k| k.layers as f64 * k.bytes * k.growth.slots(tokens)).sum();
            return (bytes.ceil() as u64).max(1);
        }
        self.groups
            .iter()
            .map(|g| match g.growth {
                Growth::Full => tokens.div_ceil(g.block),
                // a window may begin within a block
                Growth::Window(w) => (w - 1 + self.in_flight).min(tokens).div_ceil(g.block) + 1,
                Growth::State => match self.state_mode {
                    StateMode::Single => 1,
                    StateMode::Aligned => 2,
                    StateMode::EveryBlock => tokens.div_ceil(g.block),
                },
            })
            .sum::<u64>()
            .max(1)
    }

    /// Bytes that one sequence of `tokens` tokens may take.
    pub fn sequence_bytes(&self, tokens: u64) -> f64 {
        self.blocks_per_sequence(tokens) as f64 * self.block_bytes
    }

    /// "Maximum concurrency for `tokens` tokens per request".
    pub fn concurrency(&self, blocks: u64, tokens: u64) -> f64 {
        blocks as f64 / self.blocks_per_sequence(tokens) as f64
    }

    /// "GPU KV cache size": blocks shared out over the groups in tokens of the smallest block, and from
    /// 0.21 on concurrency × length.
    pub fn tokens(&self, blocks: u64, length: u64) -> u64 {
        if self.exact.is_some() || self.version >= Version(0, 21) {
            return (self.concurrency(blocks, length) * length as f64) as u64;
        }
        let smallest = self.groups.iter().map(|g| g.block).min().unwrap_or(1);
        blocks / (self.groups.len() as u64).max(1) * smallest
    }

    /// Longest sequence that fits alone, up to `longest`; 0 when none does.
    pub fn longest(&self, blocks: u64, longest: u64) -> u64 {
        let (mut low, mut high) = (0, longest);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.blocks_per_sequence(middle) <= blocks {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Tokens in a block of the group with the smallest one.
    pub fn block_size(&self) -> u64 {
        self.groups.iter().map(|g| g.block).min().unwrap_or(1)
    }
}

/// The kinds of cached layers of one stage, sharded.
fn kinds(
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

/// Makes the pages of attention and state layers equal: the attention block grows to the next
/// multiple of the kernel's alignment whose page holds a state, and the state's page is padded to it.
fn align(
    kinds: &mut [Kind],
    model: &ModelSpec,
    version: Version,
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
    // every block, the others one at a border.
    let mode = if version < Version(0, 26) {
        StateMode::Single
    } else if kinds.len() > 1
        && model.layers.iter().any(|g| matches!(g.mixer, Mixer::Mamba1 { .. } | Mixer::Mamba2 { .. }))
    {
        StateMode::EveryBlock
    } else {
        StateMode::Aligned
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
fn group(kinds: &[Kind], version: Version, notes: &mut Vec<String>) -> (Vec<Group>, f64) {
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
