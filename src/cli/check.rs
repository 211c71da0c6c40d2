//! `foretoken check`.

use clap::Args;

use super::args::{DeploymentArgs, SpeculationArgs, WorkloadArgs, bandwidth, duration, rate};
use super::output::to_stderr;
use super::{CliError, Context, paste};
use crate::answer::{Figures, Options, Question, Verdict, check, logged};
use crate::memory::occupancy;
use crate::report;
use crate::spec::Load;
use crate::units::Seconds;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = super::AFTER_HELP)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    /// Measured time to first token; a bare number is milliseconds.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Measured")]
    measured_ttft: Option<Seconds>,
    /// Measured time per output token.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Measured")]
    measured_tpot: Option<Seconds>,
    /// Measured end-to-end time of a request.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Measured")]
    measured_e2e: Option<Seconds>,
    /// Measured generated tokens per second of all users together.
    #[arg(
        long,
        visible_alias = "measured-output-throughput",
        value_parser = rate,
        value_name = "TOKENS_PER_S",
        help_heading = "Measured"
    )]
    measured_throughput: Option<f64>,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Round trip to the client that the measured TTFT holds.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Workload")]
    network_rtt: Option<Seconds>,
    /// The measured TTFT holds loading the weights, at this bandwidth.
    #[arg(long, value_parser = bandwidth, value_name = "BANDWIDTH", num_args = 0..=1, default_missing_value = "2GB/s", help_heading = "Workload")]
    cold_start: Option<f64>,
    /// How the measured TPOT is defined: vllm, per-token or inclusive.
    #[arg(long, default_value = "vllm", value_name = "NAME", help_heading = "Measured")]
    tpot_definition: String,
    /// Exit with 3 when the verdict is slow.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

pub(super) fn run(arguments: &CheckArgs, context: &Context) -> Result<(), CliError> {
    let mut resolved = arguments.deployment.resolve(&context.directories)?;
    let mut workload = arguments.workload.resolve();
    let options = Options {
        same_requests: 1,
        engines: context.directories.engines.clone(),
        network_rtt_s: arguments.network_rtt.map_or(0.0, |s| s.0),
        cold_start_bytes_per_s: arguments.cold_start,
        tpot_definition: arguments.tpot_definition.parse()?,
        speculation: arguments.speculation.resolve(&context.directories)?,
        ..Options::default()
    };
    let seconds = |given: Option<Seconds>| given.map(|s| s.0);
    let mut measured = Figures {
        ttft_s: seconds(arguments.measured_ttft),
        tpot_s: seconds(arguments.measured_tpot),
        e2e_s: seconds(arguments.measured_e2e),
        output_tokens_per_s: arguments.measured_throughput,
    };
    if let Some(log) = &context.log {
        paste::as_logged(log, &mut resolved.accelerator);
        if measured == Figures::default()
            && let (Some(running), Some(rate)) = (log.running_requests, log.generation_tokens_per_s)
        {
            to_stderr(&format!("note: TPOT from the log: {running} requests generate {rate} tokens/s"));
            measured.tpot_s = Some(f64::from(running) / rate);
            if !arguments.workload.load_is_given() {
                workload.load = Load::StaticBatch(running);
            }
        }
    }
    let question = Question {
        model: &resolved.model,
        accelerator: &resolved.accelerator,
        deployment: &resolved.deployment,
        workload: &workload,
        kernels: resolved.kernels.as_ref(),
        options: &options,
    };
    let answer = check(&question, &measured, &context.directories)?;
    let mut report = report::check(&answer);
    if let Some(log) = &context.log {
        let memory = occupancy(&resolved.model, &resolved.accelerator, &resolved.deployment)?;
        report.add_log(log, &logged(log, &memory));
    }
    context.output.print(&report)?;
    if arguments.check && answer.verdict == Verdict::Slow {
        return Err(CliError::No(format!("{} is slow", answer.metric.name())));
    }
    Ok(())
}
