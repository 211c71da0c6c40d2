//! `calibrate --from-points`: a person's own measured runs scale the calibration in force.

use std::time::Instant;

use super::CalibrateArgs;
use super::device::{Place, today};
use crate::answer::{MeasuredTable, fit_points};
use crate::cli::output::{to_stderr, write_atomically};
use crate::cli::{CliError, Context};
use crate::report;
use crate::spec::SpecError;
use crate::spec::catalog::read_text;
use crate::time::calibration::Calibration;

pub(super) fn run(arguments: &CalibrateArgs, context: &Context) -> Result<(), CliError> {
    let start = Instant::now();
    let tables: Vec<MeasuredTable> =
        arguments.from_points.iter().map(|path| MeasuredTable::read(path)).collect::<Result<_, _>>()?;
    let files: Vec<String> = arguments.from_points.iter().map(|p| p.display().to_string()).collect();
    let source = arguments.source.clone().unwrap_or_else(|| files.join(", "));
    let date = arguments.date.clone().unwrap_or_else(today);
    let fit = fit_points(&tables, &date, &source, &context.directories)?;
    let place = Place::new(arguments, &fit.accelerator.id)?;
    let mut calibration = before(&place, &fit.accelerator.id)?
        .unwrap_or_else(|| Calibration::new(&fit.accelerator.id, &format!("points of one's own: {source}")));
    let engines: Vec<&str> = fit.scales.iter().map(|s| s.engine.as_str()).collect();
    calibration.points.retain(|p| !engines.contains(&p.engine.as_str()));
    calibration.points.extend(fit.scales.iter().cloned());
    calibration.points.sort_by(|a, b| a.engine.cmp(&b.engine));
    write_atomically(&place.calibration, &calibration.to_toml())?;
    let wall = start.elapsed().as_secs_f64();
    context.output.print(&report::points_fitted(&fit, &place.calibration.display().to_string(), wall))
}

/// What the file held before: a measured device, points of other engines. It is kept.
fn before(place: &Place, gpu: &str) -> Result<Option<Calibration>, CliError> {
    let path = &place.calibration;
    if !path.is_file() {
        return Ok(None);
    }
    let name = path.display().to_string();
    let held =
        Calibration::from_toml(&read_text(path)?, &name).map_err(|e| SpecError::Usage(e.to_string()))?;
    if held.gpu != gpu {
        return Err(SpecError::Usage(format!(
            "{name} is a calibration of {}, and the points are of {gpu}; give another -o FILE",
            held.gpu
        ))
        .into());
    }
    if held.has_classes() {
        to_stderr(&format!("note: {name} keeps its fits of kernels, which the points scale"));
    }
    Ok(Some(held))
}
