//! `gpus` and `models` as a user calls them.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;

/// A made-up configuration with every count worked out in the test below.
const CONFIG: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
    "vocab_size": 100, "max_position_embeddings": 512, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}"#;

fn foretoken(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(arguments);
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = foretoken(arguments).assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(foretoken(arguments).assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn gpus_list_and_show() {
    let list = json(&["gpus", "list", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 145);
    let h100 = json(&["gpus", "show", "H100", "--json"]);
    assert_eq!(h100["schema_version"], 1);
    assert_eq!(h100["id"], "h100-sxm");
    assert_eq!(h100["memory_bandwidth_bytes_per_s"]["value"], 3.35e12);
    assert_eq!(h100["memory_bytes"]["status"], "measured");
    assert_eq!(h100["tdp_w"]["value"], 700.0);
    assert!(h100["peak_flops_per_s"]["nvfp4"].is_null());
    let table = text(&["gpus", "show", "l40s"]);
    assert!(
        table.contains("44.42 GiB") && table.contains("864 GB/s") && table.contains("datasheet"),
        "{table}"
    );
    assert_eq!(text(&["gpus", "list", "h100", "--format", "csv"]).lines().count(), 4);
}

#[test]
fn unknown_names_exit_with_2_and_one_line() {
    for arguments in [["gpus", "show", "h100-smx"], ["models", "show", "no-such-model"]] {
        let output = foretoken(&arguments).assert().code(2).get_output().clone();
        assert!(output.stdout.is_empty());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn hardware_directories_add_and_override() {
    let directory = tempfile::tempdir().unwrap();
    let text = include_str!("../hardware/l4.toml").replacen("id = \"l4\"", "id = \"mine\"", 1);
    std::fs::write(
        directory.path().join("mine.toml"),
        text.replacen("aliases = [", "aliases = [\"my-card\", ", 1),
    )
    .unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(json(&["gpus", "show", "my-card", "--json", "--hardware-dir", path])["id"], "mine");
    foretoken(&["gpus", "show", "mine"]).assert().code(2);

    let home = tempfile::tempdir().unwrap();
    let hardware = home.path().join("hardware");
    std::fs::create_dir(&hardware).unwrap();
    std::fs::copy(directory.path().join("mine.toml"), hardware.join("mine.toml")).unwrap();
    foretoken(&["gpus", "show", "mine"]).env("FORETOKEN_HOME", home.path()).assert().success();
}

#[test]
fn models_show_counts_and_import_writes() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    std::fs::write(&config, CONFIG).unwrap();
    let path = config.to_str().unwrap();
    let shown = json(&["models", "show", path, "--json"]);
    // layer: q 64·64 + k, v 2·64·32 + o 64·64 + 3·64·128 + two norms of 64
    let layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128 + 2 * 64;
    // tied embedding 100·64 and the last norm 64
    assert_eq!(shown["parameters"]["total"], 3 * layer + 100 * 64 + 64);
    assert_eq!(shown["parameters"]["active"], shown["parameters"]["total"]);
    assert_eq!(shown["parameters"]["embedding"], 6400);
    // 3 layers × (K + V) × 2 heads × 16 × 2 bytes
    assert_eq!(shown["kv_cache_bytes_per_token"], 384.0);
    assert_eq!(shown["layers"], 3);

    let written =
        text(&["models", "import", path, "--hf-id", "org/Tiny_Model", "--source-repository", "here"]);
    assert!(
        written.starts_with("id = \"tiny-model\"\n") && written.contains("kind = \"verbatim\""),
        "{written}"
    );
    let target = directory.path().join("tiny.toml");
    let to = target.to_str().unwrap();
    foretoken(&["models", "import", path, "--id", "tiny", "-o", to]).assert().success();
    foretoken(&["models", "import", path, "--id", "tiny", "-o", to]).assert().code(1);
    foretoken(&["models", "import", path, "--id", "tiny", "-o", to, "--force"]).assert().success();
    assert_eq!(json(&["models", "show", to, "--json"])["parameters"], shown["parameters"]);
}

/// A user's file of engine terms wins over the embedded one, in `estimate` as in `validate`.
#[test]
fn engine_terms_of_the_user_are_in_force() {
    let home = tempfile::tempdir().unwrap();
    let engines = home.path().join("calibration/engines");
    std::fs::create_dir_all(&engines).unwrap();
    let terms = "schema = 1\nengine = \"transformers\"\n\n[[range]]\nversions = \"..\"\nsource = \"a test\"\n\n\
                 [range.terms]\nrequest_ms = 0.0\nprefill_floor_ms = 0.0\nprefill_scale = 1.0\nstep_us = 500000.0\n\
                 row_us = 0.0\nhost_slowdown = 0.0\ndecode_graphs = true\n";
    std::fs::write(engines.join("transformers.toml"), terms).unwrap();
    let rows = home.path().join("rows.csv");
    let header = "engine,model,gpu,mode,concurrency,input_len,output_len,tpot_ms,weight_dtype";
    std::fs::write(
        &rows,
        format!("{header}\ntransformers,llama-3.1-8b,h200-sxm,static,1,128,128,500,bf16\n"),
    )
    .unwrap();
    let answer = |arguments: &[&str]| -> serde_json::Value {
        let mut command = assert_cmd::Command::cargo_bin("foretoken").unwrap();
        let output =
            command.env_clear().env("FORETOKEN_HOME", home.path()).args(arguments).arg("--json").output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    };
    let estimate = answer(&[
        "estimate",
        "llama-3.1-8b",
        "--gpu",
        "h200-sxm",
        "--engine",
        "transformers",
        "--batch-size",
        "1",
    ]);
    assert!(estimate["latency"]["tpot_s"].as_f64().unwrap() > 0.5);
    let validated = answer(&["validate", rows.to_str().unwrap()]);
    let error = validated["metrics"]["tpot_s"]["mape"].as_f64().unwrap();
    assert!(error < 3.0, "half a second a step: {error} %");
}
