//! `foretoken cost`.

use clap::Args;

use super::args::{DeploymentArgs, SpeculationArgs, WorkloadArgs, amount, positive_u32, share};
use super::cost_args::CostArgs;
use super::limits::{LimitArgs, USUAL_SHARE};
use super::{CliError, Context};
use crate::answer::{ApiPrice, CostQuestion, Job, Options, Question, Volume, cost};
use crate::report;
use crate::spec::SpecError;
use crate::units::parse_number;

const EXAMPLES: &str = "Examples:
  What a million tokens cost at 32 requests in flight, at the limits and when full; rented, owned and electricity alone:
    foretoken cost llama-3.1-8b --gpu h100-sxm --concurrency 32 --ttft 500ms --tpot 30ms
  Is an API cheaper at 2 billion tokens a month?
    foretoken cost llama-3.1-70b --gpu 4xh100-sxm --tokens-per-month 2B --api-usd-in 0.6 --api-usd-out 0.8 --tpot 50ms
  A million documents of 2,000 tokens, summarised in 200, by tomorrow morning:
    foretoken cost qwen2.5-7b --gpu l40s --input-len 2k --output-len 200 --documents 1M --deadline 12h

Exit codes: as `foretoken --help` says. docs/COST.md has the definitions and formulas.";

/// Arguments of `cost`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = EXAMPLES)]
pub(super) struct CostCommandArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Replicas of the deployment at least; a load that needs more has more.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", help_heading = "Deployment")]
    replicas: u32,
    #[command(flatten)]
    limits: LimitArgs,
    /// Your load: prompt and generated tokens in a month, like 500M or 2B.
    #[arg(long, value_parser = tokens, value_name = "TOKENS", conflicts_with_all = ["requests_per_day", "load"], help_heading = "Your load")]
    tokens_per_month: Option<f64>,
    /// Your load: requests in a day.
    #[arg(long, value_parser = tokens, value_name = "N", conflicts_with = "load", help_heading = "Your load")]
    requests_per_day: Option<f64>,
    /// Your load: a share of what the replicas can do.
    #[arg(long, value_parser = share, value_name = "SHARE", help_heading = "Your load")]
    load: Option<f64>,
    /// Price of an API for a million prompt tokens in US dollars.
    #[arg(long, value_parser = amount, value_name = "USD", requires = "api_usd_out", help_heading = "Against an API")]
    api_usd_in: Option<f64>,
    /// Price of an API for a million generated tokens in US dollars.
    #[arg(long, value_parser = amount, value_name = "USD", requires = "api_usd_in", help_heading = "Against an API")]
    api_usd_out: Option<f64>,
    /// Offline: so many documents, each a request of --input-len and --output-len, all there at once.
    #[arg(long, visible_alias = "job", value_parser = documents, value_name = "N", help_heading = "Offline job")]
    documents: Option<u64>,
    /// Time in which all must be done; as few replicas as keep it (8h, 90min).
    #[arg(long, value_parser = long_duration, value_name = "TIME", requires = "documents", help_heading = "Offline job")]
    deadline: Option<f64>,
    #[command(flatten)]
    prices: CostArgs,
    /// Exit with 3 when no rate keeps the limits, or your load does not keep them.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

pub(super) fn run(arguments: &CostCommandArgs, context: &Context) -> Result<(), CliError> {
    let resolved = arguments.deployment.resolve(&context.directories)?;
    let workload = arguments.workload.resolve();
    let speculation = arguments.speculation.resolve(&context.directories)?;
    let cost_inputs = arguments.prices.resolve()?;
    let engines = context.directories.engines.clone();
    let options = Options { engines, speculation, cost: cost_inputs, ..Options::default() };
    let (slo, percentile) = arguments.limits.resolve()?;
    let question = CostQuestion {
        question: Question {
            model: &resolved.model,
            accelerator: &resolved.accelerator,
            deployment: &resolved.deployment,
            workload: &workload,
            kernels: resolved.kernels.as_ref(),
            options: &options,
        },
        replicas: arguments.replicas,
        slo,
        share: percentile.unwrap_or(USUAL_SHARE),
        volume: arguments.volume(),
        api: arguments.api()?,
        job: arguments.documents.map(|documents| Job { documents, deadline_s: arguments.deadline }),
    };
    if arguments.check && !question.slo.is_given() {
        return Err(SpecError::Usage("--check needs a limit: --ttft, --tpot or --e2e".into()).into());
    }
    let answer = cost(&question)?;
    let mut report = report::cost(&answer);
    if context.output.draws() {
        report.board = report::cost_board(&answer);
    }
    context.output.print(&report)?;
    if arguments.check && !answer.limits_are_kept() {
        return Err(CliError::No("the limits are not kept".into()));
    }
    Ok(())
}

impl CostCommandArgs {
    fn volume(&self) -> Option<Volume> {
        let tokens = self.tokens_per_month.map(Volume::TokensPerMonth);
        tokens.or(self.requests_per_day.map(Volume::RequestsPerDay)).or(self.load.map(Volume::Load))
    }

    fn api(&self) -> Result<Option<ApiPrice>, SpecError> {
        let (Some(input), Some(output)) = (self.api_usd_in, self.api_usd_out) else { return Ok(None) };
        if input + output <= 0.0 {
            return Err(SpecError::Usage(
                "--api-usd-in and --api-usd-out are both 0: nothing is cheaper than an API for nothing"
                    .into(),
            ));
        }
        Ok(Some(ApiPrice { usd_per_million_input_tokens: input, usd_per_million_output_tokens: output }))
    }
}

/// A count above 0.
fn tokens(text: &str) -> Result<f64, String> {
    match parse_number(text).map_err(|e| e.to_string())? {
        0 => Err("must be at least 1".into()),
        n => Ok(n as f64),
    }
}

fn documents(text: &str) -> Result<u64, String> {
    match parse_number(text).map_err(|e| e.to_string())? {
        0 => Err("must be at least 1".into()),
        n if n > 1_000_000_000_000 => Err("must be at most 1,000,000,000,000".into()),
        n => Ok(n),
    }
}

/// Seconds of hours, minutes or days; a bare number has no unit that anyone would guess.
fn long_duration(text: &str) -> Result<f64, String> {
    if text.trim().parse::<f64>().is_ok() {
        return Err("write its unit, like 8h or 90min".into());
    }
    match humantime::parse_duration(text.trim()) {
        Ok(time) if !time.is_zero() => Ok(time.as_secs_f64()),
        Ok(_) => Err("must be above 0".into()),
        Err(_) => Err("must be a duration like 8h, 90min or 2days".into()),
    }
}
