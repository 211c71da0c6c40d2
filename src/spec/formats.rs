//! Which number format every class of weights is stored in and multiplied in, once model,
//! deployment and accelerator are known. What an engine does where the hardware lacks a format
//! (fp8 weights on an A100 are dequantised to 16 bit) is decided here and said aloud.

use super::model::{Mixer, TensorClass};
use super::{Accelerator, DataType, Deployment, EngineKind, ModelSpec, SpecError};

/// Storage and arithmetic of one class of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Format {
    /// As stored in device memory.
    pub weights: DataType,
    /// Bytes per weight, scales included.
    pub bytes_per_weight: f64,
    /// In which the matrix product runs.
    pub math: DataType,
}

/// Formats of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Formats {
    by_class: [Format; CLASSES],
    /// Data type of activations between layers.
    pub activations: DataType,
    /// Data type of the KV cache.
    pub kv_cache: DataType,
    /// What the engine does differently from what was asked.
    pub warnings: Vec<String>,
}

const CLASSES: usize = TensorClass::Mtp as usize + 1;

/// Classes that an engine quantises when it is told to quantise an unquantised checkpoint.
const QUANTISABLE: [TensorClass; 5] = [
    TensorClass::Attention,
    TensorClass::LinearAttention,
    TensorClass::Mlp,
    TensorClass::Experts,
    TensorClass::SharedExperts,
];

const ALL_CLASSES: [TensorClass; CLASSES] = [
    TensorClass::Embedding,
    TensorClass::LmHead,
    TensorClass::Attention,
    TensorClass::LinearAttention,
    TensorClass::Mlp,
    TensorClass::Experts,
    TensorClass::SharedExperts,
    TensorClass::Router,
    TensorClass::Small,
    TensorClass::Vision,
    TensorClass::Mtp,
];

impl Formats {
    /// Format of one class.
    #[must_use]
    pub fn of(&self, class: TensorClass) -> Format {
        self.by_class[class as usize]
    }

    /// Format of the class that holds most of the model's parameters.
    #[must_use]
    pub fn main(&self, model: &ModelSpec) -> Format {
        let parameters = model.parameters();
        let largest = parameters.by_class.iter().max_by_key(|(_, n)| **n);
        self.of(largest.map_or(TensorClass::Mlp, |(class, _)| *class))
    }

    /// Decides all formats.
    ///
    /// # Errors
    /// When the engine has no kernel for a format on this accelerator, or the accelerator's file
    /// lacks the peak that the arithmetic needs.
    pub fn resolve(
        model: &ModelSpec,
        deployment: &Deployment,
        accelerator: &Accelerator,
    ) -> Result<Self, SpecError> {
        let mut warnings = vec![];
        let checkpoint = &model.checkpoint;
        let wanted = deployment.data_type.unwrap_or(match checkpoint.data_type {
            DataType::Fp32 => DataType::Bf16, // engines load fp32 checkpoints in 16 bit
            other => other,
        });
        let base = sixteen_bit(wanted, accelerator, &mut warnings)?;
        // every published nvfp4 checkpoint of a model with latent attention keeps its projections in 16 bit
        // (nvidia/DeepSeek-V3.2-NVFP4, Kimi-K2.5-NVFP4, GLM-5.1-NVFP4)
        let latent = model.layers.iter().any(|group| matches!(group.mixer, Mixer::Latent { .. }));
        let quantised = |class: TensorClass| -> (DataType, f64, Option<DataType>) {
            let format = checkpoint.format(class);
            if let Some(asked) = deployment.quantization.filter(|asked| !is_kind_of(format, *asked)) {
                if asked == DataType::Nvfp4 && class == TensorClass::Attention && latent {
                    return (base, base.bytes(), None);
                }
                return override_format(class, asked, base, deployment.engine.kind);
            }
            if matches!(format, DataType::Fp32 | DataType::Bf16 | DataType::Fp16) {
                (base, base.bytes(), None)
            } else {
                // The checkpoint names the narrowest arithmetic; wider weights multiply in their own.
                let activations = match (format, checkpoint.activations) {
                    (DataType::Fp8 | DataType::Fp8Block | DataType::Mxfp8, Some(_)) => Some(DataType::Fp8),
                    (_, activations) => activations,
                };
                (format, checkpoint.bytes_per_weight(class), activations)
            }
        };
        let mut by_class = [Format { weights: base, bytes_per_weight: base.bytes(), math: base }; CLASSES];
        for class in ALL_CLASSES {
            let (weights, bytes_per_weight, activations) = quantised(class);
            let math = arithmetic(weights, activations, base, deployment, accelerator, &mut warnings)?;
            by_class[class as usize] = Format { weights, bytes_per_weight, math };
        }
        let of_bulk = by_class[TensorClass::Mlp as usize].weights;
        if deployment.engine.kind == EngineKind::Transformers
            && let Some(slower) = bitsandbytes(of_bulk)
        {
            warnings.push(format!(
                "transformers multiplies {of_bulk} by bitsandbytes, whose kernels are not modelled: published runs of one \
                 request generate {slower} as many tokens a second"
            ));
        }
        warnings.dedup();
        let kv_cache = deployment.kv_cache_data_type.or(checkpoint.kv_cache).unwrap_or(match base {
            DataType::Fp32 => DataType::Fp16,
            other => other,
        });
        Ok(Self { by_class, activations: base, kv_cache, warnings })
    }
}

/// What bitsandbytes reaches of the tokens a second of 16-bit weights, in words, where it is what transformers multiplies a
/// format with: Llama-2-7B and Mistral-7B on an A100 made 34 to 37 in fp16, 5 to 7 in int8 and 18 to 20 in int4 (prem
/// benchmarks, end of 2023).
fn bitsandbytes(weights: DataType) -> Option<&'static str> {
    match weights {
        DataType::Int8 => Some("a fifth to a seventh"),
        DataType::Int4 => Some("about half"),
        _ => None,
    }
}

/// A checkpoint in block-scaled fp8 is what engines load when they are asked for fp8.
fn is_kind_of(stored: DataType, asked: DataType) -> bool {
    stored == DataType::Fp8Block && asked == DataType::Fp8
}

/// The format that `--quantization` gives a class of an unquantised checkpoint, with its bytes per
/// weight and the data type of the activations it multiplies with.
fn override_format(
    class: TensorClass,
    format: DataType,
    base: DataType,
    engine: EngineKind,
) -> (DataType, f64, Option<DataType>) {
    let table = matches!(class, TensorClass::LmHead | TensorClass::Embedding);
    let stored = if engine == EngineKind::Llamacpp && format == DataType::Mxfp4 && table {
        DataType::Q8_0
    } else if QUANTISABLE.contains(&class) {
        match (format, class) {
            // llama.cpp's _M mixtures keep half of the value and down projections at 6 bit; the
            // value projection is too small a share of attention to count.
            (DataType::Q4KM, TensorClass::Attention) => DataType::Q4K,
            (DataType::Q5KM, TensorClass::Attention) => DataType::Q5K,
            // llama.cpp's MXFP4 files (ftype MXFP4_MOE) hold the experts in it and all else in Q8_0
            (DataType::Mxfp4, other) if engine == EngineKind::Llamacpp && other != TensorClass::Experts => {
                DataType::Q8_0
            }
            _ => format,
        }
    } else if format.is_gguf() && class == TensorClass::LmHead {
        // llama.cpp gives the output 6 bit in every mixture but that of 8
        if format == DataType::Q8_0 { format } else { DataType::Q6K }
    } else if format.is_gguf() && class == TensorClass::Embedding {
        match format {
            DataType::Q4KM => DataType::Q4K,
            DataType::Q5KM => DataType::Q5K,
            other => other,
        }
    } else {
        base
    };
    let activations = (stored != base && !stored.is_weight_only()).then_some(match stored {
        DataType::Fp8Block | DataType::Mxfp8 => DataType::Fp8,
        other => other,
    });
    (stored, stored.bytes(), activations)
}

/// The 16-bit type that this accelerator multiplies in.
fn sixteen_bit(
    wanted: DataType,
    accelerator: &Accelerator,
    warnings: &mut Vec<String>,
) -> Result<DataType, SpecError> {
    let choices = match wanted {
        DataType::Fp32 => [DataType::Fp32, DataType::Fp32, DataType::Fp32],
        DataType::Fp16 => [DataType::Fp16, DataType::Bf16, DataType::Fp32],
        _ => [DataType::Bf16, DataType::Fp16, DataType::Fp32],
    };
    let Some(found) = choices.into_iter().find(|d| accelerator.peak(*d).is_some()) else {
        return Err(missing_peak(accelerator, choices[0]));
    };
    if found != choices[0] {
        warnings.push(format!(
            "{} has no {} arithmetic that is known; {found} is used (pass --dtype {found})",
            accelerator.name, choices[0]
        ));
    }
    Ok(found)
}

fn missing_peak(accelerator: &Accelerator, data_type: DataType) -> SpecError {
    SpecError::Missing {
        file: format!("hardware/{}.toml", accelerator.id),
        key: format!("peak_tflops.{data_type}"),
        fix: format!(
            "nobody published a dense {data_type} peak for {}; choose another --quantization or --dtype, \
             or add the value to a copy of the file given with --gpu",
            accelerator.name
        ),
    }
}

/// In which type weights of a stored format are multiplied.
fn arithmetic(
    weights: DataType,
    activations: Option<DataType>,
    base: DataType,
    deployment: &Deployment,
    accelerator: &Accelerator,
    warnings: &mut Vec<String>,
) -> Result<DataType, SpecError> {
    let engine = deployment.engine.kind;
    if weights.is_gguf() != (engine == EngineKind::Llamacpp) && weights.is_gguf() {
        warnings.push(format!(
            "{} reads GGUF weights with its experimental support; llama.cpp is their engine",
            engine.name()
        ));
    }
    // llama.cpp's quantised products are counted as weight-only whatever the format
    let Some(activations) = activations.filter(|_| engine != EngineKind::Llamacpp) else { return Ok(base) };
    if accelerator.peak(activations).is_some() {
        return Ok(activations);
    }
    // No such arithmetic here: what the engine does instead.
    let has_marlin = accelerator.vendor == "NVIDIA"
        && !matches!(accelerator.architecture.as_str(), "Pascal" | "Volta" | "Turing")
        && matches!(engine, EngineKind::Vllm | EngineKind::Sglang | EngineKind::Lmdeploy);
    let can_dequantise =
        has_marlin || engine.is_library() || matches!(engine, EngineKind::Ideal | EngineKind::Fastllm);
    if weights != DataType::Int8 && can_dequantise {
        warnings.push(format!(
            "{} has no {activations} arithmetic: {} keeps the weights in {weights} and multiplies in {base} \
             (weight-only), so prefill gains nothing",
            accelerator.name,
            deployment.engine.kind.name()
        ));
        return Ok(base);
    }
    Err(SpecError::Usage(format!(
        "{} has no {activations} arithmetic and {} no weight-only kernel for {weights} there; \
         use --quantization int4 (AWQ, GPTQ) or none, or another accelerator",
        accelerator.name, deployment.engine
    )))
}
