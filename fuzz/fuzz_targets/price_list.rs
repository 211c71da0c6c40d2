//! Price lists: any text is a list of prices or an error.
#![no_main]

use foretoken::spec::Offers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(offers) = Offers::parse(text, "p.csv") {
        for cloud in offers.clouds() {
            if let Ok(found) = offers.cloud(cloud) {
                assert!(offers.clouds().contains(&found));
            }
        }
    }
});
