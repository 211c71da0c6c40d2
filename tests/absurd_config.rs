//! Rubbish in, one clear line out: every field of real configurations made absurd in turn, text cut
//! off, nested without end, or no text at all. Nothing panics, nothing takes long, every refusal is
//! one line that names the file and, where a field is to blame, the field.
#![allow(clippy::unwrap_used)]

#[path = "common/configs.rs"]
mod configs;

use foretoken::spec::{SpecError, hf};
use serde_json::Value;
use std::time::{Duration, Instant};

const MODELS: [&str; 13] = [
    "meta-llama/Llama-3.1-8B",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-30B-A3B-FP8",
    "deepseek-ai/DeepSeek-V3",
    "zai-org/GLM-5.2",
    "openai/gpt-oss-20b",
    "tiiuae/falcon-40b",
    "mosaicml/mpt-7b",
    "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "moonshotai/Kimi-K2.5",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "deepseek-ai/DeepSeek-V4-Flash",
];

/// Stands for a literal that JSON does not know; replaced in the text.
const NOT_A_NUMBER: &str = "@NaN@";

fn absurdities() -> Vec<Value> {
    let texts = [
        "0",
        "-1",
        "1e12",
        "null",
        "\"abc\"",
        "[]",
        "{}",
        "true",
        "0.5",
        "1",
        "3",
        "100000000",
        "[1e12]",
        "[[]]",
        "\"\\n\"",
    ];
    let mut all: Vec<Value> = texts.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
    all.push(NOT_A_NUMBER.into());
    all
}

/// Reads; checks time and the form of a refusal.
fn read(text: &str) -> Result<(), SpecError> {
    let start = Instant::now();
    let result = hf::read_config(text, "some/config.json").map(|spec| {
        // What everyone asks next must not overflow either.
        let parameters = spec.parameters();
        assert!(parameters.active <= parameters.total);
        assert!(spec.kv_bytes_per_token(2.0).is_finite());
    });
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    if let Err(error) = &result {
        let message = error.to_string();
        assert!(message.starts_with("some/config.json: "), "names no file: {message}");
        assert!(!message.contains('\n') && message.len() < 600, "more than one line: {message}");
    }
    result
}

/// Every place in a JSON value, as pointers; of long lists the first entries stand for all.
fn places(value: &Value, path: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => list.iter().take(2).enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => vec![],
    };
    for (key, child) in children {
        let place = format!("{path}/{key}");
        places(child, &place, out);
        out.push(place);
    }
}

#[test]
fn every_field_absurd_in_turn() {
    for name in MODELS {
        let original: Value = serde_json::from_str(&configs::text(name)).unwrap();
        let mut pointers = vec![];
        places(&original, "", &mut pointers);
        for place in pointers {
            for absurd in absurdities() {
                let mut changed = original.clone();
                *changed.pointer_mut(&place).unwrap() = absurd;
                let text = changed.to_string().replace(&format!("\"{NOT_A_NUMBER}\""), "NaN");
                let error = read(&text).err();
                if let Some(SpecError::Syntax { .. }) = error {
                    panic!("{name} {place}: {}", error.unwrap());
                }
            }
        }
    }
}

#[test]
fn a_size_that_is_none_is_refused_by_name() {
    let original: Value = serde_json::from_str(&configs::text("meta-llama/Llama-3.1-8B")).unwrap();
    let sizes =
        ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"];
    for key in sizes {
        for bad in ["0", "-1", "1e12", "\"abc\"", "[]", "{}", "true", "0.5", "NaN", "Infinity", "null"] {
            let text = original.to_string().replacen(
                &format!("\"{key}\":{}", original[key]),
                &format!("\"{key}\":{bad}"),
                1,
            );
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{key} = {bad}: {message}");
        }
    }
}

#[test]
fn text_cut_off_anywhere() {
    for name in MODELS {
        let text = configs::text(name);
        let whole = text.trim_end().len();
        for end in (0..whole).step_by(50).filter(|end| text.is_char_boundary(*end)) {
            assert!(matches!(read(&text[..end]), Err(SpecError::Syntax { .. })), "{name} cut at {end}");
        }
    }
}

#[test]
fn nesting_without_end() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"text_config\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        assert!(matches!(read(&deep), Err(SpecError::Syntax { .. })));
        assert!(matches!(
            read(&format!("{{\"model_type\":\"llama\",\"x\":{deep}}}")),
            Err(SpecError::Syntax { .. })
        ));
    }
    let shallow = format!("{}{{}}{}", "{\"text_config\":".repeat(50), "}".repeat(50));
    assert!(read(&shallow).is_err());
}

#[test]
fn no_configuration_at_all() {
    for text in
        ["", " ", "null", "[]", "1", "\"text\"", "{", "{}", "{\"model_type\":1}", "{\"model_type\":\"\\n\"}"]
    {
        assert!(read(text).is_err(), "{text}");
    }
    // Bytes of a generator (xorshift), read as Latin-1 would.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..200 {
        let garbage: String = (0..500)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(state as u8)
            })
            .collect();
        assert!(read(&garbage).is_err());
    }
}

#[test]
fn what_is_no_language_model_is_refused_by_name() {
    for (text, what) in [
        (r#"{"_class_name": "FluxTransformer2DModel", "num_layers": 19}"#, "diffusion"),
        (r#"{"model_type": "clip", "text_config": {}, "vision_config": {}}"#, "embedding model"),
        (r#"{"model_type": "whisper", "d_model": 1280}"#, "speech"),
        (r#"{"model_type": "bert", "hidden_size": 768}"#, "text encoder"),
        (r#"{"model_type": "t5", "d_model": 512, "is_encoder_decoder": true}"#, "encoder–decoder"),
        (r#"{"model_type": "vit", "hidden_size": 768}"#, "image encoder"),
        (r#"{"model_type": "qwen3", "architectures": ["Qwen3ForSequenceClassification"]}"#, "classifier"),
        (r#"{"model_type": "fresh", "is_encoder_decoder": true}"#, "encoder–decoder"),
    ] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, SpecError::NotALanguageModel { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn an_unknown_model_type_says_what_it_assumed() {
    let text = configs::text("meta-llama/Llama-3.1-8B").replace("\"llama\"", "\"brand_new\"");
    let text = text.replace("LlamaForCausalLM", "BrandNewForCausalLM");
    let spec = hf::read_config(&text, "config.json").unwrap();
    assert_eq!(spec.parameters(), configs::read("meta-llama/Llama-3.1-8B").parameters());
    let warning = &spec.warnings[0];
    for assumed in ["brand_new", "RMSNorm", "gated"] {
        assert!(warning.contains(assumed), "{warning}");
    }
}
