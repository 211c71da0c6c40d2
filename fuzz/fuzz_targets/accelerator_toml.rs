//! Our accelerator files: any text is an accelerator or an error.
#![no_main]

use foretoken::spec::{Accelerator, DataType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(accelerator) = Accelerator::from_toml(text, "a.toml") {
        assert!(accelerator.memory().0 > 0.0 && accelerator.memory_bandwidth().0 > 0.0);
        for data_type in DataType::ALL {
            assert!(accelerator.peak(*data_type).is_none_or(|p| p.0 > 0.0));
        }
    }
});
