//! Multi-head latent attention, and the families that have it.

use super::{Family, Fields};
use crate::spec::SpecError;
use crate::spec::model::Mixer;

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[];

/// Latent attention as the fields describe it.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn attention(fields: &Fields<'_>) -> Result<Mixer, SpecError> {
    Ok(Mixer::Latent {
        heads: fields.size("num_attention_heads")?,
        q_lora_rank: fields.optional_size("q_lora_rank")?,
        kv_lora_rank: fields.size("kv_lora_rank")?,
        qk_nope_head_dim: fields.size("qk_nope_head_dim")?,
        qk_rope_head_dim: fields.size("qk_rope_head_dim")?,
        v_head_dim: fields.size("v_head_dim")?,
        bias: fields.flag("attention_bias", false)?,
        output_gate_size: 0,
        indexer: None,
    })
}
