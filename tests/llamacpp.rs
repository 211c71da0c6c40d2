//! llama.cpp: its kernels fitted to results, and what they predict.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;
use foretoken::time::ggml::Families;
use serde_json::Value;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/measured/llamacpp.csv");

fn foretoken(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().current_dir(directory).args(arguments);
    command
}

fn answer(arguments: &[&str]) -> Value {
    let output = foretoken(Path::new("."), arguments).arg("--json").assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn tpot(model: &str, gpu: &str, more: &[&str]) -> f64 {
    let mut arguments = vec!["estimate", model, "--gpu", gpu, "--engine", "llamacpp", "--batch-size", "1"];
    arguments.extend(more);
    answer(&arguments)["latency"]["tpot_s"].as_f64().unwrap()
}

#[test]
fn results_become_coefficients() {
    let home = tempfile::tempdir().unwrap();
    let arguments =
        ["calibrate", "--from-results", RESULTS, "--engine", "llamacpp", "--source", "a test", "--json"];
    let output = foretoken(home.path(), &arguments).assert().success().get_output().clone();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors = answer["classes"].as_array().unwrap();
    let decode =
        errors.iter().find(|e| e["family"] == "apple" && e["left_out"] == "decode_by_model").unwrap();
    assert!(decode["n"].as_u64().unwrap() > 20, "{decode}");
    let text = std::fs::read_to_string(home.path().join("llamacpp.toml")).unwrap();
    let families = Families::from_toml(&text, "llamacpp.toml").unwrap();
    assert_eq!(families.source, "a test");
    assert_eq!(families.family.last().unwrap().architectures, Vec::<String>::new());
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let home = tempfile::tempdir().unwrap();
    let few: String =
        std::fs::read_to_string(RESULTS).unwrap().lines().take(4).map(|l| format!("{l}\n")).collect();
    std::fs::write(home.path().join("few.csv"), few).unwrap();
    let stderr = |arguments: &[&str]| {
        let output = foretoken(home.path(), arguments).assert().failure().code(2).get_output().clone();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(stderr(&["calibrate", "--from-results", "few.csv", "--engine", "llamacpp"]).contains("too few"));
    assert!(!home.path().join("llamacpp.toml").exists());
}

#[test]
fn published_rates_of_an_m2_ultra_are_met() {
    let found = answer(&["validate", RESULTS]);
    let median = |metric: &str| found["metrics"][metric]["median_ape"].as_f64().unwrap();
    assert!(median("tpot_s") < 12.0 && median("prefill_tokens_per_s") < 20.0, "{:#}", found["metrics"]);
}

#[test]
fn physics_of_mat_vec_kernels_shows() {
    // HBM is not reached by mat-vec kernels: an A100 with twice the bandwidth of a 4090 is not twice as fast
    let q4 = ["--quantization", "q4_k_m"];
    let ratio = tpot("llama-3.1-8b", "rtx-4090", &q4) / tpot("llama-3.1-8b", "a100-sxm-80", &q4);
    assert!(ratio < 1.4, "{ratio}");
    // fewer bytes never take longer by more than dequantising costs
    let eight = tpot("llama-3.1-8b", "m2-ultra", &["--quantization", "q8_0"]);
    let four = tpot("llama-3.1-8b", "m2-ultra", &["--quantization", "q4_k_m"]);
    assert!(four < eight && four > eight * 0.5, "{four} {eight}");
}

#[test]
fn old_builds_run_without_flash_attention() {
    let at = |engine: &str| {
        let question = [
            "estimate",
            "llama-3.1-8b",
            "--gpu",
            "m2-ultra",
            "--engine",
            engine,
            "--batch-size",
            "1",
            "--input-len",
            "16384",
        ];
        answer(&question)["latency"]["tpot_s"].as_f64().unwrap()
    };
    assert!(at("llamacpp@b3000") > 1.1 * at("llamacpp"));
    assert_eq!(at("llamacpp@b7000"), at("llamacpp"));
}

#[test]
fn mxfp4_files_hold_the_rest_in_eight_bit() {
    let bytes = |more: &[&str]| {
        let mut question = vec!["memory", "gpt-oss-20b", "--gpu", "rtx-4090", "--engine", "llamacpp"];
        question.extend(more);
        answer(&question)["memory"]["weights_bytes_per_gpu"].as_f64().unwrap()
    };
    // ggml-org's gpt-oss-20b file is 11.27 GiB by llama-bench
    let file = 11.27 * 1024.0_f64.powi(3);
    assert!((bytes(&["--quantization", "mxfp4"]) / file - 1.0).abs() < 0.02);
}
