//! From a configuration to a file of the model catalog.

use std::path::Path;

use super::catalog::{read_model, short_id};
use super::model::ModelSource;
use super::{ModelSpec, SpecError};

/// What a catalog file says that its configuration does not.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Catalog id; else the repository's name in lower case, else the name of the file's folder.
    pub id: Option<String>,
    /// Repository on Hugging Face.
    pub hf_id: Option<String>,
    /// Where the configuration was read.
    pub source: Option<ModelSource>,
    /// Published parameter count. When it agrees to the unit, it confirms what the reader assumed.
    pub parameters: Option<u64>,
}

/// Reads a model and gives it its place in the catalog. The id holds letters, digits, `.`, `-` and `+` only.
///
/// # Errors
/// When the file cannot be read, describes no language model, has another parameter count than the
/// published one, or the id is unusable as a file name.
pub fn import(path: &Path, identity: Identity) -> Result<ModelSpec, SpecError> {
    let mut spec = read_model(path)?;
    if let Some(hf_id) = identity.hf_id {
        spec.id = short_id(&hf_id);
        spec.hf_id = Some(hf_id);
    }
    spec.id = identity.id.unwrap_or_else(|| short_id(&spec.id));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    if !spec.id.starts_with(|c: char| c.is_ascii_alphanumeric()) || !spec.id.chars().all(plain) {
        return Err(SpecError::Usage(format!(
            "`{}` is no catalog id; give --id with letters, digits, `.`, `-` and `+` only",
            spec.id
        )));
    }
    if let Some(published) = identity.parameters {
        let counted = spec.parameters().total;
        if counted != published {
            return Err(SpecError::Value {
                file: path.display().to_string(),
                key: "parameters".into(),
                value: published.to_string(),
                problem: format!("the configuration has {counted}"),
                fix: "check both, or import without --parameters".into(),
            });
        }
        spec.warnings.clear();
    }
    spec.source = identity.source.or(spec.source);
    Ok(spec)
}

/// The catalog file of a model; [`ModelSpec::from_toml`] reads it back unchanged.
///
/// # Errors
/// When a value has no form in TOML (an integer above 2⁶³).
pub fn to_toml(spec: &ModelSpec) -> Result<String, SpecError> {
    toml::to_string(spec).map_err(|e| SpecError::Syntax {
        file: spec.id.clone(),
        format: "model TOML",
        message: e.to_string(),
    })
}
