//! `calibrate` and `calibrations` as a user calls them, on an excerpt of a published table.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;
use foretoken::calibrate::fit::{Row, fit};
use foretoken::calibrate::gemm::formats;
use foretoken::calibrate::samples::Table;
use foretoken::spec::DataType;
use foretoken::spec::catalog::{self, Directories};
use foretoken::time::Hardware;
use foretoken::time::calibration::Calibration;
use foretoken::time::forms::Form;
use foretoken::time::forms::gemm::{Gemm, SoftGemm};
use serde_json::Value;

const SAMPLES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ops/h100_sxm__vllm-0.24.0__gemm.csv");

/// `least_squares` of SciPy 1.17.1 on the same rows, residuals and bounds; see the README beside them.
const SCIPY: [f64; 7] = [0.818808, 0.890219, 3.16633, 4.1465, 99.9671, 0.519791, 0.0205128];

fn foretoken(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().current_dir(directory).args(arguments);
    command
}

#[test]
fn coefficients_agree_with_scipy() {
    let table = Table::read(Path::new(SAMPLES)).unwrap();
    let rows: Vec<Row<Gemm>> = table
        .records()
        .map(|r| {
            let [m, n, k] = ["m", "n", "k"].map(|c| r.number(c).unwrap());
            let input = Gemm { m, n, k, weights: DataType::Bf16, math: DataType::Bf16 };
            Row { input, seconds: r.seconds().unwrap(), group: 0 }
        })
        .collect();
    let hardware = Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap());
    let ours = fit::<SoftGemm>(&rows, &hardware).unwrap();
    // the fifth quantises activations: at its bound, where it does nothing, it is free; so is the loss of small
    // tiles here
    for (a, b) in ours.iter().zip(SCIPY).take(4) {
        // where another tile becomes the best the loss has kinks; SciPy's starts, too, end at several of them
        assert!((a / b - 1.0).abs() < 3e-2, "{ours:?} against {SCIPY:?}");
    }
    let loss = |c: &[f64]| -> f64 {
        rows.iter()
            .map(|r| ((SoftGemm::seconds(c, &r.input, &hardware) / r.seconds).ln() / 0.1).powi(2))
            .map(|z| (1.0 + z).sqrt() - 1.0)
            .sum()
    };
    assert!((loss(&ours) / loss(&SCIPY) - 1.0).abs() < 5e-4, "{} against {}", loss(&ours), loss(&SCIPY));
}

#[test]
fn samples_become_a_file_that_is_found() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("calibration");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("mine.toml");
    let arguments =
        ["calibrate", "--gpu", "H100", "--from-samples", SAMPLES, "-o", file.to_str().unwrap(), "--json"];
    let run = || foretoken(home.path(), &arguments).assert().success().get_output().stdout.clone();
    let answer: Value = serde_json::from_slice(&run()).unwrap();
    let first = std::fs::read_to_string(&file).unwrap();
    run();
    assert_eq!(first, std::fs::read_to_string(&file).unwrap(), "the same samples give the same bytes");
    let class = &answer["classes"][0];
    assert_eq!((&class["operator"], &class["engine"]), (&"gemm".into(), &"vllm-0.24.0".into()));
    assert!(class["heldout_mape"].as_f64().unwrap() < 15.0, "{class}");
    let read = Calibration::from_toml(&first, "mine.toml").unwrap();
    assert_eq!(read.gpu, "h100-sxm");
    // nothing is left beside it
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);

    let mut show = foretoken(home.path(), &["calibrations", "show", "h100", "--json"]);
    let shown = show.env("FORETOKEN_HOME", home.path()).assert().success().get_output().stdout.clone();
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["file"], file.to_str().unwrap());
    assert_eq!(shown["classes"][0]["samples"], class["samples"]);
}

/// What a CPU measured is fitted to the same bytes again, found by its name, and answers.
#[test]
fn a_measured_cpu_answers() {
    let home = tempfile::tempdir().unwrap();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe/local-cpu.samples.csv");
    let run = |arguments: &[&str]| {
        let mut command = foretoken(home.path(), arguments);
        command.env("FORETOKEN_HOME", home.path()).assert().success().get_output().stdout.clone()
    };
    let answer: Value =
        serde_json::from_slice(&run(&["calibrate", "--from-samples", samples, "--json"])).unwrap();
    let file = home.path().join("calibration/local-cpu.toml");
    assert_eq!(answer["output"], file.to_str().unwrap());
    assert_eq!(answer["questions"].as_array().unwrap().len(), 3);
    let text = std::fs::read_to_string(&file).unwrap();
    let again = home.path().join("again.toml");
    run(&["calibrate", "--from-samples", samples, "-o", again.to_str().unwrap()]);
    assert_eq!(text, std::fs::read_to_string(&again).unwrap());
    let estimate = [
        "estimate",
        "llama-3.2-1b",
        "--gpu",
        "local:cpu",
        "--engine",
        "llamacpp",
        "--quantization",
        "q8_0",
        "--json",
    ];
    let tpot = |stdout: Vec<u8>| {
        let answer: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(answer["inputs"]["gpu"], "local-cpu");
        answer["latency"]["tpot_s"].as_f64().unwrap()
    };
    let with = tpot(run(&estimate));
    let without = tpot(run(&[&estimate[..], &["--no-calibration"]].concat()));
    assert!(with > 0.0 && (with / without - 1.0).abs() > 1e-3, "{with} {without}");
    // fewer bytes a weight decode faster, also in a format that was not measured
    let of = |format: &str| tpot(run(&estimate.map(|word| if word == "q8_0" { format } else { word })));
    let times = ["q4_k_m", "q8_0", "fp16"].map(of);
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
}

#[test]
fn embedded_calibrations_are_small_and_name_their_source() {
    for file in catalog::files(catalog::Kind::Calibrations, &Directories::default()).unwrap() {
        let read = Calibration::from_toml(&file.text, &file.file).unwrap();
        assert_eq!(read.gpu, file.header.id);
        assert!(catalog::accelerator(&read.gpu, &Directories::default()).is_ok());
        assert!(file.text.len() <= 50_000, "{}: {} bytes", file.file, file.text.len());
        assert!(read.source.contains("Apache-2.0"), "{}", file.file);
        assert_eq!(read.to_toml(), file.text, "{} as the tool writes it", file.file);
    }
}

/// Times of the shipped fits with their grids: longer, wider, deeper takes no less from node to node, where
/// the fit promises it (a thousandth or two for the rounding of coefficients). Between nodes the closed form bends
/// and the grid does not: small dips are left, and stay as small as they are.
#[test]
fn no_product_gets_faster_by_growing() {
    for file in catalog::files(catalog::Kind::Calibrations, &Directories::default()).unwrap() {
        let read = Calibration::from_toml(&file.text, &file.file).unwrap();
        let hardware = Hardware::of(&catalog::accelerator(&read.gpu, &Directories::default()).unwrap());
        for class in &read.gemm {
            let (weights, math) = formats(&class.key.data_type, &hardware).unwrap();
            let grid = class.grid.as_ref().unwrap();
            let seconds = |[m, n, k]: [f64; 3]| {
                let input = Gemm { m, n, k, weights, math };
                SoftGemm::seconds(&class.c, &input, &hardware) * grid.factor([m, n, k])
            };
            let rises = |points: &[[f64; 3]], tolerance: f64| {
                for pair in points.windows(2) {
                    let (before, after) = (seconds(pair[0]), seconds(pair[1]));
                    let ratio = after / before;
                    assert!(ratio >= 1.0 - tolerance, "{} {:?}: {pair:?} {ratio}", read.gpu, class.key);
                }
            };
            for axis in 0..3 {
                let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
                for i in 0..grid.axes.nodes[a] {
                    for j in 0..grid.axes.nodes[b] {
                        let mut point = [0.0; 3];
                        (point[a], point[b]) = (grid.axes.at(a, i), grid.axes.at(b, j));
                        let at = |size: f64| {
                            let mut p = point;
                            p[axis] = size;
                            p
                        };
                        let nodes: Vec<_> =
                            (0..grid.axes.nodes[axis]).map(|n| at(grid.axes.at(axis, n))).collect();
                        rises(&nodes, 0.002);
                        let (low, high) = (grid.axes.low[axis], grid.axes.high[axis]);
                        let fine: Vec<_> =
                            (0..=40).map(|s| at(low * (high / low).powf(f64::from(s) / 40.0))).collect();
                        rises(&fine, 0.04);
                    }
                }
            }
        }
    }
}
