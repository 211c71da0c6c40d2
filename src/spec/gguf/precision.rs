//! What the weights are stored in: exact bytes, and for each class of tensors the type that holds
//! most of them.

use std::collections::BTreeMap;

use super::header::Tensor;
use crate::spec::DataType;
use crate::spec::model::{Checkpoint, TensorClass};

/// What a tensor belongs to. Layers from `first_mtp` on are the multi-token-prediction head.
fn class(tensor: &Tensor, first_mtp: u32, recurrent: &[bool]) -> TensorClass {
    use TensorClass as C;
    let Some((index, name)) = layer_and_name(&tensor.name) else {
        return match tensor.name.as_str() {
            "token_embd.weight" | "position_embd.weight" | "per_layer_token_embd.weight" => C::Embedding,
            "output.weight" => C::LmHead,
            _ => C::Small,
        };
    };
    let is_recurrent = recurrent.get(index as usize).copied().unwrap_or(false);
    match name.strip_suffix(".weight").unwrap_or_default() {
        _ if index >= first_mtp => C::Mtp,
        n if n.contains("norm") || tensor.dims[1] == 1 => C::Small,
        n if n.ends_with("_exps") => C::Experts,
        n if n.ends_with("_shexp") => C::SharedExperts,
        "ffn_gate_inp" => C::Router,
        "ffn_up" | "ffn_gate" | "ffn_down" => C::Mlp,
        n if n.starts_with("ffn_latent") => C::SharedExperts,
        n if n.starts_with("ffn_") && n.ends_with(|c: char| c.is_ascii_digit()) => C::Experts,
        n if n.starts_with("attn_") && is_recurrent => C::LinearAttention,
        n if n.starts_with("attn_") => C::Attention,
        "ssm_conv1d" | "shortconv.conv" => C::Small,
        n if n.starts_with("ssm_") || n.starts_with("shortconv.") => C::LinearAttention,
        _ => C::Small,
    }
}

/// `blk.12.attn_q.weight` → (12, `attn_q.weight`).
pub(super) fn layer_and_name(name: &str) -> Option<(u32, &str)> {
    let (index, name) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((index.parse().ok()?, name))
}

/// Precision of the checkpoint. `tied` means that the embedding table is the output projection too.
/// Activations and cache of a quantised file are 16-bit floats in llama.cpp; of a plain one they
/// follow its weights.
///
/// # Errors
/// The name of a tensor type that holds no weights.
pub(super) fn precision(
    tensors: &[Tensor],
    first_mtp: u32,
    recurrent: &[bool],
    tied: bool,
) -> Result<Checkpoint, &'static str> {
    let mut bytes: BTreeMap<(TensorClass, u32), (u64, Option<DataType>, &'static str)> = BTreeMap::new();
    for tensor in tensors {
        let key = (class(tensor, first_mtp, recurrent), tensor.kind.id);
        let entry = bytes.entry(key).or_insert((0, tensor.kind.data_type, tensor.kind.name));
        entry.0 = entry.0.saturating_add(tensor.bytes());
    }
    let mut heaviest: BTreeMap<TensorClass, (u64, Option<DataType>, &'static str)> = BTreeMap::new();
    for ((class, _), held) in bytes {
        let entry = heaviest.entry(class).or_insert(held);
        if held.0 > entry.0 {
            *entry = held;
        }
    }
    let mut formats = BTreeMap::new();
    for (class, (bytes, data_type, name)) in heaviest {
        formats.insert(class, (bytes, data_type.ok_or(name)?));
    }
    let overall = formats.values().max_by_key(|(bytes, _)| *bytes).map(|(_, data_type)| *data_type);
    let plain = [DataType::Fp32, DataType::Bf16, DataType::Fp16];
    let data_type = overall.filter(|d| plain.contains(d)).unwrap_or(DataType::Fp16);
    let mut checkpoint = Checkpoint::plain(data_type);
    checkpoint.method = Some("gguf".into());
    checkpoint.quantized =
        formats.into_iter().map(|(class, (_, d))| (class, d)).filter(|(_, d)| *d != data_type).collect();
    if tied && let Some(table) = checkpoint.quantized.get(&TensorClass::Embedding).copied() {
        checkpoint.quantized.insert(TensorClass::LmHead, table);
    }
    Ok(checkpoint)
}
