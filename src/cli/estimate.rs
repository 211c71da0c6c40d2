//! `foretoken estimate`.

use clap::Args;

use super::args::{DeploymentArgs, WorkloadArgs, amount, duration, gibibytes, share, share_below_one};
use super::{CliError, Context};
use crate::answer::{CostInputs, Images, Options, Question, estimate};
use crate::report;
use crate::spec::{Deployment, ModelSpec, SpecError};
use crate::units::{Seconds, parse_bandwidth};
use crate::work::Overrides;

/// Arguments of `estimate`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
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
    /// Exit with 3 when the deployment does not fit into memory.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

pub(super) fn run(arguments: &EstimateArgs, context: &Context) -> Result<(), CliError> {
    let resolved = arguments.deployment.resolve(&context.directories)?;
    let workload = arguments.workload.resolve();
    let options = arguments.options()?;
    let (model, deployment) =
        (arguments.pruned(&resolved.model)?, arguments.offloaded(&resolved.deployment)?);
    let answer = estimate(&Question {
        model: &model,
        accelerator: &resolved.accelerator,
        deployment: &deployment,
        workload: &workload,
        options: &options,
    })?;
    context.output.print(&report::estimate(&answer, arguments.explain))?;
    if arguments.check && !answer.memory.fits {
        return Err(CliError::No(format!("{} does not fit on {}", answer.inputs.model, answer.inputs.gpu)));
    }
    Ok(())
}

impl EstimateArgs {
    fn options(&self) -> Result<Options, SpecError> {
        Ok(Options {
            overrides: Overrides { low_rank: self.low_rank, activation_sparsity: self.activation_sparsity },
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

    /// The model with only --num-layers of its layers.
    fn pruned(&self, model: &ModelSpec) -> Result<ModelSpec, SpecError> {
        let layers = model.layer_count();
        match self.num_layers {
            None => Ok(model.clone()),
            Some(n) if (1..=layers).contains(&n) => Ok(model.with_layers(n)),
            Some(n) => Err(SpecError::Usage(format!(
                "--num-layers {n} must lie in 1..={layers}, the model's layers"
            ))),
        }
    }

    /// The deployment with --cpu-offload-gb.
    fn offloaded(&self, deployment: &Deployment) -> Result<Deployment, SpecError> {
        let cpu_offload_bytes = gibibytes(&self.cpu_offload_gb)?;
        Ok(Deployment { cpu_offload_bytes, ..deployment.clone() })
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
