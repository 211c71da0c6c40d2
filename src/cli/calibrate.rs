//! `foretoken calibrate`.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Instant;

use super::output::write_atomically;
use super::{CliError, Context};
use crate::answer::{MeasuredTable, engine_file, fit_engine, kernel_samples};
use crate::calibrate::matvec::fit_families;
use crate::calibrate::operators::fit_tables;
use crate::calibrate::samples::Table;
use crate::report;
use crate::spec::catalog::accelerator;
use crate::spec::{Engine, EngineKind, SpecError};
use crate::time::Hardware;
use crate::time::calibration::Calibration;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// Accelerator that the samples were taken on: catalog id or TOML file.
    #[arg(
        long,
        visible_aliases = ["system", "hardware"],
        value_name = "GPU",
        required_unless_present = "from_results",
        conflicts_with = "from_results"
    )]
    gpu: Option<String>,
    /// Tables of operator samples (.csv or .csv.gz); the columns say which operator, the name
    /// `<gpu>__<engine-version>__<operator>.csv` whose kernels.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from_samples: Vec<PathBuf>,
    /// Measured results (.csv or .csv.gz, as `validate` reads them): fits the terms of an engine, range of
    /// versions by range, the kernels held fixed. For llamacpp, which has no operator tables, fits its kernels by
    /// architecture family.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "from_samples")]
    from_results: Vec<PathBuf>,
    /// Engine whose terms are fitted.
    #[arg(
        long,
        visible_alias = "backend",
        value_name = "ENGINE",
        requires = "from_results",
        default_value = "vllm"
    )]
    engine: Engine,
    /// The file to write [default: <GPU>.toml or <ENGINE>.toml]; found by name in
    /// $FORETOKEN_HOME/calibration, engine terms in $FORETOKEN_HOME/calibration/engines.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the samples come from and under which licence; stands in the file.
    #[arg(long, default_value = "samples of the user")]
    source: String,
    /// When the samples were taken, like 2026-11-20; stands in the file. Today is not assumed: the same
    /// samples give the same bytes.
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
    if arguments.from_samples.is_empty() {
        let usage = "this version does not measure the machine itself; give operator samples with \
                     --from-samples FILE…, or measured results with --from-results FILE…";
        return Err(SpecError::Usage(usage.into()).into());
    }
    let accelerator = accelerator(arguments.gpu.as_deref().unwrap_or_default(), &context.directories)?;
    let hardware = Hardware::of(&accelerator);
    let tables =
        arguments.from_samples.iter().map(|path| Table::read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut calibration = Calibration::new(&accelerator.id, &arguments.source);
    calibration.date = arguments.date.clone().unwrap_or_default();
    // draws on stderr, and only on a terminal
    let bar = ProgressBar::new(tables.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} tables {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.tick();
    let refused = fit_tables(&tables, &hardware, &mut calibration, |table| {
        bar.set_message(table.file.clone());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let refused = refused?;
    if calibration.classes().iter().all(|(_, list)| list.is_empty()) {
        let why = refused.first().map_or_else(
            || "the tables hold no data type that is known".to_owned(),
            |r| format!("{} {} {}: {}", r.operator, r.key.engine, r.key.data_type, r.reason),
        );
        return Err(
            SpecError::Usage(format!("no class could be fitted, and nothing was written: {why}")).into()
        );
    }
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(file_name(&accelerator.id)));
    write_atomically(&path, &calibration.to_toml())?;
    let wall = start.elapsed().as_secs_f64();
    context.output.print(&report::calibrated(&calibration, &refused, &path.display().to_string(), wall))
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
    let families = fit_families(&samples, &arguments.source, &|family| bar.set_message(family.to_owned()));
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
