//! `calibrate --from-points`: a person's own runs scale what is predicted afterwards.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

const HEADER: &str = "id,engine,model,gpu,mode,concurrency,input_len,output_len,ttft_ms,tpot_ms,e2e_ms\n";

fn foretoken(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().env("FORETOKEN_HOME", home).current_dir(home).args(arguments);
    command
}

fn json(home: &Path, arguments: &[&str]) -> Value {
    let out = foretoken(home, arguments).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_slice(&out).unwrap()
}

/// TTFT and TPOT in seconds of a static batch of Llama-3.1-8B on H100.
fn asked(home: &Path, batch: &str, input: &str, more: &[&str]) -> [f64; 2] {
    let question = [
        "estimate",
        "llama-3.1-8b",
        "--gpu",
        "h100-sxm",
        "--batch-size",
        batch,
        "--input-len",
        input,
        "--output-len",
        "64",
    ];
    let answer = json(home, &[&question[..], more].concat());
    ["ttft_s", "tpot_s"].map(|key| answer["latency"][key].as_f64().unwrap())
}

fn write(home: &Path, rows: &str) -> String {
    let path = home.join("points.csv");
    std::fs::write(&path, format!("{HEADER}{rows}")).unwrap();
    path.display().to_string()
}

fn row(id: &str, batch: &str, input: &str, [ttft, tpot]: [f64; 2]) -> String {
    format!("{id},vllm,llama-3.1-8b,h100-sxm,static,{batch},{input},64,{},{},\n", 1e3 * ttft, 1e3 * tpot)
}

fn refused(home: &Path, rows: &str) -> String {
    let points = write(home, rows);
    let out = foretoken(home, &["calibrate", "--from-points", &points]).assert().code(2).stdout("");
    let message = String::from_utf8(out.get_output().stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(!home.join("calibration/h100-sxm.toml").exists(), "nothing is written");
    message
}

/// A machine whose prefill takes 1.2 times as long as predicted and whose decode 1.15 times.
fn slow_machine(home: &Path) -> String {
    let cases = [("a", "1", "512"), ("b", "8", "2048"), ("c", "32", "1024"), ("d", "64", "4096")];
    cases
        .iter()
        .map(|(id, batch, input)| {
            let [ttft, tpot] = asked(home, batch, input, &[]);
            row(id, batch, input, [1.2 * ttft, 1.15 * tpot])
        })
        .collect()
}

#[test]
fn points_move_what_is_predicted_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let points = write(home, &slow_machine(home));
    let shipped = asked(home, "16", "1024", &[]);
    let answer = json(home, &["calibrate", "--from-points", &points]);
    let engine = &answer["engines"][0];
    let errors = ["mape_before", "mape_after", "mape_left_out"].map(|k| engine[k].as_f64().unwrap());
    assert!(errors[0] > 12.0 && errors[1] < 3.0 && errors[2] < 6.0, "{engine}");
    assert_eq!((&engine["engine"], &engine["points"]), (&"vllm".into(), &4.into()));
    // it lies where it is found, and a setting that no point is of has moved with them
    let file = home.join("calibration/h100-sxm.toml");
    assert_eq!(answer["output"], file.to_str().unwrap());
    let now = asked(home, "16", "1024", &[]);
    for (i, factor) in [1.2, 1.15].into_iter().enumerate() {
        assert!((now[i] / shipped[i] / factor - 1.0).abs() < 0.05, "{now:?} {shipped:?}");
    }
    assert_eq!(asked(home, "16", "1024", &["--no-calibration"]).map(f64::to_bits), {
        std::fs::rename(&file, home.join("elsewhere.toml")).unwrap();
        asked(home, "16", "1024", &["--no-calibration"]).map(f64::to_bits)
    });
    // given by hand it says the same
    assert_eq!(asked(home, "16", "1024", &["--calibration", "elsewhere.toml"]), now);
    // other engines' predictions stay
    std::fs::rename(home.join("elsewhere.toml"), &file).unwrap();
    let other = asked(home, "16", "1024", &["--engine", "sglang"]);
    let again = json(home, &["calibrate", "--from-points", &points]);
    assert_eq!(again["engines"], answer["engines"], "a second fit starts where the first did");
    assert_eq!(asked(home, "16", "1024", &["--engine", "sglang"]), other);
    let shown = json(home, &["calibrations", "show", "h100-sxm"]);
    assert_eq!(shown["points"][0]["engine"], "vllm");
    let answer = json(home, &["estimate", "llama-3.1-8b", "--gpu", "h100-sxm"]);
    assert!(answer["provenance"]["engine"].as_str().unwrap().contains("4 points"), "{answer}");
    assert_eq!(answer["provenance"]["trust"], "fitted");
}

/// Lines of the breakdown still add up to the scaled time, and the simulator counts as `estimate` does.
#[test]
fn one_point_is_enough_and_everything_agrees() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let [ttft, tpot] = asked(home, "1", "1024", &[]);
    let points = write(home, &row("mine", "1", "1024", [0.9 * ttft, 1.3 * tpot]));
    let answer = json(home, &["calibrate", "--from-points", &points]);
    assert_eq!(answer["engines"][0]["mape_left_out"], Value::Null);
    let now = asked(home, "1", "1024", &[]);
    // part of the way: the interval in force says how much a point counts
    assert!(now[0] < ttft && now[1] > 1.05 * tpot && now[1] < 1.3 * tpot, "{now:?} {ttft} {tpot}");
    let answer = json(home, &["estimate", "llama-3.1-8b", "--gpu", "h100-sxm", "--output-len", "64"]);
    let lines = answer["breakdown"]["decode"].as_array().unwrap();
    let sum: f64 = lines.iter().map(|l| l["seconds"].as_f64().unwrap()).sum();
    assert!((sum / now[1] - 1.0).abs() < 1e-6, "{sum} {now:?}");
    let one = ["simulate", "llama-3.1-8b", "--gpu", "h100-sxm", "--concurrency", "1", "--output-len", "64"];
    let simulated = json(home, &[&one[..], &["--input-len", "1024", "--num-prompts", "4"]].concat());
    let mean = simulated["latency"]["tpot_s"]["mean"].as_f64().unwrap();
    assert!((mean / now[1] - 1.0).abs() < 0.02, "{mean} {now:?}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let [ttft, tpot] = asked(home, "1", "1024", &[]);
    let point = |id, factor: f64| row(id, "1", "1024", [factor * ttft, factor * tpot]);
    // milliseconds given as seconds
    let message = refused(home, &point("seconds", 1e-3));
    assert!(
        message.contains("seconds") && message.contains("beyond the datasheet") && message.contains("ms"),
        "{message}"
    );
    let message = refused(home, &point("days", 30.0));
    assert!(message.contains("times as long") && message.contains("check units"), "{message}");
    let message = refused(home, &(point("one", 1.0) + &point("two", 1.7)));
    assert!(
        message.contains("one") && message.contains("two") && message.contains("contradict"),
        "{message}"
    );
    let far = |id, batch, factor: f64| {
        let [ttft, tpot] = asked(home, batch, "1024", &[]);
        row(id, batch, "1024", [factor * ttft, factor * tpot])
    };
    let message = refused(home, &(far("fast", "1", 1.0) + &far("slow", "2", 2.2) + &far("mid", "4", 1.4)));
    assert!(message.contains("contradict") && message.contains("slow"), "{message}");
    let two = point("a", 1.0) + &point("b", 1.0).replace("h100-sxm", "h200-sxm");
    assert!(refused(home, &two).contains("h100-sxm, h200-sxm"));
    let unknown = point("a", 1.0).replace("llama-3.1-8b", "no-such-model");
    let message = refused(home, &unknown);
    assert!(message.contains("no point can be used") && message.contains("no-such-model"), "{message}");
    assert!(refused(home, "").contains("header only"));
}

/// A file that measured the device keeps its fits.
#[test]
fn a_measured_device_keeps_its_kernels() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe/local-cpu.samples.csv");
    foretoken(home, &["calibrate", "--from-samples", samples]).assert().success();
    let ask = [
        "estimate",
        "llama-3.2-1b",
        "--gpu",
        "local-cpu",
        "--engine",
        "llamacpp",
        "--quantization",
        "q8_0",
        "--batch-size",
        "1",
        "--input-len",
        "128",
        "--output-len",
        "32",
    ];
    let tpot = |answer: &Value| answer["latency"]["tpot_s"].as_f64().unwrap();
    let before = tpot(&json(home, &ask));
    let points = home.join("points.csv").display().to_string();
    let header = HEADER.replace("e2e_ms", "weight_dtype");
    let row = format!("mine,llamacpp,llama-3.2-1b,local-cpu,static,1,128,32,,{},q8_0\n", 1.25e3 * before);
    std::fs::write(&points, header + &row).unwrap();
    foretoken(home, &["calibrate", "--from-points", &points]).assert().success();
    let held = std::fs::read_to_string(home.join("calibration/local-cpu.toml")).unwrap();
    assert!(held.contains("[[points]]") && held.contains("\ngemm = ["));
    assert!((tpot(&json(home, &ask)) / before / 1.25 - 1.0).abs() < 0.08);
}
