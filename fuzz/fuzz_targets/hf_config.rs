//! Hugging Face configurations: any text is a model or an error.
#![no_main]

use foretoken::spec::hf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(spec) = hf::read_config(text, "config.json") {
        foretoken_fuzz::exercise(&spec);
    }
});
