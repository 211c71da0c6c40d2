//! The way from samples to coefficients on a device whose truth is known.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/fake_device.rs"]
mod fake_device;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use fake_device::{FakeDevice, Truth};
use foretoken::calibrate::operators::fit_tables;
use foretoken::calibrate::probe::{Backend, Origin, Outcome, Runner, SampleFile, Settings, Silent, measured};
use foretoken::calibrate::samples::Table;
use foretoken::spec::catalog::{self, Directories};
use foretoken::time::Hardware;
use foretoken::time::calibration::Calibration;
use rayon::prelude::*;

fn run(device: &mut FakeDevice, settings: &Settings) -> Outcome {
    let stop = AtomicBool::new(false);
    Runner::new(settings, &stop, &Silent).run(device, &BTreeSet::new())
}

fn file(device: &FakeDevice, outcome: &Outcome) -> SampleFile {
    let origin =
        Origin { engine: device.engine().into(), device: device.facts().clone(), ..Origin::default() };
    let mut file = SampleFile { origin, rows: vec![] };
    for measurement in &outcome.measurements {
        file.push(measurement);
    }
    file
}

fn fitted(file: &SampleFile) -> Calibration {
    let accelerator = catalog::accelerator("h100-sxm", &Directories::default()).unwrap();
    let mut calibration = Calibration::new("h100-sxm", "a test");
    let tables = Table::of_samples(file, "x.csv");
    let refused = fit_tables(&tables, &Hardware::of(&accelerator), &mut calibration, |_| {}).unwrap();
    assert_eq!(refused, []);
    calibration
}

/// Seeds: all 200 in an optimised build (`cargo test --release --test probe`), a tenth of them otherwise.
const SEEDS: u64 = if cfg!(debug_assertions) { 20 } else { 200 };

#[test]
fn known_coefficients_lie_in_their_intervals() {
    let settings = Settings::quick();
    let hits: Vec<[bool; 6]> = (0..SEEDS)
        .into_par_iter()
        .map(|seed| {
            let mut device = FakeDevice::new(Truth::default(), seed);
            let outcome = run(&mut device, &Settings { seed, ..settings.clone() });
            assert!(
                outcome.error.is_none() && outcome.skipped.is_empty(),
                "{:?} {:?}",
                outcome.error,
                outcome.skipped.first()
            );
            let class = fitted(&file(&device, &outcome)).gemm.remove(0);
            // all but the quantisation of activations, which 16-bit products do not have
            [0, 1, 2, 3, 5, 6].map(|i| {
                let [low, high] = class.intervals[i];
                assert!(low <= class.c[i] * 1.01 && class.c[i] <= high * 1.01, "{class:?}");
                (low..=high).contains(&device.truth.gemm[i])
            })
        })
        .collect();
    let all = hits.iter().filter(|h| h.iter().all(|x| *x)).count();
    let each: Vec<usize> = (0..6).map(|i| hits.iter().filter(|h| h[i]).count()).collect();
    println!("all six in their intervals in {all} of {SEEDS} seeds; one by one {each:?}");
    assert!(10 * all as u64 >= 9 * SEEDS, "{all} of {SEEDS}; one by one {each:?}");
}

#[test]
fn heat_that_is_reported_leaves_no_trace() {
    let seconds = |hot: f64, says_so: bool| {
        let mut device = FakeDevice::new(Truth { hot, says_so, ..Truth::default() }, 5);
        let outcome = run(&mut device, &Settings::full());
        let slowed: usize = outcome.measurements.iter().map(|m| m.slowed).sum();
        let total: f64 = outcome.measurements.iter().map(|m| m.summary.median.ln()).sum();
        (total / outcome.measurements.len() as f64, slowed)
    };
    let (cold, none) = seconds(0.0, true);
    let (reported, some) = seconds(0.8, true);
    let (silent, _) = seconds(0.8, false);
    assert_eq!(none, 0);
    assert!(some > 100, "{some}");
    assert!((reported - cold).abs() < 0.005, "{reported} {cold}");
    // the same heat unreported shows: it is most of the samples, which no outlier rule removes
    assert!(silent - cold > 0.02, "{silent} {cold}");
}

#[test]
fn rules_stop_and_say_what_did_not_converge() {
    let mut quiet = FakeDevice::new(Truth { noise: 0.002, outliers: 0.0, hot: 0.0, ..Truth::default() }, 1);
    let outcome = run(&mut quiet, &Settings::full());
    assert!(outcome.measurements.iter().all(|m| m.ending.converged && m.ending.rule == "precise"));
    let mut wild = FakeDevice::new(Truth { noise: 2.5, ..Truth::default() }, 1);
    let outcome = run(&mut wild, &Settings::quick());
    assert!(outcome.measurements.iter().all(|m| !m.ending.converged && m.ending.rule == "cap"));
    let lost = FakeDevice::new(Truth { hot: 1.0, ..Truth::default() }, 1);
    let mut lost = lost;
    let outcome = run(&mut lost, &Settings::quick());
    assert!(outcome.measurements.is_empty());
    assert!(outcome.skipped.iter().all(|s| s.reason.contains("heat")), "{:?}", outcome.skipped.first());
}

#[test]
fn a_budget_and_a_stop_keep_what_was_measured() {
    let mut device = FakeDevice::new(Truth::default(), 1);
    let budget = Settings { budget: Some(1.0), ..Settings::quick() };
    let outcome = run(&mut device, &budget);
    let spent = outcome.measurements.iter().map(|m| m.summary.kept).sum::<usize>();
    assert!(!outcome.measurements.is_empty() && spent > 0);
    let stop = AtomicBool::new(true);
    let settings = Settings::quick();
    let outcome = Runner::new(&settings, &stop, &Silent).run(&mut device, &BTreeSet::new());
    assert!(outcome.interrupted && outcome.measurements.is_empty());
}

#[test]
fn a_budget_keeps_a_part_for_the_long_load() {
    let mut device = FakeDevice::new(Truth { long_load: true, ..Truth::default() }, 1);
    let budget = Settings { budget: Some(1.0), ..Settings::full() };
    let outcome = run(&mut device, &budget);
    let long = outcome.measurements.iter().find(|m| m.benchmark.lasts().is_some()).unwrap();
    // a fifth of the budget, of which the second half makes the figure
    let seconds = long.summary.median * long.summary.kept as f64;
    assert!(long.ending.rule == "duration" && seconds > 0.05, "{seconds} {:?}", long.ending);
    assert!(outcome.measurements.len() > 40, "{}", outcome.measurements.len());
}

#[test]
fn a_samples_file_gives_the_same_calibration_again() {
    let mut device = FakeDevice::new(Truth::default(), 9);
    let outcome = run(&mut device, &Settings::quick());
    let first = file(&device, &outcome);
    let text = first.text().unwrap();
    let again = SampleFile::parse(&text, "x.csv").unwrap();
    assert_eq!(fitted(&first).to_toml(), fitted(&again).to_toml());
    let figures = measured(&again);
    assert!((figures.launch_us.unwrap() / 3.0 - 1.0).abs() < 0.05);
    let copy = figures.bandwidth_bytes_per_s["copy"];
    assert!((copy / (0.9 * 3.35e12) - 1.0).abs() < 0.05, "{copy}");
    // what is known is not measured again
    let stop = AtomicBool::new(false);
    let settings = Settings::quick();
    let outcome = Runner::new(&settings, &stop, &Silent).run(&mut device, &again.known());
    assert!(outcome.measurements.is_empty() && !outcome.interrupted);
}
