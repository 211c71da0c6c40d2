//! The device of this machine: `local:cpu` is what `foretoken calibrate --device cpu` left in the user's directory.

use serde::Deserialize;
use std::path::Path;

use super::Directories;
use super::files::{Kind, files, read_text};
use crate::spec::{Accelerator, SpecError};

/// Names under which the host's CPU is asked for.
const CPU: [&str; 2] = ["local:cpu", "local-cpu"];

/// Of a calibration only what describes an accelerator that no catalog has.
#[derive(Deserialize)]
struct Holder {
    accelerator: Option<Accelerator>,
}

/// True for the name of the host's CPU.
pub(super) fn is_cpu(name: &str) -> bool {
    CPU.contains(&name.to_ascii_lowercase().as_str())
}

/// The host's CPU out of the user's calibration.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(super) fn cpu(directories: &Directories) -> Result<Accelerator, SpecError> {
    let found = files(Kind::Calibrations, directories)?.into_iter().find(|f| is_cpu(&f.header.id));
    let file = found.ok_or_else(|| SpecError::Unknown {
        kind: "accelerator",
        name: "local:cpu".into(),
        similar: vec![],
        fix: "run `foretoken calibrate --device cpu` first: nobody publishes what this machine's memory and cores \
              reach"
            .into(),
    })?;
    holder(&file.text, &file.file)
}

/// The accelerator that a calibration file describes.
///
/// # Errors
/// When it cannot be read or describes none.
pub fn accelerator_of_calibration(path: &Path) -> Result<Accelerator, SpecError> {
    holder(&read_text(path)?, &path.display().to_string())
}

fn holder(text: &str, file: &str) -> Result<Accelerator, SpecError> {
    let holder: Holder =
        toml::from_str(text).map_err(|e| SpecError::toml(&e, text, file, "calibration TOML"))?;
    holder.accelerator.ok_or_else(|| SpecError::Missing {
        file: file.into(),
        key: "accelerator".into(),
        fix: "name the accelerator with --gpu, or calibrate the device anew".into(),
    })
}
