//! Launch lines: any text is a line, an error or something else.
#![no_main]

use foretoken::spec::launch_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let served = format!("vllm serve {text}");
    for line in [text, served.as_str()] {
        if let Some(Ok(line)) = launch_line::parse(line) {
            assert!(!line.model.contains('$'));
            assert!(line.flags.first().is_none_or(|f| f.starts_with("--")));
        }
    }
});
