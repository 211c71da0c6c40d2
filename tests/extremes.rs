//! Extreme but legal input through the binary: answered, with finite numbers and no overflow.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/configs");

fn foretoken(line: &str) -> Output {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(line.split(' ')).output().unwrap()
}

/// Pointers to nulls, which is what JSON makes of NaN and infinities.
fn nulls(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| nulls(v, &format!("{at}/{i}"), found))
        }
        Value::Object(map) => map.iter().for_each(|(k, v)| nulls(v, &format!("{at}/{k}"), found)),
        _ => {}
    }
}

/// Answers, checks that every number is finite and no time is zero or less.
fn answered(line: &str) -> Value {
    let output = foretoken(&format!("{line} --json"));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}\n{message}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |pointer: &str| {
        let value = answer.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{line}: {pointer} is no finite number"))
    };
    for key in ["ttft_s", "prefill_s", "e2e_s", "normalized_s"] {
        assert!(number(&format!("/latency/{key}")) > 0.0, "{line}: {key}");
    }
    for key in ["output_tokens_per_s", "total_tokens_per_s", "requests_per_s", "prefill_tokens_per_s"] {
        assert!(number(&format!("/throughput/{key}")) > 0.0, "{line}: {key}");
    }
    for key in ["prefill_mfu", "decode_mbu"] {
        assert!((0.0..=1.0 + 1e-9).contains(&number(&format!("/utilization/{key}"))), "{line}: {key}");
    }
    for phase in ["prefill", "decode"] {
        for part in answer["breakdown"][phase].as_array().unwrap() {
            assert!(
                ["count", "seconds", "flops", "bytes"]
                    .iter()
                    .all(|k| part[k].as_f64().is_some_and(|v| v >= 0.0)),
                "{line}: {part}"
            );
        }
    }
    let mut absent = vec![];
    nulls(&answer, "", &mut absent);
    let may_be_absent = ["/memory/reason", "/inputs/overrides/low_rank", "/cost", "/provenance/defaults"];
    assert!(absent.iter().all(|at| may_be_absent.contains(&at.as_str())), "{line}: {absent:?}");
    let table = foretoken(line);
    let table = String::from_utf8(table.stdout).unwrap();
    let spoilt = |word: &str| word == "NaN" || word == "inf" || word == "-inf";
    assert!(!table.split_whitespace().any(spoilt), "{line}\n{table}");
    answer
}

#[test]
fn extreme_but_legal_input_is_answered() {
    let fits = |answer: &Value| answer.pointer("/memory/fits").unwrap() == true;
    for model in [
        "llama-3.1-8b --gpu h100-sxm",
        "deepseek-v3 --gpu h200-sxm --tp 8",
        "qwen3-next-80b-a3b-instruct --gpu h100-sxm --tp 4",
        "gpt-oss-20b --gpu rtx-5090",
    ] {
        let question = format!("estimate {model}");
        answered(&format!("{question} --input-len 1000000 --batch-size 100000"));
        answered(&format!("{question} --input-len 1 --output-len 1"));
        answered(&format!(
            "{question} --input-len 1000000000 --output-len 1000000000 --batch-size 1000000000"
        ));
        answered(&format!("{question} --concurrency 1000000000 --output-len 2"));
        answered(&format!(
            "{question} --input-len 1m --prefix-len 999999 --kv-offload --max-num-batched-tokens 2048"
        ));
        answered(&format!(
            "{question} --batch-size 7 --max-num-batched-tokens 1 --max-num-seqs 1 --num-layers 1"
        ));
        answered(&format!("{question} --low-rank 1 --activation-sparsity 0.999999 --engine ideal"));
    }
    let tiny = answered("estimate meta-llama-3.1-405b --gpu p40");
    assert!(!fits(&tiny) && tiny["memory"]["kv_cache_tokens"] == 0);
    assert!(!fits(&answered("estimate kimi-k2-instruct --gpu rtx-3060-12 --max-num-seqs 1")));
    answered("estimate llama-3.1-8b --gpu h100-sxm --gpu-memory-utilization 0.000001");
    answered("estimate llama-3.1-8b --gpu h100-sxm --cpu-offload-gb 1000000");
    answered("estimate llama-3.1-8b --gpu h100-sxm --gpu-hour-usd 0 --utilization 0.000001");
    answered("estimate llama-3.1-8b --gpu h100-sxm --cold-start 1B/s --network-rtt 1000000h");
    answered("estimate qwen2.5-vl-3b-instruct --gpu h100-sxm --images 10000 --image-size 65536x65536");
    answered("estimate llama-3.1-8b --gpu h100-sxm --dp 1000 --batch-size 1");
    answered("estimate llama-3.1-70b --gpu h100-sxm --pp 80 --batch-size 3");
    answered(&format!(
        "estimate {CONFIGS}/tiiuae__falcon-mamba-7b.json --gpu h100-sxm --tp 8 --input-len 1000000"
    ));
    answered(&format!("estimate {CONFIGS}/tiiuae__falcon-mamba-7b.json --gpu t4 --batch-size 100000"));
}
