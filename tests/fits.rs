//! Fits held against an independent program.

use foretoken::calibrate::{collective, samples::Table};
use foretoken::spec::catalog::{self, Directories};
use foretoken::time::Hardware;
use foretoken::time::calibration::Calibration;
use foretoken::time::forms::Form;
use foretoken::time::forms::collective::{Message, ThreeRegimes};
use std::path::Path;

/// SciPy 1.17.1: `least_squares` of ln(t̂/t) over the same bounds in ln c, `loss="soft_l1"`, `f_scale=0.1`, best of
/// 300 starts. Variant, loss (twice SciPy's cost) and microseconds for messages of 10 kB, 1 MB and 100 MB.
const SCIPY: [(&str, f64, [f64; 3]); 2] = [
    ("all_gather,8", 0.018_498_5, [11.009_06, 17.424_40, 293.669_69]),
    ("all_reduce,8", 0.029_027_9, [16.977_79, 25.504_39, 449.918_13]),
];

#[test]
fn collectives_as_scipy_fits_them() {
    let path = Path::new("tests/fixtures/operators/h100_sxm__nccl-2.29.2__collective.csv");
    let table = Table::read(path).unwrap();
    let hardware = Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap());
    let mut found = Calibration::default();
    assert_eq!(collective::fit(&table, &hardware, &mut found).unwrap(), []);
    for (fitted, (variant, loss, us)) in found.collective.iter().zip(SCIPY) {
        assert_eq!(fitted.key.variant, variant);
        let factor = if variant.starts_with("all_reduce") { 2.0 } else { 1.0 } * 7.0 / 8.0;
        let seconds =
            |message: f64| ThreeRegimes::seconds(&fitted.c, &Message { bytes: factor * message }, &hardware);
        let own: f64 = table
            .records()
            .filter(|r| variant.starts_with(r.text("op")))
            .map(|r| {
                let residual = (seconds(r.number("elements").unwrap() * 2.0) / r.seconds().unwrap()).ln();
                0.02 * ((1.0 + (residual / 0.1).powi(2)).sqrt() - 1.0)
            })
            .sum();
        assert!(own <= 1.02 * loss, "{variant}: loss {own}, SciPy {loss}");
        for (message, wanted) in [1e4, 1e6, 1e8].into_iter().zip(us) {
            let t = seconds(message) * 1e6;
            assert!((t / wanted - 1.0).abs() < 0.01, "{variant} {message}: {t} µs, SciPy {wanted}");
        }
    }
}
