//! The files of a catalog: embedded ones and the user's.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use super::{Directories, Header};
use crate::spec::SpecError;

/// An embedded file; the tables are written by `build.rs`.
struct Entry {
    id: &'static str,
    name: &'static str,
    hf_id: &'static str,
    aliases: &'static [&'static str],
    text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/catalog.rs"));

/// Largest text file that is read; a model configuration has some kilobytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// One of the four catalogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accelerators.
    Hardware,
    /// Models.
    Models,
    /// Fitted coefficients.
    Calibrations,
    /// Terms of engines by version.
    Engines,
}

impl Kind {
    /// What one entry is called in messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Hardware => "accelerator",
            Self::Models => "model",
            Self::Calibrations => "calibration",
            Self::Engines => "engine",
        }
    }

    fn embedded(self) -> (&'static [Entry], &'static str) {
        match self {
            Self::Hardware => (HARDWARE, "hardware"),
            Self::Models => (MODELS, "models"),
            Self::Calibrations => (CALIBRATIONS, "calibration"),
            Self::Engines => (ENGINES, "calibration/engines"),
        }
    }
}

/// A catalog file with its header read and its body not yet parsed.
#[derive(Debug, Clone)]
pub struct CatalogFile {
    /// What it is found by.
    pub header: Header,
    /// Path of a user's file; path in the repository of an embedded one.
    pub file: String,
    /// The whole text.
    pub text: Cow<'static, str>,
}

/// All files of a catalog, the user's first, then the embedded ones whose id no user file carries.
///
/// # Errors
/// When a directory of the user or a file in it cannot be read.
pub fn files(kind: Kind, directories: &Directories) -> Result<Vec<CatalogFile>, SpecError> {
    let mut all: Vec<CatalogFile> = Vec::new();
    let own = match kind {
        Kind::Hardware => &directories.hardware,
        Kind::Models => &directories.models,
        Kind::Calibrations => &directories.calibration,
        Kind::Engines => &directories.engines,
    };
    for directory in own {
        for file in user_files(directory)? {
            if all.iter().all(|known| known.header.id != file.header.id) {
                all.push(file);
            }
        }
    }
    let users = all.len();
    let (table, room) = kind.embedded();
    for Entry { id, name, hf_id, aliases, text } in table {
        if all.iter().take(users).all(|known| known.header.id != *id) {
            let header = Header {
                id: (*id).to_owned(),
                name: (*name).to_owned(),
                hf_id: (*hf_id).to_owned(),
                aliases: aliases.iter().map(|&a| a.to_owned()).collect(),
            };
            all.push(CatalogFile { header, file: format!("{room}/{id}.toml"), text: Cow::Borrowed(text) });
        }
    }
    Ok(all)
}

/// The `*.toml` of one directory, by name.
fn user_files(directory: &Path) -> Result<Vec<CatalogFile>, SpecError> {
    let unreadable = |e: std::io::Error| SpecError::Unreadable {
        file: directory.display().to_string(),
        message: e.to_string(),
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = read_text(path)?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            Ok(CatalogFile {
                header: Header::read(&text, &stem),
                file: path.display().to_string(),
                text: Cow::Owned(text),
            })
        })
        .collect()
}

/// Reads a text file of at most 64 MiB.
///
/// # Errors
/// When it cannot be read, is no regular file, is larger, or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, SpecError> {
    let refuse = |message: String| SpecError::Unreadable { file: path.display().to_string(), message };
    let metadata = fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("it is no regular file".into()));
    }
    if metadata.len() > MAX_TEXT_BYTES {
        return Err(refuse(format!("it has {} bytes, more than 64 MiB", metadata.len())));
    }
    fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => SpecError::Syntax {
            file: path.display().to_string(),
            format: "text",
            message: "a config.json or .toml is expected".into(),
        },
        _ => refuse(e.to_string()),
    })
}
