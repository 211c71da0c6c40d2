//! `foretoken estimate`.

use clap::Args;

use super::args::{DeploymentArgs, WorkloadArgs, amount, duration, share, share_below_one};
use super::{CliError, Context};
use crate::answer::{CostInputs, Images, Options, Question, estimate};
use crate::report;
use crate::spec::SpecError;
use crate::units::{Seconds, parse_bandwidth, parse_bytes};
use crate::work::Overrides;

/// Arguments of `estimate`.
#[derive(Debug, Args)]
pub(super) struct EstimateArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Images per request (models with a vision tower).
    #[arg(long, value_name = "N", help_heading = "Workload")]
    images: Option<u32>,
    /// Size of an image in pixels.
    #[arg(long, default_value = "1024x1024", value_name = "WxH", help_heading = "Workload")]
    image_size: String,
    /// Round trip to the client, added to TTFT.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Workload")]
    network_rtt: Option<Seconds>,
    /// Count loading the weights into TTFT, at this bandwidth.
    #[arg(long, value_name = "BANDWIDTH", num_args = 0..=1, default_missing_value = "2GB/s", help_heading = "Workload")]
    cold_start: Option<String>,
    /// How TPOT is defined: vllm, per-token or inclusive.
    #[arg(long, default_value = "vllm", value_name = "NAME", help_heading = "Output")]
    tpot_definition: String,
    /// Keep only so many layers (depth pruning).
    #[arg(long, value_name = "N", help_heading = "What if")]
    num_layers: Option<u32>,
    /// Factor attention and dense feed-forward matrices to this rank.
    #[arg(long, value_name = "R", help_heading = "What if")]
    low_rank: Option<u32>,
    /// Share of feed-forward activations that are zero and skipped in decode.
    #[arg(long, value_parser = share_below_one, default_value = "0", value_name = "SHARE", help_heading = "What if")]
    activation_sparsity: f64,
    /// Weights kept in host memory per accelerator and read over PCIe in every step, in GiB.
    #[arg(long, value_name = "GIB", default_value = "0", help_heading = "What if")]
    cpu_offload_gb: String,
    /// The cached prefix lies in host memory and crosses PCIe first.
    #[arg(long, help_heading = "What if")]
    kv_offload: bool,
    /// Price of one accelerator-hour in US dollars [default: the dated price in the accelerator's file].
    #[arg(long, value_parser = amount, value_name = "USD", help_heading = "Cost")]
    gpu_hour_usd: Option<f64>,
    /// Share of paid time that is used.
    #[arg(long, value_parser = share, value_name = "SHARE", help_heading = "Cost")]
    utilization: Option<f64>,
    /// Every line of the breakdown with formula, FLOPs, bytes, bound and source.
    #[arg(long, help_heading = "Output")]
    explain: bool,
}

pub(super) fn run(arguments: &EstimateArgs, context: &Context) -> Result<(), CliError> {
    let resolved = arguments.deployment.resolve(&context.directories)?;
    let workload = arguments.workload.resolve();
    let options = arguments.options(resolved.model.layer_count())?;
    let answer = estimate(&Question {
        model: &resolved.model,
        accelerator: &resolved.accelerator,
        deployment: &resolved.deployment,
        workload: &workload,
        options: &options,
    })?;
    context.output.print(&report::estimate(&answer, arguments.explain))
}

impl EstimateArgs {
    fn options(&self, layers: u32) -> Result<Options, SpecError> {
        Ok(Options {
            overrides: self.overrides(layers)?,
            images: self.images.filter(|n| *n > 0).map(|count| self.images_of(count)).transpose()?,
            network_rtt_s: self.network_rtt.map_or(0.0, |s| s.0),
            kv_offload: self.kv_offload,
            cold_start_bytes_per_s: match &self.cold_start {
                Some(text) => Some(parse_bandwidth(text)?.0).filter(|b| *b > 0.0),
                None => None,
            },
            tpot_definition: self.tpot_definition.parse()?,
            cost: CostInputs { gpu_hour_usd: self.gpu_hour_usd, utilization: self.utilization },
        })
    }

    fn overrides(&self, layers: u32) -> Result<Overrides, SpecError> {
        if let Some(n) = self.num_layers.filter(|n| *n == 0 || *n > layers) {
            return Err(SpecError::Usage(format!(
                "--num-layers {n} must lie in 1..={layers}, the model's layers"
            )));
        }
        if self.low_rank == Some(0) {
            return Err(SpecError::Usage("--low-rank must be at least 1".into()));
        }
        // vLLM's flag is a number of GiB; a size with its unit works as well
        let offload = match self.cpu_offload_gb.parse::<f64>() {
            Ok(gib) if gib >= 0.0 && gib.is_finite() => gib * crate::units::GIB,
            _ => parse_bytes(&self.cpu_offload_gb)?.0,
        };
        Ok(Overrides {
            layers: self.num_layers,
            low_rank: self.low_rank,
            activation_sparsity: self.activation_sparsity,
            offloaded_weight_bytes: offload,
        })
    }

    fn images_of(&self, count: u32) -> Result<Images, SpecError> {
        let size = self
            .image_size
            .split_once(['x', 'X'])
            .and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        match size {
            Some((width @ 1..=65_536, height @ 1..=65_536)) if count <= 10_000 => {
                Ok(Images { count, width, height })
            }
            _ => Err(SpecError::Usage(format!(
                "--images {count} --image-size {}: at most 10,000 images of 1x1 to 65536x65536 pixels, \
                 written like 1024x768",
                self.image_size
            ))),
        }
    }
}
