//! `sweep`: the numbers of `estimate`, nothing lost, the same bytes from any number of threads.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use assert_cmd::Command;
use common::schema::validator;
use serde_json::Value;

fn foretoken(arguments: &str) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(arguments.split_whitespace());
    command
}

fn json(arguments: &str) -> Value {
    let output = foretoken(arguments).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn sweep(arguments: &str) -> Value {
    let value = json(&format!("sweep {arguments}"));
    let problems: Vec<String> =
        validator("sweep.json").iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(problems.is_empty(), "{arguments}\n{}", problems.join("\n"));
    let of = |key: &str| value[key].as_u64().unwrap();
    let left: u64 = value["left_out"].as_array().unwrap().iter().map(|l| l["count"].as_u64().unwrap()).sum();
    assert_eq!(of("asked"), of("answered") + left, "{arguments}");
    value
}

/// The question that `estimate` would be asked for a point.
fn question(point: &Value, flags: &str) -> String {
    let load = ["batch_size", "concurrency", "request_rate_per_s"]
        .iter()
        .find_map(|key| Some((key.trim_end_matches("_per_s").replace('_', "-"), point.get(*key)?)))
        .map(|(flag, value)| format!("--{flag} {value}"))
        .unwrap();
    let of = |key: &str| point[key].to_string().replace('"', "");
    format!(
        "estimate {} --gpu {} --tp {} --dp {} --engine {} --quantization {} --input-len {} --output-len {} --prefix-len {} {load} {flags}",
        of("model"),
        of("gpu"),
        of("tensor_parallel_size"),
        of("data_parallel_size"),
        of("engine"),
        of("weight_dtype"),
        of("input_len"),
        of("output_len"),
        of("prefix_len"),
    )
}

#[test]
fn every_point_is_the_answer_of_estimate() {
    for (grid, flags) in [
        (
            "llama-3.1-8b,qwen3-30b-a3b --gpu h100-sxm,l40s --tp 1,2 --dp 1,2 --batch-size 1,48 --input-len 512,3000 --output-len 1,96 --prefix-len 0,100",
            "--max-model-len 8192",
        ),
        (
            "llama-3.1-8b --gpu h100-sxm --engine vllm,sglang --quantization bf16,fp8 --concurrency 1,24 --output-len 64",
            "--gpu-hour-usd 2 --utilization 0.5",
        ),
        ("qwen3-8b --gpu h200-sxm --request-rate 2,9.5 --num-prompts 60 --output-len 40", ""),
        // more than the KV pool holds
        (
            "llama-3.1-8b --gpu rtx-4090 --batch-size 256 --input-len 1024 --output-len 512",
            "--max-model-len 4096",
        ),
    ] {
        let flags_of_estimate = if grid.contains("--num-prompts") { "--num-prompts 60" } else { flags };
        let answer = sweep(&format!("{grid} {flags}"));
        let points = answer["points"].as_array().unwrap();
        assert!(!points.is_empty());
        // some of the larger grid keep the test short
        for point in points.iter().step_by(points.len().div_ceil(24)) {
            let asked = question(point, flags_of_estimate);
            let expected = json(&asked);
            assert_eq!(point["latency"], expected["latency"], "{asked}");
            assert_eq!(point["throughput"], expected["throughput"], "{asked}");
            for key in ["usd_per_million_input_tokens", "usd_per_million_output_tokens"] {
                assert_eq!(point["cost"][key], expected["cost"][key], "{asked}");
            }
        }
    }
}

#[test]
fn threads_change_no_byte() {
    let grid = "sweep llama-3.1-8b,qwen3-32b --gpu h100-sxm,h200-sxm --tp 1,2,3 --batch-size 1-64*2 --input-len 100-900+100 --pareto";
    for format in ["csv", "jsonl", "md", "table", "json"] {
        let with = |threads: &str| {
            let mut command = foretoken(grid);
            command.env("RAYON_NUM_THREADS", threads).args(["--format", format]);
            command.assert().success().get_output().stdout.clone()
        };
        assert_eq!(with("1"), with("5"), "{format}");
    }
}

#[test]
fn nothing_is_lost() {
    // 40 attention heads are not divisible by 3; the model does not fit one L40S
    let answer = sweep(
        "qwen3-32b --gpu h100-sxm,l40s --tp 1,2,3 --batch-size 1,8 --input-len 100,50000 --list-left-out --pareto",
    );
    let kinds: Vec<&str> =
        answer["left_out"].as_array().unwrap().iter().map(|l| l["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"refused") && kinds.contains(&"does_not_fit"), "{kinds:?}");
    assert!(!answer["left_out_points"].as_array().unwrap().is_empty());
    let text =
        foretoken("sweep qwen3-32b --gpu l40s --tp 1,3 --batch-size 1 --format csv").assert().success();
    let said = String::from_utf8_lossy(&text.get_output().stderr).into_owned();
    assert!(said.contains("left out of 2 points: 1 that do not fit, 1 that are refused"), "{said}");
}

#[test]
fn the_frontier_alone() {
    let grid = "llama-3.1-8b --gpu h100-sxm,h200-sxm --tp 1,2 --batch-size 1-256*2";
    let (all, only) = (sweep(&format!("{grid} --pareto")), sweep(&format!("{grid} --pareto=only")));
    let marked: Vec<Value> =
        all["points"].as_array().unwrap().iter().filter(|p| p["pareto"] == true).cloned().collect();
    assert!(!marked.is_empty() && marked.len() < all["points"].as_array().unwrap().len());
    assert_eq!(Value::from(marked), only["points"]);
}

#[test]
fn crossovers_hold_on_a_finer_grid() {
    let answer =
        sweep("llama-3.1-8b --gpu h100-sxm --tp 1,2,4 --batch-size 1-512*2 --input-len 256 --output-len 128");
    let fleets: Vec<&Value> = answer["crossovers"].as_array().unwrap().iter().collect();
    for crossing in &fleets {
        // each side's winner, asked well away from the crossing, makes more tokens/s there
        let rate = |side: &str, load: f64| {
            let replicas = crossing[side]["replicas"].as_f64().unwrap();
            let tp = crossing[side]["layout"].as_str().unwrap().trim_start_matches("tp").to_owned();
            let batch = (load / replicas).round().max(1.0);
            let asked = format!(
                "estimate llama-3.1-8b --gpu h100-sxm --tp {tp} --batch-size {batch} --input-len 256 --output-len 128"
            );
            replicas * json(&asked)["throughput"]["output_tokens_per_s"].as_f64().unwrap()
        };
        let at = crossing["at"].as_f64().unwrap();
        assert!(rate("above", at * 1.3) > rate("below", at * 1.3), "{crossing}");
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    for (arguments, says) in [
        ("--gpu h100-sxm --tp 1,1", "in the list already"),
        ("--gpu h100-sxm,H100-SXM", "already under another name"),
        ("--gpu h100-sxm,", "missing"),
        ("--gpu nope", "no accelerator named `nope`"),
        ("--gpu h100-sxm --engine vllm,vllm@0.26", "already under another name"),
        ("--gpu h100-sxm --input-len 1-10000+1 --output-len 1-10000+1", "more than the 2,000,000"),
        ("--gpu h100-sxm --input-len 1-2000+1 --batch-size 1-200+1", "--pareto=only"),
        ("--gpu h100-sxm --batch-size 1 --concurrency 1", "cannot be used"),
    ] {
        let failed = foretoken(&format!("sweep llama-3.1-8b {arguments}")).assert().code(2);
        let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(said.contains(says) && failed.get_output().stdout.is_empty(), "{arguments}: {said}");
    }
}
