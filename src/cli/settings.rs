//! What a deployment is set to beside model, accelerator and formats; degrees of parallelism from flags.

use clap::{Args, builder::PossibleValuesParser};
use std::path::PathBuf;

use super::args::{Choice, positive, positive_u32, share};
use crate::answer::Kernels;
use crate::spec::catalog::{self, Directories};
use crate::spec::deployment::{EngineKind, SchedulingFlags};
use crate::spec::{Accelerator, Deployment, Engine, ModelSpec, Parallelism, SpecError};

/// Settings of the engine, and which calibration is in force.
#[derive(Debug, Clone, Args)]
pub(super) struct SettingsArgs {
    /// Longest request in tokens.
    #[arg(long, value_parser = positive, help_heading = "Deployment")]
    max_model_len: Option<u64>,
    /// Most sequences in one step.
    #[arg(long, value_parser = positive_u32, help_heading = "Deployment")]
    max_num_seqs: Option<u32>,
    /// Most tokens in one step.
    #[arg(long, value_parser = positive_u32, help_heading = "Deployment")]
    max_num_batched_tokens: Option<u32>,
    /// Tokens in one KV block.
    #[arg(long, value_parser = positive_u32, help_heading = "Deployment")]
    block_size: Option<u32>,
    /// Share of device memory that the engine may use.
    #[arg(long, value_parser = share, help_heading = "Deployment")]
    gpu_memory_utilization: Option<f64>,
    /// No CUDA graphs.
    #[arg(long, help_heading = "Deployment")]
    enforce_eager: bool,
    /// Calibration file to use instead of the accelerator's own or its nearest relative's.
    #[arg(long, value_name = "FILE", conflicts_with = "no_calibration", help_heading = "Deployment")]
    calibration: Option<PathBuf>,
    /// Use the defaults of the architecture family.
    #[arg(long, help_heading = "Deployment")]
    no_calibration: bool,
    /// vLLM's; it decides what versions before 0.8 profile.
    #[arg(long, hide = true, num_args = 0..=1, value_parser = PossibleValuesParser::new(["true", "false"]))]
    enable_chunked_prefill: Option<Option<String>>,
    /// vLLM's; it decides how many recurrent states are kept. Say how much is cached with --prefix-len.
    #[arg(long, hide = true, num_args = 0..=1, value_parser = PossibleValuesParser::new(["true", "false"]))]
    enable_prefix_caching: Option<Option<String>>,
}

impl SettingsArgs {
    /// --max-model-len.
    pub(super) fn max_model_len(&self) -> Option<u64> {
        self.max_model_len
    }

    pub(super) fn accelerator(&self, gpu: &str, directories: &Directories) -> Result<Accelerator, SpecError> {
        match (&self.calibration, gpu) {
            (Some(path), "local:cpu" | "local-cpu") => catalog::accelerator_of_calibration(path),
            _ => super::local::accelerator(gpu, directories),
        }
    }

    /// A deployment with these settings; the formats are --dtype, --quantization and --kv-cache-dtype.
    pub(super) fn deployment(
        &self,
        engine: Engine,
        parallelism: Parallelism,
        [dtype, quantization, kv_cache]: [Choice; 3],
    ) -> Deployment {
        Deployment {
            parallelism,
            data_type: dtype.0,
            quantization: quantization.0,
            kv_cache_data_type: kv_cache.0,
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            block_size: self.block_size,
            gpu_memory_utilization: self.gpu_memory_utilization,
            enforce_eager: self.enforce_eager,
            scheduling: SchedulingFlags {
                prefix_caching: switch(self.enable_prefix_caching.as_ref()),
                chunked_prefill: switch(self.enable_chunked_prefill.as_ref()),
                ..SchedulingFlags::default()
            },
            ..Deployment::single(engine)
        }
    }

    pub(super) fn kernels(
        &self,
        accelerator: &Accelerator,
        directories: &Directories,
    ) -> Result<Option<Kernels>, SpecError> {
        match &self.calibration {
            Some(path) => Kernels::from_file(path)?.completed(accelerator).map(Some),
            None if self.no_calibration => Ok(None),
            None => Kernels::in_force(accelerator, directories),
        }
    }
}

/// A switch with an optional value; `None` where it was not given.
fn switch(given: Option<&Option<String>>) -> Option<bool> {
    given.map(|value| value.as_deref() != Some("false"))
}

/// The engine that a flag means. A GGUF file is llama.cpp's unless another engine is asked for.
pub(super) fn engine(text: &str, model: &ModelSpec) -> Result<Engine, SpecError> {
    match text {
        "vllm" if model.checkpoint.method.as_deref() == Some("gguf") => {
            Ok(Engine::newest(EngineKind::Llamacpp))
        }
        text => text.parse(),
    }
}

/// Degrees of parallelism as flags give them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Degrees {
    pub num_gpus: Option<u32>,
    pub tp: Option<u32>,
    pub pp: Option<u32>,
    pub dp: Option<u32>,
    pub ep: Option<u32>,
    /// --enable-expert-parallel.
    pub all_experts: bool,
}

impl Degrees {
    /// Degrees from the flags; a count of accelerators without degrees is tensor parallelism.
    pub(super) fn resolve(self, gpu: &str, count: Option<u32>) -> Result<Parallelism, SpecError> {
        let given = match (count, self.num_gpus) {
            (Some(a), Some(b)) if a != b => {
                return Err(SpecError::Usage(format!(
                    "--gpu {gpu} and --num-gpus {b} disagree; give one of them"
                )));
            }
            (a, b) => a.or(b),
        };
        let pp = self.pp.unwrap_or(1);
        let dp = self.dp.unwrap_or(1);
        let tp = match (self.tp, given) {
            (Some(tp), _) => tp,
            (None, Some(n)) if pp.checked_mul(dp).is_some_and(|m| n % m == 0) => n / (pp * dp),
            (None, Some(n)) => {
                return Err(SpecError::Usage(format!(
                    "{n} accelerators cannot be divided into pp {pp} × dp {dp}; give --tp, --pp and --dp whose \
                     product is {n}"
                )));
            }
            (None, None) => 1,
        };
        let Some(all) = tp.checked_mul(pp).and_then(|n| n.checked_mul(dp)).filter(|n| *n <= 100_000) else {
            return Err(SpecError::Usage(format!(
                "tp {tp} × pp {pp} × dp {dp} is more than 100,000 accelerators"
            )));
        };
        if let Some(n) = given.filter(|n| *n != all) {
            return Err(SpecError::Usage(format!(
                "tp {tp} × pp {pp} × dp {dp} = {all} accelerators, but {n} were given; make them agree"
            )));
        }
        let ep = if self.all_experts { tp * dp } else { self.ep.unwrap_or(1) };
        Ok(Parallelism { tp, pp, dp, ep })
    }
}
