//! `doctor` on machines with no driver, with a broken one, and with a GPU: the driver's libraries are
//! stood in for by small C libraries, compiled here and put on the loader's path of a child process.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use assert_cmd::Command;
use common::fake::Fakes;
use serde_json::Value;

fn doctor() -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().arg("doctor");
    command
}

fn json(command: &mut Command) -> (Value, Option<i32>, String) {
    let output = command.arg("--json").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {error}"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/doctor.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(error.lines().count() <= 1 && !error.contains("panicked"), "{error}");
    (value, output.status.code(), error)
}

#[test]
fn without_a_driver_the_processor_is_reported() {
    let (value, code, error) = json(&mut doctor());
    if value["driver"].is_object() {
        return; // a machine with a GPU
    }
    assert_eq!(code, Some(4));
    assert!(error.contains("libnvidia-ml.so.1") || error.contains("NVIDIA"), "{error}");
    assert!(value["cpu"]["threads"].as_u64().unwrap() >= 1);
    assert_eq!(value["gpus"], serde_json::json!([]));
}

#[test]
fn a_gpu_is_described_and_found_in_the_catalog() {
    let Some(fakes) = Fakes::new() else { return };
    let (value, code, error) = json(fakes.on(&mut doctor()));
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(value["driver"]["cuda_version"], "13.0");
    let gpu = &value["gpus"][0];
    assert_eq!(gpu["catalog_id"], "h200-sxm");
    assert_eq!(gpu["cuda_ordinal"], 0);
    assert_eq!(gpu["nvlinks"], 18);
    assert_eq!(gpu["multiprocessors"], 132);
    // 2 × 3,201 MHz × 6,144 bit ÷ 8
    assert!((gpu["memory_bandwidth_bytes_per_s"].as_f64().unwrap() - 4.916_736e12).abs() < 1e6);
    let obstacle = |name: &str| {
        let all = gpu["benchmarks"].as_array().unwrap();
        all.iter().find(|b| b["name"] == name).unwrap()["obstacle"].clone()
    };
    assert_eq!(obstacle("bandwidth"), Value::Null);
    assert_eq!(obstacle("gemm fp8"), Value::Null);
    assert!(obstacle("gemm nvfp4").as_str().unwrap().contains("10.0"));
    assert!(obstacle("collective").as_str().unwrap().contains("two GPUs"));
    let cublaslt =
        value["libraries"].as_array().unwrap().iter().find(|l| l["library"] == "cublas_lt").unwrap();
    assert_eq!((&cublaslt["version"], &cublaslt["origin"]), (&"13.1.0".into(), &"loader".into()));
    let text = String::from_utf8(fakes.on(&mut doctor()).output().unwrap().stdout).unwrap();
    for part in ["GPU 0: NVIDIA H200", "h200-sxm", "4,917 GB/s", "76 W, at most 700 W", "18 links up"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("GPU-0000"), "the UUID itself is nobody's business\n{text}");
}

#[test]
fn every_broken_driver_has_its_own_words() {
    let Some(fakes) = Fakes::new() else { return };
    let cases = [
        ("FAKE_NVML", "mismatch", "restart the machine"),
        ("FAKE_NVML", "not_loaded", "modprobe nvidia"),
        ("FAKE_NVML", "none", "shows no GPU"),
        ("FAKE_NVML", "mig", "see the list"),
        ("FAKE_CUDA", "stub", "stubs"),
        ("FAKE_CUDA", "no_device", "CUDA_VISIBLE_DEVICES"),
        ("FAKE_CUDA", "mismatch", "restart the machine"),
    ];
    for (variable, mode, words) in cases {
        let (_, code, error) = json(fakes.on(&mut doctor()).env(variable, mode));
        assert_eq!(code, Some(4), "{mode}: {error}");
        assert!(error.contains(words), "{mode}: {error}");
    }
}

#[test]
fn a_driver_that_tells_little_is_reported_as_far_as_it_tells() {
    let Some(fakes) = Fakes::new() else { return };
    let (value, code, error) = json(fakes.on(&mut doctor()).env("FAKE_NVML", "bare"));
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(value["gpus"][0]["name"], "NVIDIA H200");
    assert_eq!(value["gpus"][0].get("power_limit_w"), None);
}

#[test]
fn an_old_or_broken_libcuda_is_named() {
    let Some(fakes) = Fakes::new() else { return };
    let old = fakes.with_old_cuda();
    let (_, code, error) = json(old.on(&mut doctor()));
    assert_eq!(code, Some(4));
    assert!(error.contains("cuDevicePrimaryCtxRetain") && error.contains("525"), "{error}");
    let broken = fakes.with_broken_cuda();
    let (_, code, error) = json(broken.on(&mut doctor()));
    assert_eq!(code, Some(4));
    assert!(error.contains("libcuda.so.1"), "{error}");
}
