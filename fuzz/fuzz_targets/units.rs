//! Quantities: any text is a finite, non-negative quantity or an error.
#![no_main]

use foretoken::spec::{DataType, Engine};
use foretoken::units::{parse_bandwidth, parse_bytes, parse_duration, parse_number};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let sane = |value: f64| assert!(value.is_finite() && value >= 0.0);
    if let Ok(bytes) = parse_bytes(text) {
        sane(bytes.0);
    }
    if let Ok(bandwidth) = parse_bandwidth(text) {
        sane(bandwidth.0);
    }
    if let Ok(duration) = parse_duration(text) {
        sane(duration.0);
    }
    let _ = parse_number(text);
    let _ = text.parse::<DataType>();
    let _ = text.parse::<Engine>();
});
