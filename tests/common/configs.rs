//! The configurations of `tests/fixtures/configs`.

use foretoken::spec::{ModelSpec, hf};

/// Where they lie.
pub const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/configs");

/// Text of one model's configuration.
pub fn text(name: &str) -> String {
    let path = format!("{CONFIGS}/{}.json", name.replacen('/', "__", 1));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// One model, read.
pub fn read(name: &str) -> ModelSpec {
    hf::read_config(&text(name), name).unwrap_or_else(|e| panic!("{e}"))
}
