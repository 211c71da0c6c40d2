//! Flags shared by the answering commands.

use clap::Args;
use std::path::PathBuf;

use super::settings::{Degrees, SettingsArgs, engine};
use crate::answer::{Draft, Kernels, SpeculationOptions};
use crate::spec::catalog::{self, Directories};
use crate::spec::check_deployment;
use crate::spec::{Accelerator, DataType, Deployment, Load, ModelSpec, SpecError, Workload};
use crate::units::{GIB, Seconds, parse_bandwidth, parse_bytes, parse_duration, parse_number};

/// A whole number from 0 on.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    parse_number(text).map_err(|e| e.to_string())
}

pub(super) fn positive(text: &str) -> Result<u64, String> {
    match whole(text)? {
        0 => Err("must be at least 1".into()),
        n if n > 1_000_000_000 => Err("must be at most 1,000,000,000".into()),
        n => Ok(n),
    }
}

pub(super) fn positive_u32(text: &str) -> Result<u32, String> {
    u32::try_from(positive(text)?).map_err(|e| e.to_string())
}

/// A share above 0 and up to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("must be a number above 0 and at most 1".into()),
    }
}

/// A share from 0 up to, not including, 1.
pub(super) fn share_below_one(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 up to but not including 1".into()),
    }
}

/// A rate above 0.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e9 => Ok(value),
        _ => Err("must be a number above 0 and at most 1e9".into()),
    }
}

/// An amount of money, finite and not negative.
pub(super) fn amount(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(value) if (0.0..1e9).contains(&value) => Ok(value),
        _ => Err("must be a number of US dollars, 0 or more".into()),
    }
}

/// Bytes from vLLM's number of GiB, or from a size with its unit.
pub(super) fn gibibytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(gib) if (0.0..=1e6).contains(&gib) => Ok(gib * GIB),
        _ => parse_bytes(text).map(|b| b.0).map_err(|e| e.to_string()),
    }
}

/// A bandwidth above 0, in bytes per second.
pub(super) fn bandwidth(text: &str) -> Result<f64, String> {
    match parse_bandwidth(text) {
        Ok(rate) if rate.0 > 0.0 => Ok(rate.0),
        Ok(_) => Err("must be above 0".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Width and height in pixels of an image.
pub(super) fn image_size(text: &str) -> Result<[u32; 2], String> {
    let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some([w.parse().ok()?, h.parse().ok()?]));
    sides
        .filter(|sides| sides.iter().all(|side| (1..=65_536).contains(side)))
        .ok_or_else(|| "write width x height in pixels, each in 1..=65536, like 1024x768".into())
}

/// A data type, or `auto`: as the checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice(pub Option<DataType>);

pub(super) fn data_type(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice(None)),
        _ => text.parse().map(|d| Choice(Some(d))).map_err(|e: SpecError| e.to_string()),
    }
}

/// A duration; a bare number is milliseconds.
pub(super) fn duration(text: &str) -> Result<Seconds, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

/// Which model, on what, deployed how.
#[derive(Debug, Clone, Args)]
pub(super) struct DeploymentArgs {
    /// Catalog id, Hugging Face id, directory, config.json, .gguf, one of our TOML files, or a whole
    /// `vllm serve …` line, manifest or start-up log, in quotes or as a file.
    #[arg(
        value_name = "MODEL",
        required_unless_present_any = ["model_flag", "log_model"],
        conflicts_with = "model_flag"
    )]
    model: Option<String>,
    /// What a log names, where MODEL is not given.
    #[arg(long, value_name = "MODEL", hide = true)]
    log_model: Option<String>,
    /// Model and settings as a server's start-up log has them (vLLM, SGLang; `-` is standard input); flags beside it win.
    #[arg(long, value_name = "FILE")]
    from_log: Option<PathBuf>,
    /// MODEL as a flag.
    #[arg(long = "model", value_name = "MODEL", hide = true)]
    model_flag: Option<String>,
    /// Accelerator: catalog id or TOML file; `2xh100-sxm` means two.
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "GPU")]
    gpu: String,
    /// Accelerators in all [default: tp × pp × dp].
    #[arg(long, value_parser = positive_u32)]
    num_gpus: Option<u32>,
    /// Tensor parallel degree.
    #[arg(long, visible_aliases = ["tp", "tp-size"], value_parser = positive_u32, help_heading = "Deployment")]
    tensor_parallel_size: Option<u32>,
    /// Pipeline parallel degree.
    #[arg(long, visible_aliases = ["pp", "pp-size"], value_parser = positive_u32, help_heading = "Deployment")]
    pipeline_parallel_size: Option<u32>,
    /// Data parallel degree (of attention).
    #[arg(long, visible_aliases = ["dp", "dp-size"], value_parser = positive_u32, help_heading = "Deployment")]
    data_parallel_size: Option<u32>,
    /// Expert parallel degree.
    #[arg(long, visible_aliases = ["ep", "ep-size"], value_parser = positive_u32, help_heading = "Deployment")]
    expert_parallel_size: Option<u32>,
    /// Experts over all tp × dp accelerators.
    #[arg(long, conflicts_with = "expert_parallel_size", help_heading = "Deployment")]
    enable_expert_parallel: bool,
    /// Engine, with a version if it matters: vllm, sglang, trtllm, llamacpp, lmdeploy, fastllm, transformers, transformers-compiled, ideal; vllm@0.19.
    #[arg(long, visible_alias = "backend", default_value = "vllm", help_heading = "Deployment")]
    engine: String,
    /// Data type of unquantised weights and activations.
    #[arg(long, value_parser = data_type, default_value = "auto", help_heading = "Deployment")]
    dtype: Choice,
    /// Quantisation of the linear layers: fp8, fp8_block, int8, int4/awq/gptq, nvfp4, mxfp4, q4_k_m …
    #[arg(long, value_parser = data_type, default_value = "auto", help_heading = "Deployment")]
    quantization: Choice,
    /// Data type of the KV cache.
    #[arg(long, value_parser = data_type, default_value = "auto", help_heading = "Deployment")]
    kv_cache_dtype: Choice,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Model, accelerator and deployment, resolved and checked against each other.
pub(super) struct Resolved {
    pub model: ModelSpec,
    pub accelerator: Accelerator,
    pub deployment: Deployment,
    pub kernels: Option<Kernels>,
}

impl DeploymentArgs {
    /// The same model and engine on other accelerators; what is not given stays.
    pub(super) fn elsewhere(&self, gpu: Option<&str>, degrees: [Option<u32>; 4]) -> Self {
        let mut other = self.clone();
        let [tp, pp, dp, ep] = degrees;
        if let Some(gpu) = gpu {
            gpu.clone_into(&mut other.gpu);
            (other.num_gpus, other.tensor_parallel_size) = (None, None);
        }
        if gpu.is_some() || degrees.iter().any(Option::is_some) {
            other.num_gpus = None;
            if let (None, Ok((Some(_), name))) = (gpu, catalog::parse_gpu_count(&self.gpu)) {
                other.gpu = name.to_owned();
            }
        }
        other.tensor_parallel_size = tp.or(other.tensor_parallel_size);
        other.pipeline_parallel_size = pp.or(other.pipeline_parallel_size);
        other.data_parallel_size = dp.or(other.data_parallel_size);
        other.expert_parallel_size = ep.or(other.expert_parallel_size);
        other
    }

    /// A server that started took its longest request, by rescaled positions if need be.
    fn stretch(&self, model: &mut ModelSpec) {
        if let (Some(asked), Some(longest)) = (self.settings.max_model_len(), model.max_position_embeddings)
            && asked > longest
        {
            model.warnings.push(format!(
                "the log's {asked} tokens are more than the {longest} positions of {}",
                model.id
            ));
            model.max_position_embeddings = Some(asked);
        }
    }

    pub(super) fn resolve(&self, directories: &Directories) -> Result<Resolved, SpecError> {
        let named = self.model.as_deref().or(self.model_flag.as_deref()).or(self.log_model.as_deref());
        let name = named.unwrap_or_default();
        let (mut model, published) = catalog::model_or_base(name, directories)?;
        if self.from_log.is_some() {
            self.stretch(&mut model);
        }
        let (count, gpu) = catalog::parse_gpu_count(&self.gpu)?;
        let accelerator = self.settings.accelerator(gpu, directories)?;
        let degrees = Degrees {
            num_gpus: self.num_gpus,
            tp: self.tensor_parallel_size,
            pp: self.pipeline_parallel_size,
            dp: self.data_parallel_size,
            ep: self.expert_parallel_size,
            all_experts: self.enable_expert_parallel,
        };
        let deployment = self.settings.deployment(
            engine(&self.engine, &model)?,
            degrees.resolve(&self.gpu, count)?,
            [self.dtype, Choice(self.quantization.0.or(published)), self.kv_cache_dtype],
        );
        check_deployment(&model, &deployment)?;
        let kernels = self.settings.kernels(&accelerator, directories)?;
        Ok(Resolved { model, accelerator, deployment, kernels })
    }
}

/// Lengths and load.
#[derive(Debug, Args)]
pub(super) struct WorkloadArgs {
    /// Prompt tokens.
    #[arg(long, visible_alias = "isl", default_value = "1024", value_parser = positive, help_heading = "Workload")]
    input_len: u64,
    /// Generated tokens.
    #[arg(long, visible_alias = "osl", default_value = "256", value_parser = positive, help_heading = "Workload")]
    output_len: u64,
    /// Lengths are uniform in [RATIO, 1] × nominal, drawn as the usual benchmark harness draws them; a static
    /// batch takes the mean.
    #[arg(long, default_value = "1", value_parser = share, value_name = "RATIO", help_heading = "Workload")]
    length_ratio_min: f64,
    /// Prompt tokens already in the prefix cache.
    #[arg(long, visible_alias = "common-prefix-len", default_value = "0", value_parser = whole, help_heading = "Workload")]
    prefix_len: u64,
    /// A static batch: all prompts prefilled together, decoded in lockstep.
    #[arg(long, value_parser = positive_u32, conflicts_with = "concurrency", help_heading = "Workload")]
    batch_size: Option<u32>,
    /// A closed loop: that many requests always in flight [default: 1].
    #[arg(long, visible_alias = "max-concurrency", value_parser = positive_u32, help_heading = "Workload")]
    concurrency: Option<u32>,
    /// An open loop: requests per second on average, whether or not earlier ones have ended.
    #[arg(long, visible_alias = "rps", value_parser = rate, conflicts_with_all = ["concurrency", "batch_size"], value_name = "PER_S", help_heading = "Workload")]
    request_rate: Option<f64>,
    /// Shape of the gaps of an open loop: 1 is a Poisson process, below 1 is burstier.
    #[arg(long, value_parser = rate, default_value = "1", value_name = "SHAPE", help_heading = "Workload")]
    pub(super) burstiness: f64,
    /// Requests of a loop [default: 10 × concurrency, 1,000 of an open loop].
    #[arg(long, visible_alias = "num-requests", value_parser = positive, value_name = "N", help_heading = "Workload")]
    num_prompts: Option<u64>,
    /// Seed of lengths and arrivals.
    #[arg(long, value_parser = whole, default_value = "0", value_name = "N", help_heading = "Workload")]
    seed: u64,
}

/// Speculative decoding.
#[derive(Debug, Args)]
pub(super) struct SpeculationArgs {
    /// Speculative decoding: tokens drafted and verified in one step.
    #[arg(long, alias = "num-speculative-tokens", value_parser = positive_u32, value_name = "K", requires = "acceptance_rate", help_heading = "Speculative decoding")]
    speculative_tokens: Option<u32>,
    /// Probability that a drafted token is accepted.
    #[arg(long, value_parser = probability, value_name = "SHARE", requires = "speculative_tokens", help_heading = "Speculative decoding")]
    acceptance_rate: Option<f64>,
    /// What drafts: mtp (the model's own layer), ngram (costs nothing) or a smaller model.
    #[arg(
        long,
        alias = "speculative-model",
        default_value = "mtp",
        value_name = "MODEL",
        requires = "speculative_tokens",
        help_heading = "Speculative decoding"
    )]
    draft_model: String,
    /// Rows above which no drafts are made [default: none].
    #[arg(long, alias = "speculative-disable-by-batch-size", value_parser = positive_u32, value_name = "N", requires = "speculative_tokens", help_heading = "Speculative decoding")]
    speculative_max_rows: Option<u32>,
}

/// A share from 0 to 1.
fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

impl SpeculationArgs {
    pub(super) fn resolve(&self, directories: &Directories) -> Result<Option<SpeculationOptions>, SpecError> {
        let (Some(tokens), Some(acceptance)) = (self.speculative_tokens, self.acceptance_rate) else {
            return Ok(None);
        };
        let draft = match self.draft_model.as_str() {
            "mtp" => Draft::Mtp,
            "ngram" => Draft::Ngram,
            name => Draft::Model(Box::new(catalog::model(name, directories)?)),
        };
        Ok(Some(SpeculationOptions { tokens, acceptance, most_rows: self.speculative_max_rows, draft }))
    }
}

impl WorkloadArgs {
    /// Requests per second, where a rate was asked for.
    pub(super) fn request_rate(&self) -> Option<f64> {
        self.request_rate
    }

    /// True when a load was asked for in so many words.
    pub(super) fn load_is_given(&self) -> bool {
        self.batch_size.is_some() || self.concurrency.is_some() || self.request_rate.is_some()
    }

    pub(super) fn resolve(&self) -> Workload {
        Workload {
            length_ratio_min: self.length_ratio_min,
            prefix_len: self.prefix_len,
            requests: self.num_prompts,
            seed: self.seed,
            ..Workload::new(
                self.input_len,
                self.output_len,
                match (self.batch_size, self.concurrency, self.request_rate) {
                    (Some(n), ..) => Load::StaticBatch(n),
                    (None, _, Some(per_s)) => Load::Rate { per_s, burstiness: self.burstiness },
                    (None, n, None) => Load::Concurrency(n.unwrap_or(1)),
                },
            )
        }
    }
}
