//! From samples to a calibration file: recorded tables, or what this machine has just measured.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::CalibrateArgs;
use super::device::Place;
use crate::answer::{Kernels, calibrated as answers};
use crate::calibrate::operators::{Refused, fit_tables};
use crate::calibrate::probe::{SampleFile, accelerator as device_of, measured};
use crate::calibrate::samples::{Table, read_csv};
use crate::cli::output::{to_stderr, write_atomically};
use crate::cli::{CliError, Context};
use crate::report::{self, Measuring};
use crate::spec::catalog::{Directories, accelerator};
use crate::spec::{Accelerator, SpecError};
use crate::time::calibration::Calibration;
use crate::time::{Hardware, Trust, is_looked_for};

/// Where the samples came from and where the calibration goes.
pub(super) struct Made {
    pub samples: Vec<String>,
    pub output: PathBuf,
    pub source: String,
    pub start: Instant,
}

pub(super) fn run(arguments: &CalibrateArgs, context: &Context) -> Result<(), CliError> {
    let start = Instant::now();
    if let [path] = arguments.from_samples.as_slice()
        && let Some(file) = measured_file(path)?
    {
        let output = Place::new(arguments, &file.origin.device.gpu)?.calibration;
        let samples = vec![path.display().to_string()];
        let source =
            arguments.source.clone().unwrap_or("measured on this machine by `foretoken calibrate`".into());
        return fitted(&file, Made { samples, output, source, start }, context);
    }
    let gpu = arguments.gpu.as_ref().ok_or_else(|| {
        SpecError::Usage("--from-samples needs --gpu: the accelerator that the samples were taken on".into())
    })?;
    let accelerator = accelerator(gpu, &context.directories)?;
    let tables =
        arguments.from_samples.iter().map(|path| Table::read_all(path)).collect::<Result<Vec<_>, _>>()?;
    let source = arguments.source.clone().unwrap_or("samples of the user".into());
    let mut calibration = Calibration::new(&accelerator.id, &source);
    calibration.date = arguments.date.clone().unwrap_or_default();
    let refused = fit(&tables.concat(), &accelerator, &mut calibration)?;
    if calibration.classes().iter().all(|(_, list)| list.is_empty()) {
        let why = refused.first().map_or_else(
            || "the tables hold no rows".to_owned(),
            |r| format!("{} {} {}: {}", r.operator, r.key.engine, r.key.data_type, r.reason),
        );
        return Err(
            SpecError::Usage(format!("no class could be fitted, and nothing was written: {why}")).into()
        );
    }
    warn_of_engines(&calibration);
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(super::file_name(&accelerator.id)));
    write_atomically(&path, &calibration.to_toml())?;
    let wall = start.elapsed().as_secs_f64();
    context.output.print(&report::calibrated(&calibration, &refused, &path.display().to_string(), wall, None))
}

/// Classes of an engine that no prediction looks for would lie there unused.
fn warn_of_engines(calibration: &Calibration) {
    let classes = calibration.classes();
    let all = classes.iter().flat_map(|(_, list)| list.iter().map(|f| f.key.engine.as_str()));
    for engine in all.filter(|e| !is_looked_for(e)).collect::<BTreeSet<_>>() {
        to_stderr(&format!(
            "warning: no prediction uses kernels of `{engine}`: engines are vllm, sglang, trtllm and measured, libraries nccl, \
             rccl and oneccl; name tables <gpu>__<engine-version>__<operator>.csv"
        ));
    }
}

/// A file that `calibrate` measured; none for a recorded table.
fn measured_file(path: &std::path::Path) -> Result<Option<SampleFile>, SpecError> {
    let text = read_csv(path)?;
    if text.starts_with('#') {
        SampleFile::parse(&text, &path.display().to_string()).map(Some)
    } else {
        Ok(None)
    }
}

/// Fits what a device measured, writes the calibration and says what it changes.
pub(super) fn fitted(file: &SampleFile, made: Made, context: &Context) -> Result<(), CliError> {
    let origin = &file.origin;
    let known = accelerator(&origin.device.gpu, &Directories::default()).ok();
    let own = known.is_none();
    let accelerator = match known {
        Some(accelerator) => accelerator,
        None => device_of(file)?,
    };
    let before = Kernels::in_force(&accelerator, &context.directories).ok().flatten();
    let tables = Table::of_samples(file, &made.samples.join(", "));
    let mut calibration = Calibration::new(&origin.device.gpu, &made.source);
    calibration.date.clone_from(&origin.date);
    calibration.device = toml::Table::try_from(&origin.device).ok();
    calibration.measured = Some(measured(file));
    calibration.accelerator = own.then(|| accelerator.clone());
    let refused = fit(&tables, &accelerator, &mut calibration)?;
    if calibration.classes().iter().all(|(_, list)| list.is_empty()) {
        return Err(CliError::Runtime(format!(
            "{} samples are too few to fit any class, and no calibration was written; measure longer, or go on with \
             --resume {}",
            file.rows.len(),
            made.samples.join(" ")
        )));
    }
    warn_of_points(&made.output);
    write_atomically(&made.output, &calibration.to_toml())?;
    let output = made.output.display().to_string();
    let mut merged = calibration.clone();
    let shipped = Kernels::in_force(&accelerator, &Directories::default()).ok().flatten();
    let kept = shipped.as_ref().and_then(|s| answers::kept(&calibration, s));
    if let Some(shipped) = shipped {
        merged.merge(shipped.calibration);
    }
    let after = Kernels { calibration: merged, trust: Trust::Given, file: output.clone() };
    let measuring = Measuring {
        peaks: accelerator.clone(),
        compared: answers::compare(&tables, &accelerator)?,
        questions: answers::questions(&accelerator, before.as_ref(), &after),
        kept,
        samples: made.samples,
    };
    let wall = made.start.elapsed().as_secs_f64();
    context.output.print(&report::calibrated(&calibration, &refused, &output, wall, Some(&measuring)))
}

/// Points scale the kernels that were in force when they were fitted; new kernels need them fitted anew.
fn warn_of_points(output: &std::path::Path) {
    let name = output.display().to_string();
    let held = std::fs::read_to_string(output).ok().and_then(|t| Calibration::from_toml(&t, &name).ok());
    if held.is_some_and(|c| !c.points.is_empty()) {
        to_stderr(&format!(
            "warning: the points in {name} scaled the kernels before and are dropped; fit them again with --from-points"
        ));
    }
}

/// Fits tables with a progress bar, which draws on stderr and only on a terminal.
fn fit(
    tables: &[Table],
    accelerator: &Accelerator,
    calibration: &mut Calibration,
) -> Result<Vec<Refused>, SpecError> {
    let bar = ProgressBar::new(tables.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} tables {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.tick();
    let refused = fit_tables(tables, &Hardware::of(accelerator), calibration, |table| {
        bar.set_message(table.file.clone());
        bar.inc(1);
    });
    bar.finish_and_clear();
    refused
}
