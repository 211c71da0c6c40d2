//! The KV cache as vLLM lays it out: pages, groups of layers, blocks, tokens and concurrency.
//!
//! Source: vLLM `kv_cache_utils.py` and `kv_cache_interface.py`, 0.8.5 to 0.33.0
//! (`get_kv_cache_groups`, `get_kv_cache_config_from_groups`, `get_max_concurrency_for_kv_cache_config`,
//! `_report_kv_cache_config`), and `HybridAttentionMambaModelConfig.verify_and_update_config` for
//! models with recurrent states.

mod groups;
mod kinds;

use super::stage::Stage;
use crate::spec::deployment::Version;
use crate::spec::{Deployment, EngineDefaults, EngineKind, Formats, ModelSpec};
use groups::{Group, StateMode, align, group};
use kinds::{Growth, Kind, kinds};

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
        let state_mode = if paged {
            align(&mut kinds, model, deployment, settings, &mut notes)
        } else {
            StateMode::Single
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::stage::stages;
    use crate::spec::catalog::{Directories, accelerator};

    fn layout(layers: &str, engine: &str, length: u64, tp: u32) -> Layout {
        let text = format!(
            "id = \"toy\"\narchitecture = \"toy\"\nhidden_size = 2048\nvocab_size = 1024\n\
             max_position_embeddings = 262144\nembedding = {{}}\ncheckpoint = {{ data_type = \"bf16\" }}\n{layers}"
        );
        let model = ModelSpec::from_toml(&text, "toy.toml").unwrap();
        let gpu = accelerator("h100-sxm", &Directories::default()).unwrap();
        let mut deployment = Deployment::single(engine.parse().unwrap());
        deployment.max_model_len = Some(length);
        deployment.parallelism.tp = tp;
        let formats = Formats::resolve(&model, &deployment, &gpu).unwrap();
        let settings = EngineDefaults::resolve(&model, &gpu, &deployment);
        Layout::new(&model, &deployment, &formats, &settings, &stages(&model, 1)[0])
    }

    fn attention(count: u32, heads: u32, width: u32, window: &str) -> String {
        format!(
            "[[layers]]\ncount = {count}\nfeed_forward = {{ kind = \"none\" }}\nmixer = {{ kind = \
             \"grouped_query\", heads = 16, kv_heads = {heads}, head_dim = {width}{window} }}\n"
        )
    }

    const DELTA: &str = "[[layers]]\ncount = 36\nfeed_forward = { kind = \"none\" }\nmixer = { kind = \
        \"gated_delta_net\", key_heads = 16, value_heads = 32, key_head_dim = 128, value_head_dim = 128, \
        conv_kernel = 4 }\n";

    #[test]
    fn windows_and_full_layers_share_blocks() {
        // Gemma-3-12B: 8 full layers and 40 with a window make 6 groups of 8. A page is 16 tokens × 2 × 8
        // heads × 256 × 2 bytes = 131,072. vLLM 0.19 logs 130,304 tokens and 15.88x for 47.72 GiB.
        let layers = attention(8, 8, 256, "") + &attention(40, 8, 256, ", window = 1024");
        let layout = layout(&layers, "vllm@0.19", 8192, 1);
        let blocks = layout.blocks(47.72 * 1_073_741_824.0);
        assert_eq!(layout.tokens(blocks, 8192), 130_304);
        assert!((layout.concurrency(blocks, 8192) - 15.88).abs() < 0.005);
        // 512 blocks of the full group, 513 of each other one
        assert_eq!(layout.blocks_per_sequence(8192), 512 + 5 * 513);
    }

    #[test]
    fn pages_hold_a_state() {
        // Qwen3-Next: state 32·128·128·2 + convolution 8192·3·2 = 1,097,728 bytes; a token of attention
        // 2·2·256·2 = 2048 bytes: 536 tokens, 544 in steps of 16.
        let layers = attention(12, 2, 256, "") + DELTA;
        assert_eq!(layout(&layers, "vllm@0.11", 8192, 1).block_size(), 544);
        // one state a sequence in each of the three groups, and one at a block border from 0.26 on
        assert_eq!(layout(&layers, "vllm@0.11", 8192, 1).blocks_per_sequence(8192), 16 + 3);
        assert_eq!(layout(&layers, "vllm@0.26", 8192, 1).blocks_per_sequence(8192), 16 + 6);
        // Nemotron-Nano-9B-v2 on 0.10 (vLLM issue 24280): 672 tokens.
        let mamba = "[[layers]]\ncount = 27\nfeed_forward = { kind = \"none\" }\nmixer = { kind = \"mamba2\", \
            heads = 128, head_dim = 80, state_size = 128, groups = 8, conv_kernel = 4 }\n";
        assert_eq!(layout(&(attention(4, 8, 128, "") + mamba), "vllm@0.10", 8192, 1).block_size(), 672);
    }

    #[test]
    fn latents_are_not_divided() {
        let layers = "[[layers]]\ncount = 61\nfeed_forward = { kind = \"none\" }\nmixer = { kind = \"latent\", \
            heads = 128, q_lora_rank = 1536, kv_lora_rank = 512, qk_nope_head_dim = 128, \
            qk_rope_head_dim = 64, v_head_dim = 128 }\n";
        for tp in [1, 8] {
            // DeepSeek-V3: 61 layers × 576 × 2 bytes
            assert!((layout(layers, "vllm@0.19", 8192, tp).bytes_per_token - 70_272.0).abs() < 0.5);
        }
    }

    #[test]
    fn heads_are_divided_until_one_is_left() {
        let bytes = |tp| layout(&attention(1, 2, 128, ""), "vllm@0.19", 8192, tp).bytes_per_token;
        // 2 heads × 2 × 128 × 2 bytes
        assert_eq!([bytes(1), bytes(2), bytes(4)], [1024.0, 512.0, 512.0]);
    }

    #[test]
    fn longest_is_the_last_that_fits() {
        let layout = layout(&attention(2, 2, 128, ""), "vllm@0.19", 8192, 1);
        let blocks = layout.blocks(layout.sequence_bytes(4000));
        assert_eq!(layout.longest(blocks, 262_144), 4000_u64.next_multiple_of(16));
        assert_eq!(layout.longest(0, 262_144), 0);
    }
}
