//! Every reader, on random bytes and on valid inputs with damage: a result within a second, no panic.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::gguf::{F16, LLAMA_8B, Llama, llama};
use foretoken::spec::{Accelerator, ModelSpec, Offers, gguf, hf, launch_line, safetensors};
use foretoken::units::{parse_bandwidth, parse_bytes, parse_duration, parse_number};
use proptest::prelude::*;

/// What may happen to a file on its way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Repeat(usize, usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    use Damage::{Cut, Flip, Insert, Remove, Repeat};
    let odd = prop_oneof![
        Just(b"-1".to_vec()),
        Just(b"1e308".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(b"null".to_vec()),
        Just(b"{".to_vec()),
        Just(b"[[[[[[[[".to_vec()),
        Just(b"\"".to_vec()),
        Just(vec![0xff; 8]),
        prop::collection::vec(any::<u8>(), 0..16),
    ];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, with)| Flip(at, with)),
        any::<usize>().prop_map(Cut),
        (any::<usize>(), 0..64_usize).prop_map(|(at, n)| Repeat(at, n)),
        (any::<usize>(), 0..64_usize).prop_map(|(at, n)| Remove(at, n)),
        (any::<usize>(), odd).prop_map(|(at, what)| Insert(at, what)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let length = bytes.len();
    let place = |at: usize| at % (length + 1);
    match damage {
        Damage::Flip(at, with) => {
            if let Some(byte) = bytes.get_mut(place(*at)) {
                *byte ^= with;
            }
        }
        Damage::Cut(at) => bytes.truncate(place(*at)),
        Damage::Repeat(at, n) => {
            let start = place(*at);
            let end = (start + n).min(bytes.len());
            let copy = bytes[start..end].to_vec();
            bytes.splice(start..start, copy);
        }
        Damage::Remove(at, n) => {
            let start = place(*at);
            bytes.drain(start..(start + n).min(bytes.len()));
        }
        Damage::Insert(at, what) => {
            let start = place(*at);
            bytes.splice(start..start, what.iter().copied());
        }
    }
}

fn exercise(spec: &ModelSpec) {
    let parameters = spec.parameters();
    assert!(parameters.active <= parameters.total);
    for group in &spec.layers {
        assert!(group.mixer.cache_elements(1e6) >= 0.0);
        let _ = group.mixer.state_bytes();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(reader: &str, bytes: &[u8]) {
    let start = Instant::now();
    match reader {
        "hf" => {
            if let Ok(spec) = hf::read_config(&text(bytes), "config.json") {
                exercise(&spec);
            }
        }
        "gguf" => {
            let _ = gguf::parse(bytes, "m.gguf", Some(bytes.len() as u64));
            if let Ok(spec) = gguf::parse(bytes, "m.gguf", None) {
                exercise(&spec);
            }
        }
        "model" => {
            if let Ok(spec) = ModelSpec::from_toml(&text(bytes), "m.toml") {
                exercise(&spec);
            }
        }
        "accelerator" => {
            let _ = Accelerator::from_toml(&text(bytes), "a.toml");
        }
        "price list" => {
            if let Ok(offers) = Offers::parse(&text(bytes), "p.csv") {
                let _ = offers.cloud(&text(bytes));
            }
        }
        "safetensors" => {
            let _ = safetensors::parse_header(bytes, "m", Some(bytes.len() as u64));
            let _ = safetensors::parse_header(bytes, "m", None);
        }
        "index" => {
            let _ = safetensors::parse_index(&text(bytes), "i");
        }
        "launch line" => {
            let _ = launch_line::parse(&text(bytes));
        }
        "units" => {
            let text = text(bytes);
            assert!(!parse_bytes(&text).is_ok_and(|b| !b.0.is_finite()));
            assert!(!parse_bandwidth(&text).is_ok_and(|b| !b.0.is_finite()));
            assert!(!parse_duration(&text).is_ok_and(|s| !s.0.is_finite()));
            let _ = parse_number(&text);
        }
        _ => unreachable!("no reader {reader}"),
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{reader} took {:?}", start.elapsed());
}

fn valid(reader: &str) -> Vec<u8> {
    match reader {
        "hf" => br#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
            "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16", "sliding_window": null,
            "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}"#
            .to_vec(),
        "gguf" => llama(&Llama { layers: 2, ..LLAMA_8B }, F16).bytes(),
        "model" => std::fs::read("models/llama-3.1-8b.toml").unwrap(),
        "accelerator" => std::fs::read("hardware/h100-sxm.toml").unwrap(),
        "price list" => std::fs::read("hardware/prices.csv").unwrap()[..2000].to_vec(),
        "safetensors" => {
            let json = br#"{"a":{"dtype":"BF16","shape":[4,8],"data_offsets":[0,64]},"__metadata__":{}}"#;
            [&(json.len() as u64).to_le_bytes()[..], json, &[0; 64]].concat()
        }
        "index" => br#"{"metadata":{"total_size":64},"weight_map":{"a":"m-00001-of-00001.safetensors"}}"#.to_vec(),
        "launch line" => {
            br#"X=1 vllm serve org/m --host '0.0.0.0' -tp 2 --max-model-len 32k --speculative-config '{"a": 1}'"#
                .to_vec()
        }
        _ => b"3.35TB/s".to_vec(),
    }
}

const READERS: [&str; 9] =
    ["hf", "gguf", "model", "accelerator", "price list", "safetensors", "index", "launch line", "units"];

#[test]
fn undamaged_inputs_are_read() {
    assert!(hf::read_config(&text(&valid("hf")), "c").is_ok());
    assert!(gguf::parse(&valid("gguf")[..], "m.gguf", None).is_ok());
    assert!(ModelSpec::from_toml(&text(&valid("model")), "m").is_ok());
    assert!(Accelerator::from_toml(&text(&valid("accelerator")), "a").is_ok());
    assert!(safetensors::parse_header(&valid("safetensors")[..], "m", None).is_ok());
    assert!(safetensors::parse_index(&text(&valid("index")), "i").is_ok());
    assert!(launch_line::parse(&text(&valid("launch line"))).unwrap().is_ok());
    assert!(parse_bandwidth(&text(&valid("units"))).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for reader in READERS {
            run(reader, &bytes);
        }
    }

    #[test]
    fn damaged_inputs_are_refused_or_read(damages in prop::collection::vec(damage(), 1..8)) {
        for reader in READERS {
            let mut bytes = valid(reader);
            for damage in &damages {
                apply(&mut bytes, damage);
            }
            run(reader, &bytes);
        }
    }
}
