//! Gemma 4 and Gemma 3n: unlike sizes in windowed and full layers, keys and values shared between
//! layers, per-layer embeddings. Shapes follow transformers `modeling_gemma4.py` and
//! `modeling_gemma3n.py`.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::layers::{counts, elements, layer, texts};
use super::{Family, Fields, experts};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("gemma4", |f| gemma4(f, 256)),
    ("gemma4_text", |f| gemma4(f, 256)),
    ("gemma4_unified", |f| gemma4(f, 0)),
    ("gemma4_unified_text", |f| gemma4(f, 0)),
    ("gemma3n", gemma3n),
    ("gemma3n_text", gemma3n),
];

const STYLE: Style =
    Style { mlp_bias: Switch::Off, norms: 4, qk_norm: (QkNorm::Shared, Switch::On), tied: true, ..LLAMA };

/// Which layers see a window only: by `layer_types`, else all but every `every`-th.
fn windowed(fields: &Fields<'_>, layers: u32, every: u32) -> Result<Vec<bool>, SpecError> {
    Ok(match texts(fields, "layer_types", layers)? {
        Some(types) => types.into_iter().map(|t| t.starts_with("sliding")).collect(),
        None => (0..layers).map(|i| (i + 1) % every != 0).collect(),
    })
}

/// Per-layer embeddings: elements outside the layers (table, projection and its norm), and elements
/// in each layer (gate, projection, norm).
fn per_layer(fields: &Fields<'_>, default: u32, layers: u32) -> Result<(u64, u64), SpecError> {
    let width = u64::from(fields.count_or("hidden_size_per_layer_input", default)?);
    if width == 0 {
        return Ok((0, 0));
    }
    let hidden = u64::from(fields.size("hidden_size")?);
    let rows = u64::from(fields.size_or("vocab_size_per_layer_input", 262_144)?);
    let all = u64::from(layers) * width;
    let outside = elements(&[&[rows, all], &[hidden, all], &[width]]);
    Ok((outside, elements(&[&[2, hidden, width], &[hidden]])))
}

/// Gemma 4. In full layers heads are wider, and where `attention_k_eq_v` is set the keys serve as
/// values. The last `num_kv_shared_layers` reuse the cache of earlier ones. Experts, where there are
/// any, run beside the dense block, which is read as the shared expert.
/// `embedded` is the width of the per-layer embeddings where the fields do not say.
fn gemma4(fields: &Fields<'_>, embedded: u32) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let (outside, inside) = per_layer(fields, embedded, layers)?;
    let reused = layers.saturating_sub(fields.count_or("num_kv_shared_layers", 0)?);
    let window = fields.size_or("sliding_window", 512)?;
    let keys_only = fields.flag("attention_k_eq_v", false)?;
    let attention = decoder::attention(fields, &STYLE)?;
    let wide = fields.flag("use_double_wide_mlp", false)?;
    let dense = u64::from(fields.size("intermediate_size")?);
    let make = |(i, local): (u32, bool)| {
        let reuses = i >= reused;
        let mut mixer = attention.clone();
        if let Mixer::GroupedQuery {
            kv_heads,
            head_dim,
            window: seen,
            key_is_value,
            reuses_kv,
            qk_norm_parameters,
            ..
        } = &mut mixer
        {
            if local {
                *seen = Some(window);
            } else {
                *head_dim = fields.size_or("global_head_dim", 512)?;
                *key_is_value = keys_only;
                if keys_only {
                    *kv_heads = fields.size_or("num_global_key_value_heads", *kv_heads)?;
                }
            }
            *reuses_kv = reuses;
            // Without keys of its own a layer norms its queries only.
            *qk_norm_parameters = u64::from(*head_dim) * if reuses { 1 } else { 2 };
        }
        let width = if wide && reuses { 2 * dense } else { dense };
        let (feed_forward, norms) = if fields.flag("enable_moe_block", false)? {
            (gemma4_experts(fields, width)?, 7)
        } else {
            (FeedForward::Dense { intermediate_size: width, gated: true, bias: false }, 4)
        };
        // One scale a layer, stored as a tensor.
        Ok(LayerGroup {
            other_parameters: inside.saturating_add(1),
            ..layer(mixer, feed_forward, norms * hidden)
        })
    };
    let all =
        (0..layers).zip(windowed(fields, layers, 6)?).map(make).collect::<Result<Vec<_>, SpecError>>()?;
    let mut embedding = decoder::embedding(fields, &STYLE)?;
    embedding.per_layer_parameters = outside;
    decoder::assemble(fields, embedding, all)
}

/// Experts beside a dense block of `width`; the router scales its input and each expert's output.
fn gemma4_experts(fields: &Fields<'_>, width: u64) -> Result<FeedForward, SpecError> {
    let mut experts = experts::block(fields, &STYLE)?;
    if let FeedForward::Moe { experts, shared_intermediate_size, router_other_parameters, .. } = &mut experts
    {
        *shared_intermediate_size = width;
        *router_other_parameters = u64::from(fields.size("hidden_size")?) + u64::from(*experts);
    }
    Ok(experts)
}

/// Gemma 3n: four parallel copies of the residual stream (AltUp), a low-rank branch (LAuReL),
/// per-layer embeddings, keys and values shared by the last layers.
fn gemma3n(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let layers = fields.layer_count()?;
    let hidden = u64::from(fields.size("hidden_size")?);
    let (outside, inside) = per_layer(fields, 256, layers)?;
    let copies = u64::from(fields.size_or("altup_num_inputs", 4)?);
    let rank = u64::from(fields.size_or("laurel_rank", 64)?);
    // Correction and prediction coefficients, router with its norm, output scale; LAuReL and its norm.
    let altup = [&[copies, copies][..], &[copies, copies, copies], &[hidden, copies], &[2, hidden]];
    let laurel = [&[2, hidden, rank][..], &[hidden]];
    let inside = elements(&altup).saturating_add(elements(&laurel)).saturating_add(inside);
    let reused = layers.saturating_sub(fields.count_or("num_kv_shared_layers", 15)?);
    let window = fields.size_or("sliding_window", 512)?;
    let attention = decoder::attention(fields, &STYLE)?;
    let widths = if fields.value("intermediate_size").is_some_and(serde_json::Value::is_array) {
        counts(fields, "intermediate_size", layers)?.unwrap_or_default()
    } else {
        vec![fields.size_or("intermediate_size", 16_384)?; layers as usize]
    };
    let (_, kv_heads, head_dim) = decoder::heads(fields)?;
    let [kv_heads, head_dim] = [kv_heads, head_dim].map(u64::from);
    // Layers that reuse keys and values still store projections and a norm for them.
    let unused = elements(&[&[2, hidden, kv_heads, head_dim], &[head_dim]]);
    let make = |((i, local), width): ((u32, bool), u32)| {
        let mut mixer = attention.clone();
        let reuses = i >= reused;
        if let Mixer::GroupedQuery { window: seen, reuses_kv, qk_norm_parameters, .. } = &mut mixer {
            *seen = local.then_some(window);
            *reuses_kv = reuses;
            *qk_norm_parameters = head_dim * if reuses { 1 } else { 2 };
        }
        let dense = FeedForward::Dense { intermediate_size: width.into(), gated: true, bias: false };
        let other = if reuses { inside.saturating_add(unused) } else { inside };
        LayerGroup { other_parameters: other, ..layer(mixer, dense, 4 * hidden) }
    };
    let all = (0..layers).zip(windowed(fields, layers, 5)?).zip(widths).map(make);
    let mut embedding = decoder::embedding(fields, &STYLE)?;
    // Projections into and out of the copies of the stream.
    let projections = elements(&[&[2, copies.saturating_sub(1), hidden, hidden]]);
    embedding.per_layer_parameters = outside.saturating_add(projections);
    let mut spec = decoder::assemble(fields, embedding, all)?;
    spec.warnings.push("vision (MobileNet) and audio encoders of Gemma 3n are not counted".into());
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use crate::spec::hf::read_config;

    #[test]
    fn the_language_model_of_gemma_3n_e4b() {
        let text = r#"{"model_type": "gemma3n", "text_config": {"model_type": "gemma3n_text",
            "vocab_size": 262400, "hidden_size": 2048, "num_hidden_layers": 35, "num_attention_heads": 8,
            "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 16384}}"#;
        // Tables (262400 + 262144·35·⅛)·2048, per-layer projection, AltUp 6·2048², and per layer
        // attention 10.5 M, feed-forward 100.7 M, LAuReL, AltUp, per-layer gate and norms.
        assert_eq!(read_config(text, "config.json").unwrap().parameters().total, 6_866_696_688);
    }
}
