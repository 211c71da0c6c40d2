//! `foretoken simulate`.

use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::{DeploymentArgs, WorkloadArgs, duration, positive_u32, rate};
use super::{CliError, Context};
use crate::answer::{Demand, Options, Question, load_of, simulate, traffic};
use crate::report;
use crate::serving::{Arrivals, Discipline, Length, Lengths, Rate, Routing, Slo, Trace, Traffic};
use crate::spec::SpecError;
use crate::units::Seconds;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = super::AFTER_HELP)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Requests as recorded: Azure's CSV, Mooncake's JSON lines with block hashes, or any CSV or JSON lines
    /// with a time and both lengths. Gzipped or not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request_rate", "concurrency", "batch_size", "input_dist", "output_dist"], help_heading = "Workload")]
    trace: Option<PathBuf>,
    /// How many times as fast the trace is replayed.
    #[arg(long, value_parser = rate, default_value = "1", value_name = "FACTOR", requires = "trace", help_heading = "Workload")]
    trace_speed: f64,
    /// Equal gaps instead of random ones, with --request-rate.
    #[arg(long, conflicts_with = "burstiness", help_heading = "Workload")]
    constant: bool,
    /// The rate grows from --request-rate to this one, then stays.
    #[arg(long, value_parser = rate, value_name = "PER_S", requires = "request_rate", help_heading = "Workload")]
    ramp_to: Option<f64>,
    /// Time in which it does.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME", help_heading = "Workload")]
    ramp_time: Seconds,
    /// Requests per second hour by hour, over and over.
    #[arg(long, value_delimiter = ',', value_name = "PER_S,…", conflicts_with_all = ["trace", "request_rate", "concurrency", "batch_size"], help_heading = "Workload")]
    hourly_rates: Vec<f64>,
    /// Prompt tokens: uniform:LOW,HIGH, normal:MEAN,DEVIATION or lognormal:MEAN,DEVIATION.
    #[arg(long, value_parser = distribution, value_name = "DIST", help_heading = "Workload")]
    input_dist: Option<Length>,
    /// Generated tokens, likewise.
    #[arg(long, value_parser = distribution, value_name = "DIST", help_heading = "Workload")]
    output_dist: Option<Length>,
    /// Replicas of the deployment behind a router.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", help_heading = "Deployment")]
    replicas: u32,
    /// Which replica a request goes to: round-robin, least-loaded or prefix-aware.
    #[arg(long, value_parser = routing, default_value = "round-robin", value_name = "RULE", help_heading = "Deployment")]
    router: Routing,
    /// Which waiting request is next: fcfs, srpt (least work left) or mlfq (levels by prompt length).
    #[arg(long, value_parser = discipline, default_value = "fcfs", value_name = "RULE", help_heading = "Deployment")]
    discipline: Discipline,
    /// Limit of TTFT; a bare number is milliseconds.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    ttft: Option<Seconds>,
    /// Limit of TPOT.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    tpot: Option<Seconds>,
    /// Limit of E2E.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    e2e: Option<Seconds>,
    /// Share of the requests that must keep all limits, as a percentile.
    #[arg(long, value_parser = percentile, default_value = "p90", value_name = "PERCENTILE", help_heading = "Limits")]
    percentile: f64,
    /// Look for the highest request rate that keeps the limits.
    #[arg(long, help_heading = "Limits")]
    find_rate: bool,
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
    if arguments.trace.is_some() || arguments.input_dist.is_some() {
        workload.input_len = (input.round() as u64).max(1);
    }
    if arguments.trace.is_some() || arguments.output_dist.is_some() {
        workload.output_len = (output.round() as u64).max(1);
    }
    let options = Options::default();
    let answer = simulate(
        &Question {
            model: &resolved.model,
            accelerator: &resolved.accelerator,
            deployment: &resolved.deployment,
            workload: &workload,
            kernels: resolved.kernels.as_ref(),
            options: &options,
        },
        &demand,
    )?;
    context.output.print(&report::simulation(&answer))?;
    match &answer.goodput {
        Some(goodput) if arguments.check && !goodput.held => {
            Err(CliError::No("the limits are not kept by enough requests".into()))
        }
        _ => Ok(()),
    }
}

impl SimulateArgs {
    fn demand(&self) -> Result<Demand, SpecError> {
        let limit = |value: Option<Seconds>| value.map(|s| s.0);
        let slo = Slo { ttft_s: limit(self.ttft), tpot_s: limit(self.tpot), e2e_s: limit(self.e2e) };
        if (self.find_rate || self.check) && !slo.is_given() {
            return Err(SpecError::Usage(
                "--find-rate and --check need a limit: --ttft, --tpot or --e2e".into(),
            ));
        }
        Ok(Demand {
            traffic: self.traffic()?,
            replicas: self.replicas,
            routing: self.router,
            discipline: self.discipline,
            slo,
            share: self.percentile,
            find_rate: self.find_rate,
        })
    }

    fn traffic(&self) -> Result<Traffic, SpecError> {
        let mut workload = self.workload.resolve();
        if let Some(path) = &self.trace {
            let trace = Arc::new(Trace::read(path)?);
            let all = trace.rows().len() as u64;
            return Ok(Traffic {
                lengths: Lengths::Pairs(trace.lengths()),
                arrivals: Arrivals::Trace(trace, self.trace_speed),
                requests: workload.requests.unwrap_or(all).min(all),
                seed: workload.seed,
            });
        }
        let first = self.hourly_rates.first().copied();
        if first.is_some() {
            workload.load = crate::spec::Load::Rate { per_s: 1.0, burstiness: 1.0 };
        }
        let mut traffic = traffic(&workload)?;
        if self.input_dist.is_some() || self.output_dist.is_some() {
            let fixed = |n: u64| Length::Fixed(u32::try_from(n).unwrap_or(u32::MAX));
            traffic.lengths = Lengths::Independent {
                input: self.input_dist.unwrap_or(fixed(workload.input_len)),
                output: self.output_dist.unwrap_or(fixed(workload.output_len)),
            };
        }
        if let Arrivals::Open(rate, shape) = &traffic.arrivals {
            let mut rate = rate.clone();
            if first.is_some() {
                rate = Rate::hourly(&self.hourly_rates)?;
            } else if let Some(to) = self.ramp_to {
                rate = Rate::ramp(rate.mean(), to, self.ramp_time.0)?;
            }
            traffic.arrivals =
                if self.constant { Arrivals::Constant(rate) } else { Arrivals::Open(rate, *shape) };
        }
        Ok(traffic)
    }
}

/// A distribution like `lognormal:1020,900`.
fn distribution(text: &str) -> Result<Length, String> {
    let form = "write it like uniform:100,900, normal:500,100 or lognormal:1020,900";
    let (kind, numbers) = text.split_once(':').ok_or(form)?;
    let (a, b) = numbers.split_once(',').ok_or(form)?;
    let (a, b): (f64, f64) = (a.trim().parse().map_err(|_| form)?, b.trim().parse().map_err(|_| form)?);
    if !(a.is_finite() && b.is_finite() && (1.0..=1e9).contains(&a) && (0.0..=1e9).contains(&b)) {
        return Err("the first number must be from 1 and the second from 0, both to 1e9".into());
    }
    match kind {
        "uniform" if b >= a => Ok(Length::Uniform(a as u32, b as u32)),
        "uniform" => Err("the second length must not be below the first".into()),
        "normal" => Ok(Length::Normal(a, b)),
        "lognormal" => Ok(Length::LogNormal(a, b)),
        _ => Err(form.into()),
    }
}

/// `p90` as 0.9.
fn percentile(text: &str) -> Result<f64, String> {
    match text.trim_start_matches(['p', 'P']).parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 100.0 => Ok(p / 100.0),
        _ => Err("write a percentile like p90 or p99.5".into()),
    }
}

fn routing(text: &str) -> Result<Routing, String> {
    let found = Routing::ALL.iter().find(|(_, name)| *name == text);
    found.map(|(rule, _)| *rule).ok_or_else(|| "rules are round-robin, least-loaded and prefix-aware".into())
}

fn discipline(text: &str) -> Result<Discipline, String> {
    match text {
        "fcfs" => Ok(Discipline::Fcfs),
        "srpt" => Ok(Discipline::Srpt),
        "mlfq" => Ok(Discipline::Mlfq),
        _ => Err("disciplines are fcfs, srpt and mlfq".into()),
    }
}
