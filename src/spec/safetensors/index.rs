//! `model.safetensors.index.json`: which tensor lies in which file.

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::spec::SpecError;

/// The index of a checkpoint in several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Bytes of all tensors (`metadata.total_size`), where given.
    pub total_size: Option<u64>,
    /// Number of tensors.
    pub tensors: u64,
    /// Names of the files, beside the index.
    pub files: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    metadata: Value,
    weight_map: BTreeMap<String, String>,
}

/// Reads an index. `file` names it in messages.
///
/// # Errors
/// When the text is no index, names a file elsewhere, or its size is no number of bytes.
pub fn parse_index(text: &str, file: &str) -> Result<Index, SpecError> {
    let raw: Raw = serde_json::from_str(text).map_err(|e| SpecError::Syntax {
        file: file.into(),
        format: "safetensors index",
        message: e.to_string(),
    })?;
    let bad = |key: &str, value: &str, problem: &str| SpecError::Value {
        file: file.into(),
        key: key.into(),
        value: value.chars().take(60).collect(),
        problem: problem.into(),
        fix: "download the index again".into(),
    };
    let total_size = match raw.metadata.get("total_size") {
        None | Some(Value::Null) => None,
        // Some writers make it a float.
        Some(value) => match value.as_u64().or_else(|| whole(value.as_f64()?)) {
            Some(n) if n > 0 => Some(n),
            _ => return Err(bad("metadata.total_size", &value.to_string(), "is no number of bytes")),
        },
    };
    let tensors = raw.weight_map.len() as u64;
    let files: BTreeSet<String> = raw.weight_map.into_values().collect();
    if let Some(name) = files.iter().find(|n| n.is_empty() || n.contains(['/', '\\']) || *n == "..") {
        return Err(bad("weight_map", name, "is no file beside the index"));
    }
    Ok(Index { total_size, tensors, files })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked to be whole and small
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (1.0..1e15).contains(&number)).then_some(number as u64)
}
