//! The feed-forward part of a layer from its tensors.

use super::block::{Block, Matrix};
use crate::spec::SpecError;
use crate::spec::model::FeedForward;

/// Dense, mixture of experts (with the dense block beside it, where there is one) or nothing.
pub(super) fn feed_forward(block: &mut Block<'_>) -> Result<FeedForward, SpecError> {
    let dense = dense(block, "");
    let Some(router) = block.linear("ffn_gate_inp") else {
        let Some((width, gated, bias)) = dense else { return Ok(FeedForward::None) };
        return Ok(FeedForward::Dense { intermediate_size: width, gated, bias });
    };
    let (experts, gated, bias) = match experts(block) {
        Some(found) => found,
        None => return Err(block.metadata.missing(&format!("blk.{}.ffn_up_exps.weight", block.index))),
    };
    if experts.stacked != router.outputs {
        let problem = format!("experts where the router has {} outputs", router.outputs);
        return Err(block.shape_error("ffn_down_exps.weight", experts.stacked, &problem));
    }
    let shared = self::dense(block, "_shexp").map_or(0, |(width, ..)| width);
    let latent = block.linear("ffn_latent_down").map_or(0, |m| m.outputs);
    block.linear("ffn_latent_up");
    // Router biases that choose but do not weigh (DeepSeek-V3), scales of Gemma 4's router.
    let small = ["exp_probs_b.bias", "exp_probs_b", "ffn_gate_inp.scale", "ffn_down_exps.scale"];
    let other = if block.architecture.starts_with("gemma") { &small[..] } else { &small[..2] };
    let mut router_other_parameters: u64 = other.iter().map(|n| block.take_elements(n)).sum();
    if router.bias && !bias {
        router_other_parameters += router.outputs;
    }
    Ok(FeedForward::Moe {
        experts: block.narrow("expert_count", experts.stacked)?,
        top_k: block.size("expert_used_count")?,
        intermediate_size: experts.inputs,
        gated,
        bias,
        shared_intermediate_size: shared + dense.map_or(0, |(width, ..)| width),
        shared_gate: block.take("ffn_gate_inp_shexp.weight").is_some(),
        latent_size: latent,
        router_other_parameters,
        zero_experts: 0,
    })
}

/// Width, gate and bias of a dense block. Where gate and up are one tensor (Phi-3, GLM-4), it has
/// twice as many outputs as the down projection has inputs.
fn dense(block: &mut Block<'_>, suffix: &str) -> Option<(u64, bool, bool)> {
    let down = block.linear(&format!("ffn_down{suffix}"))?;
    let up = block.linear(&format!("ffn_up{suffix}"));
    let gate = block.linear(&format!("ffn_gate{suffix}"));
    let gated = gate.is_some() || up.is_some_and(|m| m.outputs == down.inputs.saturating_mul(2));
    Some((down.inputs, gated, down.bias || up.is_some_and(|m| m.bias)))
}

/// The down projections of all experts (`stacked` of them, `inputs` wide), gate and bias.
fn experts(block: &mut Block<'_>) -> Option<(Matrix, bool, bool)> {
    if let Some(down) = block.linear("ffn_down_exps") {
        let fused = block.linear("ffn_gate_up_exps");
        let up = block.linear("ffn_up_exps");
        let gate = block.linear("ffn_gate_exps");
        let bias = down.bias || up.is_some_and(|m| m.bias);
        return Some((down, fused.is_some() || gate.is_some(), bias));
    }
    // Files of 2023 and early 2024 hold every expert apart.
    let mut first: Option<Matrix> = None;
    let mut gated = false;
    for expert in 0_u32.. {
        let Some(down) = block.linear(&format!("ffn_down.{expert}")) else { break };
        block.linear(&format!("ffn_up.{expert}"));
        gated |= block.linear(&format!("ffn_gate.{expert}")).is_some();
        let stacked = u64::from(expert) + 1;
        first = Some(Matrix { stacked, ..first.unwrap_or(down) });
    }
    first.map(|m| (m, gated, false))
}
