//! The precision of a checkpoint: `torch_dtype` and `quantization_config`.

use super::Fields;
use crate::spec::model::Checkpoint;
use crate::spec::{DataType, SpecError};

/// Reads the precision; `fields` is the language model's object.
///
/// # Errors
/// When a data type or a quantisation makes no sense.
pub(crate) fn read(fields: &Fields<'_>) -> Result<Checkpoint, SpecError> {
    let named = match fields.text("torch_dtype")? {
        Some(name) => Some(name),
        None => fields.root().text("torch_dtype")?,
    };
    let data_type = match named {
        Some(name) => name.parse().map_err(|_| {
            fields.wrong("torch_dtype", "names no data type", "write bfloat16, float16 or float32")
        })?,
        None => DataType::Bf16,
    };
    Ok(Checkpoint::plain(data_type))
}
