//! Launch lines as people paste them.
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::spec::deployment::EngineKind;
use foretoken::spec::launch_line::{LaunchLine, parse};

fn read(line: &str) -> LaunchLine {
    parse(line).unwrap().unwrap()
}

fn flags(line: &str) -> String {
    read(line).flags.join(" ")
}

#[test]
fn vllm_serve_with_the_flags_that_matter() {
    let line = read(
        "VLLM_USE_V1=1 CUDA_VISIBLE_DEVICES=0,1 vllm serve meta-llama/Llama-3.1-8B-Instruct \\\n  \
         --host 0.0.0.0 --port 8000 --api-key sk-secret --served-model-name llama \\\n  \
         -tp 2 --max-model-len 32k --gpu-memory-utilization=0.90 --trust-remote-code \\\n  \
         --kv_cache_dtype fp8 --enable-prefix-caching --no-enable-chunked-prefill --enforce-eager",
    );
    assert_eq!(line.engine, EngineKind::Vllm);
    assert_eq!(line.model, "meta-llama/Llama-3.1-8B-Instruct");
    assert_eq!(
        line.flags.join(" "),
        "--tensor-parallel-size 2 --max-model-len 32000 --gpu-memory-utilization 0.9 --kv-cache-dtype fp8 \
         --enable-prefix-caching=true --enable-chunked-prefill=false --enforce-eager"
    );
    assert_eq!(line.dropped, ["--host", "--port", "--api-key", "--served-model-name", "--trust-remote-code"]);
    assert!(!format!("{line:?}").contains("secret"));
}

#[test]
fn the_model_may_stand_anywhere() {
    for line in [
        "vllm serve --model Qwen/Qwen3-8B -dp 2",
        "vllm serve --trust-remote-code Qwen/Qwen3-8B -dp 2",
        "vllm serve -dp 2 Qwen/Qwen3-8B",
        "/opt/venv/bin/vllm serve 'Qwen/Qwen3-8B' -dp=2",
        "python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B --data_parallel_size 2",
        "cd /srv && exec nohup vllm serve Qwen/Qwen3-8B -dp 2 > log.txt 2>&1 &",
        "docker run --runtime nvidia --gpus all -v ~/.cache:/root/.cache -e HF_TOKEN=x -p 8000:8000 --ipc=host \
         vllm/vllm-openai:latest --model Qwen/Qwen3-8B --data-parallel-size 2",
        "docker run --gpus all docker.io/vllm/vllm-openai:v0.19.0 Qwen/Qwen3-8B -dp 2",
        "docker run x/y bash -c vllm serve Qwen/Qwen3-8B -dp 2",
    ] {
        let read = read(line);
        assert_eq!(read.model, "Qwen/Qwen3-8B", "{line}");
        assert_eq!(read.flags, ["--data-parallel-size", "2"], "{line}");
    }
}

#[test]
fn numbers_are_read_as_vllm_reads_them() {
    for (written, plain) in
        [("32k", "32000"), ("32K", "32768"), ("1M", "1048576"), ("1m", "1000000"), ("25.6k", "25600")]
    {
        assert_eq!(
            flags(&format!("vllm serve m --max-model-len {written}")),
            format!("--max-model-len {plain}")
        );
    }
    let auto = read("vllm serve m --max-model-len auto --max-num-seqs 8");
    assert_eq!(
        (auto.flags.join(" ").as_str(), auto.dropped.join(" ").as_str()),
        ("--max-num-seqs 8", "--max-model-len")
    );
    assert!(read("vllm serve m --max-model-len -1").flags.is_empty());
}

#[test]
fn formats_of_the_checkpoint_are_left_to_it() {
    let line = read("vllm serve m --quantization compressed-tensors --dtype auto -q modelopt");
    assert_eq!(line.flags, ["--dtype", "auto"]);
    assert!(line.dropped[0].contains("compressed-tensors") && line.dropped[1].contains("modelopt"));
    assert_eq!(flags("vllm serve m -q awq_marlin --dtype half"), "--quantization awq_marlin --dtype half");
    assert_eq!(flags("vllm serve m --kv-cache-dtype fp8_ds_mla"), "--kv-cache-dtype fp8");
}

#[test]
fn the_last_of_two_wins_and_json_is_one_word() {
    let line = read(
        r#"vllm serve m -tp 2 --speculative-config '{"method": "eagle3", "num_speculative_tokens": 3}' -tp 4
           --enable-prefix-caching --no-enable-prefix-caching -O3 --compilation-config.level 3"#,
    );
    assert_eq!(line.flags, ["--tensor-parallel-size", "4", "--enable-prefix-caching=false"]);
    assert_eq!(line.dropped, ["--speculative-config", "-O3", "--compilation-config.level"]);
}

#[test]
fn other_servers_are_understood() {
    let line = read(
        "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V3 --tp 8 --mem-fraction-static 0.88 \
         --context-length 16384 --host 0.0.0.0 --disable-radix-cache",
    );
    assert_eq!((line.engine, line.model.as_str()), (EngineKind::Sglang, "deepseek-ai/DeepSeek-V3"));
    assert_eq!(
        line.flags.join(" "),
        "--tensor-parallel-size 8 --gpu-memory-utilization 0.88 --max-model-len 16384 --enable-prefix-caching=false"
    );
    let line = read("trtllm-serve Qwen/Qwen3-8B --tp_size 2 --max_batch_size 64");
    assert_eq!(line.engine, EngineKind::Trtllm);
    assert_eq!(line.flags.join(" "), "--tensor-parallel-size 2 --max-num-seqs 64");
    let line = read("./build/bin/llama-server -m models/q.gguf -c 8192 -ngl 99 -fa");
    assert_eq!((line.engine, line.model.as_str()), (EngineKind::Llamacpp, "models/q.gguf"));
    assert_eq!(line.flags, ["--max-model-len", "8192"]);
}

#[test]
fn anything_else_is_no_launch_line() {
    for text in
        ["llama-3.1-8b", "vllm", "", "  ", "my model.toml", "it's a path/config.json", "./vllm serve.gguf"]
    {
        assert!(parse(text).is_none(), "{text}");
    }
}

#[test]
fn mistakes_are_named() {
    let error = |line: &str| parse(line).unwrap().unwrap_err().to_string();
    assert!(error("vllm serve --port 80").contains("names no model"));
    assert!(error("vllm serve $MODEL").contains("only the shell knows"));
    assert!(error("vllm serve m -tp $TP").contains("-tp of the launch line is `$TP`"));
    assert!(error("vllm serve m -tp two").contains("`-tp two`"));
    assert!(error("vllm serve m -tp --port 80").contains("`-tp` of the launch line has no value"));
    assert!(error("vllm serve 'm").contains("leaves a ' open"));
    assert!(error("vllm serve m --max-model-len 1e400").contains("no number"));
}

#[test]
fn a_pasted_line_answers_like_its_flags() {
    let run = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
        command.env_clear().arg("estimate").args(arguments).args(["--gpu", "h100-sxm", "--json"]);
        command.assert().success().get_output().clone()
    };
    let pasted = run(&["vllm serve llama-3.1-8b -tp 2 --port 80 --max-model-len 32k"]);
    let typed = run(&["llama-3.1-8b", "--tensor-parallel-size", "2", "--max-model-len", "32000"]);
    assert_eq!(pasted.stdout, typed.stdout);
    assert!(String::from_utf8(pasted.stderr).unwrap().contains("--port of the launch line"));
}
