//! `foretoken validate`.

use clap::Args;
use std::path::PathBuf;

use super::local::accelerator;
use super::progress::Progress;
use super::{CliError, Context};
use crate::answer::{KernelChoice, Kernels, MeasuredTable, ValidateOptions, validate, validate_samples};
use crate::calibrate::samples::Table;
use crate::report;
use crate::spec::SpecError;

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(after_long_help = super::AFTER_HELP)]
pub(super) struct ValidateArgs {
    /// Measured results as CSV, gzipped or not: columns engine, model, gpu, mode (static, closed_loop, open_loop), concurrency
    /// or request_rate, input_len, output_len and what was measured (ttft_ms, tpot_ms, e2e_ms, prefill_tok_s, decode_tok_s,
    /// output_tok_s; of open loops also ttft_p90_ms, ttft_p99_ms, e2e_p90_ms, e2e_p99_ms). docs/SIMULATE.md has the others.
    #[arg(required_unless_present = "samples", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Operator samples instead, as `calibrate --from-samples` reads them.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "gpu", conflicts_with_all = ["files", "by", "worst"])]
    samples: Vec<PathBuf>,
    /// Accelerator that the samples were taken on.
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "GPU", requires = "samples")]
    gpu: Option<String>,
    /// Errors by these columns too: engine,model,gpu, any other of the files, `batch`, or `room` (whether
    /// the KV pool holds the whole batch).
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    by: Vec<String>,
    /// List so many of the worst rows [default: 0].
    #[arg(long, value_name = "N")]
    worst: Option<usize>,
    /// Calibration file to use instead of each accelerator's own or its nearest relative's.
    #[arg(long, value_name = "FILE", conflicts_with = "no_calibration")]
    calibration: Option<PathBuf>,
    /// Use the defaults of the architecture family.
    #[arg(long, conflicts_with = "samples")]
    no_calibration: bool,
}

pub(super) fn run(arguments: &ValidateArgs, context: &Context) -> Result<(), CliError> {
    let kernels = match &arguments.calibration {
        Some(path) => KernelChoice::Given(Box::new(Kernels::from_file(path)?)),
        None if arguments.no_calibration => KernelChoice::Defaults,
        None => KernelChoice::InForce,
    };
    if let Some(gpu) = &arguments.gpu {
        let accelerator = accelerator(gpu, &context.directories)?;
        let tables = read(&arguments.samples, Table::read_all)?.concat();
        let answer = validate_samples(&tables, &accelerator, &kernels, &context.directories)?;
        return context.output.print(&report::sample_validation(&answer));
    }
    let tables = read(&arguments.files, MeasuredTable::read)?;
    let options = ValidateOptions {
        kernels,
        by: arguments.by.iter().map(|b| b.trim().to_owned()).collect(),
        worst: arguments.worst.unwrap_or(0),
    };
    let rows = tables.iter().map(|t| t.rows().count()).sum();
    let progress = Progress::new(rows, "rows");
    let answer = validate(&tables, &options, &context.directories, &|done| progress.at(done))?;
    progress.finish();
    context.output.print(&report::validation(&answer))
}

fn read<T>(
    files: &[PathBuf],
    reader: fn(&std::path::Path) -> Result<T, SpecError>,
) -> Result<Vec<T>, SpecError> {
    files.iter().map(|file| reader(file)).collect()
}
