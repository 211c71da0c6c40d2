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
fn lines_of_issues_and_guides() {
    // sgl-project/sglang pull request 4390: two replicas of attention over eight ranks
    let line = read(
        "python3 -m sglang.launch_server --model-path deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct --trust-remote-code --tp 8 \
         --enable-dp-attention --dp 2",
    );
    assert_eq!(line.flags.join(" "), "--tensor-parallel-size 4 --data-parallel-size 2");
    assert_eq!(line.dropped, ["--trust-remote-code"]);
    // sgl-project/sglang issue 7227, with a tag
    let line = read(
        "docker run --gpus all -p 8000:8000 --ipc=host lmsysorg/sglang:v0.5.4.post1-cu126 python -m sglang.launch_server \
         --model-path Qwen/Qwen3-4B-FP8 --port 8000 --context-length 60000 --cuda-graph-max-bs 64 --mem-fraction 0.8 \
         --speculative-algorithm EAGLE --disable-radix --attention-backend triton",
    );
    assert_eq!((line.engine, line.version.as_deref()), (EngineKind::Sglang, Some("0.5")));
    assert_eq!(line.model, "Qwen/Qwen3-4B-FP8");
    assert_eq!(
        line.flags.join(" "),
        "--max-model-len 60000 --gpu-memory-utilization 0.8 --enable-prefix-caching=false"
    );
    // NVIDIA/TensorRT-LLM pull request 7140, and its guide to DeepSeek
    let line = read(
        "TRTLLM_ENABLE_PDL=1 trtllm-serve /config/models/gpt-oss-120b --host 0.0.0.0 --port 8000 --backend pytorch \
         --max_batch_size 10 --tp_size 8 --ep_size 4 --trust_remote_code --extra_llm_api_options /config/eagle.yaml \
         --max_num_tokens 131072 --max_seq_len 131072 --kv_cache_free_gpu_memory_fraction 0.85",
    );
    assert_eq!(line.model, "/config/models/gpt-oss-120b");
    assert_eq!(
        line.flags.join(" "),
        "--max-num-seqs 10 --tensor-parallel-size 8 --expert-parallel-size 4 --max-num-batched-tokens 131072 \
         --max-model-len 131072 --gpu-memory-utilization 0.85"
    );
    assert!(line.dropped.contains(&"--extra-llm-api-options".to_owned()));
    // llama.cpp: the slots share the context, `-fa on` has a value
    let line = read(
        "llama-server -fa on -hf unsloth/Qwen3-8B-GGUF:Q4_K_M -ngl 99 -c 65536 -np 4 -ub 1024 -b 2048 -ctk q8_0 -ctv q8_0 --jinja",
    );
    assert_eq!(line.model, "unsloth/Qwen3-8B-GGUF:Q4_K_M");
    assert_eq!(
        line.flags.join(" "),
        "--max-model-len 16384 --max-num-seqs 4 --max-num-batched-tokens 1024 --kv-cache-dtype q8_0"
    );
    let line = read(
        "docker run -d --gpus all -v ./models:/models -p 8080:8080 --name s ghcr.io/ggml-org/llama.cpp:server-cuda-b6325 \
         -m /models/mistral-large-Q4_K_M.gguf --host 0.0.0.0 -ngl 99 --flash-attn -np 8 --cont-batching",
    );
    assert_eq!((line.engine, line.version.as_deref()), (EngineKind::Llamacpp, Some("b6325")));
    assert_eq!(
        (line.model.as_str(), line.flags.join(" ").as_str()),
        ("/models/mistral-large-Q4_K_M.gguf", "--max-num-seqs 8")
    );
}

#[test]
fn manifests_of_clusters_and_compose() {
    // vllm-project/vllm issue 4462
    let line = read(
        "      containers:\n      - name: vllm\n        image: vllm/vllm-openai:0.4.1\n        command:\n        - \"python3 -m \
         vllm.entrypoints.openai.api_server  --port 8080  --trust-remote-code --served-model-name qwen --model \
         /mnt/models/Qwen-14B-Chat --gpu-memory-utilization 0.95 --tensor-parallel-size 2\"\n        ports:\n        \
         - containerPort: 8080\n",
    );
    assert_eq!((line.model.as_str(), line.version.as_deref()), ("/mnt/models/Qwen-14B-Chat", Some("0.4")));
    assert_eq!(line.flags.join(" "), "--gpu-memory-utilization 0.95 --tensor-parallel-size 2");
    // kubernetes-sigs/wg-serving pull request 72: values by name
    let line = read(
        "    spec:\n      containers:\n      - args:\n        - --model=$(MODEL_ID)\n        - --tensor-parallel-size=$(TP)\n        \
         command:\n        - python3\n        - -m\n        - vllm.entrypoints.openai.api_server\n        env:\n        - name: \
         MODEL_ID\n          value: TinyLlama/TinyLlama-1.1b-Chat-v1.0\n        - name: TP\n          value: \"1\"\n        image: \
         vllm/vllm-openai:v0.8.5\n",
    );
    assert_eq!(line.model, "TinyLlama/TinyLlama-1.1b-Chat-v1.0");
    assert_eq!(
        (line.flags.join(" ").as_str(), line.version.as_deref()),
        ("--tensor-parallel-size 1", Some("0.8"))
    );
    // vllm-project/vllm issue 20305
    let line = read(
        "  vllm-gptoss20b:\n    image: docker.io/vllm/vllm-openai:v0.11.2\n    container_name: vllm-gptoss20b\n    command: \
         --model openai/gpt-oss-20b --port 8000\n    volumes:\n      - ./.cache/huggingface:/root/.cache/huggingface\n    ipc: host\n",
    );
    assert_eq!((line.model.as_str(), line.version.as_deref()), ("openai/gpt-oss-20b", Some("0.11")));
    assert_eq!(line.dropped, ["--port"]);
    for written in [
        "command: [\"vllm\", \"serve\"]\nargs: [\"Qwen/Qwen3-8B\", \"-dp\", \"2\"]\n",
        "command: [\"/bin/sh\", \"-c\"]\nargs:\n  - |\n    vllm serve Qwen/Qwen3-8B \\\n      -dp 2\n",
        "command: >\n  vllm serve Qwen/Qwen3-8B\n  -dp 2\nports: [8000]\n",
        "image: vllm/vllm-openai:latest\ncommand:\n  - \"--model\"\n  - Qwen/Qwen3-8B # eight\n  - '--data-parallel-size=2'\n",
    ] {
        let line = read(written);
        assert_eq!(
            (line.model.as_str(), line.flags.join(" ").as_str()),
            ("Qwen/Qwen3-8B", "--data-parallel-size 2"),
            "{written}"
        );
    }
    assert!(parse("command: sleep 3\nimage: busybox").is_none());
    assert!(parse("args:\n  - --model=$(X)\nimage: vllm/vllm-openai:v1").unwrap().is_err());
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
