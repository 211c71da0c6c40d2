//! `foretoken explain`.

use clap::Args;

use super::args::{duration, positive};
use super::{CliError, Context};
use crate::answer::{TpotDefinition, convert_tpot, explain, metrics};
use crate::report;
use crate::spec::SpecError;
use crate::units::Seconds;

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true)]
pub(super) struct ExplainArgs {
    /// ttft, tpot, itl, e2e, goodput, mfu … [default: list them].
    metric: Option<String>,
    /// Convert a time per output token into the other definitions (with --ttft and --output-len).
    #[arg(long, value_parser = duration, value_name = "TIME", requires = "ttft", requires = "output_len", help_heading = "Convert")]
    tpot: Option<Seconds>,
    /// Definition of that time: vllm, per-token or inclusive.
    #[arg(long, default_value = "vllm", value_name = "NAME", help_heading = "Convert")]
    from: String,
    /// Time to first token of the request.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Convert")]
    ttft: Option<Seconds>,
    /// Generated tokens of the request.
    #[arg(long, visible_alias = "osl", value_parser = positive, value_name = "N", help_heading = "Convert")]
    output_len: Option<u64>,
}

pub(super) fn run(arguments: &ExplainArgs, context: &Context) -> Result<(), CliError> {
    if let (Some(value), Some(ttft), Some(n)) = (arguments.tpot, arguments.ttft, arguments.output_len) {
        let from: TpotDefinition = arguments.from.parse()?;
        let converted = TpotDefinition::ALL
            .into_iter()
            .map(|to| Ok((to, convert_tpot(value, from, to, ttft, n)?)))
            .collect::<Result<Vec<_>, SpecError>>()?;
        return context.output.print(&report::conversion(ttft, n, &converted));
    }
    match &arguments.metric {
        Some(metric) => context.output.print(&report::metric(&explain(metric)?)),
        None => context.output.print(&report::metrics(metrics())),
    }
}
