//! Checkpoints that others published in another format: `Qwen3-4B-FP8`, `…-GGUF:Q4_K_M`. Where the catalog has no entry of
//! the name, the model it was made from stands in, with the format that the name says.

use std::path::Path;

use super::{Directories, model};
use crate::spec::{DataType, ModelSpec, SpecError};

/// Endings of names and what they mean, longer ones first. `w8a8` of llm-compressor is 8-bit integer.
const ENDINGS: [(&str, DataType); 20] = [
    ("-fp8-dynamic", DataType::Fp8),
    ("-fp8-block", DataType::Fp8Block),
    ("-fp8-kv", DataType::Fp8),
    ("-fp8", DataType::Fp8),
    ("-quantized.w8a8", DataType::Int8),
    ("-quantized.w4a16", DataType::Int4),
    ("-w8a8", DataType::Int8),
    ("-w4a16", DataType::Int4),
    ("-gptq-int8", DataType::Int8),
    ("-gptq-int4", DataType::Int4),
    ("-gptq", DataType::Int4),
    ("-awq-int4", DataType::Int4),
    ("-awq", DataType::Int4),
    ("-bnb-4bit", DataType::Int4),
    ("-int8", DataType::Int8),
    ("-int4", DataType::Int4),
    ("-4bit", DataType::Int4),
    ("-nvfp4", DataType::Nvfp4),
    ("-fp4", DataType::Nvfp4),
    ("-mxfp4", DataType::Mxfp4),
];

/// A model as [`model`] finds it, else the one that a published name was made from, with the format of its weights.
///
/// # Errors
/// As [`model`].
pub fn model_or_base(
    name: &str,
    directories: &Directories,
) -> Result<(ModelSpec, Option<DataType>), SpecError> {
    let unknown = match model(name, directories) {
        Err(unknown @ SpecError::Unknown { .. }) => unknown,
        found => return found.map(|m| (m, None)),
    };
    if let Some((base, format)) = gguf_parts(name)
        && let Some(mut spec) = either(base, directories)
    {
        let stored = format.map_or_else(|| "as published".to_owned(), |f| format!("with {f} weights"));
        spec.warnings.push(format!("{name} is not in the catalog: {} {stored} stands in", spec.id));
        return Ok((spec, format));
    }
    let Some((base, format)) = parts(name) else { return Err(unknown) };
    match either(base, directories) {
        Some(mut spec) if spec.checkpoint.quantized.is_empty() => {
            spec.warnings
                .push(format!("{name} is not in the catalog: {} with {format} weights stands in", spec.id));
            Ok((spec, Some(format)))
        }
        _ => Err(unknown),
    }
}

/// The model of a repository's name, with its organisation or without.
fn either(base: &str, directories: &Directories) -> Option<ModelSpec> {
    let bare = base.rsplit('/').next().unwrap_or(base);
    [base, bare].into_iter().find_map(|name| model(name, directories).ok())
}

/// A llama.cpp file type as files are named, mixtures by their main type: Unsloth's `UD-Q4_K_XL` and
/// quantisers' `i1-Q4_K_M` store most tensors as `Q4_K_M` does.
#[must_use]
pub fn gguf_file_type(text: &str) -> Option<DataType> {
    let text = text.to_ascii_lowercase();
    let bare = text.trim_start_matches("ud-").trim_start_matches("i1-");
    let looks_like_one = bare.starts_with(['q', 'i']) && bare.contains(|c: char| c.is_ascii_digit());
    let main = match bare {
        "q8_k_xl" => "q8_0",
        "q6_k_xl" => "q6_k",
        "q5_k_xl" => "q5_k_m",
        "q4_k_xl" => "q4_k_m",
        "q3_k_xl" => "q3_k_m",
        "q2_k_xl" => "q2_k",
        other => other,
    };
    main.parse().ok().filter(|d: &DataType| looks_like_one && d.is_gguf())
}

/// The name of a GGUF file or repository before its file type, and the type where the name has one:
/// `ggml-org/X-Q8_0-GGUF`, `X-UD-Q4_K_XL`, `X-F16`, `X-qat-GGUF` (quantisation-aware checkpoints are `Q4_0`).
fn gguf_parts(name: &str) -> Option<(&str, Option<DataType>)> {
    let without = |name: &'_ str, ending: &str| {
        let start = name.len().checked_sub(ending.len())?;
        name.get(start..).filter(|e| e.eq_ignore_ascii_case(ending)).map(|_| start)
    };
    let (mut base, mut named) = (name, false);
    for ending in ["-gguf", ".gguf"] {
        if let Some(start) = without(base, ending) {
            (base, named) = (base.get(..start)?, true);
        }
    }
    if let Some((rest, last)) = base.rsplit_once(['-', '.'])
        && let Some(found) = gguf_file_type(last)
    {
        let mixture = ["-ud", "-i1", ".i1"].iter().find_map(|ending| without(rest, ending));
        return Some((mixture.and_then(|start| rest.get(..start)).unwrap_or(rest), Some(found)));
    }
    for (ending, format) in [("-qat", Some(DataType::Q4_0)), ("-bf16", None), ("-f16", None)] {
        if let Some(start) = without(base, ending) {
            return Some((base.get(..start)?, format));
        }
    }
    named.then_some((base, None))
}

/// A model that was named on another machine, by the name that a catalog may know: the repository of a cache directory, the
/// last part of a path that does not exist here.
#[must_use]
pub fn name_elsewhere(model: &str) -> String {
    let model = model.trim_end_matches(['/', '\\']);
    if let Some(cached) = model.split(['/', '\\']).find_map(|part| part.strip_prefix("models--")) {
        return cached.replacen("--", "/", 1);
    }
    let is_path = model.starts_with(['/', '.', '~', '\\']) || model.matches('/').count() > 1;
    if !is_path || Path::new(model).exists() {
        return model.to_owned();
    }
    // ModelScope writes a dot in a directory's name as three underscores
    model.rsplit(['/', '\\']).next().unwrap_or(model).replace("___", ".")
}

/// The name before its format, and the format.
fn parts(name: &str) -> Option<(&str, DataType)> {
    if let Some((repository, quantisation)) = name.split_once(':') {
        let lower = repository.to_ascii_lowercase();
        let base = repository.get(..repository.len() - if lower.ends_with("-gguf") { 5 } else { 0 })?;
        // Unsloth's dynamic mixtures are near the plain ones
        let plain = quantisation.trim_start_matches("UD-").replace("_XL", "_M");
        return plain.parse().ok().map(|format| (base, format));
    }
    let lower = name.to_ascii_lowercase();
    let (ending, format) = ENDINGS.iter().find(|(ending, _)| lower.ends_with(ending))?;
    name.get(..name.len() - ending.len()).map(|base| (base, *format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_machines() {
        for (written, name) in [
            ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
            ("/models/models--meta-llama--Llama-3.1-8B/snapshots/0e9e", "meta-llama/Llama-3.1-8B"),
            ("/no/such/Qwen2.5-0.5B/", "Qwen2.5-0.5B"),
            ("/root/LLM-Research/Meta-Llama-3___1-8B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
            ("/", ""),
        ] {
            assert_eq!(name_elsewhere(written), name);
        }
    }

    #[test]
    fn names_with_a_format() {
        for (name, base, format) in [
            ("Qwen/Qwen3-4B-FP8", "qwen3-4b", DataType::Fp8),
            ("RedHatAI/Mixtral-8x7B-Instruct-v0.1-FP8", "mixtral-8x7b-v0.1", DataType::Fp8),
            ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "qwen3-8b", DataType::Q4KM),
            ("ggml-org/Qwen2.5-Coder-7B-Q8_0-GGUF", "qwen2.5-7b-instruct", DataType::Q8_0),
            ("Qwen3-32B-UD-Q4_K_XL", "qwen3-32b", DataType::Q4KM),
            ("shisa-v2-llama3.1-8b.i1-Q4_K_M", "llama-3.1-8b-instruct", DataType::Q4KM),
            ("ggml-org/gemma-3-4b-it-qat-GGUF", "gemma-3-4b-it", DataType::Q4_0),
            ("RedHatAI/gemma-2-9b-it-quantized.w8a8", "gemma-2-9b-it", DataType::Int8),
            ("hugging-quants/Meta-Llama-3.1-70B-AWQ-INT4", "meta-llama-3.1-70b", DataType::Int4),
        ] {
            let (spec, found) = model_or_base(name, &Directories::default()).unwrap();
            assert_eq!((spec.id.as_str(), found), (base, Some(format)), "{name}");
            assert!(spec.warnings.iter().any(|w| w.contains(name)));
        }
        // one that the catalog has is its own
        let (own, none) = model_or_base("Qwen/Qwen3-8B-FP8", &Directories::default()).unwrap();
        assert!(none.is_none() && !own.checkpoint.quantized.is_empty());
        for wrong in ["-fp8", "nobody/nothing-AWQ", ":", "x:q4_k_m", "é-fp8"] {
            assert!(model_or_base(wrong, &Directories::default()).is_err(), "{wrong}");
        }
    }
}
