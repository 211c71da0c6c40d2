//! Softmax attention from its tensors.

use super::block::{Block, Matrix};
use crate::spec::SpecError;
use crate::spec::model::{Indexer, Mixer};

/// Grouped-query attention. Head counts follow the tensors: `attn_q` has heads × head width outputs,
/// or twice as many when the second half gates the output (Qwen3-Next).
pub(super) fn grouped(block: &mut Block<'_>, window: Option<u32>) -> Result<Mixer, SpecError> {
    let heads = block.size("attention.head_count")?;
    let (head_dim, value_head_dim) = head_widths(block, heads, window.is_some())?;
    let (h, d, dv) = (u64::from(heads), u64::from(head_dim), u64::from(value_head_dim));
    let mut reused = reuses_kv(block)?;
    let listed = block.number("attention.head_count_kv")?.unwrap_or(h);
    let mut gate = 0;
    let mut key_is_value = false;
    let (kv_heads, qkv_bias) = if let Some(qkv) = block.linear("attn_qkv") {
        let kv = block.narrow("attention.head_count_kv", listed)?;
        if qkv.outputs != h * d + u64::from(kv) * (d + dv) {
            let problem = "outputs are not those of the heads in the metadata";
            return Err(block.shape_error("attn_qkv.weight", qkv.outputs, problem));
        }
        (kv, qkv.bias)
    } else {
        let missing = || block.metadata.missing(&format!("blk.{}.attn_q.weight", block.index));
        let q = block.rest.get("attn_q.weight").ok_or_else(missing)?.dims[1];
        gate = match q.checked_sub(h * d) {
            Some(0) => 0,
            Some(extra) if extra == h * d => extra,
            _ => {
                let problem = "outputs are not heads × head width";
                return Err(block.shape_error("attn_q.weight", q, problem));
            }
        };
        let mut bias = block.linear("attn_q").is_some_and(|m| m.bias);
        let kv = if reused {
            listed
        } else {
            let k = block.linear("attn_k");
            let v = block.linear("attn_v");
            bias |= k.is_some_and(|m| m.bias) || v.is_some_and(|m| m.bias);
            key_is_value = k.is_some() && v.is_none();
            reused = k.is_none() && v.is_none();
            k.map_or(listed, |m| m.outputs / d)
        };
        (block.narrow("attention.head_count_kv", kv)?, bias)
    };
    gate += block.linear("attn_gate").map_or(0, |m| m.outputs);
    let output_bias = block.linear("attn_output").is_some_and(|m| m.bias);
    let norms = ["attn_q_norm.weight", "attn_q_norm.bias", "attn_k_norm.weight", "attn_k_norm.bias"];
    Ok(Mixer::GroupedQuery {
        heads,
        kv_heads,
        head_dim,
        value_head_dim: (value_head_dim != head_dim).then_some(value_head_dim),
        window,
        sinks: block.take_prefix("attn_sinks") > 0,
        qkv_bias,
        output_bias,
        qk_norm_parameters: norms.into_iter().map(|n| block.take_elements(n)).sum(),
        output_gate_size: gate,
        key_is_value,
        reuses_kv: reused,
        indexer: indexer(block)?,
    })
}

/// Widths of a query–key head and of a value head; layers with a window may have their own.
fn head_widths(block: &Block<'_>, heads: u32, windowed: bool) -> Result<(u32, u32), SpecError> {
    let width = |kind: &str| -> Result<Option<u64>, SpecError> {
        let own = if windowed { block.number(&format!("attention.{kind}_length_swa"))? } else { None };
        Ok(own.or(block.number(&format!("attention.{kind}_length"))?))
    };
    let even = block.hidden / u64::from(heads);
    let key = block.narrow("attention.key_length", width("key")?.unwrap_or(even))?;
    let value = block.narrow("attention.value_length", width("value")?.unwrap_or(even))?;
    Ok((key, value))
}

/// The last `attention.shared_kv_layers` layers read the cache of earlier ones (Gemma 3n and 4).
fn reuses_kv(block: &Block<'_>) -> Result<bool, SpecError> {
    let shared = block.number("attention.shared_kv_layers")?.unwrap_or(0);
    let layers = block.number("block_count")?.unwrap_or(0);
    Ok(u64::from(block.index) >= layers.saturating_sub(shared))
}

/// The indexer of sparse attention, with whatever tensors it has.
fn indexer(block: &mut Block<'_>) -> Result<Option<Indexer>, SpecError> {
    if !block.has_prefix("indexer.") {
        return Ok(None);
    }
    Ok(Some(Indexer {
        heads: block.size("attention.indexer.head_count")?,
        head_dim: block.size("attention.indexer.key_length")?,
        top_k: block.size("attention.indexer.top_k")?,
        reused: false,
        parameters: block.take_prefix("indexer."),
    }))
}

/// Multi-head latent attention. Newer files list the width of the absorbed form under `key_length`
/// and that of a head under `key_length_mla`; older ones only the latter, as `key_length`. The width
/// of a value head, which some leave out, follows from the output projection.
pub(super) fn latent(block: &mut Block<'_>) -> Result<Mixer, SpecError> {
    let heads = block.size("attention.head_count")?;
    let h = u64::from(heads);
    let rank = block.size("attention.kv_lora_rank")?;
    let rope = block.size("rope.dimension_count")?;
    let key = match block.number("attention.key_length_mla")? {
        Some(n) => block.narrow("attention.key_length_mla", n)?,
        None => block.size("attention.key_length")?,
    };
    let Some(nope) = key.checked_sub(rope) else {
        let problem = "is narrower than rope.dimension_count, its rotary part";
        return Err(block.metadata.value_error(&block.key("attention.key_length_mla"), key, problem));
    };
    let down = block.linear("attn_kv_a_mqa");
    check(block, "attn_kv_a_mqa.weight", down, u64::from(rank) + u64::from(rope))?;
    let compressed = block.linear("attn_q_a");
    let up = block.linear(if compressed.is_some() { "attn_q_b" } else { "attn_q" });
    check(block, "attn_q_b.weight", up, h * u64::from(key))?;
    if block.linear("attn_kv_b").is_some() {
        // Some converters store the same weights a second time, split for the absorbed form.
        block.rest.remove("attn_k_b.weight");
        block.rest.remove("attn_v_b.weight");
    } else {
        block.take("attn_k_b.weight");
        block.take("attn_v_b.weight");
    }
    block.take("attn_q_a_norm.weight");
    block.take("attn_kv_a_norm.weight");
    let missing = || block.metadata.missing(&format!("blk.{}.attn_output.weight", block.index));
    let inputs = block.rest.get("attn_output.weight").ok_or_else(missing)?.dims[0];
    let output = block.linear("attn_output");
    let q_lora_rank = match compressed {
        Some(m) => Some(block.narrow("attention.q_lora_rank", m.outputs)?),
        None => None,
    };
    Ok(Mixer::Latent {
        heads,
        q_lora_rank,
        kv_lora_rank: rank,
        qk_nope_head_dim: nope,
        qk_rope_head_dim: rope,
        v_head_dim: block.narrow("attention.value_length_mla", inputs / h)?,
        bias: output.is_some_and(|m| m.bias),
        output_gate_size: block.linear("attn_gate").map_or(0, |m| m.outputs),
        indexer: indexer(block)?,
    })
}

fn check(block: &Block<'_>, name: &str, matrix: Option<Matrix>, outputs: u64) -> Result<(), SpecError> {
    match matrix {
        Some(m) if m.outputs != outputs => {
            let problem = format!("outputs where the metadata give {outputs}");
            Err(block.shape_error(name, m.outputs, &problem))
        }
        _ => Ok(()),
    }
}
