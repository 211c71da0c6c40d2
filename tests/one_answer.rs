//! The same question through every command that can be asked it: one calculation, to the last digit but for roundings.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;

fn answer(command: &str, question: &str, more: &str) -> Value {
    let mut run = Command::cargo_bin("foretoken").unwrap();
    run.env_clear().env("SOURCE_DATE_EPOCH", "1795000000").arg(command);
    let output = run.args(question.split_whitespace()).args(more.split_whitespace()).arg("--json");
    serde_json::from_slice(&output.assert().success().get_output().stdout).unwrap()
}

fn at(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {value:.300}"))
}

/// TTFT, TPOT, requests per second and dollars per million generated tokens.
fn figures(value: &Value, [ttft, tpot, rate, usd]: [&str; 4]) -> [f64; 4] {
    [at(value, ttft), at(value, tpot), at(value, rate), at(value, usd)]
}

const ESTIMATED: [&str; 4] = [
    "/latency/ttft_s",
    "/latency/tpot_s",
    "/throughput/requests_per_s",
    "/cost/usd_per_million_output_tokens",
];
const SIMULATED: [&str; 4] = [
    "/latency/ttft_s/mean",
    "/latency/tpot_s/mean",
    "/throughput/requests_per_s",
    "/cost/usd_per_million_output_tokens",
];

#[test]
fn loops_through_all_commands() {
    for (model, gpu, flags, load) in [
        ("llama-3.1-8b", "l40s", "", "--request-rate 3 --input-len 700 --output-len 90"),
        (
            "qwen3-30b-a3b",
            "h100-sxm",
            "--quantization fp8",
            "--request-rate 5 --input-len 1500 --output-len 120",
        ),
        ("llama-3.1-70b", "h200-sxm", "--tp 2 --engine sglang", "--request-rate 1.5 --output-len 60"),
        ("deepseek-v3", "b200-sxm", "--tp 8", "--request-rate 2 --output-len 40"),
    ] {
        let question = format!("{model} --gpu {gpu} {flags} {load} --num-prompts 1000 --max-model-len 4096");
        let estimated = answer("estimate", &question, "");
        let right = figures(&estimated, ESTIMATED);
        assert_eq!(figures(&answer("simulate", &question, ""), SIMULATED), right, "{question}");
        let swept = answer("sweep", &question, "");
        assert_eq!(figures(&swept["points"][0], ESTIMATED), right, "{question}");
        let cost = answer("cost", &question, "");
        let asked = &cost["situations"][0];
        assert_eq!(asked["situation"], "as_asked");
        let found = [at(asked, "/ttft_s"), at(asked, "/tpot_s"), at(asked, "/requests_per_s")];
        // multiplied by the replicas and divided again
        for (found, right) in found.iter().zip(right) {
            assert!((found / right - 1.0).abs() < 1e-12, "{question}: {found} {right}");
        }
        let checked = answer("check", &question, "--measured-tpot 30ms");
        assert_eq!(checked["expected"], estimated["intervals"]["tpot_s"], "{question}");
        // limits so wide that one replica will do
        let tp = if flags.contains("--tp") { "" } else { "--tp 1" };
        let quantization = if flags.contains("--quantization") { "" } else { "--quantization auto" };
        let degrees = format!("{tp} {quantization} --pp 1 --dp 1 --ep 1 --ttft 60s --tpot 2s");
        let sized = answer("size", &question, &degrees);
        let first = &sized["candidates"][0];
        assert_eq!(first["replicas"], 1);
        let of_size = [
            "/latency/ttft_s/mean",
            "/latency/tpot_s/mean",
            "/throughput/requests_per_s",
            "/usd_per_million_output_tokens",
        ];
        // wide limits make it run for longer: asked again for as many requests
        let requests =
            first["simulate_args"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
        let again = answer(
            "estimate",
            &question.replace("--num-prompts 1000", &format!("--num-prompts {requests}")),
            "",
        );
        assert_eq!(figures(first, of_size), figures(&again, ESTIMATED), "{question}");
    }
}

#[test]
fn batches_and_memory_through_all_commands() {
    for question in [
        "llama-3.1-8b --gpu h100-sxm --batch-size 24 --input-len 900 --output-len 70",
        "mixtral-8x7b-v0.1 --gpu h200-sxm --batch-size 8 --input-len 256 --output-len 32",
    ] {
        let estimated = answer("estimate", question, "");
        let swept = answer("sweep", question, "");
        assert_eq!(figures(&swept["points"][0], ESTIMATED), figures(&estimated, ESTIMATED), "{question}");
        let checked = answer("check", question, "--measured-ttft 1s");
        assert_eq!(checked["expected"], estimated["intervals"]["ttft_s"], "{question}");
        let place = question.split(" --batch-size").next().unwrap();
        let mut memory = answer("memory", place, "")["memory"].clone();
        // what would make room is worked out where it is asked for
        memory["levers"] = estimated["memory"]["levers"].clone();
        assert_eq!(memory, estimated["memory"], "{question}");
    }
}
