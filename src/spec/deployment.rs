//! How a model is served: engine and version, parallelism, number formats, budgets.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

use super::{DataType, SpecError};

/// A serving engine whose rules are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// NVIDIA TensorRT-LLM.
    Trtllm,
    /// llama.cpp.
    Llamacpp,
    /// Hugging Face transformers, eager: every kernel is launched from Python.
    Transformers,
    /// The same compiled by `torch.compile`, decode replayed from CUDA graphs, as gpt-fast does it.
    #[serde(rename = "transformers-compiled")]
    TransformersCompiled,
    /// LMDeploy with its TurboMind engine.
    Lmdeploy,
    /// fastllm.
    Fastllm,
    /// No engine overheads at all: the hardware's own limit.
    Ideal,
}

impl EngineKind {
    /// Every engine with its name.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Vllm, "vllm"),
        (Self::Sglang, "sglang"),
        (Self::Trtllm, "trtllm"),
        (Self::Llamacpp, "llamacpp"),
        (Self::Transformers, "transformers"),
        (Self::TransformersCompiled, "transformers-compiled"),
        (Self::Lmdeploy, "lmdeploy"),
        (Self::Fastllm, "fastllm"),
        (Self::Ideal, "ideal"),
    ];

    /// A library that runs the batch that it is given, without a server's scheduler.
    #[must_use]
    pub fn is_library(self) -> bool {
        matches!(self, Self::Transformers | Self::TransformersCompiled)
    }

    /// The name used in flags and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// A version as far as rules depend on it: (major, minor).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub u32, pub u32);

/// A version with its third number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Release(pub u32, pub u32, pub u32);

/// An engine with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// Which engine.
    pub kind: EngineKind,
    /// Which version; defaults and memory rules depend on it.
    pub version: Version,
    /// Third number of the version, 0 where none was given: terms of engines may differ by it.
    pub patch: u32,
}

impl Engine {
    /// An engine at the newest version whose memory rules were held to a start-up log (vLLM) or whose
    /// sources were read (the others).
    #[must_use]
    pub fn newest(kind: EngineKind) -> Self {
        let version = match kind {
            EngineKind::Vllm => Version(0, 26),
            EngineKind::Sglang => Version(0, 5),
            EngineKind::Trtllm => Version(1, 3),
            EngineKind::Llamacpp | EngineKind::Ideal => Version(0, 0),
            EngineKind::Transformers | EngineKind::TransformersCompiled => Version(5, 0),
            EngineKind::Lmdeploy => Version(0, 8),
            EngineKind::Fastllm => Version(0, 1),
        };
        Self { kind, version, patch: 0 }
    }
}

/// First build of llama.cpp that turns flash attention on by itself where the device has it (August 2025).
const FLASH_BY_DEFAULT: Version = Version(6325, 0);

impl Engine {
    /// Version with its third number.
    #[must_use]
    pub fn release(self) -> Release {
        Release(self.version.0, self.version.1, self.patch)
    }

    /// Attention runs fused unless told otherwise. llama.cpp's default changed; the others always do.
    #[must_use]
    pub fn flash_attention(self) -> bool {
        self.kind != EngineKind::Llamacpp || self.version == Version(0, 0) || self.version >= FLASH_BY_DEFAULT
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version(0, 0) => f.write_str(self.kind.name()),
            Version(build, 0) if self.kind == EngineKind::Llamacpp => {
                write!(f, "{}@b{build}", self.kind.name())
            }
            Version(major, minor) if self.patch > 0 => {
                write!(f, "{}@{major}.{minor}.{}", self.kind.name(), self.patch)
            }
            Version(major, minor) => write!(f, "{}@{major}.{minor}", self.kind.name()),
        }
    }
}

impl FromStr for Engine {
    type Err = SpecError;

    /// Reads `vllm`, `vllm@0.19` or `vllm@0.19.0`.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, version) = text.split_once('@').map_or((text, None), |(n, v)| (n, Some(v)));
        let lower = name.trim().to_ascii_lowercase();
        let canonical = match lower.as_str() {
            // Triton's backend for language models is TensorRT-LLM
            "tensorrt-llm" | "tensorrtllm" | "tensorrt_llm" | "trt-llm" | "trt" | "triton" => "trtllm",
            "llama.cpp" | "llama-cpp" => "llamacpp",
            "hf" | "huggingface" => "transformers",
            // PyTorch's own compiled decoding, without an engine around it
            "gpt-fast" => "transformers-compiled",
            "turbomind" => "lmdeploy",
            "ftllm" => "fastllm",
            other => other,
        };
        let Some((kind, _)) = EngineKind::ALL.iter().find(|(_, n)| *n == canonical) else {
            return Err(SpecError::Unknown {
                kind: "engine",
                name: name.into(),
                similar: super::similar(canonical, EngineKind::ALL.iter().map(|(_, n)| *n)),
                fix: "engines are vllm, sglang, trtllm, llamacpp, lmdeploy, fastllm, transformers, transformers-compiled and ideal".into(),
            });
        };
        let mut engine = Self::newest(*kind);
        if let Some(version) = version {
            let mut parts = version.trim_start_matches(['v', 'b']).split('.');
            let mut part = || parts.next().and_then(|p| p.parse::<u32>().ok());
            (engine.version, engine.patch) = match (part(), part(), part()) {
                (Some(major), minor, patch) => (Version(major, minor.unwrap_or(0)), patch.unwrap_or(0)),
                _ => {
                    return Err(SpecError::Usage(format!(
                        "`{version}` is no version of {name}; write it like vllm@0.19"
                    )));
                }
            };
        }
        Ok(engine)
    }
}

/// How the model is cut over accelerators. `tp × pp × dp` accelerators in all; routed experts are
/// spread over `ep` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parallelism {
    /// Tensor parallel degree (of attention).
    pub tp: u32,
    /// Pipeline parallel degree.
    pub pp: u32,
    /// Data parallel degree (of attention): every rank has its own requests and KV cache.
    pub dp: u32,
    /// Expert parallel degree; the remaining `tp·dp/ep` cut each expert.
    pub ep: u32,
}

impl Parallelism {
    /// One accelerator.
    pub const ONE: Self = Self { tp: 1, pp: 1, dp: 1, ep: 1 };

    /// Accelerators used.
    #[must_use]
    pub fn accelerators(self) -> u32 {
        self.tp * self.pp * self.dp
    }
}

/// A deployment with everything resolved except what the engine's memory rules default
/// (`None` means "the engine's default for its version").
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deployment {
    /// Engine and version.
    pub engine: Engine,
    /// Parallelism.
    pub parallelism: Parallelism,
    /// Data type of unquantised layers and activations, when not the checkpoint's.
    pub data_type: Option<DataType>,
    /// Quantisation of the linear layers, when not the checkpoint's.
    pub quantization: Option<DataType>,
    /// KV-cache data type, when not the checkpoint's.
    pub kv_cache_data_type: Option<DataType>,
    /// Longest request in tokens.
    pub max_model_len: Option<u64>,
    /// Most sequences in one step.
    pub max_num_seqs: Option<u32>,
    /// Most tokens in one step.
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens in one KV block.
    pub block_size: Option<u32>,
    /// Share of memory that the engine may use.
    pub gpu_memory_utilization: Option<f64>,
    /// No CUDA graphs.
    pub enforce_eager: bool,
    /// Weights kept in host memory, in bytes per accelerator: read over the host link in every step.
    pub cpu_offload_bytes: f64,
    /// How the scheduler was told to work.
    pub scheduling: SchedulingFlags,
}

/// Flags of the engines' schedulers; `None` means the default of engine and version.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SchedulingFlags {
    /// Iterations are decided while the one before runs (vLLM's `--async-scheduling`).
    pub asynchronous: Option<bool>,
    /// Decode iterations between two looks at what has arrived (SGLang's `--scheduler-recv-interval`).
    pub receive_interval: Option<u32>,
    /// TensorRT-LLM's `batch_wait_timeout_iters` and `batch_wait_max_tokens_ratio`.
    pub batch_wait: Option<(u32, f64)>,
    /// TensorRT-LLM's `attention_dp_config.timeout_iters`, with `enable_balance`.
    pub rank_wait: Option<u32>,
    /// Prefixes are cached. It decides how many recurrent states vLLM keeps.
    pub prefix_caching: Option<bool>,
    /// Prompts may be cut over several steps. It decides what vLLM before 0.8 profiles.
    pub chunked_prefill: Option<bool>,
}

impl Deployment {
    /// One accelerator, everything by the engine's defaults.
    #[must_use]
    pub fn single(engine: Engine) -> Self {
        Self {
            engine,
            parallelism: Parallelism::ONE,
            data_type: None,
            quantization: None,
            kv_cache_data_type: None,
            max_model_len: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            block_size: None,
            gpu_memory_utilization: None,
            enforce_eager: false,
            cpu_offload_bytes: 0.0,
            scheduling: SchedulingFlags::default(),
        }
    }
}
