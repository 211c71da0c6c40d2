//! Feed-forward parts with experts: how many, how wide, and in which layers.

use super::decoder::{self, Style, Switch};
use super::{Fields, layers};
use crate::spec::SpecError;
use crate::spec::model::FeedForward;

/// Keys for the number of shared experts.
const SHARED: [&str; 4] =
    ["n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"];

/// What the fields do not say about a family's experts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experts {
    /// Biases in router and experts.
    pub bias: bool,
    /// A sigmoid gate on the shared expert.
    pub shared_gate: bool,
    /// One routing-correction value per expert.
    pub correction: Switch,
}

/// No biases, no gate, no correction.
pub(crate) const PLAIN: Experts = Experts { bias: false, shared_gate: false, correction: Switch::Off };

/// A routing-correction value per expert.
pub(crate) const CORRECTED: Experts = Experts { correction: Switch::On, ..PLAIN };

/// The feed-forward part of each layer: dense where the fields name no experts.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn per_layer(
    fields: &Fields<'_>,
    style: &Style,
    count: u32,
) -> Result<Vec<FeedForward>, SpecError> {
    if fields.count_or("num_experts", 0)? <= 1 {
        return Ok(vec![decoder::dense(fields, style)?; count as usize]);
    }
    let sparse = sparse_layers(fields, count)?;
    let experts = block(fields, style)?;
    let dense = if sparse.contains(&false) { decoder::dense(fields, style)? } else { experts.clone() };
    Ok(sparse.into_iter().map(|s| if s { experts.clone() } else { dense.clone() }).collect())
}

/// The expert block as the fields describe it. Without a width of its own an expert is as wide as a
/// dense block; shared experts are as wide as routed ones unless a key says otherwise.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn block(fields: &Fields<'_>, style: &Style) -> Result<FeedForward, SpecError> {
    let experts = fields.size("num_experts")?;
    let width = match fields.optional_size("moe_intermediate_size")? {
        Some(width) => width,
        None => fields.size("intermediate_size")?,
    };
    let shared = match fields.count_or("shared_expert_intermediate_size", 0)? {
        0 => match SHARED.into_iter().find(|key| fields.has(key)) {
            Some(key) => u64::from(fields.count_or(key, 0)?) * u64::from(width),
            None => 0,
        },
        width => width.into(),
    };
    let correction = style.experts.correction.read(fields)?;
    Ok(FeedForward::Moe {
        experts,
        top_k: fields.size("num_experts_per_tok")?,
        intermediate_size: width.into(),
        gated: style.gated,
        bias: style.experts.bias,
        shared_intermediate_size: shared,
        shared_gate: style.experts.shared_gate && shared > 0,
        latent_size: 0,
        router_other_parameters: if correction { experts.into() } else { 0 },
        zero_experts: 0,
    })
}

/// Which layers have experts: the first few may be dense, every n-th may have them, lists may name
/// either.
///
/// # Errors
/// When a list does not fit the number of layers.
pub(crate) fn sparse_layers(fields: &Fields<'_>, count: u32) -> Result<Vec<bool>, SpecError> {
    if let Some(types) = layers::texts(fields, "mlp_layer_types", count)? {
        return Ok(types.into_iter().map(|t| t != "dense").collect());
    }
    if fields.value("moe_layer_freq").is_some_and(serde_json::Value::is_array) {
        let marks = layers::counts(fields, "moe_layer_freq", count)?.unwrap_or_default();
        return Ok(marks.into_iter().map(|m| m > 0).collect());
    }
    if let Some(listed) = fields.counts("moe_layers")? {
        return Ok((0..count).map(|i| listed.contains(&i)).collect());
    }
    let first = fields.count_or("first_k_dense_replace", 0)?;
    let step = fields.size_or("decoder_sparse_step", 1)?;
    let every = fields.size_or("moe_layer_freq", 1)?;
    let dense = fields.counts("mlp_only_layers")?.unwrap_or_default();
    let sparse =
        |i: u32| i >= first && i.is_multiple_of(every) && (i + 1).is_multiple_of(step) && !dense.contains(&i);
    Ok((0..count).map(sparse).collect())
}
