//! Names in result files → what the catalogs know. Whatever stays unknown is skipped with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::asked::is_compared;
use super::{KernelChoice, MeasuredRow};
use crate::answer::Kernels;
use crate::spec::catalog::{self, Directories, gguf_file_type};
use crate::spec::deployment::{EngineKind, Version};
use crate::spec::model::TensorClass;
use crate::spec::{Accelerator, DataType, Engine, ModelSpec, SpecError};

/// An accelerator with the kernel models in force for it.
pub(super) type Device = (Accelerator, Option<Kernels>);

/// Models and accelerators of a file, each read once.
#[derive(Debug, Default)]
pub(super) struct Known {
    models: BTreeMap<String, Result<ModelSpec, String>>,
    devices: BTreeMap<String, Result<Device, String>>,
    /// Directories of the user's engine terms.
    pub engines: Vec<PathBuf>,
}

impl Known {
    /// Reads what the rows name.
    ///
    /// # Errors
    /// When a calibration cannot be read.
    pub(super) fn of<'a>(
        rows: impl Iterator<Item = MeasuredRow<'a>>,
        choice: &KernelChoice,
        directories: &Directories,
    ) -> Result<Self, SpecError> {
        let mut known = Self { engines: directories.engines.clone(), ..Self::default() };
        for row in rows.filter(|r| is_compared(r.text("mode"))) {
            let (model, gpu) = (row.text("model"), row.text("gpu"));
            if !known.models.contains_key(model) {
                known.models.insert(model.to_owned(), model_of(model, directories));
            }
            if let Some(name) = checkpoint_name(row)
                && !known.models.contains_key(&name)
            {
                let found = catalog::model(&name, directories);
                known.models.insert(name.clone(), found.map_err(|e| unknown(e, "no such checkpoint")));
            }
            if !known.devices.contains_key(gpu) {
                let device = match catalog::accelerator(gpu, directories) {
                    Ok(found) => {
                        let kernels = choice.of(&found, directories)?;
                        Ok((found, kernels))
                    }
                    Err(e) => Err(unknown(e, &format!("gpu `{gpu}` is not in the catalog"))),
                };
                known.devices.insert(gpu.to_owned(), device);
            }
        }
        Ok(known)
    }

    pub(super) fn model(&self, name: &str) -> Result<&ModelSpec, String> {
        find(&self.models, name)
    }

    /// The published checkpoint of a row's model in the row's weight format, where the catalog has one: it says
    /// which layers are quantised and which are not.
    pub(super) fn checkpoint(&self, row: MeasuredRow<'_>) -> Option<&ModelSpec> {
        self.model(&checkpoint_name(row)?).ok()
    }

    pub(super) fn device(&self, name: &str) -> Result<&Device, String> {
        find(&self.devices, name)
    }
}

fn find<'a, T>(known: &'a BTreeMap<String, Result<T, String>>, name: &str) -> Result<&'a T, String> {
    known
        .get(name)
        .map_or_else(|| Err(format!("`{name}` was not read")), |r| r.as_ref().map_err(Clone::clone))
}

/// The name that a model's published checkpoint in the row's weight format would have: `nvidia/X-NVFP4`, `X-FP8`.
fn checkpoint_name(row: MeasuredRow<'_>) -> Option<String> {
    let suffix = match row.text("weight_dtype").to_ascii_lowercase().as_str() {
        "fp4" | "nvfp4" => "-nvfp4",
        "fp8" | "fp8_block" => "-fp8",
        _ => return None,
    };
    let stem = stems(row.text("model")).into_iter().next()?;
    (!stem.is_empty() && !stem.ends_with(suffix)).then(|| format!("{stem}{suffix}"))
}

/// Families whose own FP8 checkpoints hold 128 × 128 blocks of it, by the beginning of the model's id. Source: their
/// `config.json` on Hugging Face (`weight_block_size`).
const BLOCK_FP8: [&str; 6] = ["deepseek-v3", "deepseek-r1", "qwen3", "glm-4", "glm-5", "minimax-m"];

/// The reason of a skip: short for names that nobody knows, in full for anything else.
fn unknown(error: SpecError, short: &str) -> String {
    match error {
        SpecError::Unknown { .. } | SpecError::Ambiguous { .. } => short.to_owned(),
        other => other.to_string(),
    }
}

/// A model by its name, else by what is left of it without organisation, file format and tuning: those
/// do not change shapes. A fine-tune under another name stays unknown.
fn model_of(name: &str, directories: &Directories) -> Result<ModelSpec, String> {
    let first = match catalog::model(name, directories) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    stems(name)
        .iter()
        .find_map(|stem| catalog::model(stem, directories).ok())
        .ok_or_else(|| unknown(first, &format!("model `{name}` is not in the catalog")))
}

/// Endings of file and repository names that say nothing of a model's shapes, in lower case.
const ENDINGS: [&str; 12] = [
    "-gguf",
    "-hf",
    "-qat",
    "-fp8-kv",
    "-fp8",
    "-f16",
    "-bf16",
    "-mxfp4",
    "-chat",
    "-instruct",
    "-2507",
    "-it",
];

/// Shorter and shorter forms of a name: `ggml-org/X-Q8_0-GGUF` → `X-Q8_0-GGUF` → `X-Q8_0` → `X`.
fn stems(name: &str) -> Vec<String> {
    let mut stem = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let mut all = vec![stem.clone()];
    loop {
        let shorter = ENDINGS
            .iter()
            .find_map(|ending| stem.strip_suffix(ending))
            .or_else(|| {
                let (rest, last) = stem.rsplit_once(['-', '.'])?;
                (gguf_file_type(last).is_some() || matches!(last, "ud" | "i1")).then_some(rest)
            })
            .map(str::to_owned);
        match shorter {
            Some(shorter) if !shorter.is_empty() => stem = shorter,
            _ => return all,
        }
        all.push(stem.clone());
    }
}

/// How the weights of a row are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// Unquantised layers.
    pub data_type: Option<DataType>,
    /// Linear layers, when not as the checkpoint has them.
    pub quantization: Option<DataType>,
}

/// Formats of a row's weights from its `weight_dtype`, or from the model's name where that is empty.
pub(super) fn stored(row: MeasuredRow<'_>, engine: EngineKind, model: &ModelSpec) -> Result<Stored, String> {
    let text = row.text("weight_dtype").to_ascii_lowercase();
    let as_checkpoint = Stored { data_type: None, quantization: None };
    let gguf = engine == EngineKind::Llamacpp;
    let name = row.text("model").to_ascii_lowercase();
    let named = name.split(['-', '.', '/']).find_map(gguf_file_type);
    let data_type = match text.as_str() {
        "" | "auto" if !gguf => return Ok(as_checkpoint),
        // a quantisation-aware checkpoint of Google's is a Q4_0 file
        "" if name.contains("-qat") => DataType::Q4_0,
        "" => named.ok_or("weight_dtype is empty and llama.cpp's file type is not in the model's name")?,
        // nothing says which of the formats of 4.5 bits it was
        "4-bit" | "int4" if gguf => DataType::Q4_0,
        "int8" if gguf => DataType::Q8_0,
        "4-bit" => DataType::Int4,
        other => match gguf_file_type(other) {
            Some(found) => found,
            None => other
                .split("_g")
                .next()
                .unwrap_or(other)
                .parse()
                .map_err(|_| format!("weight_dtype `{other}` is not known"))?,
        },
    };
    // a checkpoint that is quantised itself keeps its experts (gpt-oss as "F16" has them in MXFP4)
    // and "fp8" of one that is in blocks of FP8 means these
    let native = [TensorClass::Experts, TensorClass::Mlp].iter().any(|class| {
        let own = model.checkpoint.format(*class);
        own == data_type || (own == DataType::Fp8Block && data_type == DataType::Fp8)
    });
    let in_blocks = data_type == DataType::Fp8 && BLOCK_FP8.iter().any(|family| model.id.starts_with(family));
    let data_type = if in_blocks && !native { DataType::Fp8Block } else { data_type };
    Ok(match data_type {
        DataType::Fp32 | DataType::Bf16 | DataType::Fp16 => {
            Stored { data_type: Some(data_type), quantization: None }
        }
        // as ggml-org publishes them: MXFP4 experts, Q8_0 all else
        DataType::Mxfp4 if gguf => Stored { data_type: None, quantization: Some(data_type) },
        _ if native => as_checkpoint,
        _ => Stored { data_type: None, quantization: Some(data_type) },
    })
}

/// Engine versions of published results whose rows name none, by the source column. The reason says what
/// the version follows from.
const PUBLISHED: [(&str, EngineKind, Version, &str); 8] = [
    (
        "argonne",
        EngineKind::Vllm,
        Version(0, 6),
        "LLM-Inference-Bench, 2024; its rows of other accelerators say 0.6.1",
    ),
    (
        "argonne",
        EngineKind::Trtllm,
        Version(0, 11),
        "LLM-Inference-Bench, August 2024: the release of that time",
    ),
    ("prem", EngineKind::Vllm, Version(0, 2), "prem benchmarks, end of 2023: the release of that time"),
    ("prem", EngineKind::Trtllm, Version(0, 6), "prem benchmarks, end of 2023: the release of that time"),
    ("inferencex_agg", EngineKind::Vllm, Version(0, 10), "InferenceMAX, autumn of 2025: vllm-openai v0.10.2"),
    ("inferencex_agg", EngineKind::Trtllm, Version(1, 1), "InferenceMAX, autumn of 2025: release 1.1.0rc2"),
    (
        "mlc_perf_bench",
        EngineKind::Vllm,
        Version(0, 2),
        "MLC's llm-perf-bench, end of 2023: the release of that time",
    ),
    (
        "mlc_perf_bench",
        EngineKind::Trtllm,
        Version(0, 6),
        "MLC's llm-perf-bench, end of 2023: the release of that time",
    ),
];

/// The engine of a row with its version: as the file gives it; else that of the publication; else the
/// newest. The second is what was assumed and why.
pub(super) fn engine_of(row: MeasuredRow<'_>) -> Result<(Engine, Option<String>), String> {
    let lower = row.text("engine").to_ascii_lowercase();
    let name = lower.trim_start_matches("nvidia ").split(" (").next().unwrap_or_default();
    let newest: Engine = name.parse().map_err(|_| format!("engine `{lower}` is not modelled"))?;
    let version = row.text("engine_version");
    let numbered = version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    if newest.kind == EngineKind::Ideal {
        return Ok((newest, None));
    }
    if newest.kind == EngineKind::Llamacpp {
        // llama-bench's -fa wins over the default of the build
        if ["fa=1", "fa=True", "fa=-fa 1"].iter().any(|on| row.text("note").contains(on)) {
            return Ok((newest, None));
        }
        let engine = build(version).map(|number| Engine { version: Version(number, 0), ..newest });
        return Ok((engine.unwrap_or(newest), None));
    }
    if numbered && let Ok(engine) = format!("{name}@{version}").parse() {
        return Ok((engine, None));
    }
    let source = row.text("source");
    let published = PUBLISHED.iter().find(|(s, kind, ..)| *s == source && *kind == newest.kind);
    let (engine, why) = match published {
        Some((_, kind, version, why)) => (Engine { kind: *kind, version: *version, patch: 0 }, *why),
        None => (newest, "the newest: nothing says when it was measured"),
    };
    Ok((engine, Some(format!("{engine}: {why}"))))
}

/// Build of llama.cpp out of `b9187 rocm6_4_4` or, from a date, a build of about then: rules need to know
/// on which side of a change it lies.
fn build(version: &str) -> Option<u32> {
    let mut words = version.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| {
        if let Some(number) = word.strip_prefix('b').and_then(|n| n.parse().ok()) {
            return Some(number);
        }
        match word.parse::<u32>().ok()? {
            2023 => Some(1_000),
            2024 => Some(3_000),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_does_not_change_shapes() {
        let directories = Directories::default();
        for (name, id) in [
            ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b-hf"),
            ("codellama/CodeLlama-34b-hf", "codellama-34b-instruct-hf"),
            ("Qwen3-30B-A3B-UD-Q4_K_XL", "qwen3-30b-a3b"),
            ("Qwen3-235B-A22B-Instruct-2507-UD-Q3_K_XL", "qwen3-235b-a22b-instruct-2507"),
            ("ggml-org/gemma-3-4b-it-qat-GGUF", "gemma-3-4b-it"),
            ("gpt-oss-20b-F16", "gpt-oss-20b"),
            ("shisa-v2-llama3.1-8b.i1-Q4_K_M", "llama-3.1-8b-instruct"),
            ("amd/Llama-3.1-70B-Instruct-FP8-KV", "llama-3.1-70b-instruct"),
        ] {
            assert_eq!(model_of(name, &directories).unwrap().id, id, "{name}");
        }
        for name in ["somebody-v2-llama3.1-8b.i1-Q4_K_M", "llama", "nobody/Nothing-7B", ""] {
            assert!(model_of(name, &directories).is_err(), "{name}");
        }
    }

    #[test]
    fn versions_are_the_row_s_or_said_to_be_assumed() {
        let header = "engine,engine_version,source,model,gpu,mode,concurrency,input_len,output_len,e2e_ms\n";
        let rows = "vllm,0.6.1,argonne,m,g,static,1,1,1,1\nvllm,,argonne,m,g,static,1,1,1,1\n\
                    sglang,nightly,here,m,g,static,1,1,1,1\nllamacpp,b4000,,m,g,static,1,1,1,1\n";
        let table = super::super::MeasuredTable::parse(&format!("{header}{rows}"), "a.csv").unwrap();
        let found: Vec<_> = table.rows().map(|r| engine_of(r).unwrap()).collect();
        assert_eq!((found[0].0.version, &found[0].1), (Version(0, 6), &None));
        assert_eq!(found[1].0.version, Version(0, 6));
        assert!(found[1].1.as_ref().is_some_and(|why| why.starts_with("vllm@0.6: LLM-Inference-Bench")));
        assert_eq!(found[2].0, Engine::newest(EngineKind::Sglang));
        assert!(found[2].1.as_ref().is_some_and(|why| why.contains("newest")));
        assert_eq!(found[3].1, None);
    }

    #[test]
    fn checkpoints_are_those_of_the_row_s_weights() {
        let header = "engine,model,gpu,mode,concurrency,input_len,output_len,weight_dtype,ttft_ms\n";
        let row = |model: &str, weights: &str| {
            format!("vllm,{model},h200-sxm,closed_loop,4,1024,1024,{weights},9\n")
        };
        let rows = [
            row("moonshotai/Kimi-K2.5", "fp4"),
            row("zai-org/GLM-5", "fp8"),
            row("Qwen/Qwen3.5-397B-A17B", "fp8"),
            row("moonshotai/Kimi-K2.5", "int4"),
        ];
        let table =
            super::super::MeasuredTable::parse(&format!("{header}{}", rows.concat()), "a.csv").unwrap();
        let directories = Directories::default();
        let known = Known::of(table.rows(), &KernelChoice::Defaults, &directories).unwrap();
        let own: Vec<_> = table.rows().map(|r| known.checkpoint(r).map(|m| m.id.as_str())).collect();
        assert_eq!(own, [Some("kimi-k2.5-nvfp4"), Some("glm-5-fp8"), None, None]);
        // its family's own checkpoint is in blocks
        let qwen = table.rows().nth(2).unwrap();
        let model = known.model("Qwen/Qwen3.5-397B-A17B").unwrap();
        let stored = stored(qwen, EngineKind::Vllm, model).unwrap();
        assert_eq!(stored.quantization, Some(DataType::Fp8Block));
    }

    #[test]
    fn file_types_are_read_by_their_main_type() {
        assert_eq!(gguf_file_type("ud-q4_k_xl"), Some(DataType::Q4KM));
        assert_eq!(gguf_file_type("q8_0"), Some(DataType::Q8_0));
        assert_eq!(gguf_file_type("q3_k_s"), Some(DataType::Q3K));
        assert_eq!(gguf_file_type("it"), None);
        assert_eq!(gguf_file_type("instruct"), None);
    }
}
