//! ERNIE 4.5 VL: experts for text and narrower ones for images behind one attention. Source:
//! transformers `modeling_ernie4_5_vl_moe.py`.

use super::decoder::{self, Style};
use super::dense::biased;
use super::experts::{self, CORRECTED};
use super::layers::layer;
use super::{Family, Fields};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, ModelSpec};

/// `model_type` → reader; the first is what the published files say.
pub(crate) const FAMILIES: &[Family] =
    &[("ernie4_5_moe_vl", read), ("ernie4_5_vl_moe", read), ("ernie4_5_vl_moe_text", read)];

/// A value that is written for text and images side by side: `[1536, 512]`, or once for both.
fn pair<'a>(fields: &Fields<'a>, key: &'a str, default: Option<u32>) -> Result<[u32; 2], SpecError> {
    if fields.value(key).is_some_and(serde_json::Value::is_array) {
        let list = fields.counts(key)?.unwrap_or_default();
        return match list.as_slice() {
            [text, image] => Ok([*text, *image]),
            _ => {
                Err(fields.wrong(key, "must have one value for text and one for images", "write two numbers"))
            }
        };
    }
    let both = match default {
        Some(default) => fields.count_or(key, default)?,
        None => fields.size(key)?,
    };
    Ok([both; 2])
}

/// The text experts make the layer; those for images are counted with the vision tower, as only
/// images run through them.
fn read(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { tied: true, experts: CORRECTED, ..biased("use_bias", false) };
    let count = fields.layer_count()?;
    let [experts, _] = pair(fields, "num_experts", None)?;
    let [width, _] = pair(fields, "moe_intermediate_size", None)?;
    let shared = fields.count_or("moe_num_shared_experts", 0)?;
    let block = FeedForward::Moe {
        experts,
        top_k: fields.size("num_experts_per_tok")?,
        intermediate_size: width.into(),
        gated: true,
        bias: false,
        shared_intermediate_size: u64::from(shared) * u64::from(width),
        shared_gate: false,
        latent_size: 0,
        router_other_parameters: experts.into(),
        zero_experts: 0,
    };
    let dense = decoder::dense(fields, &style)?;
    let mixer = decoder::attention(fields, &style)?;
    let norms = 2 * decoder::norm(fields, &style)?;
    let all = sparse_layers(fields, count)?
        .into_iter()
        .map(|sparse| layer(mixer.clone(), if sparse { block.clone() } else { dense.clone() }, norms));
    decoder::assemble(fields, decoder::embedding(fields, &style)?, all)
}

/// Layers with experts: by `mlp_layer_types`, else from `moe_layer_start_index` (a pair) on.
fn sparse_layers(fields: &Fields<'_>, count: u32) -> Result<Vec<bool>, SpecError> {
    if fields.has("mlp_layer_types") {
        return experts::sparse_layers(fields, count);
    }
    let [first, _] = pair(fields, "moe_layer_start_index", Some(1))?;
    let every = fields.size_or("moe_layer_interval", 1)?;
    Ok((0..count).map(|i| i >= first && (i + 1).is_multiple_of(every)).collect())
}

/// Parameters of the experts for images, with their routers.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn image_experts(fields: &Fields<'_>) -> Result<u64, SpecError> {
    let [_, experts] = pair(fields, "num_experts", None)?;
    let [_, width] = pair(fields, "moe_intermediate_size", None)?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let layers = sparse_layers(fields, fields.layer_count()?)?.into_iter().filter(|s| *s).count() as u64;
    let [experts, width] = [experts, width].map(u64::from);
    let one = [experts.saturating_mul(3 * hidden).saturating_mul(width), experts * hidden, experts];
    Ok(layers.saturating_mul(one.into_iter().fold(0, u64::saturating_add)))
}
