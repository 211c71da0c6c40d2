//! What the catalogs say of one entry, in SI base units.

mod accelerator;
mod model;

pub use accelerator::{AcceleratorSummary, summarise_accelerator};
pub use model::{ModelSummary, summarise_model};
