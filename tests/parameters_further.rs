//! Totals that Hugging Face states for files of further models, as public repositories quote them:
//! of configurations among the fixtures that `params.csv` has no row for, and of models whose published
//! dimensions are written down here.
#![allow(clippy::unwrap_used)]

#[path = "common/configs.rs"]
mod configs;

use foretoken::spec::ModelSpec;
use foretoken::spec::hf::read_config;

fn total(spec: &ModelSpec) -> u64 {
    spec.parameters().total
}

#[test]
fn fixtures_without_a_row_meet_their_totals() {
    for (name, stated) in [
        ("deepseek-ai/DeepSeek-V4-Pro", 1_598_839_674_782),
        ("deepseek-ai/DeepSeek-R1", 684_489_845_504),
        ("deepseek-ai/DeepSeek-V3.2-Exp", 685_355_329_792), // as stated for V3.2, which has no scales counted
        ("Qwen/Qwen3.5-27B", 27_781_427_952),
        ("google/gemma-4-26B-A4B", 25_805_936_206),
        ("nvidia/Gemma-4-31B-IT-NVFP4", 31_273_088_876), // as stated for the unquantised model
        ("mistralai/Devstral-Small-2-24B-Instruct-2512", 24_011_361_280), // as Mistral-Small-3.2, of the same shape
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_937_344),
        ("tiiuae/falcon-mamba-7b", 7_272_665_088),
    ] {
        assert_eq!(total(&configs::read(name)), stated, "{name}");
    }
    // Stated as 2,779.9 · 10⁹ and as 49.9 · 10⁹.
    assert_eq!(total(&configs::read("moonshotai/Kimi-K3")) / 100_000_000, 27_799);
    assert_eq!(total(&configs::read("nvidia/Llama-3_3-Nemotron-Super-49B-v1")) / 100_000_000, 498);
}

/// Step 3.5 is Step 3.7 without the tower.
#[test]
fn a_model_without_its_tower() {
    let spec = configs::read("stepfun-ai/Step-3.7-Flash");
    assert_eq!(total(&spec) - spec.parameters().vision, 199_384_301_376);
}

/// Published dimensions, and the total that is stated for the files.
const MODELS: &[(&str, &str, u64)] = &[
    (
        "LiquidAI/LFM2-1.2B",
        r#"{"model_type": "lfm2", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "block_ff_dim": 12288, "block_auto_adjust_ff_dim": true,
            "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "conv_L_cache": 3,
            "full_attn_idxs": [2, 5, 8, 10, 12, 14], "vocab_size": 65536}"#,
        1_170_340_608,
    ),
    (
        "ibm-granite/granite-4.0-h-tiny",
        r#"{"model_type": "granitemoehybrid", "hidden_size": 1536, "num_hidden_layers": 40,
            "num_attention_heads": 12, "num_key_value_heads": 4, "num_local_experts": 64,
            "num_experts_per_tok": 6, "intermediate_size": 512, "shared_intermediate_size": 1024,
            "mamba_n_heads": 48, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1,
            "mamba_d_conv": 4, "mamba_expand": 2, "tie_word_embeddings": true, "vocab_size": 100352}"#,
        6_939_037_248,
    ),
    (
        "zai-org/GLM-4.5-Air",
        r#"{"model_type": "glm4_moe", "hidden_size": 4096, "num_hidden_layers": 46, "num_attention_heads": 96,
            "num_key_value_heads": 8, "head_dim": 128, "attention_bias": true, "use_qk_norm": false,
            "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 128,
            "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 1, "vocab_size": 151552}"#,
        110_468_824_832,
    ),
    (
        "MiniMaxAI/MiniMax-M1-80k",
        r#"{"model_type": "minimax_m1", "hidden_size": 6144, "num_hidden_layers": 80,
            "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9216,
            "num_local_experts": 32, "num_experts_per_tok": 2, "vocab_size": 200064, "attn_type_list":
            [0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,
             0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1]}"#,
        456_089_655_296,
    ),
    (
        "google/gemma-3-4b-it",
        r#"{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
            "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024},
            "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}}"#,
        4_300_079_472,
    ),
];

#[test]
fn published_dimensions_give_the_stated_totals() {
    for (name, text, stated) in MODELS {
        assert_eq!(total(&read_config(text, name).unwrap()), *stated, "{name}");
    }
}

/// Transformers 5 writes the fields of Kimi-Linear under other names.
#[test]
fn renamed_fields_give_the_same_model() {
    let kimi = r#"{"model_type": "kimi_linear", "hidden_size": 2304, "num_hidden_layers": 4,
        "linear_num_heads": 32, "linear_head_dim": 128, "linear_conv_kernel_dim": 4,
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        "num_attention_heads": 32, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "intermediate_size": 9216, "moe_intermediate_size": 1024, "num_experts": 256,
        "num_experts_per_token": 8, "num_shared_experts": 1, "first_k_dense_replace": 1, "vocab_size": 163840}"#;
    let original = kimi.replace(
        r#""linear_num_heads": 32, "linear_head_dim": 128, "linear_conv_kernel_dim": 4,"#,
        r#""linear_attn_config": {"num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4,
           "kda_layers": [1, 2, 3], "full_attn_layers": [4]},"#,
    );
    let (renamed, original) = (read_config(kimi, "k").unwrap(), read_config(&original, "k").unwrap());
    assert_eq!(renamed, original);
}
