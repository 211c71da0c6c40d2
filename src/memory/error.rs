//! Why memory cannot be answered.

use crate::spec::SpecError;

/// A deployment whose memory cannot be worked out.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Model, accelerator and deployment do not go together.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model has nothing to place.
    #[error("{model}: no layers to place; correct the model file")]
    Empty {
        /// Catalog id or file.
        model: String,
    },
}
