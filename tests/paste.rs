//! Start-up logs as people paste them (`tests/fixtures/logs`): what is read, what is answered, and rubbish.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::schema::validator;
use foretoken::spec::startup_log::{Failure, StartupLog};
use serde_json::Value;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs").join(name)
}

fn read(name: &str) -> StartupLog {
    StartupLog::from_file(&path(name)).unwrap()
}

fn run(arguments: &[&str]) -> std::process::Output {
    let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
    command.env_clear().current_dir(path(".")).args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_start_that_went_well() {
    let log = read("vllm-0.19-qwen2.5-72b.log");
    assert_eq!(log.engine_flag().as_deref(), Some("vllm@0.19"));
    assert_eq!(log.model_name().as_deref(), Some("Qwen/Qwen2.5-72B-Instruct"));
    assert_eq!(
        log.arguments()[2..].join(" "),
        "--max-num-seqs 1024 --max-num-batched-tokens 8192 --tensor-parallel-size 2 --max-model-len 8192 \
         --enable-prefix-caching false --dtype bfloat16 --gpu-memory-utilization 0.95"
    );
    assert_eq!(log.attention_backend.as_deref(), Some("FLASH_ATTN"));
    let all = [
        log.total_gib,
        log.weights_gib,
        log.activation_gib,
        log.non_torch_gib,
        log.cuda_graph_gib,
        log.kv_cache_gib,
        log.max_concurrency,
    ];
    assert_eq!(all, [79.19, 67.8, 2.29, 2.09, 1.61, 3.04, 2.43].map(Some));
    assert_eq!((log.kv_cache_tokens, log.failure), (Some(19_920), None));
}

#[test]
fn old_versions_count_in_blocks() {
    let log = read("vllm-0.6-v0.log");
    assert_eq!(log.engine_flag().as_deref(), Some("vllm@0.6"));
    assert_eq!(log.model_name().as_deref(), Some("CodeLlama-7b-hf"));
    assert_eq!(log.kv_cache_tokens, Some(16 * 7404));
    assert_eq!((log.weights_gib, log.total_gib, log.kv_cache_gib), (Some(12.5523), Some(79.19), Some(57.85)));
}

#[test]
fn failures_have_their_figures() {
    let log = read("vllm-0.15-too-long.log");
    assert!(matches!(
        log.failure,
        Some(Failure::TooLong { max_model_len: 262_144, longest: Some(34_736), needed_gib: Some(n), .. }) if n == 24.0
    ));
    assert!(log.arguments().join(" ").contains("--pipeline-parallel-size 2"));
    let cut = read("vllm-cut.log");
    assert!(matches!(
        cut.failure,
        Some(Failure::TooLong { max_model_len: 100_000, available_gib: Some(a), longest: Some(99_712), .. }) if a == 4.25
    ));
    assert_eq!(cut.arguments().join(" "), "--engine vllm --max-model-len 100000");
    let held = read("vllm-occupied.log");
    assert_eq!(held.total_gib, Some(139.72));
    assert!(matches!(held.failure, Some(Failure::Occupied { .. })));
}

#[test]
fn sglang_and_statistics() {
    let log = read("sglang.log");
    assert_eq!((log.engine_flag().as_deref(), log.kv_cache_tokens), (Some("sglang"), Some(540_672)));
    assert_eq!(log.weights_gib, Some(4.27));
    let log = read("vllm-running.log");
    assert_eq!((log.running_requests, log.generation_tokens_per_s), (Some(32), Some(1280.0)));
    assert_eq!(log.gpu.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert!(log.arguments().contains(&"--enforce-eager".to_owned()));
}

#[test]
fn lines_of_other_places() {
    // as logs are quoted in public reports: comments, no configuration line, older SGLang, a negative pool
    let log = StartupLog::parse(
        "# INFO 03-14 09:12:41 [gpu_model_runner.py:1273] Starting to load model meta-llama/Llama-3.1-8B-Instruct...\n\
         # (Worker_TP0 pid=2412213) INFO 12-11 00:06:53 [gpu_worker.py:359] Available KV cache memory: 52.36 GiB\n\
         # (EngineCore_DP0 pid=2412130) INFO 12-11 00:06:53 [kv_cache_utils.py:1286] GPU KV cache size: 686,320 tokens\n",
    )
    .unwrap();
    assert_eq!(log.model_name().as_deref(), Some("meta-llama/Llama-3.1-8B-Instruct"));
    assert_eq!((log.kv_cache_gib, log.kv_cache_tokens), (Some(52.36), Some(686_320)));
    let log = StartupLog::parse(
        "[2025-03-14 09:20:11] load_weight_end. type=Llama, dtype=torch.bfloat16, avail mem=63.12 GB, mem usage=15.06 GB.\n\
         [2025-03-14 09:20:12] max_total_num_tokens=371661, chunked_prefill_size=8192, max_running_requests=2049, context_len=131072\n",
    )
    .unwrap();
    assert_eq!((log.engine_flag().as_deref(), log.kv_cache_tokens), (Some("sglang"), Some(371_661)));
    assert_eq!(log.weights_gib, Some(15.06));
    assert!(log.arguments().join(" ").contains("--max-model-len 131072"));
    let log = StartupLog::parse(
        "22:12:16  INFO [worker.py:295] model weights take 6.59GiB; non_torch_memory takes 8.29GiB;\n       PyTorch activation \
         peak memory takes 4.93GiB;\n       the rest of the memory reserved for KV Cache is -7.83GiB.\n22:12:16.774710Z [error] \
         failed: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
    )
    .unwrap();
    assert_eq!((log.kv_cache_gib, log.activation_gib), (Some(-7.83), Some(4.93)));
    assert_eq!(log.failure, Some(Failure::NoRoom));
}

#[test]
fn memory_stands_beside_the_log() {
    let validator = validator("memory.json");
    let answer = json(&["memory", "--from-log", "vllm-0.19-qwen2.5-72b.log", "--gpu", "h100-sxm"]);
    let problems: Vec<String> = validator.iter_errors(&answer).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(answer["inputs"]["engine"], "vllm@0.19");
    assert_eq!(answer["inputs"]["tensor_parallel_size"], 2);
    let beside = answer["log"]["beside"].as_array().unwrap();
    assert_eq!(beside.len(), 7);
    assert!(beside.iter().all(|figure| figure["normal"] == true), "{beside:?}");
    // a path in place of MODEL, and a flag that wins over the log's
    let answer = json(&[
        "memory",
        "vllm-0.6-v0.log",
        "--gpu",
        "h100-sxm",
        "--max-model-len",
        "4096",
        "--engine",
        "vllm@0.7",
    ]);
    assert_eq!(answer["inputs"]["engine"], "vllm@0.7");
    assert_eq!(answer["memory"]["settings"]["max_model_len"], 4096);
    assert_eq!(answer["log"]["version"], "0.6.4");
}

#[test]
fn errors_say_what_is_missing_and_what_helps() {
    let text = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    let long =
        text(&["memory", "qwen3-30b-a3b", "--from-log", "vllm-0.15-too-long.log", "--gpu", "rtx-5090"]);
    assert!(long.contains("20.82 GiB are missing") && long.contains("--max-model-len 34736"), "{long}");
    assert!(long.contains("--kv-cache-dtype fp8"), "{long}");
    let held = text(&["memory", "--from-log", "vllm-occupied.log", "--gpu", "h200-sxm"]);
    assert!(
        held.contains("something else holds the GPU") && held.contains("--gpu-memory-utilization 0.05"),
        "{held}"
    );
    // the message alone, pasted in place of a file
    let message = "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be \
                   stored in KV cache (39024). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`";
    let pasted = text(&["memory", "llama-3.1-8b", message, "--gpu", "rtx-3090"]);
    assert!(pasted.contains("39,024 tokens fit") && pasted.contains("8-bit KV cache"), "{pasted}");
}

#[test]
fn a_log_under_load_is_checked() {
    let answer = json(&["check", "--from-log", "vllm-running.log"]);
    assert_eq!(answer["inputs"]["gpu"], "h100-sxm");
    assert_eq!(answer["inputs"]["batch_size"], 32);
    assert_eq!(answer["metrics"][0]["measured"], 0.025);
    let problems: Vec<String> = validator("check.json").iter_errors(&answer).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn other_commands_keep_their_files() {
    // a result file that happens to be a log is not taken for a deployment
    let output = run(&["validate", "vllm-running.log"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("vllm-running.log"), "{message}");
}

#[test]
fn what_a_log_leaves_open_is_asked_for() {
    for (arguments, needles) in [
        (vec!["memory", "--from-log", "vllm-0.6-v0.log"], vec!["79.19 GiB", "h100-sxm", "--gpu"]),
        (vec!["memory", "--from-log", "sglang.log"], vec!["does not name the accelerator", "--gpu"]),
        (
            vec!["memory", "--from-log", "README.md", "--gpu", "h100-sxm"],
            vec!["README.md", "no line of a vLLM"],
        ),
        (vec!["memory", "--from-log", "none.log", "--gpu", "h100-sxm"], vec!["none.log", "cannot be read"]),
        (vec!["memory", "--from-log", "vllm-cut.log", "--gpu", "l4"], vec!["MODEL"]),
        (vec!["check", "--from-log", "sglang.log", "--gpu", "l4"], vec!["--measured-tpot"]),
        (vec!["memory", "--from-log"], vec!["--from-log"]),
    ] {
        let output = run(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
        for needle in needles {
            assert!(message.contains(needle), "{arguments:?}: {message}");
        }
    }
}

#[test]
fn rubbish_is_no_log_and_never_a_panic() {
    let known = std::fs::read_to_string(path("vllm-0.19-qwen2.5-72b.log")).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3000 {
        // pieces of a log in disorder, cut anywhere, with bytes that are none of its own
        let mut bytes: Vec<u8> = vec![];
        for _ in 0..random.usize(1..12) {
            let start = random.usize(..known.len());
            let end = (start + random.usize(..200)).min(known.len());
            bytes.extend(&known.as_bytes()[start..end]);
            if random.bool() {
                bytes.push(random.u8(..));
            }
        }
        if let Some(log) = StartupLog::parse(&String::from_utf8_lossy(&bytes)) {
            for value in [log.weights_gib, log.kv_cache_gib, log.total_gib].into_iter().flatten() {
                assert!(value.is_finite());
            }
            let _ = (log.arguments(), log.model_name());
        }
    }
    for text in [
        "",
        "\n\r\n",
        "(((((((",
        "max seq len (",
        "Free memory on device (/",
        "CUDA out of memory. Tried to allocate é",
    ] {
        assert_eq!(StartupLog::parse(text), None, "{text}");
    }
    // a long line and many of them
    let long = format!("with config: model='{}'", "x".repeat(3_000_000));
    let _ = StartupLog::parse(&long);
    let many =
        "INFO 01-30 03:18:12 x.py:1] nothing of interest\n".repeat(50_000) + "GPU KV cache size: 9 tokens";
    assert_eq!(StartupLog::parse(&many).unwrap().kv_cache_tokens, Some(9));
}
