//! The precision of checkpoints, per class of weights, from the quantisation formats that
//! configurations hold.
#![allow(clippy::unwrap_used)]

#[path = "common/configs.rs"]
mod configs;

use foretoken::spec::model::{Checkpoint, TensorClass};
use foretoken::spec::{DataType, hf};
use std::collections::BTreeMap;

use TensorClass::{Attention, Experts, LinearAttention, LmHead, Mlp, Mtp, SharedExperts};

fn fixture(name: &str) -> Checkpoint {
    configs::read(name).checkpoint
}

fn classes(quantized: &[(TensorClass, DataType)]) -> BTreeMap<TensorClass, DataType> {
    quantized.iter().copied().collect()
}

/// Llama 3.1 8B with a `quantization_config`.
fn llama(quantization: &str) -> Checkpoint {
    let text = configs::text("meta-llama/Llama-3.1-8B");
    let text = text.replacen('{', &format!("{{\"quantization_config\": {quantization},"), 1);
    hf::read_config(&text, "config.json").unwrap().checkpoint
}

#[test]
fn released_checkpoints() {
    use DataType::{Fp8, Fp8Block, Int4, Mxfp4, Nvfp4};
    for (name, quantized, activations) in [
        ("Qwen/Qwen3-32B-FP8", &[(Attention, Fp8Block), (Mlp, Fp8Block)][..], Some(Fp8)),
        ("Qwen/Qwen3-30B-A3B-FP8", &[(Attention, Fp8Block), (Experts, Fp8Block)], Some(Fp8)),
        (
            "deepseek-ai/DeepSeek-V3",
            &[
                (Attention, Fp8Block),
                (Mlp, Fp8Block),
                (Experts, Fp8Block),
                (SharedExperts, Fp8Block),
                (Mtp, Fp8Block),
            ],
            Some(Fp8),
        ),
        ("openai/gpt-oss-120b", &[(Experts, Mxfp4)], None),
        ("moonshotai/Kimi-K2.5", &[(Experts, Int4)], None),
        ("nvidia/MiniMax-M2.5-NVFP4", &[(Experts, Nvfp4)], Some(Nvfp4)),
        ("nvidia/Kimi-K2.5-NVFP4", &[(Mlp, Nvfp4), (Experts, Nvfp4), (SharedExperts, Nvfp4)], Some(Nvfp4)),
        ("nvidia/Gemma-4-26B-A4B-NVFP4", &[(Experts, Nvfp4)], Some(Nvfp4)),
        (
            "nvidia/Qwen3.6-27B-NVFP4",
            &[(Attention, Fp8), (LinearAttention, Fp8), (Mlp, Nvfp4), (LmHead, Nvfp4)],
            None,
        ),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", &[(Attention, Fp8), (Mlp, Fp8)], Some(Fp8)),
    ] {
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.quantized, classes(quantized), "{name}");
        assert_eq!(checkpoint.activations, activations, "{name}");
    }
    assert_eq!(fixture("nvidia/MiniMax-M2.5-NVFP4").kv_cache, Some(Fp8));
    assert_eq!(fixture("moonshotai/Kimi-K2.5").group_size, Some(32));
    assert_eq!(fixture("Qwen/Qwen3-8B"), Checkpoint::plain(DataType::Bf16));
}

#[test]
fn quantisers() {
    use DataType::{Fp8, Int4, Int8, Mxfp4, Ternary};
    let linear = |format| classes(&[(Attention, format), (Mlp, format)]);
    for (config, quantized, activations, group) in [
        (
            r#"{"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": true}"#,
            linear(Int4),
            None,
            Some(128),
        ),
        (
            r#"{"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": true}"#,
            linear(Int4),
            None,
            Some(64),
        ),
        (r#"{"quant_method": "gptq", "bits": 8, "group_size": -1}"#, linear(Int8), None, None),
        (r#"{"bits": 4, "group_size": 64}"#, linear(Int4), None, Some(64)), // MLX
        (r#"{"quant_method": "fp8", "activation_scheme": "static"}"#, linear(Fp8), Some(Fp8), None),
        (
            r#"{"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}"#,
            linear(Fp8),
            Some(Fp8),
            None,
        ),
        (
            r#"{"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false}"#,
            linear(Int4),
            None,
            Some(64),
        ),
        (r#"{"quant_method": "bitsandbytes", "load_in_8bit": true}"#, linear(Int8), Some(Int8), None),
        (r#"{"quant_method": "bitnet"}"#, linear(Ternary), Some(Int8), None),
        (
            r#"{"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0":
                {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
                 "input_activations": {"num_bits": 8, "type": "int", "strategy": "token"}}}}"#,
            linear(Int8),
            Some(Int8),
            None,
        ),
        (
            r#"{"quant_method": "compressed-tensors", "ignore": ["re:.*self_attn.*"], "config_groups": {"group_0":
                {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}}}}"#,
            classes(&[(Mlp, Int4)]),
            None,
            Some(128),
        ),
        (
            r#"{"quant_method": "quark", "exclude": ["lm_head"], "global_quant_config":
                {"weight": {"dtype": "fp4", "group_size": 32}, "input_tensors": {"dtype": "fp4"}}}"#,
            linear(Mxfp4),
            Some(Mxfp4),
            None,
        ),
        (
            r#"{"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}"#,
            linear(Int4),
            None,
            None,
        ),
    ] {
        let checkpoint = llama(config);
        assert_eq!(checkpoint.quantized, quantized, "{config}");
        assert_eq!((checkpoint.activations, checkpoint.group_size), (activations, group), "{config}");
    }
}

#[test]
fn an_unknown_quantiser_is_named() {
    let text = configs::text("meta-llama/Llama-3.1-8B");
    let text = text.replacen('{', "{\"quantization_config\": {\"quant_method\": \"brand-new\"},", 1);
    let spec = hf::read_config(&text, "config.json").unwrap();
    assert!(spec.warnings.iter().any(|w| w.contains("brand-new")), "{:?}", spec.warnings);
}

#[test]
fn a_quantisation_beside_the_configuration() {
    let mut spec = configs::read("nvidia/Qwen3-235B-A22B-NVFP4");
    let text = r#"{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head"]}}"#;
    hf::apply_quantization(&mut spec, text, "hf_quant_config.json").unwrap();
    let nvfp4 = DataType::Nvfp4;
    assert_eq!(spec.checkpoint.quantized, classes(&[(Attention, nvfp4), (Experts, nvfp4)]));
    assert_eq!(spec.checkpoint.kv_cache, Some(DataType::Fp8));
}
