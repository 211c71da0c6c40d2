//! `foretoken simulate`.

mod split;
mod traffic;

use clap::Args;

use super::args::{DeploymentArgs, SpeculationArgs, WorkloadArgs, bandwidth, gibibytes, positive_u32};
use super::cost_args::CostArgs;
use super::limits::{LimitArgs, USUAL_SHARE};
use super::{CliError, Context};
use crate::answer::{Demand, KvTier, Options, Question, SplitQuestion, load_curve, load_of, simulate};
use crate::report;
use crate::serving::{Discipline, Routing};
use crate::spec::SpecError;
use split::SplitArgs;
pub(super) use traffic::TrafficArgs;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = super::AFTER_HELP)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    cost: CostArgs,
    /// Replicas of the deployment behind a router.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", help_heading = "Deployment")]
    replicas: u32,
    /// Which replica a request goes to: round-robin, least-loaded or prefix-aware.
    #[arg(long, value_parser = routing, default_value = "round-robin", value_name = "RULE", help_heading = "Deployment")]
    router: Routing,
    #[command(flatten)]
    split: SplitArgs,
    /// Which request is next: fcfs, sjf (shortest first), srpt (fewest tokens left; preempts) or mlfq (levels by tokens served;
    /// preempts). Lengths are taken as known.
    #[arg(long, value_parser = discipline, default_value = "fcfs", value_name = "RULE", help_heading = "Deployment")]
    discipline: Discipline,
    /// KV cache that has no room on the accelerators goes to host memory or disks, the nearest first: sizes a replica, with
    /// their bandwidth unless it is that of the host links; 64GiB,2TB@5GB/s.
    #[arg(long, value_parser = tier, value_delimiter = ',', value_name = "SIZE[@BANDWIDTH]", help_heading = "Deployment")]
    kv_tier: Vec<KvTier>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Look for the highest request rate that keeps the limits.
    #[arg(long, help_heading = "Limits")]
    find_rate: bool,
    /// Count which tokens come in time by --ttft and --tpot (fluidity index), and the highest token rate at which 99 % of the
    /// requests get nine in ten in time.
    #[arg(long, help_heading = "Limits")]
    fluidity: bool,
    /// Exit with 3 when the limits are not kept.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

pub(super) fn run(arguments: &SimulateArgs, context: &Context) -> Result<(), CliError> {
    let resolved = arguments.deployment.resolve(&context.directories)?;
    let demand = arguments.demand()?;
    let [input, output] = demand.traffic.lengths.means();
    let mut workload = arguments.workload.resolve();
    workload.load = load_of(&demand.traffic.arrivals);
    workload.requests = Some(demand.traffic.requests);
    arguments.traffic.put_means(&mut workload, [input, output]);
    let speculation = arguments.speculation.resolve(&context.directories)?;
    let cost = arguments.cost.resolve()?;
    cost.check(&resolved.accelerator)?;
    let engines = context.directories.engines.clone();
    let options = Options { engines, speculation, cost, ..Options::default() };
    let question = Question {
        model: &resolved.model,
        accelerator: &resolved.accelerator,
        deployment: &resolved.deployment,
        workload: &workload,
        kernels: resolved.kernels.as_ref(),
        options: &options,
    };
    let split = &arguments.split;
    let decode = match split.decode_replicas {
        Some(replicas) => {
            Some((split.deployment(&arguments.deployment).resolve(&context.directories)?, replicas))
        }
        None => None,
    };
    let second = decode.as_ref().map(|(there, replicas)| SplitQuestion {
        decode: Question {
            accelerator: &there.accelerator,
            deployment: &there.deployment,
            kernels: there.kernels.as_ref(),
            ..question
        },
        replicas: *replicas,
        link: split.kv_link,
        latency_s: split.latency_s(),
        overlapped: split.kv_overlap,
        local: split.local(),
        search: split.find_split.then_some(arguments.replicas.saturating_add(*replicas)),
    });
    let answer = simulate(&question, &demand, second.as_ref())?;
    let mut report = report::simulation(&answer);
    if context.output.draws() {
        let curve = load_curve(&question, &demand, second.as_ref())?;
        report.board = report::simulation_board(&answer, curve.as_ref());
    }
    context.output.print(&report)?;
    match &answer.goodput {
        Some(goodput) if arguments.check && !goodput.held => {
            Err(CliError::No("the limits are not kept by enough requests".into()))
        }
        _ => Ok(()),
    }
}

impl SimulateArgs {
    fn demand(&self) -> Result<Demand, SpecError> {
        let preset = self.traffic.preset()?;
        let (mut slo, share) = self.limits.resolve()?;
        if let Some(preset) = preset.filter(|_| !slo.is_given()) {
            slo = preset.slo;
        }
        if (self.find_rate || self.check || self.split.find_split) && !slo.is_given() {
            return Err(SpecError::Usage(
                "--find-rate, --find-split and --check need a limit: --ttft, --tpot or --e2e".into(),
            ));
        }
        if self.fluidity && (slo.ttft_s.is_none() || slo.tpot_s.is_none()) {
            return Err(SpecError::Usage("--fluidity needs --ttft and --tpot: when tokens are due".into()));
        }
        Ok(Demand {
            traffic: self.traffic.resolve(&self.workload)?,
            lengths_source: preset.map(|p| p.source.clone()),
            replicas: self.replicas,
            routing: self.router,
            discipline: self.discipline,
            tiers: self.kv_tier.clone(),
            slo,
            share: share.or(preset.and_then(|p| p.share)).unwrap_or(USUAL_SHARE),
            find_rate: self.find_rate,
            fluidity: self.fluidity,
        })
    }
}

/// A size, and a bandwidth behind an @.
fn tier(text: &str) -> Result<KvTier, String> {
    let (size, rate) = text.split_once('@').map_or((text, None), |(s, r)| (s, Some(r)));
    let bytes = gibibytes(size)?;
    if bytes <= 0.0 {
        return Err("a tier's size must be above 0".into());
    }
    Ok(KvTier { bytes, bytes_per_s: rate.map(bandwidth).transpose()? })
}

pub(super) fn routing(text: &str) -> Result<Routing, String> {
    let found = Routing::ALL.iter().find(|(_, name)| *name == text);
    found.map(|(rule, _)| *rule).ok_or_else(|| "rules are round-robin, least-loaded and prefix-aware".into())
}

pub(super) fn discipline(text: &str) -> Result<Discipline, String> {
    let found = Discipline::ALL.iter().find(|(_, name)| *name == text);
    found.map(|(rule, _)| *rule).ok_or_else(|| "disciplines are fcfs, sjf, srpt and mlfq".into())
}
