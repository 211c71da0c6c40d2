//! Models that gate the output of attention and whose windowed layers differ: Laguna, Muse Glimmer.
//! Shapes follow the transformers classes of the same name.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::layers::counts;
use super::windows::{self, Windows};
use super::{Family, Fields, experts, layers};
use crate::spec::SpecError;
use crate::spec::model::{Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] =
    &[("laguna", laguna), ("muse_glimmer", muse_glimmer), ("muse_glimmer_text", muse_glimmer)];

const LAGUNA: Style = Style {
    qk_norm: (QkNorm::Shared, Switch::On),
    mlp_bias: Switch::Off,
    experts: experts::CORRECTED,
    windows: Windows::All,
    ..LLAMA
};

/// Norms before and after both parts.
const MUSE_GLIMMER: Style = Style {
    norms: 4,
    mlp_bias: Switch::Off,
    windows: Windows::Alternating { every: 4, window: 2048 },
    ..LLAMA
};

/// Laguna: query heads layer by layer, one gate value a head (or an element, where `gating` says so).
fn laguna(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let count = fields.layer_count()?;
    let (own, _, head_dim) = decoder::heads(fields)?;
    let all = counts(fields, "num_attention_heads_per_layer", count)?.unwrap_or(vec![own; count as usize]);
    let gate = match fields.value("gating") {
        Some(serde_json::Value::String(kind)) if kind.contains("element") => head_dim,
        Some(serde_json::Value::Bool(false)) => 0,
        _ => 1,
    };
    let plain = decoder::attention(fields, &LAGUNA)?;
    let windows = windows::per_layer(fields, LAGUNA.windows, count)?;
    let feed_forward = experts::per_layer(fields, &LAGUNA, count)?;
    let norms = LAGUNA.norms * decoder::norm(fields, &LAGUNA)?;
    let make = |((count, window), feed_forward)| {
        let mut mixer = decoder::windowed(plain.clone(), window);
        if let Mixer::GroupedQuery { heads, output_gate_size, .. } = &mut mixer {
            *heads = count;
            *output_gate_size = u64::from(count) * u64::from(gate);
        }
        layers::layer(mixer, feed_forward, norms)
    };
    let all = all.into_iter().zip(windows).zip(feed_forward).map(make);
    decoder::assemble(fields, decoder::embedding(fields, &LAGUNA)?, all)
}

/// Muse Glimmer: as many gate outputs as attention outputs.
fn muse_glimmer(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let (heads, _, head_dim) = decoder::heads(fields)?;
    let mut spec = decoder::model(fields, &MUSE_GLIMMER)?;
    for group in &mut spec.layers {
        if let Mixer::GroupedQuery { output_gate_size, .. } = &mut group.mixer {
            *output_gate_size = u64::from(heads) * u64::from(head_dim);
        }
    }
    Ok(spec)
}
