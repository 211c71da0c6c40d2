//! `foretoken calibrations`.

use clap::Subcommand;
use std::path::Path;

use super::{CliError, Context};
use crate::report;
use crate::spec::SpecError;
use crate::spec::catalog::{CatalogFile, Kind, accelerator, files, read_text};
use crate::time::calibration::Calibration;

/// Subcommands of `calibrations`.
#[derive(Debug, Subcommand)]
pub(super) enum CalibrationsCommand {
    /// All calibrations, built in and of $FORETOKEN_HOME/calibration.
    List,
    /// The fits of one accelerator with their errors on shapes left out.
    Show {
        /// Accelerator, or calibration file.
        gpu: String,
    },
}

pub(super) fn run(command: &CalibrationsCommand, context: &Context) -> Result<(), CliError> {
    let all = files(Kind::Calibrations, &context.directories)?;
    let report = match command {
        CalibrationsCommand::List => {
            let mut read = all.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            read.sort_by(|a, b| a.1.gpu.cmp(&b.1.gpu));
            report::calibration_list(&read)
        }
        CalibrationsCommand::Show { gpu } if Path::new(gpu).extension().is_some_and(|e| e == "toml") => {
            report::calibration(&from_toml(&read_text(Path::new(gpu))?, gpu)?, gpu)
        }
        CalibrationsCommand::Show { gpu } => {
            let id = accelerator(gpu, &context.directories)?.id;
            let Some(file) = all.iter().find(|f| f.header.id == id) else {
                let ids: Vec<&str> = all.iter().map(|f| f.header.id.as_str()).collect();
                return Err(SpecError::Usage(format!(
                    "{id} has no calibration of its own; there are {}; make one with `foretoken calibrate`",
                    ids.join(", ")
                ))
                .into());
            };
            let (path, calibration) = parse(file)?;
            report::calibration(&calibration, &path)
        }
    };
    context.output.print(&report)
}

fn parse(file: &CatalogFile) -> Result<(String, Calibration), SpecError> {
    Ok((file.file.clone(), from_toml(&file.text, &file.file)?))
}

fn from_toml(text: &str, file: &str) -> Result<Calibration, SpecError> {
    Calibration::from_toml(text, file).map_err(|e| SpecError::Usage(e.to_string()))
}
