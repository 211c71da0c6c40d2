//! Reader for GGUF model files, llama.cpp's format. Only the header is read: metadata and the list
//! of tensors with their shapes and types. The tensors decide what a layer is, the metadata how its
//! widths divide into heads, so most architectures need no code of their own.
//!
//! Counted are weights; rotary tables and quantisation scales are bytes, not parameters. A layer's
//! tensors that are not understood are counted as they are and named in a warning.

mod assemble;
mod attention;
mod block;
mod feed_forward;
mod header;
mod layer;
mod metadata;
mod notes;
mod other_models;
mod outside;
mod precision;
mod recurrent;
mod source;
mod split;
mod types;
mod windows;

use std::io::BufRead;
use std::path::Path;

use super::{ModelSpec, SpecError};
use split::Joined;

/// Reads a model from a GGUF file; of a split model, from all its files that are there.
///
/// # Errors
/// When the file cannot be read, is no GGUF, holds no language model or contradicts itself.
pub fn read(path: &Path) -> Result<ModelSpec, SpecError> {
    let joined = split::read(path)?;
    assemble::model(&joined, &path.display().to_string())
}

/// Reads a model from the bytes of one GGUF file, which may end after the header. `file` names it
/// in messages; `file_size` in bytes, where known, bounds what its counts may claim.
///
/// # Errors
/// As [`read`].
pub fn parse(reader: impl BufRead, file: &str, file_size: Option<u64>) -> Result<ModelSpec, SpecError> {
    let header = header::read(reader, file, file_size)?;
    assemble::model(&Joined { header, missing: vec![], truncated: vec![] }, file)
}
