//! Deployments by lists: every combination is one.

use clap::Args;

use super::args::Choice;
use super::lists::{List, data_types, degrees, words};

/// Degrees of parallelism, engines and number formats to combine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deployment")]
pub(super) struct DeploymentLists {
    /// Tensor parallel degrees.
    #[arg(long, visible_aliases = ["tp", "tp-size"], value_name = "LIST", value_parser = degrees)]
    pub(super) tensor_parallel_size: Option<List<u32>>,
    /// Pipeline parallel degrees.
    #[arg(long, visible_aliases = ["pp", "pp-size"], value_name = "LIST", value_parser = degrees)]
    pub(super) pipeline_parallel_size: Option<List<u32>>,
    /// Data parallel degrees (of attention).
    #[arg(long, visible_aliases = ["dp", "dp-size"], value_name = "LIST", value_parser = degrees)]
    pub(super) data_parallel_size: Option<List<u32>>,
    /// Expert parallel degrees.
    #[arg(long, visible_aliases = ["ep", "ep-size"], value_name = "LIST", value_parser = degrees)]
    pub(super) expert_parallel_size: Option<List<u32>>,
    /// Engines, with a version if it matters: vllm, sglang, trtllm, llamacpp, lmdeploy, fastllm, transformers, transformers-compiled, ideal; vllm@0.19.
    #[arg(long, visible_alias = "backend", default_value = "vllm", value_name = "LIST", value_parser = words)]
    pub(super) engine: List<String>,
    /// Data types of unquantised weights and activations.
    #[arg(long, value_parser = data_types, default_value = "auto", value_name = "LIST")]
    pub(super) dtype: List<Choice>,
    /// Quantisations of the linear layers: auto (as the checkpoint says), fp8, fp8_block, int8, int4/awq/gptq, nvfp4, mxfp4, q4_k_m …
    #[arg(long, value_parser = data_types, default_value = "auto", value_name = "LIST")]
    pub(super) quantization: List<Choice>,
    /// Data types of the KV cache.
    #[arg(long, value_parser = data_types, default_value = "auto", value_name = "LIST")]
    pub(super) kv_cache_dtype: List<Choice>,
}

impl DeploymentLists {
    /// Data type, quantisation and cache data type in all combinations.
    pub(super) fn formats(&self) -> Vec<[Choice; 3]> {
        let mut all = vec![];
        for dtype in &self.dtype.0 {
            for quantization in &self.quantization.0 {
                for cache in &self.kv_cache_dtype.0 {
                    all.push([*dtype, *quantization, *cache]);
                }
            }
        }
        all
    }
}
