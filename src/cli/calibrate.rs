//! `foretoken calibrate`.

mod device;
mod points;
mod samples;

use clap::Args;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::time::Instant;

use super::args::duration;
use super::output::write_atomically;
use super::{CliError, Context};
use crate::answer::{MeasuredTable, engine_file, fit_engine, kernel_samples};
use crate::calibrate::matvec::fit_families;
use crate::calibrate::probe::Class;
use crate::report;
use crate::spec::{Engine, EngineKind, SpecError};
use crate::units::Seconds;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
#[command(after_long_help = super::AFTER_HELP)]
pub(super) struct CalibrateArgs {
    /// Measure this device: `cpu`, `cuda`, `cuda:1` [default without --from-…: cuda if there is one, else cpu].
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["from_samples", "from_results", "from_points"])]
    device: Option<String>,
    /// The short suite: a third of the time, wider intervals.
    #[arg(long)]
    quick: bool,
    /// Only these classes of benchmarks: launch, bandwidth, gemm, gemv, attention, sustained, collective.
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    only: Vec<Class>,
    /// Most time for everything, like 60s; what is measured by then is used.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    budget: Option<Seconds>,
    /// Threads of the CPU [default: all that this process may use].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Measure although other processes use the device.
    #[arg(long)]
    busy: bool,
    /// Look for CUDA's libraries here too.
    #[arg(long, value_name = "DIR")]
    cuda_libraries: Vec<PathBuf>,
    /// Go on with the samples file of a run that was stopped.
    #[arg(long, value_name = "FILE", conflicts_with = "from_samples")]
    resume: Option<PathBuf>,
    /// Seed of the order in which benchmarks run.
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
    /// Accelerator that recorded samples were taken on: catalog id or TOML file.
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "GPU")]
    gpu: Option<String>,
    /// Tables of operator samples (.csv or .csv.gz); the columns say which operator, the name
    /// `<gpu>__<engine-version>__<operator>.csv` whose kernels. A samples file of this command is fitted again.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from_samples: Vec<PathBuf>,
    /// Measured results (.csv or .csv.gz, as `validate` reads them): fits the terms of an engine, range of
    /// versions by range, the kernels held fixed. For llamacpp, which has no operator tables, fits its kernels by
    /// architecture family.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "from_samples")]
    from_results: Vec<PathBuf>,
    /// A few runs that you measured yourself (.csv, as `validate` reads them; TTFT, TPOT or E2E of one is enough): scales
    /// the calibration in force to them, by as few factors as they support.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["from_samples", "from_results", "gpu"])]
    from_points: Vec<PathBuf>,
    /// Engine whose terms are fitted.
    #[arg(
        long,
        visible_alias = "backend",
        value_name = "ENGINE",
        requires = "from_results",
        default_value = "vllm"
    )]
    engine: Engine,
    /// The calibration to write [default: in the user's directory, where it is found by its accelerator's name;
    /// of recorded tables <GPU>.toml, of results <ENGINE>.toml here]. Samples of a measured device go beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the samples come from and under which licence; stands in the file.
    #[arg(long)]
    source: Option<String>,
    /// When the samples were taken, like 2026-11-20; stands in the file. Of recorded tables today is not assumed: the
    /// same samples give the same bytes.
    #[arg(long, value_parser = date)]
    date: Option<String>,
}

fn date(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |at: usize, digits: usize, range: std::ops::RangeInclusive<u32>| {
        parts.get(at).is_some_and(|p| {
            p.len() == digits
                && p.bytes().all(|b| b.is_ascii_digit())
                && p.parse().is_ok_and(|n| range.contains(&n))
        })
    };
    if parts.len() == 3 && number(0, 4, 1970..=9999) && number(1, 2, 1..=12) && number(2, 2, 1..=31) {
        Ok(text.to_owned())
    } else {
        Err("write year-month-day, like 2026-11-20".into())
    }
}

pub(super) fn run(arguments: &CalibrateArgs, context: &Context) -> Result<(), CliError> {
    let start = Instant::now();
    if !arguments.from_results.is_empty() {
        return from_results(arguments, context, start);
    }
    if !arguments.from_points.is_empty() {
        return points::run(arguments, context);
    }
    if !arguments.from_samples.is_empty() {
        return samples::run(arguments, context);
    }
    if arguments.gpu.is_some() && arguments.device.is_none() {
        let usage = "--gpu names what recorded samples were taken on: give --from-samples FILE…, or --device cpu or \
                     --device cuda:0 to measure this machine";
        return Err(SpecError::Usage(usage.into()).into());
    }
    let device = match &arguments.device {
        Some(device) => device,
        None if crate::calibrate::cuda::driver::start().is_ok() => "cuda",
        None => "cpu",
    };
    device::run(device, arguments, context)
}

fn from_results(arguments: &CalibrateArgs, context: &Context, start: Instant) -> Result<(), CliError> {
    let tables: Vec<MeasuredTable> =
        arguments.from_results.iter().map(|path| MeasuredTable::read(path)).collect::<Result<_, _>>()?;
    if arguments.engine.kind == EngineKind::Llamacpp {
        return kernels_from_results(&tables, arguments, context, start);
    }
    let before = engine_file(arguments.engine.kind, &context.directories)?;
    let date = arguments.date.as_deref().unwrap_or_default();
    let fit = fit_engine(&tables, arguments.engine.kind, date, &context.directories)?;
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", fit.file.engine)));
    write_atomically(&path, &fit.file.to_toml()?)?;
    let wall = start.elapsed().as_secs_f64();
    context.output.print(&report::engine_fitted(&before, &fit, &path.display().to_string(), wall))
}

/// llama.cpp's kernels, one file for all accelerators.
fn kernels_from_results(
    tables: &[MeasuredTable],
    arguments: &CalibrateArgs,
    context: &Context,
    start: Instant,
) -> Result<(), CliError> {
    let (samples, skipped) = kernel_samples(tables, &context.directories)?;
    let bar = ProgressBar::new_spinner();
    bar.tick();
    let families =
        fit_families(&samples, arguments.source.as_deref().unwrap_or("samples of the user"), &|family| {
            bar.set_message(family.to_owned())
        });
    bar.finish_and_clear();
    let families = families
        .map_err(|e| SpecError::Usage(format!("no family could be fitted, and nothing was written: {e}")))?;
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from("llamacpp.toml"));
    write_atomically(&path, &families.to_toml())?;
    let wall = start.elapsed().as_secs_f64();
    let path = path.display().to_string();
    context.output.print(&report::calibrated_families(&families, samples.len(), &skipped, &path, wall))
}

/// A file name from an id, which in a user's file may hold anything.
fn file_name(id: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    format!("{}.toml", id.chars().map(plain).collect::<String>().trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_checked() {
        assert!(date("2026-11-20").is_ok());
        for bad in ["", "today", "2026-13-01", "2026-1-1", "20-11-2026", "2026-11-20-1", "2026-11-+1"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_become_file_names() {
        assert_eq!(file_name("h100-sxm"), "h100-sxm.toml");
        assert_eq!(file_name("../my gpu"), "-my-gpu.toml");
    }
}
