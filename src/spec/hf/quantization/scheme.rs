//! Formats by the names and numbers with which quantisers describe them.

use super::super::Fields;
use crate::spec::{DataType, SpecError};

/// How weights of some modules are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scheme {
    /// Weights.
    pub weights: DataType,
    /// Data type of the products; none for weight-only.
    pub activations: Option<DataType>,
    /// Elements per scale, where the checkpoint says.
    pub group_size: Option<u32>,
}

impl Scheme {
    /// Weight-only.
    pub(super) fn weight_only(weights: DataType, group_size: Option<u32>) -> Self {
        Self { weights, activations: None, group_size }
    }

    /// Both sides in the format.
    pub(super) fn both(weights: DataType) -> Self {
        Self { weights, activations: Some(arithmetic(weights)), group_size: None }
    }
}

/// In which type weights of a format multiply with activations of their kind.
fn arithmetic(weights: DataType) -> DataType {
    match weights {
        DataType::Fp8Block | DataType::Mxfp8 => DataType::Fp8,
        other => other,
    }
}

/// Group of a `config_groups` list (compressed-tensors, `ModelOpt`): `weights` and `input_activations`
/// with bits, type and grouping.
///
/// # Errors
/// When the bits name no format.
pub(super) fn of_group(group: &Fields<'_>) -> Result<Option<Scheme>, SpecError> {
    let Some(weights) = group.nested("weights")? else { return Ok(None) };
    let size = group_size(&weights)?;
    let format = format(&weights, size)?;
    let activations = match group.nested("input_activations")? {
        None => None,
        Some(inputs) => Some(arithmetic(self::format(&inputs, group_size(&inputs)?)?)),
    };
    // Activations in 8 bit beside 4-bit integers still multiply in 8 bit; per-token groups are no blocks.
    Ok(Some(Scheme { weights: format, activations, group_size: size }))
}

fn group_size(fields: &Fields<'_>) -> Result<Option<u32>, SpecError> {
    // −1 means one scale a channel.
    match fields.value("group_size").and_then(serde_json::Value::as_i64) {
        Some(-1 | 0) => Ok(None),
        _ => fields.optional_size("group_size"),
    }
}

/// The format of `num_bits` and `type`.
fn format(fields: &Fields<'_>, group: Option<u32>) -> Result<DataType, SpecError> {
    let float = fields.text("type")? == Some("float");
    let block = fields.text("strategy")? == Some("block") || fields.has("block_structure");
    match (fields.size_or("num_bits", 8)?, float) {
        (16.., _) => Ok(DataType::Bf16),
        (8, true) if group == Some(32) => Ok(DataType::Mxfp8),
        (8, true) if block => Ok(DataType::Fp8Block),
        (8, true) => Ok(DataType::Fp8),
        (8, false) => Ok(DataType::Int8),
        (4, true) if group == Some(32) => Ok(DataType::Mxfp4),
        (4, true) => Ok(DataType::Nvfp4),
        (4, false) => Ok(DataType::Int4),
        _ => Err(fields.wrong("num_bits", "no format of so many bits is known", "4 and 8 bits are")),
    }
}

/// The integer format of `bits` (GPTQ, AWQ, `AutoRound`).
///
/// # Errors
/// When the bits name no format.
pub(super) fn of_bits(fields: &Fields<'_>) -> Result<Scheme, SpecError> {
    let key = if fields.has("w_bit") { "w_bit" } else { "bits" };
    let size =
        if fields.has("q_group_size") { fields.optional_size("q_group_size")? } else { group_size(fields)? };
    match fields.size_or(key, 4)? {
        4 => Ok(Scheme::weight_only(DataType::Int4, size)),
        8 => Ok(Scheme::weight_only(DataType::Int8, size)),
        _ => Err(fields.wrong(key, "no format of so many bits is known", "4 and 8 bits are")),
    }
}

/// The scheme of a `quant_algo` of `ModelOpt` (NVFP4, FP8, `W4A16_AWQ` …); none for a mixture.
pub(super) fn of_algorithm(name: &str) -> Option<Scheme> {
    Some(match name.to_ascii_uppercase().as_str() {
        "FP8" | "FP8_PER_CHANNEL_PER_TOKEN" => Scheme::both(DataType::Fp8),
        "FP8_PB_WO" | "FP8_BLOCK_SCALES" => Scheme::both(DataType::Fp8Block),
        "NVFP4" | "NVFP4_AWQ" => Scheme::both(DataType::Nvfp4),
        "W4A16_NVFP4" => Scheme::weight_only(DataType::Nvfp4, None),
        "MXFP8" => Scheme::both(DataType::Mxfp8),
        "MXFP4" | "W4A16_MXFP4" => Scheme::weight_only(DataType::Mxfp4, None),
        "W4A8_MXFP4_FP8" => Scheme { activations: Some(DataType::Fp8), ..Scheme::both(DataType::Mxfp4) },
        "W4A16_AWQ" | "W4A16" | "INT4_AWQ" => Scheme::weight_only(DataType::Int4, None),
        "W4A8_AWQ" => Scheme { activations: Some(DataType::Fp8), ..Scheme::both(DataType::Int4) },
        "W8A16" | "INT8_WO" => Scheme::weight_only(DataType::Int8, None),
        "W8A8_SQ_PER_CHANNEL" | "INT8_SQ" | "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN" => {
            Scheme::both(DataType::Int8)
        }
        _ => return None,
    })
}
