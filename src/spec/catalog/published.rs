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
    let Some((base, format)) = parts(name) else { return Err(unknown) };
    let bare = base.rsplit('/').next().unwrap_or(base);
    let found = [base, bare].into_iter().find_map(|name| model(name, directories).ok());
    match found {
        Some(mut spec) if spec.checkpoint.quantized.is_empty() => {
            spec.warnings
                .push(format!("{name} is not in the catalog: {} with {format} weights stands in", spec.id));
            Ok((spec, Some(format)))
        }
        _ => Err(unknown),
    }
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
