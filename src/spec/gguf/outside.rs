//! Tensors outside the layers of the model: embeddings, output projection, final norm, and the
//! multi-token-prediction layers at the end.

use std::collections::BTreeMap;

use super::header::Tensor;
use super::metadata::Metadata;
use super::notes::Notes;
use crate::spec::SpecError;
use crate::spec::model::{Embedding, Mtp};

/// Embeddings and output projection, and the rows of the table. Without `output.weight` the table is both.
pub(super) fn embedding(
    metadata: &Metadata,
    architecture: &str,
    tensors: &BTreeMap<&str, &Tensor>,
    hidden: u64,
    notes: &mut Notes,
) -> Result<(Embedding, u64), SpecError> {
    let table = tensors.get("token_embd.weight");
    if let Some(table) = table
        && table.dims[0] != hidden
    {
        let problem = "is no width of the embedding table where `embedding_length` is another";
        return Err(metadata.value_error("token_embd.weight", table.dims[0], problem));
    }
    let listed = metadata
        .number(&format!("{architecture}.vocab_size"))?
        .or_else(|| metadata.array_length("tokenizer.ggml.tokens"));
    let vocab = table.map(|t| t.dims[1]).or(listed).ok_or_else(|| metadata.missing("token_embd.weight"))?;
    let mut embedding = Embedding { tied: !tensors.contains_key("output.weight"), ..Embedding::default() };
    for (name, tensor) in tensors {
        let elements = tensor.elements();
        match *name {
            "token_embd.weight" => {}
            "output.weight" if elements == vocab.saturating_mul(hidden) => {}
            "output.weight" => {
                notes.list.push(format!(
                    "`output.weight` holds {elements} elements where vocabulary × width is {}",
                    vocab.saturating_mul(hidden)
                ));
            }
            "output.bias" => embedding.lm_head_bias = true,
            "position_embd.weight" | "token_types.weight" => embedding.position_parameters += elements,
            n if n.starts_with("rope_") || n.ends_with(".scale") || n.ends_with(".input_scale") => {}
            n if n.starts_with("per_layer_") || n.starts_with("altup_") => {
                embedding.per_layer_parameters += elements
            }
            n => {
                embedding.norm_parameters += elements;
                if !n.contains("norm") && tensor.dims[1] > 1 {
                    notes.list.push(format!("tensor `{n}` is not understood; it counts for memory only"));
                }
            }
        }
    }
    Ok((embedding, vocab))
}

/// One more multi-token-prediction layer: its elements, and those that one token touches.
pub(super) fn prediction(
    before: Option<Mtp>,
    tensors: BTreeMap<&str, &Tensor>,
    metadata: &Metadata,
    architecture: &str,
) -> Result<Mtp, SpecError> {
    let used = metadata.number(&format!("{architecture}.expert_used_count"))?.unwrap_or(0);
    let (mut all, mut active) = (0, 0);
    for (name, tensor) in tensors {
        let elements = tensor.elements();
        all += elements;
        let experts = tensor.dims[2];
        active += if name.contains("_exps.") { elements / experts * used.min(experts) } else { elements };
    }
    let before = before.unwrap_or(Mtp { layers: 0, parameters: 0, active_parameters: 0 });
    Ok(Mtp {
        layers: before.layers + 1,
        parameters: before.parameters + all,
        active_parameters: before.active_parameters.max(active),
    })
}
