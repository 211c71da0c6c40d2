//! Parameter counts of small made-up models, one for every kind of architecture, added up by hand
//! (D = 8, 2 layers, 2 heads of 4, F = 16, V = 10 unless said otherwise).

use super::read_config;

/// Parameters of a configuration with the usual sizes and `more`.
fn total(model_type: &str, more: &str) -> u64 {
    let text = format!(
        r#"{{"model_type": "{model_type}", "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 10{more}}}"#
    );
    read_config(&text, "config.json").unwrap().parameters().total
}

/// Query, key, value and output projections: 4·D².
const ATTENTION: u64 = 4 * 64;
/// Gate, up and down: 3·D·F.
const GATED: u64 = 3 * 128;
/// Up and down: 2·D·F.
const PLAIN: u64 = 2 * 128;
/// Embedding or output projection: V·D.
const TABLE: u64 = 80;

#[test]
fn llama_and_its_kin() {
    let llama = 2 * (ATTENTION + GATED + 16) + 2 * TABLE + 8;
    assert_eq!(total("llama", ""), llama);
    // Four biases of 8; gate, up and down of 16, 16, 8.
    assert_eq!(total("llama", r#", "attention_bias": true, "mlp_bias": true"#), llama + 2 * (32 + 40));
    assert_eq!(total("llama", r#", "tie_word_embeddings": true"#), llama - TABLE);
    // One key–value head: two projections of 8 × 4 less.
    assert_eq!(total("llama", r#", "num_key_value_heads": 1"#), llama - 2 * 64);
    assert_eq!(total("qwen2", ""), llama + 2 * 24);
    // Norms on queries and keys of width 4.
    assert_eq!(total("qwen3", r#", "head_dim": 4"#), llama + 2 * 8);
    // The same over the whole width.
    assert_eq!(total("olmo2", ""), llama + 2 * 16);
    assert_eq!(total("olmo", ""), llama - 2 * 16 - 8);
    assert_eq!(total("gemma2", r#", "head_dim": 4"#), llama - TABLE + 2 * 16);
    assert_eq!(total("glm4", r#", "attention_bias": true"#), llama + 2 * (24 + 16));
    assert_eq!(total("cohere", ""), llama - TABLE - 2 * 8);
    assert_eq!(total("arcee", ""), llama - 2 * 128);
    assert_eq!(total("apertus", ""), llama - 2 * 128 + 2 * (8 + 2));
    assert_eq!(total("bitnet", ""), llama + 2 * (8 + 16));
    // LayerNorm: every norm once more.
    assert_eq!(total("orion", ""), llama + 2 * 16 + 8);
    assert_eq!(total("nemotron", ""), llama - 2 * 128 + 2 * 16 + 8);
    assert_eq!(total("seed_oss", r#", "head_dim": 4"#), llama + 2 * 24);
}

#[test]
fn the_architectures_before() {
    // Biases: 4·8 in attention, 16 + 8 in the feed-forward part; two norms of 2·8.
    let layer = ATTENTION + PLAIN + 32 + 24 + 32;
    assert_eq!(total("gpt_neox", ""), 2 * layer + 2 * TABLE + 16);
    assert_eq!(total("gpt2", r#", "n_positions": 5"#), 2 * layer + TABLE + 40 + 16);
    assert_eq!(total("opt", r#", "max_position_embeddings": 5"#), 2 * layer + TABLE + 7 * 8 + 16);
    assert_eq!(total("bloom", ""), 2 * layer + TABLE + 2 * 16);
    // One norm, no biases in attention, a bias on the output projection.
    assert_eq!(total("gptj", ""), 2 * (layer - 32 - 16) + 2 * TABLE + 10 + 16);
    assert_eq!(total("phi", ""), 2 * (layer - 16) + 2 * TABLE + 10 + 16);
    // One key–value head of 4: 4·(D + 1) less for each of keys and values.
    assert_eq!(total("gpt_bigcode", r#", "n_positions": 5"#), 2 * (layer - 72) + TABLE + 40 + 16);
    assert_eq!(total("falcon", ""), 2 * (ATTENTION - 64 + PLAIN + 16) + TABLE + 16);
    assert_eq!(total("mpt", ""), 2 * (ATTENTION + PLAIN + 16) + TABLE + 8);
    // The first Qwen counts gate and up together.
    assert_eq!(total("qwen", ""), 2 * (ATTENTION + GATED / 2 + 24 + 16) + 2 * TABLE + 8);
}

#[test]
fn experts() {
    let rest = 2 * (ATTENTION + 16) + 2 * TABLE + 8;
    let four = r#", "num_experts": 4, "num_experts_per_tok": 2"#;
    assert_eq!(total("mixtral", four), rest + 2 * (4 * GATED + 32));
    // A shared expert of half the width with its gate; qkv biases.
    let shared = format!("{four}, \"shared_expert_intermediate_size\": 8");
    assert_eq!(total("qwen2_moe", &shared), rest + 2 * (4 * GATED + 32 + GATED / 2 + 8 + 24));
    // The first layer dense, a correction per expert.
    let first = format!("{four}, \"first_k_dense_replace\": 1, \"moe_intermediate_size\": 8");
    assert_eq!(total("glm4_moe", &first), rest + GATED + 4 * GATED / 2 + 32 + 4);
    // Biases everywhere, a sink per head.
    let biases = 32 + 4 + 4 * 40 + 2;
    assert_eq!(total("gpt_oss", &format!("{four}, \"head_dim\": 4")), rest + 2 * (4 * GATED + 32 + biases));
}

#[test]
fn latent_attention() {
    let latent = r#", "kv_lora_rank": 4, "q_lora_rank": 6, "qk_nope_head_dim": 3, "qk_rope_head_dim": 2, "v_head_dim": 5,
        "num_nextn_predict_layers": 0"#;
    // Down to 6 and up to 2·(3 + 2); down to 4 + 2, up to 2·(3 + 5); 2·5 back; two norms.
    let attention = 48 + 60 + 48 + 64 + 80 + 10;
    assert_eq!(total("deepseek_v3", latent), 2 * (attention + GATED + 16) + 2 * TABLE + 8);
    // Indexer of 3 heads of 2: 6·6 + 8·2 + 8·3 + 2·2.
    let sparse = format!(r#"{latent}, "index_topk": 7, "index_n_heads": 3, "index_head_dim": 2"#);
    assert_eq!(total("deepseek_v32", &sparse), total("deepseek_v3", latent) + 2 * 80);
}
