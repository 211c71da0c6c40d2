//! Multi-token-prediction layers of a configuration.

use super::Fields;
use crate::spec::SpecError;
use crate::spec::model::{ModelSpec, Mtp};

/// Reads the layers that `fields` (the language model's object) describes, given the language
/// model itself, when their parameters can be counted.
///
/// # Errors
/// When a size makes no sense.
pub(crate) fn read(_fields: &Fields<'_>, _language: &ModelSpec) -> Result<Option<Mtp>, SpecError> {
    Ok(None)
}
