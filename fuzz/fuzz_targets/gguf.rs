//! GGUF headers: any bytes are a model or an error, whatever size the file claims to have.
#![no_main]

use foretoken::spec::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = gguf::parse(bytes, "m.gguf", Some(bytes.len() as u64));
    if let Ok(spec) = gguf::parse(bytes, "m.gguf", None) {
        foretoken_fuzz::exercise(&spec);
    }
});
