//! Multi-head latent attention, and the families that have it (DeepSeek V2 to V3.2, Kimi K2,
//! GLM-5, MiniCPM3). Sources: the transformers classes of the same name, `inference/model.py` of
//! DeepSeek-V3.2 for the indexer.

use super::decoder::{self, LLAMA, Style, Switch};
use super::experts::{CORRECTED, Experts, PLAIN};
use super::{Family, Fields, layers};
use crate::spec::model::{Indexer, Mixer};
use crate::spec::{ModelSpec, SpecError};

/// DeepSeek V3: a routing correction per expert.
const DEEPSEEK_V3: Style = Style { experts: CORRECTED, ..LLAMA };

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("deepseek_v2", deepseek_v2),
    ("deepseek_v3", |f| decoder::model(f, &DEEPSEEK_V3)),
    ("deepseek_v32", |f| decoder::model(f, &DEEPSEEK_V3)),
    ("kimi_k2", |f| decoder::model(f, &DEEPSEEK_V3)),
    ("kimi_k25", |f| decoder::model(f, &DEEPSEEK_V3)),
    ("glm_moe_dsa", |f| decoder::model(f, &DEEPSEEK_V3)),
    ("glm4_moe_lite", |f| decoder::model(f, &DEEPSEEK_V3)),
    // A third norm behind the feed-forward part.
    ("axk1", |f| decoder::model(f, &Style { norms: 3, ..LLAMA })),
    ("minicpm3", |f| decoder::model(f, &Style { tied: true, ..LLAMA })),
];

/// DeepSeek V2: a routing correction only with the method that needs one.
fn deepseek_v2(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let correction = Switch::fixed(fields.text("topk_method")? == Some("noaux_tc"));
    decoder::model(fields, &Style { experts: Experts { correction, ..PLAIN }, ..LLAMA })
}

/// Latent attention of each layer, as the fields describe it.
///
/// # Errors
/// When a size is missing or absurd, or a list does not fit the number of layers.
pub(crate) fn per_layer(fields: &Fields<'_>, count: u32) -> Result<Vec<Mixer>, SpecError> {
    let plain = attention(fields)?;
    let own = indexer(fields)?;
    let reused = reused(fields, count)?;
    let layer = |reused: bool| {
        let mut mixer = plain.clone();
        if let Mixer::Latent { indexer, .. } = &mut mixer {
            *indexer = own.map(|i| if reused { Indexer { reused, parameters: 0, ..i } } else { i });
        }
        mixer
    };
    Ok(reused.into_iter().map(layer).collect())
}

/// Latent attention without an indexer. Where `v_head_dim` is absent it is the hidden width over
/// the heads (MiniCPM3).
///
/// # Errors
/// When a size is missing or absurd.
pub(crate) fn attention(fields: &Fields<'_>) -> Result<Mixer, SpecError> {
    let heads = fields.size("num_attention_heads")?;
    Ok(Mixer::Latent {
        heads,
        q_lora_rank: Some(fields.count_or("q_lora_rank", 0)?).filter(|rank| *rank > 0),
        kv_lora_rank: fields.size("kv_lora_rank")?,
        qk_nope_head_dim: fields.size("qk_nope_head_dim")?,
        qk_rope_head_dim: fields.count_or("qk_rope_head_dim", 0)?,
        v_head_dim: fields.size_or("v_head_dim", fields.size("hidden_size")? / heads)?,
        bias: fields.flag("attention_bias", false)?,
        output_gate_size: 0,
        indexer: None,
    })
}

/// The indexer of DeepSeek sparse attention. Per layer: queries from the query latent, one key head
/// and a weight per head from the hidden state, a LayerNorm with bias on the key:
/// r_q·h_i·d_i + D·d_i + D·h_i + 2·d_i.
fn indexer(fields: &Fields<'_>) -> Result<Option<Indexer>, SpecError> {
    let Some(top_k) = fields.optional_size("index_topk")? else { return Ok(None) };
    let (heads, head_dim) = (fields.size("index_n_heads")?, fields.size("index_head_dim")?);
    let hidden = fields.size("hidden_size")?;
    let rank = fields.size_or("q_lora_rank", hidden)?;
    let [h, d, hidden, rank] = [heads, head_dim, hidden, rank].map(u64::from);
    let parameters = [rank.saturating_mul(h.saturating_mul(d)), hidden * d, hidden * h, 2 * d];
    let parameters = parameters.into_iter().fold(0, u64::saturating_add);
    Ok(Some(Indexer { heads, head_dim, top_k, parameters, reused: false }))
}

/// Which layers reuse the picks of an earlier layer (`indexer_types` of GLM-5.2).
fn reused(fields: &Fields<'_>, count: u32) -> Result<Vec<bool>, SpecError> {
    Ok(match layers::texts(fields, "indexer_types", count)? {
        Some(types) => types.into_iter().map(|t| t == "shared").collect(),
        None => vec![false; count as usize],
    })
}
