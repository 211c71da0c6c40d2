//! Our model files: any text is a model or an error.
#![no_main]

use foretoken::spec::ModelSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(spec) = ModelSpec::from_toml(text, "m.toml") {
        foretoken_fuzz::exercise(&spec);
    }
});
