//! The calibration in force for an accelerator: its own, or that of its nearest relative.

use std::path::Path;

use crate::spec::catalog::{self, CatalogFile, Directories, Kind};
use crate::spec::{Accelerator, SpecError};
use crate::time::calibration::Calibration;
use crate::time::{CoefficientError, Trust, kinship};

/// Fitted kernel models with what they rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernels {
    /// The fits.
    pub calibration: Calibration,
    /// How near they are to the accelerator in question.
    pub trust: Trust,
    /// The file they come from.
    pub file: String,
}

impl Kernels {
    /// Finds the calibration for an accelerator: a user's file, else the embedded one, else that of the
    /// nearest relative; none where no relative has one.
    ///
    /// # Errors
    /// When a calibration file or directory cannot be read.
    pub fn in_force(accelerator: &Accelerator, directories: &Directories) -> Result<Option<Self>, SpecError> {
        let files = catalog::files(Kind::Calibrations, directories)?;
        if let Some(own) = files.iter().find(|f| f.header.id == accelerator.id) {
            if matches!(own.text, std::borrow::Cow::Borrowed(_)) {
                return Self::parse(own, Trust::Fitted).map(Some);
            }
            let mut measured = Self::parse(own, Trust::Given)?;
            // a run on the device knows its products and its memory; kernels of engines stay those of the tables
            if measured.calibration.device.is_some()
                && let Some(shipped) = Self::in_force(accelerator, &Directories::default())?
            {
                measured.calibration.merge(shipped.calibration);
            }
            return Ok(Some(measured));
        }
        let mut nearest: Option<(&CatalogFile, Trust, f64)> = None;
        for file in &files {
            let Ok(donor) = catalog::accelerator(&file.header.id, directories) else { continue };
            let Some((trust, distance)) = kinship(accelerator, &donor) else { continue };
            if nearest.as_ref().is_none_or(|(_, level, best)| (trust, distance) < (*level, *best)) {
                nearest = Some((file, trust, distance));
            }
        }
        nearest.map(|(file, trust, _)| Self::parse(file, trust)).transpose()
    }

    /// A calibration given by its path.
    ///
    /// # Errors
    /// When the file cannot be read or is no calibration.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        let file = path.display().to_string();
        let calibration = Calibration::from_toml(&catalog::read_text(path)?, &file).map_err(unusable)?;
        Ok(Self { calibration, trust: Trust::Given, file })
    }

    fn parse(file: &CatalogFile, trust: Trust) -> Result<Self, SpecError> {
        let calibration = Calibration::from_toml(&file.text, &file.file).map_err(unusable)?;
        Ok(Self { calibration, trust, file: file.file.clone() })
    }
}

fn unusable(error: CoefficientError) -> SpecError {
    SpecError::Usage(error.to_string())
}
