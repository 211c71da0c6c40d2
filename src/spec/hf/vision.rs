//! The vision tower of a configuration.

use super::Fields;
use crate::spec::SpecError;
use crate::spec::model::Vision;

/// Reads the tower that the outermost object describes, when its parameters can be counted.
///
/// # Errors
/// When a size of the tower makes no sense.
pub(crate) fn read(_root: &Fields<'_>) -> Result<Option<Vision>, SpecError> {
    Ok(None)
}
