//! `foretoken estimate`.

use clap::Args;

use super::args::{
    DeploymentArgs, SpeculationArgs, WorkloadArgs, bandwidth, duration, gibibytes, image_size, positive_u32,
    share_below_one,
};
use super::cost_args::CostArgs;
use super::{CliError, Context};
use crate::answer::{Images, Options, Question, estimate, pictured};
use crate::report::{self, Board, Report};
use crate::spec::{Deployment, ModelSpec, SpecError};
use crate::units::Seconds;
use crate::work::Overrides;

/// Arguments of `estimate`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = super::AFTER_HELP)]
pub(super) struct EstimateArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Images per request (models with a vision tower).
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=10_000), value_name = "N", help_heading = "Workload")]
    images: Option<u32>,
    /// Size of an image in pixels.
    #[arg(long, value_parser = image_size, default_value = "1024x1024", value_name = "WxH", help_heading = "Workload")]
    image_size: [u32; 2],
    /// Round trip to the client, added to TTFT.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Workload")]
    network_rtt: Option<Seconds>,
    /// Count loading the weights into TTFT, at this bandwidth.
    #[arg(long, value_parser = bandwidth, value_name = "BANDWIDTH", num_args = 0..=1, default_missing_value = "2GB/s", help_heading = "Workload")]
    cold_start: Option<f64>,
    /// How TPOT is defined: vllm, per-token or inclusive.
    #[arg(long, default_value = "vllm", value_name = "NAME", help_heading = "Output")]
    tpot_definition: String,
    /// Keep only so many layers (depth pruning).
    #[arg(long, value_parser = positive_u32, value_name = "N", help_heading = "What if")]
    num_layers: Option<u32>,
    /// Factor attention and dense feed-forward matrices to this rank.
    #[arg(long, value_parser = positive_u32, value_name = "R", help_heading = "What if")]
    low_rank: Option<u32>,
    /// Share of feed-forward activations that are zero and skipped in decode.
    #[arg(long, value_parser = share_below_one, default_value = "0", value_name = "SHARE", help_heading = "What if")]
    activation_sparsity: f64,
    /// Weights kept in host memory per accelerator and read over PCIe in every step, in GiB.
    #[arg(long, value_parser = gibibytes, value_name = "GIB", default_value = "0", help_heading = "What if")]
    cpu_offload_gb: f64,
    /// The cached prefix lies in host memory and crosses PCIe first.
    #[arg(long, help_heading = "What if")]
    kv_offload: bool,
    #[command(flatten)]
    cost: CostArgs,
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
    let options = arguments.options(context)?;
    options.cost.check(&resolved.accelerator)?;
    let (model, deployment) = (arguments.pruned(&resolved.model)?, arguments.offloaded(&resolved.deployment));
    let question = Question {
        model: &model,
        accelerator: &resolved.accelerator,
        deployment: &deployment,
        workload: &workload,
        kernels: resolved.kernels.as_ref(),
        options: &options,
    };
    let (answer, board) = if context.output.draws() {
        let drawn = pictured(&question)?;
        let board = report::estimate_board(&drawn);
        (drawn.estimate, board)
    } else {
        (estimate(&question)?, Board::default())
    };
    context.output.print(&Report { board, ..report::estimate(&answer, arguments.explain) })?;
    if arguments.check && !answer.memory.fits {
        return Err(CliError::No(format!(
            "{} does not fit on {}",
            answer.inputs.layout.model, answer.inputs.layout.gpu
        )));
    }
    Ok(())
}

impl EstimateArgs {
    fn options(&self, context: &Context) -> Result<Options, SpecError> {
        let [width, height] = self.image_size;
        Ok(Options {
            same_requests: 1,
            engines: context.directories.engines.clone(),
            overrides: Overrides { low_rank: self.low_rank, activation_sparsity: self.activation_sparsity },
            images: self.images.filter(|n| *n > 0).map(|count| Images { count, width, height }),
            network_rtt_s: self.network_rtt.map_or(0.0, |s| s.0),
            kv_offload: self.kv_offload,
            cold_start_bytes_per_s: self.cold_start,
            tpot_definition: self.tpot_definition.parse()?,
            speculation: self.speculation.resolve(&context.directories)?,
            cost: self.cost.resolve()?,
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
    fn offloaded(&self, deployment: &Deployment) -> Deployment {
        Deployment { cpu_offload_bytes: self.cpu_offload_gb, ..deployment.clone() }
    }
}
