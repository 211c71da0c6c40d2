//! The CUDA backend on a fake driver, which refuses calls that are not as the headers say and memory that was not
//! allocated, and whose kernels take a known time.
//!
//! The fakes must be on the loader's path when a process starts, so that each test here runs this file again as a child
//! and in it one of the ignored tests.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::fake::Fakes;
use foretoken::calibrate::cuda::{Cuda, CudaOptions};
use foretoken::calibrate::probe::{Backend, Benchmark, ProbeError, Stream, Work};
use std::process::{Command, Output};

/// Runs an ignored test of this file on the fakes.
fn child(fakes: &Fakes, test: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("LD_LIBRARY_PATH", fakes.path())
        .envs(environment.iter().copied())
        .env_remove("CUDA_VISIBLE_DEVICES")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn options() -> CudaOptions {
    CudaOptions { gpu: "h200-sxm".into(), ..CudaOptions::default() }
}

/// What the fake driver takes, or none where the test has no formula.
fn expected(benchmark: &Benchmark) -> Option<f64> {
    const BANDWIDTH: f64 = 4.3e12;
    Some(match benchmark.work {
        Work::Launch { graph } => {
            if graph {
                1.2e-6
            } else {
                2e-6
            }
        }
        Work::SustainedRead { bytes, .. } => bytes as f64 / BANDWIDTH + 1.2e-6,
        Work::Stream { bytes, kind, .. } => {
            let arrays = match kind {
                Stream::Read => 1,
                Stream::Copy => 2,
                Stream::Triad => 3,
            };
            (bytes / arrays / 16 * 16 * arrays) as f64 / BANDWIDTH + 1.2e-6
        }
        Work::Gemm { m, n, k, dtype, .. } => {
            let (m, n, k) = (m as f64, n as f64, k as f64);
            let (input, output, peak) = match dtype {
                "bfloat16" | "fp16" => (2.0, 2.0, 700e12),
                "tf32" => (4.0, 4.0, 350e12),
                "fp8" => (1.0, 2.0, 1400e12),
                "int8" => (1.0, 4.0, 1400e12),
                "int4_wo" => return Some(n * k / 2.0 / BANDWIDTH + 1.2e-6),
                _ => return Some(n * k / BANDWIDTH + 1.2e-6),
            };
            let moved = (n * k + m * k) * input + m * n * output;
            3e-6 + (2.0 * m * n * k / peak).max(moved / BANDWIDTH)
        }
        Work::DecodeAttention { batch, context, kv_heads, kv_dtype, .. } => {
            let element = if kv_dtype == "fp8" { 1.0 } else { 2.0 };
            2.0 * (batch * context * kv_heads * 128) as f64 * element / BANDWIDTH + 1.2e-6
        }
        _ => return None,
    })
}

#[test]
#[ignore = "runs in a child process on the fakes"]
fn inner_every_benchmark() {
    let mut cuda = Cuda::open(&options()).unwrap();
    assert_eq!(cuda.facts().multiprocessors, Some(132.0));
    assert_eq!(cuda.facts().libraries["cublaslt"], "13.1.0");
    let all = cuda.benchmarks(false);
    let (mut measured, mut skipped) = (0, 0);
    for benchmark in &all {
        let mut prepared = match cuda.prepare(benchmark) {
            Ok(prepared) => prepared,
            Err(ProbeError::Unsupported { reason, .. }) => {
                assert!(reason.contains("no kernel"), "{}: {reason}", benchmark.label());
                skipped += 1;
                continue;
            }
            Err(other) => panic!("{}: {other}", benchmark.label()),
        };
        for iterations in [1, 7, 150] {
            let sample = prepared.sample(iterations).unwrap();
            assert!(sample.iterations >= iterations);
            assert_eq!(sample.telemetry.power_w, Some(76.5));
            if let Some(wanted) = expected(benchmark) {
                let error = (sample.each() / wanted - 1.0).abs();
                assert!(error < 0.012, "{}: {} for {wanted}", benchmark.label(), sample.each());
            }
        }
        measured += 1;
    }
    // int8 of one row, which the fake library refuses
    assert_eq!(skipped, 5);
    println!("measured {measured} of {}", all.len());
}

#[test]
fn every_benchmark_runs_and_takes_the_time_it_takes() {
    let Some(fakes) = Fakes::new() else { return };
    let output = child(&fakes, "inner_every_benchmark", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("measured 507 of 512"), "{}", text(&output));
}

#[test]
#[ignore = "runs in a child process on the fakes"]
fn inner_open() {
    match Cuda::open(&options()) {
        Ok(cuda) => {
            let classes: std::collections::BTreeSet<&str> =
                cuda.benchmarks(true).iter().map(|b| b.class().name()).collect();
            println!("opened: {classes:?} {:?}", cuda.facts().notes);
        }
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn every_obstacle_is_an_error_with_a_fix() {
    let Some(fakes) = Fakes::new() else { return };
    let cases: [(&str, &str, &[&str]); 12] = [
        ("FAKE_NVML", "busy", &["is busy: another program runs on it", "--busy"]),
        ("FAKE_NVML", "mig", &["MIG", "nvidia-smi -i 0 -mig 0"]),
        ("FAKE_NVML", "mismatch", &["restart the machine"]),
        ("FAKE_CUDA", "stub", &["stubs"]),
        ("FAKE_CUDA", "no_device", &["CUDA_VISIBLE_DEVICES"]),
        ("FAKE_CUDA", "mismatch", &["restart the machine"]),
        ("FAKE_CUDA", "unavailable", &["another program holds it"]),
        ("FAKE_CUDA", "full", &["out of GPU memory", "--quick"]),
        ("FAKE_CUDA", "old_ptx", &["cuModuleLoadData", "update the NVIDIA driver"]),
        ("FAKE_CUDA", "fault", &["opened"]),
        ("FAKE_CUBLASLT", "no_start", &["opened", "does not start", "--cuda-libraries"]),
        ("FAKE_CUBLASLT", "old", &["opened"]),
    ];
    for (variable, mode, words) in cases {
        let output = child(&fakes, "inner_open", &[(variable, mode)]);
        let text = text(&output);
        assert!(output.status.success() && !text.contains("panicked"), "{mode}: {text}");
        for word in words {
            assert!(text.contains(word), "{mode}: `{word}` is missing in {text}");
        }
    }
}

#[test]
fn without_cublaslt_the_rest_is_measured() {
    let Some(fakes) = Fakes::new() else { return };
    std::fs::remove_file(fakes.path().join("libcublasLt.so.13")).unwrap();
    let text = text(&child(&fakes, "inner_open", &[]));
    assert!(text.contains("opened: {\"attention\", \"bandwidth\", \"gemv\", \"launch\"}"), "{text}");
    assert!(text.contains("pip install nvidia-cublas-cu12"), "{text}");
}

#[test]
#[ignore = "runs in a child process on the fakes"]
fn inner_fault() {
    let mut cuda = Cuda::open(&options()).unwrap();
    let error = cuda.prepare(&Work::Launch { graph: true }.into()).unwrap().sample(1).unwrap_err();
    println!("failed: {error}");
    // a recording that failed is ended: the stream still works
    let stream = Work::Stream { kind: Stream::Read, bytes: 1 << 20, threads: 0 };
    assert!(cuda.prepare(&stream.into()).unwrap().sample(1).is_ok());
}

#[test]
fn a_fault_while_recording_is_an_error_and_leaves_the_stream_whole() {
    let Some(fakes) = Fakes::new() else { return };
    let output = child(&fakes, "inner_fault", &[("FAKE_CUDA", "fault")]);
    let text = text(&output);
    assert!(output.status.success() && text.contains("cuLaunchKernel failed"), "{text}");
}

/// The whole way: measured on the fake card, fitted, written, said.
#[test]
fn calibrate_measures_fits_and_writes() {
    let Some(fakes) = Fakes::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("h200-sxm.toml");
    let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args([
        "calibrate",
        "--device",
        "cuda:0",
        "--quick",
        "--only",
        "gemm,bandwidth,attention,sustained",
        "--json",
        "-o",
    ]);
    let run = fakes.on(command.arg(&output)).env("FAKE_POWER", "1").output().unwrap();
    let error = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{error}");
    let answer: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let classes = answer["classes"].as_array().unwrap();
    let bf16 = classes.iter().find(|c| c["operator"] == "gemm" && c["dtype"] == "bfloat16").unwrap();
    // the fake's products follow a hard roofline, which the form holds to within its noise
    assert!(bf16["heldout_median_ape"].as_f64().unwrap() < 2.0, "{bf16}");
    assert!(output.is_file() && output.with_extension("samples.csv").is_file());
    let valid = common::schema::validator("calibrate.json");
    let problems: Vec<String> = valid.iter_errors(&answer).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let cache = answer["measured"]["kv_read_bytes_per_s"]["bfloat16"].as_f64().unwrap();
    assert!((cache / 4.3e12 - 1.0).abs() < 0.02, "{cache}");
    let kept: Vec<&str> =
        answer["kept"]["classes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    assert!(kept.contains(&"decode attention") && !kept.contains(&"matrix products"), "{kept:?}");
    assert_eq!(answer["kept"]["trust"], "fitted");
    // 0.7 pJ an operation, 45 pJ a byte
    let energy = &answer["measured"]["energy"];
    let number = |key: &str| energy[key].as_f64().unwrap();
    assert!((number("joules_per_flop") / 0.7e-12 - 1.0).abs() < 0.02, "{energy}");
    assert!((number("joules_per_byte") / 45e-12 - 1.0).abs() < 0.02, "{energy}");
    assert_eq!(number("idle_w"), 76.5);
    // and `estimate` counts with them
    let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
    let question = ["estimate", "llama-3.1-8b", "--gpu", "h200-sxm", "--json", "--calibration"];
    let run = command.env_clear().args(question).arg(&output).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(answer["energy"]["source"].as_str().unwrap().contains("measured"), "{}", answer["energy"]);
    // a step reads 16 GB: 45 pJ a byte of it, and idling
    let decode = answer["energy"]["joules_per_output_token"].as_f64().unwrap();
    let idling = 76.5 * answer["latency"]["tpot_s"].as_f64().unwrap();
    assert!((decode / (idling + 16.1e9 * 45e-12) - 1.0).abs() < 0.1, "{decode} {idling}");
}

/// Without a driver one line says so, at once.
#[test]
fn calibrate_without_a_driver_ends_with_4() {
    if foretoken::calibrate::cuda::driver::start().is_ok() {
        return; // a machine with a GPU
    }
    let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
    let run = command.env_clear().args(["calibrate", "--device", "cuda:0"]).output().unwrap();
    let error = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(4), "{error}");
    assert!(run.stdout.is_empty() && error.lines().count() == 1 && error.contains("driver"), "{error}");
}
