//! What an engine assumes where the user says nothing, by its version and the accelerator.
//!
//! Sources, read in the engines' own releases: vLLM `EngineArgs.get_batch_defaults`,
//! `CacheConfig.gpu_memory_utilization`, `VllmConfig._set_cudagraph_sizes` and
//! `VllmConfig.use_v2_model_runner` (0.8.5 to 0.33.0); SGLang `ServerArgs._handle_gpu_memory_settings`
//! (0.5.6); TensorRT-LLM `KvCacheConfig` and `BuildConfig` (1.x); llama.cpp `common_params`; LMDeploy
//! `TurbomindEngineConfig` and `get_max_batch_size` (0.8).

use serde::Serialize;

use super::{Accelerator, Deployment, Engine, EngineKind, ModelSpec};
use crate::spec::deployment::Version;
use crate::units::GIB;

/// How CUDA graphs count against the memory that the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphBudget {
    /// No graphs are captured.
    None,
    /// Captured after the KV cache was sized, from memory outside the share.
    Outside,
    /// Estimated before the KV cache is sized, and taken from the share.
    Inside,
}

/// Settings of a deployment with the engine's defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineDefaults {
    /// Share of device memory that the engine may use.
    pub gpu_memory_utilization: f64,
    /// Most sequences in one step.
    pub max_num_seqs: u32,
    /// Most tokens in one step.
    pub max_num_batched_tokens: u32,
    /// Tokens in one KV block (before a hybrid model's alignment).
    pub block_size: u32,
    /// Longest request in tokens.
    pub max_model_len: u64,
    /// Prompts may be cut into chunks over several steps.
    pub chunked_prefill: bool,
    /// Where CUDA graphs are taken from.
    pub cuda_graphs: GraphBudget,
    /// Batch sizes for which graphs are captured.
    pub cuda_graph_sizes: u32,
}

/// Position limit taken for a model that names none, in tokens.
const UNKNOWN_POSITIONS: u64 = 131_072;

/// vLLM takes the large defaults on devices from this size on.
const LARGE_DEVICE_BYTES: f64 = 70.0 * GIB;

/// vLLM ≥ 0.28 takes the largest token budget on devices from this size on.
const LARGEST_DEVICE_BYTES: f64 = 160.0 * GIB;

impl EngineDefaults {
    /// Fills in what the deployment leaves open.
    #[must_use]
    pub fn resolve(model: &ModelSpec, accelerator: &Accelerator, deployment: &Deployment) -> Self {
        let longest = model.max_position_embeddings.unwrap_or(UNKNOWN_POSITIONS);
        let length = deployment.max_model_len.unwrap_or(longest);
        let mut filled = match deployment.engine.kind {
            EngineKind::Vllm => vllm(model, accelerator, deployment, length),
            EngineKind::Sglang => sglang(accelerator, deployment, length),
            EngineKind::Trtllm => Self::plain(0.9, 2048, 8192, 32, length),
            EngineKind::Llamacpp => Self::plain(1.0, 1, 512, 1, length),
            EngineKind::Lmdeploy => lmdeploy(accelerator, length),
            // it sizes everything by itself: judged
            EngineKind::Fastllm => Self::plain(0.9, 256, 8192, 128, length),
            EngineKind::Transformers | EngineKind::TransformersCompiled => {
                Self::plain(1.0, 1, u32::try_from(length).unwrap_or(u32::MAX), 1, length)
            }
            EngineKind::Ideal => Self::plain(1.0, 4096, 8192, 1, length),
        };
        if let Some(share) = deployment.gpu_memory_utilization {
            filled.gpu_memory_utilization = share;
        }
        if let Some(tokens) = deployment.max_num_batched_tokens {
            filled.max_num_batched_tokens = tokens;
        }
        filled.max_num_seqs = deployment.max_num_seqs.unwrap_or(filled.max_num_seqs);
        if deployment.engine.kind == EngineKind::Vllm {
            filled.max_num_seqs = filled.max_num_seqs.min(filled.max_num_batched_tokens);
            filled.cuda_graph_sizes = vllm_graph_sizes(deployment.engine.version, filled.max_num_seqs);
        }
        filled.block_size = deployment.block_size.unwrap_or(filled.block_size);
        if deployment.enforce_eager {
            filled.cuda_graphs = GraphBudget::None;
        }
        if filled.cuda_graphs == GraphBudget::None {
            filled.cuda_graph_sizes = 0;
        }
        filled
    }

    /// Most tokens of a step with prefill tokens that replays captured graphs; 0 where every such step is launched kernel
    /// by kernel. vLLM's engine core V1 (0.8 on) captures the layers of such steps in pieces between their attention, for
    /// token counts up to min(2 × sequences, 512) and no more than a step holds. The other engines capture decode steps alone.
    #[must_use]
    pub fn captured_prefill_tokens(&self, engine: Engine) -> u32 {
        let captures = engine.kind == EngineKind::Vllm && engine.version >= Version(0, 8);
        if captures && self.cuda_graphs != GraphBudget::None {
            vllm_largest_graph(self.max_num_seqs).min(self.max_num_batched_tokens)
        } else {
            0
        }
    }

    fn plain(share: f64, seqs: u32, tokens: u32, block: u32, length: u64) -> Self {
        Self {
            gpu_memory_utilization: share,
            max_num_seqs: seqs,
            max_num_batched_tokens: tokens,
            block_size: block,
            max_model_len: length,
            chunked_prefill: true,
            cuda_graphs: GraphBudget::None,
            cuda_graph_sizes: 0,
        }
    }
}

/// vLLM's API server. The token budget before V1 (0.8) is the longest prompt unless that is above
/// 32,768, where chunked prefill came on by itself, or it was asked for.
fn vllm(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    length: u64,
) -> EngineDefaults {
    let version = deployment.engine.version;
    let share = if version < Version(0, 20) { 0.9 } else { 0.92 };
    let memory = accelerator.memory().0;
    let name = accelerator.name.to_ascii_lowercase();
    let excluded = (version >= Version(0, 9) && name.contains("a100"))
        || (version >= Version(0, 28) && name.contains("gb10"));
    let chunked =
        version >= Version(0, 8) || deployment.scheduling.chunked_prefill.unwrap_or(length > 32_768);
    let (seqs, tokens) = if version < Version(0, 8) {
        (256, if chunked { 2048 } else { u32::try_from(length).unwrap_or(2048).max(2048) })
    } else if version >= Version(0, 28) && memory >= LARGEST_DEVICE_BYTES {
        (1024, 16_384)
    } else if memory >= LARGE_DEVICE_BYTES && !excluded {
        (1024, 8192)
    } else {
        (256, 2048)
    };
    let inside = version >= Version(0, 20)
        && accelerator.vendor == "NVIDIA"
        && (version >= Version(0, 29) || !uses_second_runner(model, version));
    EngineDefaults {
        chunked_prefill: chunked,
        cuda_graphs: if inside { GraphBudget::Inside } else { GraphBudget::Outside },
        ..EngineDefaults::plain(share, seqs, tokens, 16, length)
    }
}

/// vLLM's second model runner ("V2") serves this model by default. It profiles a leaner sampler, and
/// until 0.28 it did not estimate graphs before sizing the KV cache.
#[must_use]
pub fn uses_second_runner(model: &ModelSpec, version: Version) -> bool {
    let named = |names: &[&str]| names.contains(&model.architecture.as_str());
    let experts = model.layers.iter().any(|g| g.feed_forward.experts().0 > 0);
    let recurrent = model.layers.iter().any(|g| g.mixer.state_bytes() > 0);
    let mixtures = ["deepseek_v2", "qwen2_moe", "granitemoe"];
    match version {
        v if v < Version(0, 22) => false,
        Version(0, 22) => named(&["qwen3"]) && model.checkpoint.quantized.is_empty(),
        Version(0, 23) => named(&["llama", "mistral", "qwen3"]),
        Version(0, 24) => named(&["llama", "mistral", "qwen3"]) || named(&mixtures),
        v if v < Version(0, 29) => !recurrent && (!experts || named(&mixtures)),
        _ => true,
    }
}

/// Sizes 1, 2, 4, then every 8 up to 256 and every 16 up to min(2 × sequences, 512); every 8
/// throughout before 0.11.
fn vllm_graph_sizes(version: Version, seqs: u32) -> u32 {
    let largest = vllm_largest_graph(seqs);
    let small = [1, 2, 4].iter().filter(|s| **s <= largest).count() as u32;
    if version < Version(0, 11) {
        return small + largest / 8;
    }
    small + largest.min(255) / 8 + if largest >= 256 { (largest - 256) / 16 + 1 } else { 0 }
}

/// The largest of them in tokens.
fn vllm_largest_graph(seqs: u32) -> u32 {
    seqs.saturating_mul(2).min(512)
}

/// LMDeploy's TurboMind: 0.8 of what weights and buffers leave free, blocks of 64 tokens, 8,192 prompt tokens an
/// iteration, which are not cut further; sequences by the name of the device.
fn lmdeploy(accelerator: &Accelerator, length: u64) -> EngineDefaults {
    let name = accelerator.name.to_ascii_lowercase();
    let has = |names: &[&str]| names.iter().any(|n| name.contains(n));
    let seqs = match () {
        () if has(&["a100", "a800"]) => 384,
        () if has(&["h100", "h800", "h200", "l20y"]) => 1024,
        () => 128,
    };
    EngineDefaults { chunked_prefill: false, ..EngineDefaults::plain(0.8, seqs, 8192, 64, length) }
}

/// SGLang: `mem_fraction_static` is what a reserve for activations and graphs leaves of the memory,
/// `1 − (0.5 GiB + 1.5 MiB × chunk + 2 MiB × graphs + tp·pp/8 GiB) / memory`, at least 10 GiB of
/// reserve above 60 GiB.
fn sglang(accelerator: &Accelerator, deployment: &Deployment, length: u64) -> EngineDefaults {
    let mebibytes = accelerator.memory().0 / (GIB / 1024.0);
    let p = deployment.parallelism;
    let few = p.tp < 4;
    let (chunk, graphs) = match mebibytes / 1024.0 {
        g if g < 20.0 => (2048, 8),
        g if g < 35.0 => (2048, if few { 24 } else { 80 }),
        g if g < 60.0 => (4096, if few { 32 } else { 160 }),
        g if g < 160.0 => (8192, if few { 256 } else { 512 }),
        _ => (16_384, 512),
    };
    let mut reserve =
        512.0 + 1.5 * f64::from(chunk) + 2.0 * f64::from(graphs) + f64::from(p.tp * p.pp) / 8.0 * 1024.0;
    if p.dp > 1 {
        reserve += f64::from(graphs * p.dp) * if graphs > 300 { 4.5 } else { 3.0 };
    }
    if mebibytes > 60.0 * 1024.0 {
        reserve = reserve.max(10.0 * 1024.0);
    }
    let share = ((mebibytes - reserve) / mebibytes * 1000.0).round() / 1000.0;
    EngineDefaults {
        cuda_graphs: GraphBudget::Outside,
        cuda_graph_sizes: 4 + graphs / 8,
        ..EngineDefaults::plain(share.max(0.1), 4096, chunk, 1, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_sizes_as_vllm_counts_them() {
        // 3 + 8..=248 by 8 (31) + 256..=512 by 16 (17)
        assert_eq!(vllm_graph_sizes(Version(0, 19), 1024), 51);
        // 3 + 64
        assert_eq!(vllm_graph_sizes(Version(0, 10), 256), 67);
        // 1, 2, 4, 8
        assert_eq!(vllm_graph_sizes(Version(0, 19), 4), 4);
    }
}
