//! `foretoken size`.

mod candidates;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::args::{SpeculationArgs, WorkloadArgs, amount, duration, positive_u32, rate, share_below_one};
use super::cost_args::CostArgs;
use super::deployment_lists::DeploymentLists;
use super::limits::{LimitArgs, USUAL_SHARE};
use super::lists::{List, words};
use super::progress::Progress;
use super::settings::SettingsArgs;
use super::simulate::{TrafficArgs, discipline, routing};
use super::{CliError, Context};
use crate::answer::{Constraints, Demand, Objective, Options, SizeLoad, SizeQuestion, size};
use crate::report;
use crate::serving::{Arrivals, Discipline, Rate, Routing};
use crate::spec::{Load, SpecError};
use crate::units::Seconds;
use candidates::Space;

/// Arguments of `size`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    allow_negative_numbers = true,
    mut_arg("tensor_parallel_size", |a| a.help("Tensor parallel degrees to try [default: 1, 2, 4 and 8]")),
    mut_arg("pipeline_parallel_size", |a| a.help("Pipeline parallel degrees to try [default: 1 and 2]")),
    mut_arg("data_parallel_size", |a| a.help(
        "Data parallel degrees (of attention) to try [default: 1, and of models with experts the number of accelerators too]"
    )),
    mut_arg("expert_parallel_size", |a| a.help("Expert parallel degrees to try [default: 1 and all accelerators]")),
    mut_arg("quantization", |a| a.default_value("auto,fp8")),
    mut_arg("batch_size", |a| a.hide(true)),
    mut_arg("concurrency", |a| a.hide(true)),
    mut_arg("trace", |a| a.hide(true)),
    mut_arg("trace_speed", |a| a.hide(true)),
    mut_arg("constant", |a| a.hide(true)),
    mut_arg("ramp_to", |a| a.hide(true)),
    mut_arg("ramp_time", |a| a.hide(true)),
    after_long_help = "Examples:\n  \
        foretoken size llama-3.1-70b --ttft 500ms --tpot 50ms --request-rate 10\n  \
        foretoken size qwen3-32b --goodput ttft:800 tpot:40 --users 400 --think-time 30s --gpus h100-sxm:8,l40s:16\n  \
        foretoken size llama-3.1-8b --slo p99:tpot=30ms --preset chat --request-rate 40 --quantization auto,fp8,int4 --sort power\n\n\
        Exit codes: as `foretoken --help` says."
)]
pub(super) struct SizeArgs {
    /// Catalog id, Hugging Face id, directory, config.json, .gguf or one of our TOML files.
    #[arg(value_name = "MODEL", required_unless_present = "model_flag", conflicts_with = "model_flag")]
    model: Option<String>,
    /// MODEL as a flag.
    #[arg(long = "model", value_name = "MODEL", hide = true)]
    model_flag: Option<String>,
    /// Accelerators to choose from: catalog ids or TOML files [default: all of the catalog whose price is known].
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "LIST", value_parser = words)]
    gpu: Option<List<String>>,
    /// Accelerators at hand, each with its number: h100-sxm:8,l40s:16. Nothing else is considered.
    #[arg(long, value_name = "GPU:N,…", value_parser = words, conflicts_with = "gpu")]
    gpus: Option<List<String>>,
    #[command(flatten)]
    deployments: DeploymentLists,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// People who send requests, instead of a rate; with --think-time.
    #[arg(long, value_parser = rate, value_name = "N", conflicts_with_all = ["request_rate", "hourly_rates"], help_heading = "Workload")]
    users: Option<f64>,
    /// Mean time between an answer and the next request of the same person.
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "TIME", requires = "users", help_heading = "Workload")]
    think_time: Seconds,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Which replica a request goes to: round-robin, least-loaded or prefix-aware.
    #[arg(long, value_parser = routing, default_value = "round-robin", value_name = "RULE", help_heading = "Deployment")]
    router: Routing,
    /// Which request is next: fcfs, sjf, srpt or mlfq.
    #[arg(long, value_parser = discipline, default_value = "fcfs", value_name = "RULE", help_heading = "Deployment")]
    discipline: Discipline,
    /// Share of the capacity that stays free, for what the forecast of the load or of the times misses.
    #[arg(long, value_parser = share_below_one, default_value = "0", value_name = "SHARE", help_heading = "Limits")]
    headroom: f64,
    /// Most accelerators in all.
    #[arg(long, value_parser = positive_u32, value_name = "N", help_heading = "Limits")]
    max_gpus: Option<u32>,
    /// Most dollars an hour in all.
    #[arg(long, value_parser = amount, value_name = "USD", help_heading = "Limits")]
    max_usd_per_hour: Option<f64>,
    #[command(flatten)]
    cost: CostArgs,
    /// What the best has least of: cost, power, gpus or latency.
    #[arg(long, value_parser = objective, default_value = "cost", value_name = "WHAT", help_heading = "Output")]
    sort: Objective,
    /// How many candidates are listed.
    #[arg(long, value_parser = positive_u32, default_value = "10", value_name = "N", help_heading = "Output")]
    top: u32,
    /// List every layout that holds the limits, not only the best of each accelerator.
    #[arg(long, help_heading = "Output")]
    all_layouts: bool,
    /// Name every deployment that was left out, with its reason.
    #[arg(long, help_heading = "Output")]
    list_left_out: bool,
    /// Exit with 3 when nothing holds the limits.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

fn objective(text: &str) -> Result<Objective, String> {
    let found = Objective::ALL.iter().find(|(_, name)| *name == text);
    found.map(|(objective, _)| *objective).ok_or_else(|| "give cost, power, gpus or latency".into())
}

pub(super) fn run(
    arguments: &SizeArgs,
    matches: Option<&ArgMatches>,
    context: &Context,
) -> Result<(), CliError> {
    arguments.refuse_other_loads()?;
    let directories = &context.directories;
    let cost = arguments.cost.resolve()?;
    let space = Space::load(arguments, &cost, directories)?;
    let candidates = space.candidates(arguments)?;
    let (demand, load) = (arguments.demand()?, arguments.load()?);
    let mut workload = arguments.workload.resolve();
    workload.load =
        Load::Rate { per_s: load.peak().unwrap_or(1.0), burstiness: arguments.workload.burstiness };
    arguments.traffic.put_means(&mut workload, demand.traffic.lengths.means());
    let options = Options {
        engines: directories.engines.clone(),
        cost,
        speculation: arguments.speculation.resolve(directories)?,
        ..Options::default()
    };
    let constraints = Constraints {
        max_gpus: arguments.max_gpus,
        max_usd_per_hour: arguments.max_usd_per_hour,
        available: space.available(),
    };
    let bar = Progress::new(candidates.len(), "deployments");
    let answer = size(&SizeQuestion {
        candidates: &candidates,
        demand: &demand,
        requests: workload.requests,
        load: &load,
        headroom: arguments.headroom,
        workload: &workload,
        options: &options,
        constraints: &constraints,
        objective: arguments.sort,
        top: arguments.top as usize,
        all_layouts: arguments.all_layouts,
        arguments: &arguments.of_simulate(matches),
        gpu_names: &space.names(),
        done: &|deployments| bar.add(deployments),
    });
    bar.finish();
    let answer = answer?;
    let mut report = report::sized(&answer, arguments.list_left_out);
    if context.output.draws() {
        report.board = report::size_board(&answer);
    }
    context.output.print(&report)?;
    if arguments.check && answer.candidates.is_empty() {
        return Err(CliError::No("no deployment holds the limits".into()));
    }
    Ok(())
}

/// Arguments that `simulate` takes under the same name, beside those of the candidate.
const SHARED: [&str; 51] = [
    "acceptance_rate",
    "amortization_years",
    "block_size",
    "burstiness",
    "calibration",
    "colocation_usd_per_kw_month",
    "discipline",
    "draft_model",
    "duty",
    "e2e",
    "electricity_usd_per_kwh",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "enforce_eager",
    "goodput",
    "gpu_hour_usd",
    "gpu_memory_utilization",
    "hardware_dir",
    "host_power",
    "input_dist",
    "input_len",
    "interest_rate",
    "keep_thinking",
    "length_ratio_min",
    "lengths",
    "maintenance_rate",
    "max_num_batched_tokens",
    "max_num_seqs",
    "no_calibration",
    "output_dist",
    "output_len",
    "own",
    "percentile",
    "prefix_len",
    "preset",
    "pue",
    "purchase_usd",
    "residual_share",
    "router",
    "seed",
    "server_overhead",
    "slo",
    "speculative_max_rows",
    "speculative_tokens",
    "thinking_len",
    "today",
    "tpot",
    "ttft",
    "turn_input_len",
    "turn_pause",
    "turns",
];

impl SizeArgs {
    fn model_name(&self) -> &str {
        self.model.as_deref().or(self.model_flag.as_deref()).unwrap_or_default()
    }

    /// Flags of `simulate` that this command has for its lengths and limits only.
    fn refuse_other_loads(&self) -> Result<(), SpecError> {
        let traffic = self.traffic.other_than_lengths();
        let load = if self.workload.load_is_given() && self.workload.request_rate().is_none() {
            Some("--batch-size and --concurrency")
        } else {
            traffic
        };
        match load {
            Some(flag) => Err(SpecError::Usage(format!(
                "{flag}: size takes a load as --request-rate, --users or --hourly-rates; `simulate` takes this one"
            ))),
            None => Ok(()),
        }
    }

    fn load(&self) -> Result<SizeLoad, SpecError> {
        let hourly = self.traffic.hourly_rates();
        if !hourly.is_empty() {
            Rate::hourly(hourly)?;
            return Ok(SizeLoad::Hourly(hourly.to_vec()));
        }
        match (self.users, self.workload.request_rate()) {
            (Some(count), _) => Ok(SizeLoad::Users { count, think_s: self.think_time.0 }),
            (None, Some(rate)) => Ok(SizeLoad::Rate(rate)),
            (None, None) => Err(SpecError::Usage(
                "size needs a load: --request-rate, --users (with --think-time) or --hourly-rates".into(),
            )),
        }
    }

    fn demand(&self) -> Result<Demand, SpecError> {
        let preset = self.traffic.preset()?;
        let (mut slo, share) = self.limits.resolve()?;
        if let Some(preset) = preset.filter(|_| !slo.is_given()) {
            slo = preset.slo;
        }
        if !slo.is_given() {
            return Err(SpecError::Usage("size needs a limit: --ttft, --tpot or --e2e".into()));
        }
        let mut traffic = self.traffic.resolve(&self.workload)?;
        traffic.arrivals = Arrivals::Open(Rate::constant(1.0)?, self.workload.burstiness);
        Ok(Demand {
            lengths_source: preset.map(|p| p.source.clone()),
            routing: self.router,
            discipline: self.discipline,
            slo,
            share: share.or(preset.and_then(|p| p.share)).unwrap_or(USUAL_SHARE),
            ..Demand::new(traffic)
        })
    }

    /// What of the command line `simulate` needs too, the model first.
    fn of_simulate(&self, matches: Option<&ArgMatches>) -> Vec<String> {
        let mut all = vec![self.model_name().to_owned()];
        for id in SHARED {
            let Some(matches) = matches else { break };
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let flag = format!("--{}", id.replace('_', "-"));
            let values: Vec<String> = matches
                .get_raw(id)
                .map(|raw| raw.map(|v| v.to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            // a switch has `true` for a value
            let switch = matches!(id, "enforce_eager" | "keep_thinking" | "no_calibration" | "own");
            if switch {
                all.push(flag);
            } else if id == "goodput" {
                all.push(flag);
                all.extend(values);
            } else {
                all.extend(values.into_iter().flat_map(|value| [flag.clone(), value]));
            }
        }
        all
    }
}
