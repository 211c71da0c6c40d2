//! `foretoken memory`.

use clap::Args;

use super::args::{DeploymentArgs, gibibytes};
use super::{CliError, Context, paste};
use crate::answer::{logged, memory_curve};
use crate::memory::memory;
use crate::report;
use crate::spec::Formats;

/// Arguments of `memory`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true, after_long_help = super::AFTER_HELP)]
pub(super) struct MemoryArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    /// Weights kept in host memory, in bytes per accelerator (a number of GiB, or a size with its unit).
    #[arg(long, value_parser = gibibytes, value_name = "GIB", default_value = "0", help_heading = "What if")]
    cpu_offload_gb: f64,
    /// Exit with 3 when the deployment does not fit.
    #[arg(long, help_heading = "Output")]
    check: bool,
}

pub(super) fn run(arguments: &MemoryArgs, context: &Context) -> Result<(), CliError> {
    let mut resolved = arguments.deployment.resolve(&context.directories)?;
    resolved.deployment.cpu_offload_bytes = arguments.cpu_offload_gb;
    if let Some(log) = &context.log {
        paste::as_logged(log, &mut resolved.accelerator);
    }
    let answer = memory(&resolved.model, &resolved.accelerator, &resolved.deployment)?;
    let formats = Formats::resolve(&resolved.model, &resolved.deployment, &resolved.accelerator)?;
    let mut report =
        report::memory(&resolved.model, &resolved.accelerator, &resolved.deployment, &formats, &answer);
    if let Some(log) = &context.log {
        report.add_log(log, &logged(log, &answer));
    }
    if context.output.draws() {
        let curve = memory_curve(&resolved.model, &resolved.accelerator, &resolved.deployment, &answer)?;
        report.board = report::memory_board(&answer, &curve);
    }
    context.output.print(&report)?;
    if arguments.check && !answer.fits {
        return Err(CliError::No(format!(
            "{} does not fit on {}",
            resolved.model.id, resolved.accelerator.id
        )));
    }
    Ok(())
}
