//! Models by name: a path, the catalog, the local Hugging Face cache.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::files::{CatalogFile, Kind, files, read_text};
use super::resolve::resolve;
use super::{Directories, Header};
use crate::spec::{ModelSpec, SpecError, gguf, hf, safetensors};

const FIX: &str = "give a name of `foretoken models list`, a Hugging Face id in the local cache, or a path to a \
                   directory, config.json, .gguf or .toml";

/// A model by what `MODEL` may be, tried in this order: a path that looks like one (`./x`, `x.json`,
/// `x.toml`, `x.gguf`, a directory with a `config.json`), a name of the catalog (id, Hugging Face id,
/// unambiguous short name), a Hugging Face id in the local cache, any other existing path.
///
/// # Errors
/// When nothing or more than one thing fits, or what was found cannot be read.
pub fn model(name: &str, directories: &Directories) -> Result<ModelSpec, SpecError> {
    let name = name.trim();
    let path = Path::new(name);
    if looks_like_a_path(path) {
        return read_model(path);
    }
    let all = files(Kind::Models, directories)?;
    match resolve(Kind::Models, name, &all, FIX) {
        Ok(CatalogFile { text, file, .. }) => ModelSpec::from_toml(text, file),
        Err(unknown @ SpecError::Unknown { .. }) => match cached(name, &directories.hf_caches) {
            Some(snapshot) => {
                let mut spec = read_model(&snapshot)?;
                spec.id = short_id(name);
                spec.hf_id = Some(name.to_owned());
                Ok(spec)
            }
            None if !name.is_empty() && path.exists() => read_model(path),
            None => Err(unknown),
        },
        Err(other) => Err(other),
    }
}

/// The headers of all models of the catalog, by id.
///
/// # Errors
/// When a directory of the user cannot be read.
pub fn models(directories: &Directories) -> Result<Vec<Header>, SpecError> {
    let mut headers: Vec<Header> = files(Kind::Models, directories)?.into_iter().map(|f| f.header).collect();
    headers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(headers)
}

/// Reads a model from a file of any kind or from a directory.
///
/// # Errors
/// When the path is no regular file or directory, or its content cannot be read as a model.
pub fn read_model(path: &Path) -> Result<ModelSpec, SpecError> {
    let file = path.display().to_string();
    if path.is_dir() {
        return read_directory(path);
    }
    if path.extension().is_some_and(|e| e == "toml") {
        return ModelSpec::from_toml(&read_text(path)?, &file);
    }
    if is_gguf(path) {
        return gguf::read(path);
    }
    read_configuration(path)
}

/// Reads a `config.json`, with the `hf_quant_config.json` beside it where it says nothing of a
/// quantisation itself.
fn read_configuration(path: &Path) -> Result<ModelSpec, SpecError> {
    let mut spec = hf::read_config(&read_text(path)?, &path.display().to_string())?;
    let beside = path.with_file_name("hf_quant_config.json");
    if spec.checkpoint.method.is_none() && beside.is_file() {
        hf::apply_quantization(&mut spec, &read_text(&beside)?, &beside.display().to_string())?;
    }
    Ok(spec)
}

/// By extension, else (caches of other tools name files by their hash) by the first bytes.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
        || path.is_file()
            && fs::File::open(path)
                .and_then(|mut f| f.read_exact(&mut magic))
                .is_ok_and(|()| magic == *b"GGUF")
}

/// Reads a directory as `save_pretrained` leaves it.
fn read_directory(directory: &Path) -> Result<ModelSpec, SpecError> {
    let config = directory.join("config.json");
    if !config.is_file() {
        return Err(SpecError::Missing {
            file: directory.display().to_string(),
            key: "config.json".into(),
            fix: "give a directory that holds one, or the .gguf or .toml file itself".into(),
        });
    }
    let mut spec = read_configuration(&config)?;
    safetensors::attach(&mut spec, directory);
    Ok(spec)
}

/// Catalog id of a Hugging Face repository: its name without the organisation, in lower case.
#[must_use]
pub fn short_id(hf_id: &str) -> String {
    hf_id.rsplit('/').next().unwrap_or(hf_id).to_ascii_lowercase().replace(['_', ' '], "-")
}

fn looks_like_a_path(path: &Path) -> bool {
    let known = |e: &std::ffi::OsStr| ["json", "toml", "gguf"].iter().any(|k| e.eq_ignore_ascii_case(k));
    path.is_absolute()
        || path.starts_with(".")
        || path.starts_with("..")
        || path.extension().is_some_and(known)
        || path.join("config.json").is_file()
}

/// The snapshot of `organisation/name` in a Hugging Face cache: the one that `refs/main` names, else the
/// last by name.
fn cached(name: &str, caches: &[PathBuf]) -> Option<PathBuf> {
    let (organisation, model) = name.split_once('/')?;
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && part != "." && part != "..";
    if !plain(organisation) || !plain(model) {
        return None;
    }
    caches.iter().find_map(|cache| {
        let repository = cache.join(format!("models--{organisation}--{model}"));
        let snapshots = repository.join("snapshots");
        let mut revision = String::new();
        if let Ok(file) = fs::File::open(repository.join("refs/main")) {
            file.take(100).read_to_string(&mut revision).ok()?;
        }
        let named = Some(snapshots.join(revision.trim())).filter(|p| plain(revision.trim()) && p.is_dir());
        named.or_else(|| {
            fs::read_dir(&snapshots).ok()?.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).max()
        })
    })
}
