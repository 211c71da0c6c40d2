//! A layer from its tensors: which mixer, which feed-forward part, and every element accounted for.

use super::attention;
use super::block::Block;
use super::feed_forward::feed_forward;
use super::recurrent;
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer};

/// Tensors of no further structure that are counted as they are (Gemma 3n and 4; keys and values
/// only where the layer reads the cache of another).
const KNOWN_EXTRAS: [&str; 8] =
    ["altup_", "attn_k.", "attn_v.", "ffn_act", "inp_gate.", "laurel_", "layer_output_scale.", "proj."];

/// What a block of the file is.
pub(super) struct Layer {
    /// One group of one layer, or two for a layer with two mixers side by side (Falcon-H1).
    pub(super) groups: Vec<LayerGroup>,
    /// What was not understood or does not add up.
    pub(super) remarks: Vec<String>,
}

/// Reads one layer.
pub(super) fn layer(mut block: Block<'_>, window: Option<u32>) -> Result<Layer, SpecError> {
    let mixers = mixers(&mut block, window)?;
    let feed_forward = feed_forward(&mut block)?;
    let mut groups: Vec<LayerGroup> = mixers
        .into_iter()
        .map(|mixer| LayerGroup {
            count: 1,
            mixer,
            feed_forward: FeedForward::None,
            norm_parameters: 0,
            other_parameters: 0,
        })
        .collect();
    let mut remarks = vec![];
    if let Some(last) = groups.last_mut() {
        last.feed_forward = feed_forward;
        for (name, tensor) in &block.rest {
            if name.contains("norm") {
                last.norm_parameters += tensor.elements();
            } else if !is_buffer(name) {
                last.other_parameters += tensor.elements();
                if tensor.dims[1] > 1 && !KNOWN_EXTRAS.iter().any(|k| name.starts_with(k)) {
                    remarks.push(format!("tensor `{name}` is not understood; it counts for memory only"));
                }
            }
        }
    }
    // Sizes are below 10⁹ and tensors below 2⁴² elements here, so only floating point cannot overflow.
    let modelled: f64 = groups.iter().map(|g| elements(g, block.hidden)).sum();
    let difference = block.taken as f64 - modelled;
    if difference.abs() > 0.5 {
        remarks.push(format!(
            "the tensors hold {} elements where the shapes in the metadata make {modelled:.0}",
            block.taken
        ));
        if let Some(last) = groups.last_mut()
            && difference > 0.0
            && difference < 1e15
        {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range as checked
            let missing = difference as u64;
            last.other_parameters += missing;
        }
    }
    Ok(Layer { groups, remarks })
}

/// Elements of mixer and feed-forward part.
fn elements(group: &LayerGroup, hidden: u64) -> f64 {
    let linears = group.mixer.linears(hidden).into_iter().chain(group.feed_forward.linears(hidden));
    let dense: f64 = linears
        .map(|l| l.inputs as f64 * l.outputs as f64 + if l.bias { l.outputs as f64 } else { 0.0 })
        .sum();
    let experts = match group.feed_forward {
        FeedForward::Moe { experts, intermediate_size, gated, bias, .. } => {
            let (d, f) = (group.feed_forward.expert_width(hidden) as f64, intermediate_size as f64);
            let up = if gated { 2.0 * f } else { f };
            f64::from(experts) * (d * up + f * d + if bias { up + d } else { 0.0 })
        }
        _ => 0.0,
    };
    let small = group.mixer.other_parameters(hidden) + group.feed_forward.other_parameters();
    dense + experts + small as f64
}

/// Tables that are computed, not learned, and scales of quantised tensors.
fn is_buffer(name: &str) -> bool {
    name.starts_with("rope_")
        || name.starts_with("attn_rot_embd")
        || name.ends_with(".scale")
        || name.ends_with(".input_scale")
}

fn mixers(block: &mut Block<'_>, window: Option<u32>) -> Result<Vec<Mixer>, SpecError> {
    if block.has("ssm_f_a.weight") {
        return Ok(vec![recurrent::kimi_delta(block)?]);
    }
    if block.has("ssm_ba.weight") || block.has("ssm_beta.weight") {
        return Ok(vec![recurrent::gated_delta_net(block)?]);
    }
    if block.has_prefix("shortconv.") {
        return Ok(vec![recurrent::short_convolution(block)?]);
    }
    let mut all = vec![];
    if block.has("ssm_in.weight") {
        all.push(recurrent::mamba(block)?);
    }
    if block.has("attn_kv_a_mqa.weight") {
        all.push(attention::latent(block)?);
    } else if block.has("attn_q.weight") || block.has("attn_qkv.weight") {
        all.push(attention::grouped(block, window)?);
    }
    let unknown = block.rest.keys().find(|n| n.starts_with("time_mix") || n.starts_with("ssm_"));
    if let Some(name) = unknown {
        return Err(SpecError::Value {
            file: block.metadata.file().into(),
            key: "general.architecture".into(),
            value: block.architecture.into(),
            problem: format!("layer {} mixes tokens with `{name}`, which is not known", block.index),
            fix: "give a model with attention, Mamba, DeltaNet or short-convolution layers".into(),
        });
    }
    if all.is_empty() {
        all.push(Mixer::None);
    }
    Ok(all)
}
