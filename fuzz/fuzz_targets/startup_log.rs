//! Start-up logs: any text is a log or none.
#![no_main]

use foretoken::spec::startup_log::StartupLog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let framed = format!("(EngineCore pid=1) INFO 04-02 10:00:09 [core.py:1] LLM engine (v0.19.0) with config: {text}");
    for text in [text, framed.as_str()] {
        let Some(log) = StartupLog::parse(text) else { continue };
        let arguments = log.arguments();
        assert!(arguments.first().is_none_or(|f| f.starts_with("--")));
        assert!(log.weights_gib.is_none_or(|w| (0.0..1e5).contains(&w)));
        let _ = log.model_name();
    }
});
