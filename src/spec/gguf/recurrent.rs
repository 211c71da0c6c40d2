//! Linear attention, state space and convolution layers from their tensors.

use super::block::Block;
use crate::spec::SpecError;
use crate::spec::model::Mixer;

/// Taps of the causal convolution: the tensor's first size, else the metadata.
fn taps(block: &mut Block<'_>, tensor: &str) -> Result<u32, SpecError> {
    match block.take(&format!("{tensor}.weight")) {
        Some(t) => block.narrow("ssm.conv_kernel", t.dims[0]),
        None => block.size("ssm.conv_kernel"),
    }
}

/// Gated DeltaNet. `ssm.state_size` is the width of a key head, `ssm.group_count` the number of key
/// heads and `ssm.time_step_rank` that of value heads.
pub(super) fn gated_delta_net(block: &mut Block<'_>) -> Result<Mixer, SpecError> {
    let value_heads = block.size("ssm.time_step_rank")?;
    let inner = block.size("ssm.inner_size")?;
    for name in ["ssm_in", "attn_qkv", "attn_gate", "ssm_ba", "ssm_beta", "ssm_alpha", "ssm_out"] {
        block.linear(name);
    }
    for name in ["ssm_a", "ssm_dt.bias", "ssm_norm.weight"] {
        block.take(name);
    }
    Ok(Mixer::GatedDeltaNet {
        key_heads: block.size("ssm.group_count")?,
        value_heads,
        key_head_dim: block.size("ssm.state_size")?,
        value_head_dim: divide(block, inner, value_heads)?,
        conv_kernel: taps(block, "ssm_conv1d")?,
    })
}

/// Kimi delta attention.
pub(super) fn kimi_delta(block: &mut Block<'_>) -> Result<Mixer, SpecError> {
    let conv_kernel = taps(block, "ssm_conv1d_q")?;
    for name in ["ssm_conv1d_k.weight", "ssm_conv1d_v.weight", "ssm_a", "ssm_dt.bias", "ssm_norm.weight"] {
        block.take(name);
    }
    for name in ["attn_q", "attn_k", "attn_v", "ssm_f_a", "ssm_f_b", "ssm_beta", "ssm_g_b", "attn_output"] {
        block.linear(name);
    }
    Ok(Mixer::KimiDelta {
        heads: block.size("attention.head_count")?,
        head_dim: block.size("kda.head_dim")?,
        conv_kernel,
        full_rank_gate: block.linear("ssm_g_a").is_none(),
        full_rank_decay: false,
    })
}

/// Mamba-1 (it has `ssm_x`) or Mamba-2, whose `ssm.time_step_rank` is the number of heads.
pub(super) fn mamba(block: &mut Block<'_>) -> Result<Mixer, SpecError> {
    let inner = block.size("ssm.inner_size")?;
    let state_size = block.size("ssm.state_size")?;
    let rank = block.size("ssm.time_step_rank")?;
    let conv_kernel = taps(block, "ssm_conv1d")?;
    let conv_bias = block.take("ssm_conv1d.bias").is_some();
    let bias = block.linear("ssm_in").is_some_and(|m| m.bias);
    block.linear("ssm_out");
    block.take("ssm_a");
    block.take("ssm_d");
    if block.linear("ssm_x").is_some() {
        block.linear("ssm_dt");
        let norms = ["ssm_dt_norm.weight", "ssm_b_norm.weight", "ssm_c_norm.weight"];
        return Ok(Mixer::Mamba1 {
            inner_size: inner,
            state_size,
            time_step_rank: rank,
            conv_kernel,
            conv_bias,
            bias,
            norm_parameters: norms.into_iter().map(|n| block.take_elements(n)).sum(),
        });
    }
    block.take("ssm_dt.bias");
    Ok(Mixer::Mamba2 {
        heads: rank,
        head_dim: divide(block, inner, rank)?,
        state_size,
        groups: block.size("ssm.group_count")?,
        conv_kernel,
        conv_bias,
        bias,
        without_norm: block.take("ssm_norm.weight").is_none(),
    })
}

/// Gated short convolution of LFM2.
pub(super) fn short_convolution(block: &mut Block<'_>) -> Result<Mixer, SpecError> {
    let input = block.linear("shortconv.in_proj");
    let output = block.linear("shortconv.out_proj");
    let width = output.map_or(block.hidden, |m| m.inputs);
    let conv_kernel = match block.take("shortconv.conv.weight") {
        Some(t) => block.narrow("shortconv.l_cache", t.dims[0])?,
        None => block.size("shortconv.l_cache")?,
    };
    block.take("shortconv.conv.bias");
    Ok(Mixer::ShortConv {
        width: block.narrow("embedding_length", width)?,
        conv_kernel,
        bias: input.is_some_and(|m| m.bias),
    })
}

/// Width of a head.
fn divide(block: &Block<'_>, inner: u32, heads: u32) -> Result<u32, SpecError> {
    if heads == 0 || !inner.is_multiple_of(heads) {
        let problem = format!("is not divided by ssm.time_step_rank = {heads}, the number of heads");
        return Err(block.metadata.value_error(&block.key("ssm.inner_size"), inner, &problem));
    }
    Ok(inner / heads)
}
