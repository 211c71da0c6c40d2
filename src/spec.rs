//! What the user gives, validated at the door: model, accelerator, deployment, workload.
//! Nothing in this room knows a formula of time.

pub mod accelerator;
pub mod catalog;
mod check;
pub mod deployment;
pub mod dtype;
pub mod engine_defaults;
mod error;
pub mod formats;
pub mod gguf;
pub mod hf;
pub mod import;
pub mod launch_line;
pub mod model;
pub mod offers;
pub mod safetensors;
pub mod startup_log;
pub mod workload;

pub use accelerator::Accelerator;
pub use check::{VOCABULARY_PADDING, check_deployment};
pub use deployment::{Deployment, Engine, EngineKind, Parallelism};
pub use dtype::DataType;
pub use engine_defaults::{EngineDefaults, GraphBudget};
pub use error::SpecError;
pub use formats::Formats;
pub use model::ModelSpec;
pub use offers::{Offer, Offers};
pub use workload::{Load, OPEN_LOOP_REQUESTS, Repeats, Workload};

/// Up to three of `names` that look like `name`, best first (Jaro–Winkler at least 0.75). Nothing
/// looks like a text longer than any name.
pub(crate) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > 200 {
        return vec![];
    }
    let mut scored: Vec<(f64, &str)> = names
        .map(|candidate| (strsim::jaro_winkler(name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, candidate)| candidate.to_owned()).collect()
}
