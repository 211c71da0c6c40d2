//! What the weight files of a Hugging Face directory say of themselves: exact bytes, and how many
//! elements. Read are `model.safetensors.index.json` and the headers of the `.safetensors` files,
//! never a tensor. Format: safetensors README, "Format".

mod header;
mod index;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use header::{Contents, parse_header};
pub use index::{Index, parse_index};

use super::{ModelSpec, SpecError};

/// Longest index or header taken for real; the largest of 2026 have about 15 MB.
const LARGEST_TEXT: u64 = 64 << 20;

/// Share by which the elements in the files may differ from the model's parameters (scales and
/// buffers are in the files and no parameters).
const TOLERANCE: f64 = 0.01;

/// Looks at the weight files beside a `config.json`: sets [`ModelSpec::checkpoint_bytes`] and warns
/// where they contradict the configuration. Files that are absent or damaged leave a model as it is,
/// the latter with a warning: the configuration is enough to answer.
pub fn attach(spec: &mut ModelSpec, directory: &Path) {
    match contents(directory) {
        Ok(Some(found)) => {
            spec.checkpoint_bytes = found.bytes;
            let warning = found.elements.and_then(|n| disagreement(spec, n));
            spec.warnings.extend(found.warnings);
            spec.warnings.extend(warning);
        }
        Ok(None) => {}
        Err(error) => spec.warnings.push(format!("{error} (answered from the configuration alone)")),
    }
}

/// What a directory's weight files hold.
#[derive(Debug, Default)]
struct Found {
    bytes: Option<u64>,
    /// Where every element is one parameter.
    elements: Option<u64>,
    warnings: Vec<String>,
}

fn contents(directory: &Path) -> Result<Option<Found>, SpecError> {
    let (single, index) =
        (directory.join("model.safetensors"), directory.join("model.safetensors.index.json"));
    if index.is_file() {
        let file = index.display().to_string();
        let index = parse_index(&text(&index)?, &file)?;
        return sharded(&index, directory, &file).map(Some);
    }
    if single.is_file() {
        let contents = open(&single)?;
        let elements = contents.elements();
        return Ok(Some(Found { bytes: Some(contents.bytes), elements, warnings: vec![] }));
    }
    Ok(None)
}

fn sharded(index: &Index, directory: &Path, file: &str) -> Result<Found, SpecError> {
    let mut found = Found { bytes: index.total_size, ..Found::default() };
    let missing = index.files.iter().filter(|name| !directory.join(name).is_file()).count();
    if missing > 0 {
        let all = index.files.len();
        // Without weights this is a copy of the configuration, which is no news.
        if missing < all {
            found.warnings.push(format!("{file}: {missing} of the {all} weight files are not there"));
        }
        return Ok(found);
    }
    let mut all = Contents::default();
    for name in &index.files {
        all.add(&open(&directory.join(name))?);
    }
    if let Some(listed) = index.total_size.filter(|listed| *listed != all.bytes) {
        found.warnings.push(format!(
            "{file}: `metadata.total_size` = {listed}, but the files hold {} bytes",
            all.bytes
        ));
    }
    if all.tensors != index.tensors {
        found.warnings.push(format!(
            "{file}: `weight_map` lists {} tensors, but the files hold {}",
            index.tensors, all.tensors
        ));
    }
    found.bytes = Some(all.bytes);
    found.elements = all.elements();
    Ok(found)
}

/// Why the elements in the files cannot be the model's parameters.
fn disagreement(spec: &ModelSpec, elements: u64) -> Option<String> {
    let counted = spec.parameters().total;
    let differs = (elements as f64 / counted as f64 - 1.0).abs() > TOLERANCE;
    differs.then(|| {
        format!(
            "the weight files hold {elements} elements where the configuration makes {counted} parameters; \
             config.json and the weights may belong to different models"
        )
    })
}

fn open(path: &Path) -> Result<Contents, SpecError> {
    let file = path.display().to_string();
    let unreadable = |e: std::io::Error| SpecError::Unreadable { file: file.clone(), message: e.to_string() };
    let handle = File::open(path).map_err(unreadable)?;
    let size = handle.metadata().map_err(unreadable)?.len();
    parse_header(handle, &file, Some(size))
}

fn text(path: &Path) -> Result<String, SpecError> {
    let file = path.display().to_string();
    let unreadable = |message: String| SpecError::Unreadable { file: file.clone(), message };
    let mut text = String::new();
    let handle = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    handle.take(LARGEST_TEXT + 1).read_to_string(&mut text).map_err(|e| unreadable(e.to_string()))?;
    if text.len() as u64 > LARGEST_TEXT {
        return Err(unreadable(format!("larger than {LARGEST_TEXT} bytes")));
    }
    Ok(text)
}
