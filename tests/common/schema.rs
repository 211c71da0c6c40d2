//! The schemas of answers.

use jsonschema::{Registry, Validator};
use serde_json::Value;
use std::path::Path;

const BASE: &str = "https://foretoken.example/schema/";

/// A schema.
pub fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A validator with the schemas that others refer to.
pub fn validator(name: &str) -> Validator {
    let registry = Registry::new()
        .add(format!("{BASE}memory.json"), schema("memory.json"))
        .unwrap()
        .add(format!("{BASE}gpus-show.json"), schema("gpus-show.json"))
        .unwrap()
        .add(format!("{BASE}estimate.json"), schema("estimate.json"))
        .unwrap()
        .add(format!("{BASE}simulate.json"), schema("simulate.json"))
        .unwrap()
        .prepare()
        .unwrap();
    jsonschema::options().with_registry(&registry).build(&schema(name)).unwrap()
}
