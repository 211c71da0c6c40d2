//! GGUF headers: published models at their real sizes, hybrid layers, split and damaged files.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::gguf::{F16, F32, Gguf, LLAMA_8B, Llama, MXFP4, Q4_K, Q6_K, llama};
use foretoken::spec::model::{FeedForward, Mixer, TensorClass};
use foretoken::spec::{DataType, ModelSpec, SpecError, gguf};

fn read(g: &Gguf) -> Result<ModelSpec, SpecError> {
    gguf::parse(&g.bytes()[..], "models/m.gguf", None)
}

fn error(g: &Gguf) -> String {
    read(g).unwrap_err().to_string()
}

#[test]
fn llama_8b_has_its_published_parameters() {
    let file = llama(&LLAMA_8B, Q4_K);
    let spec = read(&file).unwrap();
    // Meta's model card: 8.03 billion; safetensors header: 8,030,261,248
    assert_eq!(spec.parameters().total, 8_030_261_248);
    assert_eq!(spec.id, "m");
    assert_eq!(spec.vocab_size, 128_256);
    assert_eq!(spec.max_position_embeddings, Some(131_072));
    assert_eq!(spec.layers.len(), 1);
    assert_eq!(spec.layers[0].count, 32);
    assert!(matches!(
        spec.layers[0].mixer,
        Mixer::GroupedQuery { heads: 32, kv_heads: 8, head_dim: 128, window: None, .. }
    ));
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    // The rotary table is bytes but no parameters. All tensors here fill whole 32-byte units.
    assert_eq!(spec.checkpoint_bytes, Some(file.data()));
    let c = &spec.checkpoint;
    assert_eq!(c.method.as_deref(), Some("gguf"));
    assert_eq!(c.format(TensorClass::Mlp), DataType::Q4K);
    assert_eq!(c.format(TensorClass::Attention), DataType::Q4K);
    assert_eq!(c.format(TensorClass::LmHead), DataType::Q6K);
    assert_eq!(c.format(TensorClass::Small), DataType::Fp32);
}

#[test]
fn without_output_the_table_is_both() {
    let sizes = Llama {
        layers: 16,
        hidden: 2048,
        heads: 32,
        head_dim: 64,
        feed_forward: 8192,
        tied: true,
        ..LLAMA_8B
    };
    let spec = read(&llama(&sizes, Q4_K)).unwrap();
    assert!(spec.embedding.tied);
    assert_eq!(spec.parameters().total, 1_235_814_400); // Llama 3.2 1B
    assert_eq!(spec.checkpoint.format(TensorClass::LmHead), DataType::Q6K);
}

#[test]
fn versions_2_and_3_are_read_and_others_refused() {
    let file = llama(&LLAMA_8B, F16);
    assert!(gguf::parse(&file.version(2)[..], "m.gguf", None).is_ok());
    for (version, word) in [(1, "convert"), (4, "unknown"), (3_u32.swap_bytes(), "big-endian")] {
        let message = gguf::parse(&file.version(version)[..], "m.gguf", None).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    assert!(gguf::parse(&b"PK\x03\x04"[..], "m.gguf", None).is_err());
}

#[test]
fn biases_and_head_norms_come_from_the_tensors() {
    let g = llama(&Llama { layers: 1, ..LLAMA_8B }, F16)
        .tensor("blk.0.attn_q.bias", &[4096], F32)
        .tensor("blk.0.attn_k.bias", &[1024], F32)
        .tensor("blk.0.attn_v.bias", &[1024], F32)
        .tensor("blk.0.attn_q_norm.weight", &[128], F32)
        .tensor("blk.0.attn_k_norm.weight", &[128], F32);
    let spec = read(&g).unwrap();
    let plain = read(&llama(&Llama { layers: 1, ..LLAMA_8B }, F16)).unwrap();
    assert_eq!(spec.parameters().total - plain.parameters().total, 4096 + 2 * 1024 + 2 * 128);
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
}

/// gpt-oss 20B: 24 layers, every second with a window, experts in MXFP4 with biases.
fn gpt_oss() -> Gguf {
    let mut g = Gguf::new("gpt-oss")
        .u32("gpt-oss.block_count", 24)
        .u32("gpt-oss.context_length", 131_072)
        .u32("gpt-oss.embedding_length", 2880)
        .u32("gpt-oss.attention.head_count", 64)
        .u32("gpt-oss.attention.head_count_kv", 8)
        .u32("gpt-oss.attention.key_length", 64)
        .u32("gpt-oss.attention.value_length", 64)
        .u32("gpt-oss.attention.sliding_window", 128)
        .u32("gpt-oss.expert_count", 32)
        .u32("gpt-oss.expert_used_count", 4)
        .tensor("token_embd.weight", &[2880, 201_088], F16)
        .tensor("output.weight", &[2880, 201_088], F16)
        .tensor("output_norm.weight", &[2880], F32);
    for i in 0..24 {
        let n = |s: &str| format!("blk.{i}.{s}");
        for (name, outputs) in [("attn_q", 4096), ("attn_k", 512), ("attn_v", 512)] {
            g = g.tensor(&n(&format!("{name}.weight")), &[2880, outputs], F16).tensor(
                &n(&format!("{name}.bias")),
                &[outputs],
                F32,
            );
        }
        for name in ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"] {
            g = g.tensor(&n(&format!("{name}.weight")), &[2880, 2880, 32], MXFP4).tensor(
                &n(&format!("{name}.bias")),
                &[2880, 32],
                F32,
            );
        }
        g = g
            .tensor(&n("attn_norm.weight"), &[2880], F32)
            .tensor(&n("post_attention_norm.weight"), &[2880], F32)
            .tensor(&n("attn_sinks.weight"), &[64], F32)
            .tensor(&n("attn_output.weight"), &[4096, 2880], F16)
            .tensor(&n("attn_output.bias"), &[2880], F32)
            .tensor(&n("ffn_gate_inp.weight"), &[2880, 32], F32)
            .tensor(&n("ffn_gate_inp.bias"), &[32], F32);
    }
    g
}

#[test]
fn gpt_oss_has_windows_sinks_and_experts() {
    let spec = read(&gpt_oss()).unwrap();
    assert_eq!(spec.parameters().total, 20_914_757_184); // OpenAI's model card: 20.91 billion
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    assert_eq!(spec.layers.len(), 2);
    assert!(spec.layers.iter().all(|g| g.count == 12));
    assert_eq!(spec.layers[0].mixer.window(), Some(128));
    assert_eq!(spec.layers[1].mixer.window(), None);
    assert_eq!(spec.checkpoint.format(TensorClass::Experts), DataType::Mxfp4);
    assert_eq!(spec.checkpoint.format(TensorClass::Attention), DataType::Fp16);
}

/// DeepSeek-V2-Lite's shapes, in the layout of 2024 (`split` false) or with the up projection split.
fn deepseek(split: bool) -> Gguf {
    let (d, h, rank, rope, nope, value) = (2048, 16, 512, 64, 128, 128);
    let mut g = Gguf::new("deepseek2")
        .u32("deepseek2.block_count", 27)
        .u32("deepseek2.embedding_length", 2048)
        .u32("deepseek2.attention.head_count", 16)
        .u32("deepseek2.attention.kv_lora_rank", 512)
        .u32("deepseek2.rope.dimension_count", 64)
        .u32("deepseek2.expert_used_count", 6)
        .tensor("token_embd.weight", &[d, 102_400], Q6_K)
        .tensor("output.weight", &[d, 102_400], Q6_K)
        .tensor("output_norm.weight", &[d], F32);
    g = if split {
        g.u32("deepseek2.attention.head_count_kv", 1)
            .u32("deepseek2.attention.key_length", 576)
            .u32("deepseek2.attention.value_length", 512)
            .u32("deepseek2.attention.key_length_mla", 192)
            .u32("deepseek2.attention.value_length_mla", 128)
    } else {
        // MiniCPM3's converter leaves the width of a value head out.
        g.u32("deepseek2.attention.key_length", 192)
    };
    for i in 0..27 {
        let n = |s: &str| format!("blk.{i}.{s}.weight");
        g = g
            .tensor(&n("attn_norm"), &[d], F32)
            .tensor(&n("attn_q"), &[d, h * (nope + rope)], Q4_K)
            .tensor(&n("attn_kv_a_mqa"), &[d, rank + rope], Q4_K)
            .tensor(&n("attn_kv_a_norm"), &[rank], F32)
            .tensor(&n("attn_output"), &[h * value, d], Q4_K)
            .tensor(&n("ffn_norm"), &[d], F32);
        g = if split {
            g.tensor(&n("attn_k_b"), &[nope, rank, h], F16).tensor(&n("attn_v_b"), &[rank, value, h], F16)
        } else {
            g.tensor(&n("attn_kv_b"), &[rank, h * (nope + value)], Q4_K)
        };
        let blocks: &[(&str, u64, &[u64])] =
            if i == 0 { &[("", 10_944, &[])] } else { &[("_exps", 1408, &[64]), ("_shexp", 2816, &[])] };
        for (suffix, width, experts) in blocks {
            let dims = |a: u64, b: u64| [&[a, b][..], experts].concat();
            g = g
                .tensor(&n(&format!("ffn_gate{suffix}")), &dims(d, *width), F16)
                .tensor(&n(&format!("ffn_up{suffix}")), &dims(d, *width), F16)
                .tensor(&n(&format!("ffn_down{suffix}")), &dims(*width, d), F16);
        }
        if i > 0 {
            g = g.tensor(&n("ffn_gate_inp"), &[d, 64], F32);
        }
    }
    g
}

#[test]
fn latent_attention_reads_alike_in_both_layouts() {
    for split in [false, true] {
        let spec = read(&deepseek(split)).unwrap();
        assert_eq!(spec.parameters().total, 15_706_484_224); // DeepSeek-V2-Lite: 15.7 billion
        assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
        assert!(matches!(
            spec.layers[1].mixer,
            Mixer::Latent {
                kv_lora_rank: 512,
                qk_nope_head_dim: 128,
                qk_rope_head_dim: 64,
                v_head_dim: 128,
                ..
            }
        ));
        assert!(matches!(
            spec.layers[1].feed_forward,
            FeedForward::Moe { experts: 64, top_k: 6, shared_intermediate_size: 2816, .. }
        ));
        assert_eq!(spec.layers.iter().map(|g| g.count).collect::<Vec<_>>(), [1, 26]);
    }
}

/// One recurrent and one attention layer with shared sizes, the way hybrids are built.
fn hybrid() -> Gguf {
    Gguf::new("granitehybrid")
        .u32("granitehybrid.block_count", 2)
        .u32("granitehybrid.embedding_length", 256)
        .u32("granitehybrid.attention.head_count", 4)
        .u32s("granitehybrid.attention.head_count_kv", &[0, 2])
        .u32("granitehybrid.ssm.conv_kernel", 4)
        .u32("granitehybrid.ssm.inner_size", 512)
        .u32("granitehybrid.ssm.state_size", 64)
        .u32("granitehybrid.ssm.group_count", 1)
        .u32("granitehybrid.ssm.time_step_rank", 8)
        .tensor("token_embd.weight", &[256, 1000], F16)
        .tensor("output_norm.weight", &[256], F32)
        .tensor("blk.0.attn_norm.weight", &[256], F32)
        .tensor("blk.0.ssm_in.weight", &[256, 2 * 512 + 2 * 64 + 8], F16)
        .tensor("blk.0.ssm_conv1d.weight", &[4, 512 + 2 * 64], F32)
        .tensor("blk.0.ssm_conv1d.bias", &[512 + 2 * 64], F32)
        .tensor("blk.0.ssm_dt.bias", &[8], F32)
        .tensor("blk.0.ssm_a", &[1, 8], F32)
        .tensor("blk.0.ssm_d", &[1, 8], F32)
        .tensor("blk.0.ssm_norm.weight", &[512, 1], F32)
        .tensor("blk.0.ssm_out.weight", &[512, 256], F16)
        .tensor("blk.1.attn_norm.weight", &[256], F32)
        .tensor("blk.1.attn_q.weight", &[256, 256], F16)
        .tensor("blk.1.attn_k.weight", &[256, 128], F16)
        .tensor("blk.1.attn_v.weight", &[256, 128], F16)
        .tensor("blk.1.attn_output.weight", &[256, 256], F16)
        .tensor("blk.1.ffn_up.weight", &[256, 768], F16)
        .tensor("blk.1.ffn_down.weight", &[768, 256], F16)
}

#[test]
fn hybrid_layers_are_told_apart_by_their_tensors() {
    let spec = read(&hybrid()).unwrap();
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    assert!(matches!(spec.layers[0].mixer, Mixer::Mamba2 { heads: 8, head_dim: 64, conv_bias: true, .. }));
    assert!(matches!(spec.layers[0].feed_forward, FeedForward::None));
    assert!(matches!(spec.layers[1].feed_forward, FeedForward::Dense { gated: false, .. }));
    // By hand: 256·1000 + 256; 256 + 256·1160 + 640·5 + 3·8 + 512 + 512·256;
    // 256 + 2·256·256 + 2·256·128 + 2·256·768
    let expected = 256_256 + (256 + 296_960 + 3200 + 24 + 512 + 131_072) + (256 + 131_072 + 65_536 + 393_216);
    assert_eq!(spec.parameters().total, expected);
}

#[test]
fn two_mixers_side_by_side_are_two_groups() {
    let side_by_side = hybrid()
        .tensor("blk.0.attn_q.weight", &[256, 256], F16)
        .tensor("blk.0.attn_k.weight", &[256, 128], F16)
        .tensor("blk.0.attn_v.weight", &[256, 128], F16)
        .tensor("blk.0.attn_output.weight", &[256, 256], F16);
    let (spec, alone) = (read(&side_by_side).unwrap(), read(&hybrid()).unwrap());
    assert_eq!(spec.parameters().total - alone.parameters().total, 2 * 256 * 256 + 2 * 256 * 128);
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    assert!(matches!(spec.layers[0].mixer, Mixer::Mamba2 { .. }));
    assert!(matches!(spec.layers[1].mixer, Mixer::GroupedQuery { .. }));
}

#[test]
fn layers_that_reuse_a_cache_keep_their_tensors() {
    let sizes = Llama { layers: 4, ..LLAMA_8B };
    let (plain, shared) = (llama(&sizes, F16), llama(&sizes, F16).u32("llama.attention.shared_kv_layers", 1));
    let (plain, shared) = (read(&plain).unwrap(), read(&shared).unwrap());
    assert_eq!(plain.parameters().total, shared.parameters().total);
    assert_eq!(shared.kv_bytes_per_token(2.0) / plain.kv_bytes_per_token(2.0), 0.75);
    assert!(shared.warnings.is_empty(), "{:?}", shared.warnings);
}

#[test]
fn prediction_layers_stand_apart() {
    let sizes = Llama { layers: 4, ..LLAMA_8B };
    let with = read(&llama(&sizes, F16).u32("llama.nextn_predict_layers", 1)).unwrap();
    let without = read(&llama(&Llama { layers: 3, ..LLAMA_8B }, F16)).unwrap();
    let mtp = with.mtp.as_ref().unwrap();
    assert_eq!((mtp.layers, with.layer_count()), (1, 3));
    assert_eq!(with.parameters().total, without.parameters().total + mtp.parameters);
    assert_eq!(with.parameters().total, read(&llama(&sizes, F16)).unwrap().parameters().total);
}

#[test]
fn gated_queries_are_twice_as_wide() {
    let sizes = Llama { layers: 1, ..LLAMA_8B };
    let bytes = llama(&sizes, F16).bytes();
    // attn_q's second size, 4096 → 8192, behind its name, rank and first size
    let name = b"blk.0.attn_q.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 4 + 8;
    let mut gated = bytes.clone();
    gated[at..at + 8].copy_from_slice(&8192_u64.to_le_bytes());
    let spec = gguf::parse(&gated[..], "m.gguf", None).unwrap();
    assert!(matches!(spec.layers[0].mixer, Mixer::GroupedQuery { output_gate_size: 4096, .. }));
    gated[at..at + 8].copy_from_slice(&5000_u64.to_le_bytes());
    let message = gguf::parse(&gated[..], "m.gguf", None).unwrap_err().to_string();
    assert!(message.contains("blk.0.attn_q.weight") && message.contains("5000"), "{message}");
}

#[test]
fn windows_follow_the_file_or_the_architecture() {
    let sizes = Llama { layers: 4, ..LLAMA_8B };
    let with = |g: Gguf| read(&g).unwrap();
    let windowed = llama(&sizes, F16).u32("llama.attention.sliding_window", 512);
    let spec = with(windowed.clone());
    assert_eq!(spec.layers[0].mixer.window(), None);
    assert!(spec.warnings[0].contains("sliding_window"), "{:?}", spec.warnings);
    let by_period = with(windowed.clone().u32("llama.attention.sliding_window_pattern", 4));
    let count = |s: &ModelSpec, w| s.layers.iter().find(|g| g.mixer.window() == w).map(|g| g.count);
    assert_eq!((count(&by_period, Some(512)), count(&by_period, None)), (Some(3), Some(1)));
    let by_list = with(windowed.bools("llama.attention.sliding_window_pattern", &[true, false]));
    assert_eq!((count(&by_list, Some(512)), count(&by_list, None)), (Some(2), Some(2)));
}

#[test]
fn what_is_not_understood_is_counted_and_named() {
    let g = llama(&Llama { layers: 2, ..LLAMA_8B }, F16)
        .tensor("blk.0.mystery.weight", &[4096, 10], F16)
        .tensor("blk.1.mystery.weight", &[4096, 10], F16);
    let spec = read(&g).unwrap();
    let plain = read(&llama(&Llama { layers: 2, ..LLAMA_8B }, F16)).unwrap();
    assert_eq!(spec.parameters().total - plain.parameters().total, 2 * 40_960);
    assert_eq!(spec.warnings.len(), 1);
    assert!(spec.warnings[0].contains("in 2 layers") && spec.warnings[0].contains("mystery"));
}

#[test]
fn other_kinds_of_file_are_refused_by_name() {
    assert!(error(&Gguf::new("clip")).contains("encoder with its projector"));
    assert!(error(&Gguf::new("bert")).contains("a text encoder"));
    assert!(error(&Gguf::new("llama").string("general.type", "adapter")).contains("LoRA"));
    assert!(error(&Gguf::default()).contains("general.architecture"));
    assert!(error(&Gguf::new("llama")).contains("llama.block_count"));
    let g = Gguf::new("rwkv7").u32("rwkv7.block_count", 1).u32("rwkv7.embedding_length", 64);
    assert!(error(&g.tensor("blk.0.time_mix_w0.weight", &[64], F32)).contains("time_mix"));
    let unknown = llama(&LLAMA_8B, F16).tensor("x", &[1], 77);
    assert!(error(&unknown).contains("unknown type 77"));
}

#[test]
fn a_truncated_header_ends_with_a_message() {
    let bytes = hybrid().bytes();
    for end in 0..bytes.len() {
        assert!(gguf::parse(&bytes[..end], "m.gguf", None).is_err(), "cut at {end}");
        assert!(gguf::parse(&bytes[..end], "m.gguf", Some(end as u64)).is_err(), "cut at {end}");
    }
    assert!(gguf::parse(&bytes[..], "m.gguf", None).is_ok());
}

#[test]
fn claims_beyond_the_file_are_refused_without_allocating() {
    let head = |tensors: u64, keys: u64| {
        [&b"GGUF"[..], &3_u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
    };
    for (tensors, keys) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 1 << 40), (1, 1)] {
        assert!(gguf::parse(&head(tensors, keys)[..], "m.gguf", None).is_err());
    }
    let claims = |bytes: &[u8]| error(&Gguf::new("llama").raw("k", 9, bytes));
    let array = |kind: u32, length: u64| [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat();
    for kind in [0, 4, 8, 9, 10] {
        assert!(claims(&array(kind, u64::MAX / 2)).contains("more than the file holds"));
    }
    assert!(claims(&array(13, 1)).contains("unknown type 13"));
    let nested = [array(9, 1), array(9, 1), array(9, 1), array(9, 1), array(9, 1), array(4, 0)].concat();
    assert!(claims(&nested).contains("nests arrays too deeply"));
    assert!(error(&llama(&LLAMA_8B, F16).tensor("x", &[1 << 50, 2], F32)).contains("absurd shape"));
    assert!(error(&llama(&LLAMA_8B, F16).u32("llama.block_count", 3)).contains("twice"));
}

#[test]
fn split_models_are_read_whole_and_missing_parts_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |i: u32| directory.path().join(format!("big-{i:05}-of-00002.gguf"));
    let whole = read(&llama(&LLAMA_8B, Q4_K)).unwrap();
    // Embedding table, rotary table and three layers of nine tensors; then the others.
    let (first, second) = llama(&LLAMA_8B, Q4_K).split(2 + 3 * 9);
    std::fs::write(path(1), first.bytes()).unwrap();
    let alone = gguf::read(&path(1)).unwrap();
    assert_eq!(alone.layer_count(), 32);
    assert_eq!(alone.checkpoint_bytes, None);
    assert!(alone.warnings.iter().any(|w| w.contains("00002-of-00002")), "{:?}", alone.warnings);
    std::fs::write(path(2), second.bytes()).unwrap();
    for i in [1, 2] {
        let spec = gguf::read(&path(i)).unwrap();
        assert_eq!(spec.parameters(), whole.parameters());
        assert_eq!(spec.checkpoint_bytes, whole.checkpoint_bytes);
        assert!(spec.warnings.iter().any(|w| w.contains("is the download complete")));
    }
}
