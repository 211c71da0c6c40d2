//! Indexes and headers of safetensors files: any bytes are contents or an error.
#![no_main]

use foretoken::spec::safetensors::{parse_header, parse_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_header(bytes, "m", None);
    if let Ok(contents) = parse_header(bytes, "m", Some(bytes.len() as u64)) {
        assert!(contents.packed_bytes <= contents.bytes);
    }
    // The JSON alone, so that the fuzzer need not find the length first.
    let framed = [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let _ = parse_header(&framed[..], "m", None);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_index(text, "i");
    }
});
