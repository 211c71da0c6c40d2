//! The calibration in force for an accelerator: its own, or that of its nearest relative.

use std::borrow::Cow;
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
            if matches!(own.text, Cow::Borrowed(_)) {
                return Self::parse(own, Trust::Fitted).map(Some);
            }
            return Self::parse(own, Trust::Given)?.completed(accelerator).map(Some);
        }
        // points alone are no kernels to transfer: the embedded file that they hide is
        let has_kernels = |f: &&CatalogFile| {
            let parsed = || Calibration::from_toml(&f.text, &f.file);
            matches!(f.text, Cow::Borrowed(_)) || parsed().is_ok_and(|c| c.has_classes())
        };
        let embedded = catalog::files(Kind::Calibrations, &Directories::default())?;
        let donors = files.iter().filter(has_kernels).chain(&embedded);
        let mut nearest: Option<(&CatalogFile, Trust, f64)> = None;
        for file in donors {
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

    /// With what the shipped calibration in force for the accelerator knows beyond: a run on the device knows its
    /// products and its memory, points of a person a few end-to-end times; kernels of engines stay those of the tables.
    /// Points alone leave the trust in the kernels as it is. A calibration of recorded tables stays alone.
    ///
    /// # Errors
    /// When an embedded file is broken, which a test excludes.
    pub fn completed(mut self, accelerator: &Accelerator) -> Result<Self, SpecError> {
        let points_alone = !self.calibration.points.is_empty() && !self.calibration.has_classes();
        if self.calibration.device.is_none() && !points_alone {
            return Ok(self);
        }
        let Some(shipped) = Self::in_force(accelerator, &Directories::default())? else { return Ok(self) };
        if points_alone {
            let calibration = Calibration { points: self.calibration.points, ..shipped.calibration };
            return Ok(Self { calibration, ..shipped });
        }
        self.calibration.merge(shipped.calibration);
        Ok(self)
    }

    fn parse(file: &CatalogFile, trust: Trust) -> Result<Self, SpecError> {
        let calibration = Calibration::from_toml(&file.text, &file.file).map_err(unusable)?;
        Ok(Self { calibration, trust, file: file.file.clone() })
    }
}

fn unusable(error: CoefficientError) -> SpecError {
    SpecError::Usage(error.to_string())
}
