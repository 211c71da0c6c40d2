//! The architectures before Llama, and those whose keys are their own: LayerNorm, biases, learned
//! positions, attention and feed-forward in parallel. Sources: the transformers modelling classes
//! of the same name, or the code shipped with the model (`ChatGLM`, Qwen, Phi-3-small).

use super::decoder::{self, LLAMA, Positions, QkNorm, Style, Switch};
use super::dense::BIAS_FREE;
use super::windows::Windows;
use super::{Family, Fields};
use crate::spec::model::{FeedForward, Mixer};
use crate::spec::{ModelSpec, SpecError};

const ON: Switch = Switch::On;
const OFF: Switch = Switch::Off;

/// GPT-NeoX: LayerNorm, biases everywhere, up and down without a gate, four times as wide.
const NEOX: Style = Style {
    qkv_bias: Switch::Key("attention_bias", true),
    output_bias: Switch::Key("attention_bias", true),
    mlp_bias: ON,
    gated: false,
    widening: Some(4),
    norm_bias: ON,
    ..LLAMA
};

/// GPT-2: the same with learned positions; tied.
const GPT2: Style =
    Style { qkv_bias: ON, output_bias: ON, positions: Positions::Learned(0), tied: true, ..NEOX };

/// GPT-J: one norm for attention and feed-forward in parallel, attention without biases.
const GPTJ: Style = Style { qkv_bias: OFF, output_bias: OFF, norms: 1, lm_head_bias: ON, ..NEOX };

/// Phi 1 to 2: as GPT-J with biases in attention.
const PHI: Style = Style {
    qkv_bias: ON,
    output_bias: ON,
    qk_norm: (QkNorm::SharedWithBias, Switch::Key("qk_layernorm", false)),
    ..GPTJ
};

/// Persimmon: norms with biases on queries and keys.
const PERSIMMON: Style = Style {
    qkv_bias: ON,
    output_bias: ON,
    qk_norm: (QkNorm::SharedWithBias, Switch::Key("qk_layernorm", true)),
    ..NEOX
};

/// `StarCoder` 2: one switch for all biases; tied.
const STARCODER2: Style = Style {
    qkv_bias: Switch::Key("use_bias", true),
    output_bias: Switch::Key("use_bias", true),
    mlp_bias: Switch::Key("use_bias", true),
    tied: true,
    windows: Windows::All,
    ..NEOX
};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("gpt2", |f| decoder::model(f, &GPT2)),
    ("gpt_neo", gpt_neo),
    ("gpt_neox", |f| decoder::model(f, &NEOX)),
    ("gptj", |f| decoder::model(f, &GPTJ)),
    ("codegen", |f| decoder::model(f, &GPTJ)),
    ("gpt_bigcode", gpt_bigcode),
    ("starcoder2", |f| decoder::model(f, &STARCODER2)),
    ("phi", |f| decoder::model(f, &PHI)),
    ("phi-msft", |f| decoder::model(f, &PHI)),
    ("phi3small", phi3_small),
    ("persimmon", |f| decoder::model(f, &PERSIMMON)),
    ("bloom", |f| decoder::model(f, &Style { embedding_norm: true, positions: Positions::None, ..GPT2 })),
    ("opt", opt),
    ("mpt", mpt),
    ("falcon", falcon),
    ("RefinedWeb", falcon),
    ("RefinedWebModel", falcon),
    ("qwen", qwen),
    ("chatglm", chatglm),
];

/// GPT-Neo: a bias on the output side of attention only; every second layer sees 256 tokens.
fn gpt_neo(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { qkv_bias: OFF, ..GPT2 };
    let mut spec = decoder::model(fields, &style)?;
    spec.warnings.push("local attention layers of gpt_neo are taken as full".into());
    Ok(spec)
}

/// `StarCoder` 1: one key–value head for all query heads, unless `multi_query` is false.
fn gpt_bigcode(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let one_head = fields.flag("multi_query", true)?;
    let mut spec = decoder::model(fields, &GPT2)?;
    for group in &mut spec.layers {
        if let Mixer::GroupedQuery { kv_heads, .. } = &mut group.mixer
            && one_head
        {
            *kv_heads = 1;
        }
    }
    Ok(spec)
}

/// Phi-3-small: LayerNorm and biases around a gated feed-forward; tied.
fn phi3_small(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { qkv_bias: ON, output_bias: ON, mlp_bias: ON, norm_bias: ON, tied: true, ..LLAMA };
    let mut spec = decoder::model(fields, &style)?;
    if fields.has("dense_attention_every_n_layers") {
        spec.warnings.push("block-sparse attention layers are taken as full".into());
    }
    Ok(spec)
}

/// OPT: learned positions with two spare rows; projections around the layers where the embedding is narrower.
fn opt(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let bias = Switch::Key("enable_bias", true);
    let before = fields.flag("do_layer_norm_before", true)?;
    let style = Style {
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: bias,
        positions: Positions::Learned(2),
        final_norm: before && !fields.flag("_remove_final_layer_norm", false)?,
        ..GPT2
    };
    let mut spec = decoder::model(&fields.with_defaults(&[("max_position_embeddings", 2048)]), &style)?;
    let hidden = fields.size("hidden_size")?;
    let narrow = fields.size_or("word_embed_proj_dim", hidden)?;
    if narrow != hidden {
        return Err(fields.wrong(
            "word_embed_proj_dim",
            "an embedding narrower than hidden_size is not supported",
            "take another model of the family",
        ));
    }
    spec.max_position_embeddings = spec.max_position_embeddings.or(Some(2048));
    Ok(spec)
}

/// MPT: norms without biases; tied; the number of key–value heads in `attn_config`.
fn mpt(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let attention = fields.nested("attn_config")?;
    let of = |key, default| attention.as_ref().map_or(Ok(default), |a| a.flag(key, default));
    let learned = !of("alibi", true)? && !of("rope", false)? && fields.flag("learned_pos_emb", true)?;
    let bias = Switch::fixed(!fields.flag("no_bias", true)?);
    let style = Style {
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: bias,
        norm_bias: bias,
        widening: Some(fields.size_or("expansion_ratio", 4)?),
        qk_norm: (QkNorm::WholeModel, Switch::fixed(of("qk_ln", false)?)),
        positions: if learned { Positions::Learned(0) } else { Positions::None },
        ..GPT2
    };
    let mut spec = decoder::model(fields, &style)?;
    if let Some(heads) = attention.map_or(Ok(None), |a| a.optional_size("kv_n_heads"))? {
        for group in &mut spec.layers {
            if let Mixer::GroupedQuery { kv_heads, .. } = &mut group.mixer {
                *kv_heads = heads;
            }
        }
    }
    Ok(spec)
}

/// Falcon: one key–value head, or groups in the newer layout, which has a norm for each of the two
/// parallel parts.
fn falcon(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let heads = fields.size("num_attention_heads")?;
    let groups = fields.size_or("num_key_value_heads", heads)?;
    let newer = fields.flag("new_decoder_architecture", (2..heads).contains(&groups))?;
    let kv = match (newer, fields.flag("multi_query", true)?) {
        (true, _) => groups,
        (false, true) => 1,
        (false, false) => heads,
    };
    let norms = match (newer, fields.flag("parallel_attn", true)?) {
        (true, _) => fields.size_or("num_ln_in_parallel_attn", 2)?,
        (false, true) => 1,
        (false, false) => 2,
    };
    let bias = Switch::Key("bias", false);
    let style =
        Style { qkv_bias: bias, output_bias: bias, mlp_bias: bias, norms: norms.into(), tied: true, ..NEOX };
    let mut spec = decoder::model(fields, &style)?;
    for group in &mut spec.layers {
        if let Mixer::GroupedQuery { kv_heads, .. } = &mut group.mixer {
            *kv_heads = kv;
        }
    }
    Ok(spec)
}

/// Qwen (the first): `intermediate_size` counts gate and up together.
fn qwen(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let mut spec = decoder::model(fields, &Style { qkv_bias: ON, ..BIAS_FREE })?;
    for group in &mut spec.layers {
        if let FeedForward::Dense { intermediate_size, .. } = &mut group.feed_forward {
            *intermediate_size /= 2;
        }
    }
    Ok(spec)
}

/// `ChatGLM` 2 and 3, GLM-4: groups only with `multi_query_attention`.
fn chatglm(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let everywhere = fields.flag("add_bias_linear", false)?;
    let style = Style {
        qkv_bias: Switch::fixed(everywhere || fields.flag("add_qkv_bias", false)?),
        output_bias: Switch::fixed(everywhere),
        mlp_bias: Switch::fixed(everywhere),
        norm_bias: Switch::fixed(!fields.flag("rmsnorm", true)?),
        final_norm: fields.flag("post_layer_norm", true)?,
        ..LLAMA
    };
    let mut spec = decoder::model(fields, &style)?;
    let heads = fields.size("num_attention_heads")?;
    if !fields.flag("multi_query_attention", false)? {
        for group in &mut spec.layers {
            if let Mixer::GroupedQuery { kv_heads, .. } = &mut group.mixer {
                *kv_heads = heads;
            }
        }
    }
    Ok(spec)
}
