//! The command line: one file a subcommand, each parses → answers → reports.

mod accuracy;
mod args;
mod calibrate;
mod calibrations;
mod check;
mod cost;
mod cost_args;
mod deployment_lists;
mod doctor;
mod error;
mod estimate;
mod explain;
mod gpus;
mod limits;
mod lists;
mod local;
mod memory;
mod meta;
mod models;
mod output;
mod paste;
mod progress;
mod settings;
mod simulate;
mod size;
mod sweep;
mod validate;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

pub use error::CliError;
use output::Output;

use crate::spec::catalog::Directories;
use crate::spec::startup_log::StartupLog;

const AFTER_HELP: &str = "Exit codes:
  0  answered
  1  runtime error
  2  wrong usage or input
  3  the answer is no (does not fit, limits not kept), with --check
  4  no usable accelerator or driver (calibrate, doctor)";

/// Predicts LLM inference before the hardware is bought: TTFT, TPOT, memory, throughput and cost.
#[derive(Debug, Parser)]
#[command(name = "foretoken", version, about, after_long_help = AFTER_HELP, propagate_version = true)]
struct Cli {
    /// Directory of accelerator TOML files that win over the built-in ones (also $FORETOKEN_HOME/hardware).
    #[arg(long, global = true, value_name = "DIR")]
    hardware_dir: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// TTFT, TPOT, E2E, throughput, memory and cost of one deployment.
    Estimate(Box<estimate::EstimateArgs>),
    /// Requests over time: queueing, percentiles, goodput under limits; arrivals or a trace.
    Simulate(Box<simulate::SimulateArgs>),
    /// A grid over any list of models, GPUs, layouts, formats, lengths and loads; frontier and crossovers.
    Sweep(Box<sweep::SweepArgs>),
    /// Which accelerators, how many and laid out how, hold limits under a load, and at what price.
    Size(Box<size::SizeArgs>),
    /// Cost per million tokens: as asked, at limits, saturated, at your load; rented or owned, against an API; offline jobs.
    Cost(Box<cost::CostCommandArgs>),
    /// The accelerator catalog.
    #[command(subcommand)]
    Gpus(gpus::GpusCommand),
    /// The model catalog.
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Where the memory goes, longest context, most concurrent requests, and what makes room.
    Memory(Box<memory::MemoryArgs>),
    /// Whether measured times are what they should be, and what would explain them if not.
    Check(Box<check::CheckArgs>),
    /// How far answers can be trusted, by GPU, engine and model kind, from what was validated.
    Accuracy(accuracy::AccuracyArgs),
    /// Predicted against measured: errors over the rows of result files, and by group.
    Validate(validate::ValidateArgs),
    /// Measure this machine, or fit recorded samples; writes a calibration file.
    Calibrate(calibrate::CalibrateArgs),
    /// The catalog of fitted kernel times.
    #[command(subcommand)]
    Calibrations(calibrations::CalibrationsCommand),
    /// This machine: GPUs, driver, CUDA libraries and what calibrate could measure here.
    Doctor(doctor::DoctorArgs),
    /// What a metric means, how it is computed and how other tools define it.
    Explain(explain::ExplainArgs),
    /// Print shell completions.
    Completions(meta::CompletionsArgs),
    /// Print the man page (roff).
    Man,
}

/// What every command may need.
struct Context {
    directories: Directories,
    output: Output,
    /// The start-up log that was given.
    log: Option<StartupLog>,
}

/// Runs the command line given; returns the exit code of the process.
#[must_use]
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let pasted = match paste::normalise(arguments) {
        Ok(pasted) => pasted,
        Err(error) => return error.report(),
    };
    let parsed = Cli::command().try_get_matches_from(pasted.arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // clap prints help and version to stdout with 0, mistakes to stderr with 2
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    for note in pasted.notes {
        output::to_stderr(&format!("note: {note}"));
    }
    let context = Context {
        directories: Directories::from_environment().with_hardware(cli.hardware_dir),
        output: cli.output,
        log: pasted.log,
    };
    let result = match cli.command {
        Command::Estimate(arguments) => estimate::run(&arguments, &context),
        Command::Simulate(arguments) => simulate::run(&arguments, &context),
        Command::Sweep(arguments) => sweep::run(&arguments, &context),
        Command::Size(arguments) => size::run(&arguments, matches.subcommand_matches("size"), &context),
        Command::Cost(arguments) => cost::run(&arguments, &context),
        Command::Gpus(command) => gpus::run(&command, &context),
        Command::Models(command) => models::run(&command, &context),
        Command::Memory(arguments) => memory::run(&arguments, &context),
        Command::Check(arguments) => check::run(&arguments, &context),
        Command::Accuracy(arguments) => accuracy::run(&arguments, &context),
        Command::Validate(arguments) => validate::run(&arguments, &context),
        Command::Calibrate(arguments) => calibrate::run(&arguments, &context),
        Command::Calibrations(command) => calibrations::run(&command, &context),
        Command::Doctor(arguments) => doctor::run(&arguments, &context),
        Command::Explain(arguments) => explain::run(&arguments, &context),
        Command::Completions(arguments) => meta::completions(&arguments, &mut Cli::command()),
        Command::Man => meta::man(Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
