//! `foretoken sweep`.

mod grid;

use clap::{Args, ValueEnum};

use super::args::{positive, rate, share, whole};
use super::cost_args::CostArgs;
use super::deployment_lists::DeploymentLists;
use super::lists::{List, degrees, lengths, prefixes, rates, words};
use super::progress::Progress;
use super::settings::SettingsArgs;
use super::{CliError, Context};
use crate::answer::{Options, SweepQuestion, sweep};
use crate::report::{self, SweepView};
use crate::spec::SpecError;
use grid::Grid;

/// Most points of a grid: some hundred bytes each while it is answered.
const MOST_POINTS: u128 = 2_000_000;
/// Most points that are listed one by one.
const MOST_LISTED: u128 = 100_000;

/// What `--pareto` does with the other points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pareto {
    /// Mark the frontier.
    Mark,
    /// List nothing else.
    Only,
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    allow_negative_numbers = true,
    after_long_help = "Every flag with a LIST takes values and ranges: 16,32,64 or 128-4096*2 (each twice the one before) or \
                       1-8+1. Combinations that no engine starts or that do not fit are counted with the reason.\n\n\
                       Exit codes: as `foretoken --help` says."
)]
pub(super) struct SweepArgs {
    /// Models: catalog ids, Hugging Face ids, directories, config.json, .gguf or TOML files.
    #[arg(value_name = "MODELS", required_unless_present = "model_flag", conflicts_with = "model_flag", value_parser = words)]
    models: Option<List<String>>,
    /// MODELS as a flag.
    #[arg(long = "model", value_name = "LIST", hide = true, value_parser = words)]
    model_flag: Option<List<String>>,
    /// Accelerators: catalog ids or TOML files; `2xh100-sxm` means two.
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "LIST", value_parser = words)]
    gpu: List<String>,
    /// Accelerators in all [default: tp × pp × dp]; layouts of another product are left out.
    #[arg(long, value_name = "LIST", value_parser = degrees)]
    num_gpus: Option<List<u32>>,
    #[command(flatten)]
    deployments: DeploymentLists,
    /// Experts over all tp × dp accelerators.
    #[arg(long, conflicts_with = "expert_parallel_size", help_heading = "Deployment")]
    enable_expert_parallel: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Prompt tokens.
    #[arg(long, visible_alias = "isl", default_value = "1024", value_name = "LIST", value_parser = lengths, help_heading = "Workload")]
    input_len: List<u64>,
    /// Generated tokens.
    #[arg(long, visible_alias = "osl", default_value = "256", value_name = "LIST", value_parser = lengths, help_heading = "Workload")]
    output_len: List<u64>,
    /// Lengths are uniform in [RATIO, 1] × nominal, as `estimate` takes them.
    #[arg(long, default_value = "1", value_parser = share, value_name = "RATIO", help_heading = "Workload")]
    length_ratio_min: f64,
    /// Prompt tokens already in the prefix cache.
    #[arg(long, visible_alias = "common-prefix-len", default_value = "0", value_name = "LIST", value_parser = prefixes, help_heading = "Workload")]
    prefix_len: List<u64>,
    /// Static batches: all prompts prefilled together, decoded in lockstep.
    #[arg(long, value_parser = degrees, value_name = "LIST", conflicts_with_all = ["concurrency", "request_rate"], help_heading = "Workload")]
    batch_size: Option<List<u32>>,
    /// Closed loops: that many requests always in flight [default: 1].
    #[arg(long, visible_alias = "max-concurrency", value_name = "LIST", value_parser = degrees, help_heading = "Workload")]
    concurrency: Option<List<u32>>,
    /// Open loops: requests per second on average.
    #[arg(long, visible_alias = "rps", value_name = "LIST", value_parser = rates, conflicts_with = "concurrency", help_heading = "Workload")]
    request_rate: Option<List<f64>>,
    /// Shape of the gaps of an open loop: 1 is a Poisson process, below 1 is burstier.
    #[arg(long, value_parser = rate, default_value = "1", value_name = "SHAPE", help_heading = "Workload")]
    burstiness: f64,
    /// Requests of a loop [default: 10 × concurrency, 1,000 of an open loop].
    #[arg(long, visible_alias = "num-requests", value_parser = positive, value_name = "N", help_heading = "Workload")]
    num_prompts: Option<u64>,
    /// Seed of lengths and arrivals.
    #[arg(long, value_parser = whole, default_value = "0", value_name = "N", help_heading = "Workload")]
    seed: u64,
    #[command(flatten)]
    cost: CostArgs,
    /// The frontier of tokens/s per accelerator against tokens/s per user, of each model and lengths: mark it, or list only
    /// it.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "mark", value_name = "WHAT", help_heading = "Output")]
    pareto: Option<Pareto>,
    /// Name every combination that was left out, with its reason (table, md and json).
    #[arg(long, help_heading = "Output")]
    list_left_out: bool,
}

pub(super) fn run(arguments: &SweepArgs, context: &Context) -> Result<(), CliError> {
    let size = arguments.size();
    let listed = if arguments.pareto == Some(Pareto::Only) { MOST_POINTS } else { MOST_LISTED };
    if size > listed.min(MOST_POINTS) {
        return Err(too_large(size, listed, &arguments.axes()).into());
    }
    let directories = &context.directories;
    let grid = Grid::load(arguments, directories)?;
    let options = Options {
        engines: directories.engines.clone(),
        cost: arguments.cost.resolve()?,
        ..Options::default()
    };
    let (candidates, workloads) = (grid.candidates(arguments)?, arguments.workloads());
    let bar = Progress::new(candidates.len() * workloads.len(), "points");
    let answer = sweep(&SweepQuestion {
        candidates: &candidates,
        workloads: &workloads,
        options: &options,
        done: &|points| bar.add(points),
    });
    bar.finish();
    let view = SweepView {
        pareto: arguments.pareto.is_some(),
        only_pareto: arguments.pareto == Some(Pareto::Only),
        left_out: arguments.list_left_out,
    };
    let mut report = report::sweep(&answer, view);
    if context.output.draws() {
        report.board = report::sweep_board(&answer);
    }
    context.output.print(&report)
}

fn too_large(size: u128, most: u128, axes: &[(&str, usize)]) -> SpecError {
    let product: Vec<String> =
        axes.iter().filter(|(_, n)| *n > 1).map(|(name, n)| format!("{n} {name}")).collect();
    let fix = if most < MOST_POINTS && size <= MOST_POINTS { ", or --pareto=only" } else { "" };
    let listed = if most < MOST_POINTS && size <= MOST_POINTS {
        " that are listed one by one"
    } else {
        " that are answered at once"
    };
    let most = if size > MOST_POINTS { MOST_POINTS } else { most };
    SpecError::Usage(format!(
        "the grid has {} points ({}), more than the {}{listed}; give fewer values{fix}",
        report::count(size as f64),
        product.join(" × "),
        report::count(most as f64)
    ))
}
