//! JSON answers of the binary against `schema/*.json`, and the identities that they promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use assert_cmd::Command;
use common::schema::{schema, validator};
use jsonschema::Validator;
use serde_json::Value;

fn foretoken(arguments: &str) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(arguments.split(' ')).arg("--json");
    command
}

fn answer(arguments: &str) -> Value {
    let output = foretoken(arguments).assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn check(validator: &Validator, arguments: &str) -> Value {
    let value = answer(arguments);
    let problems: Vec<String> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(problems.is_empty(), "{arguments}\n{}", problems.join("\n"));
    value
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} is no number"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

const DEPLOYMENTS: [&str; 16] = [
    "llama-3.1-8b --gpu h100-sxm",
    "llama-3.1-70b --gpu 4xh100-sxm --quantization fp8 --kv-cache-dtype fp8",
    "qwen3-30b-a3b --gpu h200-sxm --engine sglang",
    "qwen3-235b-a22b --gpu h100-sxm --tp 4 --dp 2 --enable-expert-parallel",
    "deepseek-v3 --gpu 8xh200-sxm",
    "deepseek-v2-lite --gpu a100-sxm-80",
    "kimi-k2-instruct --gpu b200-sxm --tp 8 --ep 8",
    "qwen3-next-80b-a3b-instruct --gpu h100-sxm --tp 4",
    "nvidia-nemotron-3-nano-30b-a3b-bf16 --gpu rtx-pro-6000-server",
    "gpt-oss-120b --gpu h100-sxm --engine vllm@0.19",
    "gemma-2-9b-it --gpu l40s --engine trtllm --max-model-len 4096",
    "qwen2.5-vl-3b-instruct --gpu rtx-4090 --gpu-memory-utilization 0.8",
    "bloom --gpu h100-sxm --tp 4 --pp 2",
    "meta-llama-3.1-405b --gpu t4",
    "qwen2.5-7b --gpu m3-max --engine llamacpp --quantization q4_k_m",
    "mixtral-8x7b-v0.1 --gpu mi300x --engine transformers --cpu-offload-gb 8",
];

const WORKLOADS: [&str; 8] = [
    "",
    " --output-len 1",
    " --batch-size 32 --input-len 4096 --output-len 512",
    " --concurrency 64 --length-ratio-min 0.8",
    " --prefix-len 512 --kv-offload --network-rtt 20ms --cold-start",
    " --tpot-definition inclusive --gpu-hour-usd 2.5 --utilization 0.4",
    " --low-rank 512 --activation-sparsity 0.3 --batch-size 4",
    " --num-layers 4 --enforce-eager --tpot-definition per-token",
];

#[test]
fn estimates_keep_their_schema_and_identities() {
    let validator = validator("estimate.json");
    for (i, deployment) in DEPLOYMENTS.iter().enumerate() {
        // every deployment with two workloads, so that each workload meets four deployments
        for workload in [WORKLOADS[i % 8], WORKLOADS[(i + 3 + i / 8) % 8]] {
            let question = format!("estimate {deployment}{workload}");
            identities(&check(&validator, &question), &question);
        }
    }
    let rate = "estimate llama-3.1-8b --gpu h100-sxm --request-rate 10 --burstiness 0.5 --num-prompts 200";
    identities(&check(&validator, rate), rate);
    let drafts = "estimate deepseek-v3 --gpu 8xh200-sxm --concurrency 16 --speculative-tokens 1 --acceptance-rate 0.85";
    let answer = check(&validator, drafts);
    assert!(number(&answer, "/speculation/tokens_per_step") == 1.85);
    let images = "estimate qwen2.5-vl-3b-instruct --gpu rtx-4090 --images 2 --image-size 640x480";
    let answer = check(&validator, images);
    assert!(number(&answer, "/inputs/input_len") > 1024.0 && number(&answer, "/latency/image_s") > 0.0);
    identities(&answer, images);
}

#[test]
fn checks_keep_their_schema() {
    let validator = validator("check.json");
    for measured in [
        "--measured-tpot 6.7ms",
        "--measured-tpot 30ms --measured-ttft 400ms",
        "--measured-tpot 1ms",
        "--measured-e2e 9s --measured-throughput 20",
        "--measured-throughput 900 --request-rate 1 --num-prompts 100",
        "--measured-ttft 3h --batch-size 8",
    ] {
        check(&validator, &format!("check llama-3.1-8b --gpu h100-sxm {measured}"));
    }
}

#[test]
fn simulations_keep_their_schema() {
    let validator = validator("simulate.json");
    let traces = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/traces");
    for load in [
        "--concurrency 32 --length-ratio-min 0.8".to_owned(),
        "--request-rate 8 --num-prompts 300 --input-dist lognormal:800,700 --output-dist uniform:10,400".to_owned(),
        "--request-rate 2 --ramp-to 20 --num-prompts 300 --replicas 2 --router least-loaded --discipline srpt".to_owned(),
        "--hourly-rates 1,5,2 --num-prompts 200 --ttft 300 --tpot 30 --percentile p90".to_owned(),
        "--request-rate 5 --num-prompts 500 --ttft 300 --tpot 20 --find-rate".to_owned(),
        "--preset chat --request-rate 8 --num-prompts 300".to_owned(),
        "--preset batch --num-prompts 200".to_owned(),
        "--preset chat --request-rate 6 --num-prompts 300 --decode-replicas 2 --kv-link nvlink --kv-overlap".to_owned(),
        "--concurrency 24 --num-prompts 200 --decode-replicas 1 --decode-gpu h200-sxm --decode-tp 2 --kv-link tcp --kv-latency 1ms --ttft 500 --tpot 20 --find-split".to_owned(),
        "--preset mlperf-llama3.1-8b --concurrency 16 --fluidity".to_owned(),
        "--preset chat --request-rate 20 --num-prompts 200 --max-num-seqs 16 --discipline mlfq".to_owned(),
        "--turns uniform:1,6 --turn-input-len 200 --turn-pause 2s --thinking-len 100 --concurrency 40 --num-prompts 80 --kv-tier 64GiB,1TB@4GB/s".to_owned(),
        "--concurrency 8 --speculative-tokens 3 --acceptance-rate 0.7 --draft-model llama-3.2-1b".to_owned(),
        format!("--lengths {traces}/azure_code_2023.csv --concurrency 8"),
        format!("--trace {traces}/azure_conv_2023.csv"),
        format!("--trace {traces}/azure_code_2023.csv --trace-speed 4 --ttft 1s"),
        format!("--trace {traces}/mooncake_conversation.jsonl --replicas 2 --router prefix-aware"),
    ] {
        let answer = check(&validator, &format!("simulate llama-3.1-8b --gpu h100-sxm {load}"));
        let get = |pointer: &str| number(&answer, pointer);
        assert!(close(get("/completed_requests") + get("/rejected_requests"), get("/simulated_requests")));
        let mean = |key: &str| get(&format!("/latency/{key}/mean"));
        assert!(mean("ttft_s") > mean("queue_s") + mean("prefill_s"), "{load}");
        for key in ["ttft_s", "tpot_s", "itl_s", "e2e_s", "queue_s"] {
            let [a, b, c, d] = ["p50", "p90", "p95", "p99"].map(|p| get(&format!("/latency/{key}/{p}")));
            assert!(a <= b && b <= c && c <= d, "{load}: {key}");
        }
    }
    let cached = check(
        &validator,
        &format!("simulate llama-3.1-8b --gpu h100-sxm --trace {traces}/mooncake_conversation.jsonl"),
    );
    assert!(number(&cached, "/utilization/prefix_hit_share") > 0.01);
}

/// `estimate` of a loop is the simulation's mean.
#[test]
fn estimate_and_simulate_agree() {
    for load in [
        "--concurrency 48 --length-ratio-min 0.8 --input-len 2000 --output-len 300",
        "--request-rate 9 --num-prompts 700 --input-len 600 --output-len 200 --seed 4",
        "--concurrency 16 --engine sglang --prefix-len 512",
    ] {
        let of = |command: &str| answer(&format!("{command} llama-3.1-8b --gpu h100-sxm {load}"));
        let (estimated, simulated) = (of("estimate"), of("simulate"));
        for key in ["ttft_s", "queue_s", "prefill_s", "tpot_s", "itl_s", "e2e_s", "normalized_s"] {
            let one = number(&estimated, &format!("/latency/{key}"));
            let other = number(&simulated, &format!("/latency/{key}/mean"));
            assert!(close(one, other), "{load}: {key} {one} {other}");
        }
        for key in ["requests_per_s", "output_tokens_per_s", "total_tokens_per_s"] {
            let of = |value: &Value| number(value, &format!("/throughput/{key}"));
            assert!(close(of(&estimated), of(&simulated)), "{load}: {key}");
        }
    }
}

fn identities(answer: &Value, question: &str) {
    let get = |pointer: &str| number(answer, pointer);
    let [ttft, itl, e2e] = ["ttft_s", "itl_s", "e2e_s"].map(|key| get(&format!("/latency/{key}")));
    let n = get("/inputs/output_len");
    // of spread lengths, the output length shown is the rounded mean of their distribution
    let spread = get("/inputs/length_ratio_min") < 1.0;
    let sum = ttft + (n - 1.0) * itl;
    let identity = if spread { (e2e / sum - 1.0).abs() < 0.02 } else { close(e2e, sum) };
    assert!(identity, "{question}: E2E = TTFT + (N − 1)·ITL");
    let tpot = match answer.pointer("/inputs/tpot_definition").and_then(Value::as_str).unwrap() {
        "vllm" if spread => get("/latency/tpot_s"),
        "vllm" => itl,
        "per-token" => (e2e - ttft) / n,
        _ => e2e / n,
    };
    assert!(close(get("/latency/tpot_s"), tpot), "{question}: TPOT");
    let parts = [
        "queue_s",
        "prefill_s",
        "first_token_overhead_s",
        "image_s",
        "kv_load_s",
        "network_s",
        "cold_start_s",
    ];
    let sum: f64 = parts.iter().map(|part| get(&format!("/latency/{part}"))).sum();
    assert!(close(ttft, sum), "{question}: TTFT is the sum of its parts");
    for key in ["ttft_s", "tpot_s", "e2e_s"] {
        let [low, high] = ["0", "1"].map(|end| get(&format!("/intervals/{key}/{end}")));
        let value = get(&format!("/latency/{key}"));
        assert!(low <= value && value <= high, "{question}: {key} lies in its interval");
    }
    let total = |phase: &str| -> f64 {
        let lines = answer.pointer(&format!("/breakdown/{phase}")).and_then(Value::as_array).unwrap();
        lines.iter().map(|line| number(line, "/seconds")).sum()
    };
    if answer.pointer("/inputs/num_prompts").is_none() {
        assert!(close(total("prefill"), get("/latency/prefill_s")), "{question}: prefill lines sum up");
    }
    if answer.pointer("/inputs/batch_size").is_some() {
        assert!((total("decode") - itl).abs() <= 1e-9, "{question}: decode lines sum up");
    }
    assert_eq!(answer.pointer("/memory/fits").unwrap() == true, answer["memory"]["reason"].is_null());
}

#[test]
fn every_model_and_every_accelerator_answers_by_schema() {
    let estimates = validator("estimate.json");
    let ids = |list: &str| -> Vec<String> {
        let all = answer(list);
        all.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
    };
    for model in ids("models list") {
        check(&estimates, &format!("estimate {model} --gpu b300-sxm --batch-size 3"));
    }
    let mut answered = 0;
    for gpu in ids("gpus list") {
        let question = format!("estimate qwen3-8b --gpu {gpu} --concurrency 3 --engine transformers");
        let output = foretoken(&question).output().unwrap();
        if output.status.success() {
            check(&estimates, &question);
            answered += 1;
        } else {
            // a peak that nobody published
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && message.contains("`peak_tflops."), "{message}");
        }
    }
    assert!(answered >= 90, "{answered}");
}

#[test]
fn the_schemas_are_strict() {
    let validator = validator("estimate.json");
    let answer = answer("estimate llama-3.1-8b --gpu h100-sxm");
    let spoilt = |pointer: &str, value: Value| {
        let mut answer = answer.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        answer.pointer_mut(parent).unwrap()[key] = value;
        !validator.is_valid(&answer)
    };
    assert!(validator.is_valid(&answer));
    assert!(spoilt("/latency/ttft_s", Value::Null) && spoilt("/latency/ttft_s", "0.1".into()));
    assert!(spoilt("/memory/unheard_of", 1.into()) && spoilt("/unheard_of", 1.into()));
    assert!(spoilt("/breakdown/prefill/0/bound", "magic".into()) && spoilt("/schema_version", 2.into()));
}

#[test]
fn memory_keeps_its_schema_and_adds_up() {
    let validator = validator("memory.json");
    for deployment in DEPLOYMENTS {
        let answer = check(&validator, &format!("memory {deployment}"));
        let bytes = |key: &str| number(&answer, &format!("/memory/{key}"));
        let fits = answer.pointer("/memory/fits").unwrap() == true;
        assert_eq!(fits, bytes("shortfall_bytes_per_gpu") == 0.0, "{deployment}");
        if fits {
            assert!(
                bytes("weights_bytes_per_gpu") + bytes("kv_cache_bytes_per_gpu")
                    <= bytes("capacity_bytes_per_gpu"),
                "{deployment}"
            );
            assert!(bytes("max_context_tokens") >= 1.0 && bytes("max_concurrency") > 0.0, "{deployment}");
        }
    }
}

#[test]
fn catalogs_keep_their_schemas() {
    let models = check(&validator("models-list.json"), "models list");
    let gpus = check(&validator("gpus-list.json"), "gpus list");
    let (show_model, show_gpu) = (validator("models-show.json"), validator("gpus-show.json"));
    for id in models.as_array().unwrap().iter().step_by(12).map(|m| m["id"].as_str().unwrap()) {
        let shown = check(&show_model, &format!("models show {id}"));
        let total: f64 =
            shown["parameters"]["by_class"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!(close(total, number(&shown, "/parameters/total")), "{id}");
    }
    for id in gpus.as_array().unwrap().iter().step_by(8).map(|g| g["id"].as_str().unwrap()) {
        check(&show_gpu, &format!("gpus show {id}"));
    }
}

#[test]
fn calibrations_keep_their_schemas() {
    let all = check(&validator("calibrations-list.json"), "calibrations list");
    let shown = validator("calibrations-show.json");
    for gpu in all.as_array().unwrap().iter().map(|c| c["gpu"].as_str().unwrap()) {
        check(&shown, &format!("calibrations show {gpu}"));
    }
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("fitted.toml");
    let samples = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/operators/h100_sxm__nccl-2.29.2__collective.csv"
    );
    let question = format!("calibrate --gpu h100-sxm --from-samples {samples} -o {}", output.display());
    let fitted = check(&validator("calibrate.json"), &question);
    assert_eq!(fitted["output"], output.to_str().unwrap());
    check(&shown, &format!("calibrations show {}", output.display()));
    let points = directory.path().join("points.csv");
    let row = "vllm,llama-3.1-8b,h100-sxm,static,1,1024,128,40,7\n";
    std::fs::write(
        &points,
        format!("engine,model,gpu,mode,concurrency,input_len,output_len,ttft_ms,tpot_ms\n{row}"),
    )
    .unwrap();
    let output = directory.path().join("scaled.toml");
    let question = format!("calibrate --from-points {} -o {}", points.display(), output.display());
    check(&validator("calibrate-points.json"), &question);
    check(&shown, &format!("calibrations show {}", output.display()));
}

#[test]
fn every_key_of_every_schema_is_described() {
    fn described(schema: &Value, at: &str) {
        let Some(map) = schema.as_object() else { return };
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            for (key, inner) in properties {
                let own = inner.get("description").is_some();
                let target = inner.get("$ref").and_then(Value::as_str).is_some();
                assert!(own || target, "{at}.{key} has no description");
                described(inner, &format!("{at}.{key}"));
            }
        }
        for (key, inner) in map.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            described(inner, &format!("{at}#{key}"));
        }
        if let Some(items) = map.get("items") {
            described(items, &format!("{at}[]"));
        }
    }
    for name in [
        "estimate",
        "memory",
        "simulate",
        "models-show",
        "models-list",
        "gpus-show",
        "gpus-list",
        "accuracy",
        "validate",
        "validate-samples",
        "calibrate",
        "calibrate-points",
        "calibrations-list",
        "calibrations-show",
    ]
    .map(|n| format!("{n}.json"))
    {
        let schema = schema(&name);
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        described(&schema, &name);
    }
}
