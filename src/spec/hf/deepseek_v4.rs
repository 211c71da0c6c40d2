//! DeepSeek V4: compressed attention, hyper-connections, hash routing in the first layers. Shapes
//! follow transformers `modeling_deepseek_v4.py` and the technical report, §2.

use super::decoder::{self, LLAMA};
use super::layers::{counts, elements, layer, texts};
use super::{Family, Fields, experts};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, Indexer, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[("deepseek_v4", read), ("deepseek_ref", read)];

/// Attention without an indexer, and with one.
const HEAVY: u32 = 128;
const SPARSE: u32 = 4;

fn read(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let ratios = ratios(fields, layers)?;
    let hashed = hashed(fields, layers)?;
    let all = ratios.into_iter().zip(hashed).map(|(ratio, hashed)| block(fields, ratio, hashed));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let mut embedding = decoder::embedding(fields, &LLAMA)?;
    embedding.norm_parameters = embedding.norm_parameters.saturating_add(head_connection(fields)?);
    decoder::assemble(fields, embedding, all)
}

/// Tokens per compressed entry in each layer; 0 for a window only.
fn ratios(fields: &Fields<'_>, layers: u32) -> Result<Vec<u32>, SpecError> {
    if let Some(ratios) = counts(fields, "compress_ratios", layers)? {
        return Ok(ratios);
    }
    let ratio = |t: &str| match t {
        "compressed_sparse_attention" => SPARSE,
        "heavily_compressed_attention" => HEAVY,
        _ => 0,
    };
    Ok(match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(ratio).collect(),
        None => (0..layers).map(|i| if i >= 2 && i % 2 == 1 { SPARSE } else { HEAVY }).collect(),
    })
}

/// Layers that route by a table of the token's id instead of by score.
fn hashed(fields: &Fields<'_>, layers: u32) -> Result<Vec<bool>, SpecError> {
    if let Some(types) = texts(fields, "mlp_layer_types", layers)? {
        return Ok(types.into_iter().map(|t| t == "hash_moe").collect());
    }
    let first = fields.count_or("num_hash_layers", 3)?;
    Ok((0..layers).map(|i| i < first).collect())
}

/// One layer.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn block(fields: &Fields<'_>, ratio: u32, hashed: bool) -> Result<LayerGroup, SpecError> {
    let hidden = u64::from(fields.size("hidden_size")?);
    let mut feed_forward = experts::block(fields, &LLAMA)?;
    if let FeedForward::Moe { experts, top_k, router_other_parameters, .. } = &mut feed_forward {
        *router_other_parameters = if hashed {
            // The experts of each token id.
            u64::from(fields.size("vocab_size")?) * u64::from(*top_k)
        } else {
            u64::from(*experts)
        };
    }
    let streams = streams(fields)?;
    // Per half: weights of (n² + 2n) mixing coefficients over n·d inputs, their offsets, three scales.
    let coefficients = (streams + 2) * streams;
    let connection = elements(&[&[coefficients, streams, hidden], &[coefficients], &[3]]);
    Ok(LayerGroup {
        other_parameters: connection.saturating_mul(2),
        ..layer(mixer(fields, ratio)?, feed_forward, 2 * hidden)
    })
}

/// Streams n of the hyper-connections.
fn streams(fields: &Fields<'_>) -> Result<u64, SpecError> {
    fields.size_or("hc_mult", 4).map(u64::from)
}

/// Elements of the connection that joins the streams before the output projection.
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn head_connection(fields: &Fields<'_>) -> Result<u64, SpecError> {
    let streams = streams(fields)?;
    Ok(elements(&[&[streams, streams, fields.size("hidden_size")?.into()], &[streams], &[1]]))
}

fn mixer(fields: &Fields<'_>, ratio: u32) -> Result<Mixer, SpecError> {
    let q_lora_rank = fields.size("q_lora_rank")?;
    let indexer = if ratio == SPARSE {
        let hidden = u64::from(fields.size("hidden_size")?);
        let (heads, width) = (fields.size_or("index_n_heads", 64)?, fields.size_or("index_head_dim", 128)?);
        let (h, c) = (u64::from(heads), u64::from(width));
        // Queries from the compressed query, a weight per head, and a compressor of its own: values
        // and pooling weights of overlapping windows, position table, norm.
        let (rank, m) = (u64::from(q_lora_rank), u64::from(ratio));
        let parameters = elements(&[&[rank, h, c], &[hidden, h], &[2, hidden, 2, c], &[m, 2, c], &[c]]);
        let top_k = fields.size_or("index_topk", 512)?;
        Some(Indexer { heads, head_dim: width, top_k, parameters, reused: false })
    } else {
        None
    };
    Ok(Mixer::Compressed {
        heads: fields.size("num_attention_heads")?,
        head_dim: fields.size("head_dim")?,
        q_lora_rank,
        output_groups: fields.size_or("o_groups", 8)?,
        output_lora_rank: fields.size_or("o_lora_rank", 1024)?,
        window: fields.size_or("sliding_window", 128)?,
        ratio,
        indexer,
    })
}
