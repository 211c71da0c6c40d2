//! `foretoken validate`.

use clap::Args;
use std::path::PathBuf;

use super::progress::Progress;
use super::{CliError, Context};
use crate::answer::{KernelChoice, Kernels, MeasuredTable, ValidateOptions, validate};
use crate::report;
use crate::spec::SpecError;

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(after_long_help = super::AFTER_HELP)]
pub(super) struct ValidateArgs {
    /// Measured results as CSV, gzipped or not: columns engine, model, gpu, mode, concurrency, input_len,
    /// output_len and what was measured (ttft_ms, tpot_ms, e2e_ms, prefill_tok_s, decode_tok_s, output_tok_s).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Errors by these columns too: engine,model,gpu, any other of the files, `batch`, or `room` (whether
    /// the KV pool holds the whole batch).
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    by: Vec<String>,
    /// List so many of the worst rows.
    #[arg(long, default_value = "0", value_name = "N")]
    worst: usize,
    /// Calibration file to use instead of each accelerator's own or its nearest relative's.
    #[arg(long, value_name = "FILE", conflicts_with = "no_calibration")]
    calibration: Option<PathBuf>,
    /// Use the defaults of the architecture family.
    #[arg(long)]
    no_calibration: bool,
}

pub(super) fn run(arguments: &ValidateArgs, context: &Context) -> Result<(), CliError> {
    let tables: Vec<MeasuredTable> =
        arguments.files.iter().map(|file| MeasuredTable::read(file)).collect::<Result<_, SpecError>>()?;
    let kernels = match &arguments.calibration {
        Some(path) => KernelChoice::Given(Box::new(Kernels::from_file(path)?)),
        None if arguments.no_calibration => KernelChoice::Defaults,
        None => KernelChoice::InForce,
    };
    let options = ValidateOptions {
        kernels,
        by: arguments.by.iter().map(|b| b.trim().to_owned()).collect(),
        worst: arguments.worst,
    };
    let rows = tables.iter().map(|t| t.rows().count()).sum();
    let progress = Progress::new(rows, "rows");
    let answer = validate(&tables, &options, &context.directories, &|done| progress.at(done))?;
    progress.finish();
    context.output.print(&report::validation(&answer))
}
