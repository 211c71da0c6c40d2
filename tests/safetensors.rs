//! Weight files beside a configuration: exact bytes, contradictions, damaged files.
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::spec::catalog::read_model;
use foretoken::spec::safetensors::{parse_header, parse_index};
use std::path::Path;

/// A file with these tensors (name, dtype, shape, bytes an element) and `data` bytes behind the header.
fn file(tensors: &[(&str, &str, &[u64], u64)], data: Option<usize>) -> Vec<u8> {
    let mut offset = 0;
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    for (name, dtype, shape, width) in tensors {
        let end = offset + shape.iter().product::<u64>() * width;
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{offset},{end}]}}"#
        ));
        offset = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data.unwrap_or(offset as usize), 0);
    bytes
}

/// One layer of width 8 with one head of 8, feed-forward 16, vocabulary 10, tied.
const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 10,
    "max_position_embeddings": 64, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}"#;

/// 10·8 + 4·8·8 + 3·8·16 + 3·8 = 744 parameters.
const WEIGHTS: [(&str, &str, &[u64], u64); 4] = [
    ("model.embed_tokens.weight", "BF16", &[10, 8], 2),
    ("attention", "BF16", &[4, 8, 8], 2),
    ("mlp", "BF16", &[3, 8, 16], 2),
    ("norms", "F32", &[3, 8], 4),
];

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(directory.join(name), bytes).unwrap();
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "config.json", CONFIG.as_bytes());
    directory
}

#[test]
fn one_file_gives_the_exact_bytes() {
    let directory = directory();
    write(directory.path(), "model.safetensors", &file(&WEIGHTS, None));
    let spec = read_model(directory.path()).unwrap();
    assert_eq!(spec.parameters().total, 744);
    assert_eq!(spec.checkpoint_bytes, Some(720 * 2 + 24 * 4));
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
}

#[test]
fn weights_of_another_model_are_noticed() {
    let directory = directory();
    write(directory.path(), "model.safetensors", &file(&WEIGHTS[..3], None));
    let spec = read_model(directory.path()).unwrap();
    assert!(spec.warnings.iter().any(|w| w.contains("720") && w.contains("744")), "{:?}", spec.warnings);
    // Packed integers say nothing about the number of weights.
    write(directory.path(), "model.safetensors", &file(&[("qweight", "I32", &[10, 10], 4)], None));
    assert!(read_model(directory.path()).unwrap().warnings.is_empty());
}

#[test]
fn an_index_is_enough_and_is_checked_against_its_files() {
    let directory = directory();
    let index = r#"{"metadata": {"total_size": 1536}, "weight_map":
        {"model.embed_tokens.weight": "a.safetensors", "attention": "a.safetensors",
         "mlp": "b.safetensors", "norms": "b.safetensors"}}"#;
    write(directory.path(), "model.safetensors.index.json", index.as_bytes());
    let spec = read_model(directory.path()).unwrap();
    assert_eq!((spec.checkpoint_bytes, spec.warnings.len()), (Some(1536), 0));
    write(directory.path(), "a.safetensors", &file(&WEIGHTS[..2], None));
    let half = read_model(directory.path()).unwrap();
    assert!(half.warnings[0].contains("1 of the 2 weight files"), "{:?}", half.warnings);
    write(directory.path(), "b.safetensors", &file(&WEIGHTS[2..], None));
    let whole = read_model(directory.path()).unwrap();
    assert_eq!((whole.checkpoint_bytes, whole.warnings.len()), (Some(1536), 0));
    let wrong = index.replace("1536", "9999");
    write(directory.path(), "model.safetensors.index.json", wrong.as_bytes());
    let spec = read_model(directory.path()).unwrap();
    assert!(spec.warnings[0].contains("9999") && spec.warnings[0].contains("1536"), "{:?}", spec.warnings);
}

#[test]
fn damaged_weights_leave_an_answer_with_a_warning() {
    let directory = directory();
    for bytes in [
        &b"version https://git-lfs.github.com/spec/v1\n"[..],
        b"",
        &file(&WEIGHTS, Some(100)),
        &file(&[("x", "F12", &[1], 2)], None),
        &file(&[("x", "BF16", &[1], 3)], None),
        &file(&[("x", "BF16", &[1 << 40, 1 << 20], 0)], None)[..],
    ] {
        write(directory.path(), "model.safetensors", bytes);
        let spec = read_model(directory.path()).unwrap();
        assert_eq!(spec.checkpoint_bytes, None);
        assert!(spec.warnings[0].contains("from the configuration alone"), "{:?}", spec.warnings);
    }
}

#[test]
fn headers_are_bounded_by_the_file() {
    let bytes = file(&WEIGHTS, None);
    for end in 0..bytes.len() - 1 {
        assert!(parse_header(&bytes[..end], "m", Some(end as u64)).is_err(), "cut at {end}");
    }
    assert_eq!(parse_header(&bytes[..], "m", None).unwrap().tensors, 4);
    let claims = u64::MAX.to_le_bytes();
    assert!(parse_header(&claims[..], "m", None).unwrap_err().to_string().contains("Git LFS"));
}

#[test]
fn an_index_names_files_beside_it_only() {
    let index = |name: &str| format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
    assert!(parse_index(&index("model.safetensors"), "i").is_ok());
    for name in ["../secret", "/etc/passwd", "", "..", "a\\\\b"] {
        assert!(parse_index(&index(name), "i").is_err(), "{name}");
    }
    let sized = |size: &str| {
        parse_index(&format!(r#"{{"metadata": {{"total_size": {size}}}, "weight_map": {{}}}}"#), "i")
    };
    assert_eq!(sized("15.0").unwrap().total_size, Some(15));
    for size in ["-1", "0", "\"big\"", "1e300", "1.5", "[]"] {
        assert!(sized(size).unwrap_err().to_string().contains("metadata.total_size"), "{size}");
    }
}
