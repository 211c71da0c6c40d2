//! Families with experts. Biases, norms and class defaults follow the transformers classes of the
//! same name, or the code shipped with the model (Ling, Grok-1, DeepSeek-MoE).

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::dense::{BIAS_FREE, HUNYUAN, MISTRAL, OLMO2, QWEN3, biased};
use super::experts::{self, CORRECTED, Experts, PLAIN};
use super::windows::Windows;
use super::{Family, Fields};
use crate::spec::model::{FeedForward, LayerGroup, Mixer};
use crate::spec::{ModelSpec, SpecError};

/// Qwen2-MoE: a gate on the shared expert.
const QWEN2_MOE: Style = Style {
    qkv_bias: Switch::Key("qkv_bias", true),
    experts: Experts { shared_gate: true, ..PLAIN },
    windows: Windows::OptIn,
    ..BIAS_FREE
};

/// GLM-4.5 and kin: biases on query, key and value by key, norms on queries and keys by key.
pub(crate) const GLM4_MOE: Style = Style {
    output_bias: Switch::Off,
    mlp_bias: Switch::Off,
    qk_norm: (QkNorm::Shared, Switch::Key("use_qk_norm", false)),
    experts: CORRECTED,
    ..LLAMA
};

/// `MiniMax`-M2: norms over the whole width of queries and keys.
const MINIMAX_M2: Style = Style {
    qk_norm: (QkNorm::Whole, Switch::Key("use_qk_norm", true)),
    experts: Experts { correction: Switch::Key("use_routing_bias", true), ..PLAIN },
    ..BIAS_FREE
};

/// gpt-oss: biases everywhere, experts included; a sink per head; every second layer sees 128 tokens.
const GPT_OSS: Style = Style {
    sinks: true,
    experts: Experts { bias: true, ..PLAIN },
    windows: Windows::Alternating { every: 2, window: 128 },
    ..biased("attention_bias", true)
};

/// Phi-MoE: LayerNorm; biases in attention and on the output projection by key.
const PHIMOE: Style = Style {
    mlp_bias: Switch::Off,
    norm_bias: Switch::On,
    lm_head_bias: Switch::Key("lm_head_bias", false),
    windows: Windows::All,
    ..LLAMA
};

/// Ling and Ring.
const BAILING: Style = Style {
    qkv_bias: Switch::Key("use_qkv_bias", false),
    output_bias: Switch::Key("use_bias", false),
    mlp_bias: Switch::Off,
    qk_norm: (QkNorm::Shared, Switch::Key("use_qk_norm", false)),
    experts: Experts { correction: Switch::Key("moe_router_enable_expert_bias", false), ..PLAIN },
    ..LLAMA
};

/// dots.llm1: norms on queries and keys.
const DOTS1: Style =
    Style { qk_norm: (QkNorm::Shared, Switch::On), mlp_bias: Switch::Off, experts: CORRECTED, ..LLAMA };

/// Trinity: norms around both parts and on queries and keys, an output gate in attention.
const AFMOE: Style = Style {
    norms: 4,
    qk_norm: (QkNorm::Shared, Switch::On),
    experts: CORRECTED,
    windows: Windows::Alternating { every: 4, window: 1024 },
    ..BIAS_FREE
};

/// K-EXAONE: norms on queries and keys; every fourth layer is full.
const EXAONE_MOE: Style = Style {
    qk_norm: (QkNorm::Shared, Switch::On),
    experts: CORRECTED,
    windows: Windows::Alternating { every: 4, window: 4096 },
    ..BIAS_FREE
};

/// Hy3: norms on queries and keys.
const HY3: Style =
    Style { qk_norm: (QkNorm::Shared, Switch::On), mlp_bias: Switch::Off, experts: CORRECTED, ..LLAMA };

/// Granite with windows: a sink per head.
const GRANITE_SWA: Style = Style { sinks: true, windows: Windows::All, ..LLAMA };

/// Command A with experts: one norm for attention and experts in parallel.
const COHERE2_MOE: Style = Style {
    norms: 1,
    mlp_bias: Switch::Off,
    tied: true,
    windows: Windows::Alternating { every: 4, window: 4096 },
    ..LLAMA
};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("mixtral", |f| decoder::model(f, &MISTRAL)),
    ("qwen2_moe", |f| decoder::model(f, &QWEN2_MOE)),
    ("qwen3_moe", |f| decoder::model(f, &QWEN3)),
    ("qwen3_vl_moe", |f| decoder::model(f, &QWEN3)),
    ("qwen3_vl_moe_text", |f| decoder::model(f, &QWEN3)),
    ("qwen3_omni_moe_text", |f| decoder::model(f, &QWEN3)),
    ("deepseek", |f| decoder::model(f, &LLAMA)),
    ("olmoe", |f| decoder::model(f, &OLMO2)),
    ("flex_olmo", |f| decoder::model(f, &OLMO2)),
    ("granitemoe", |f| decoder::model(f, &LLAMA)),
    ("granitemoeshared", |f| decoder::model(f, &LLAMA)),
    ("ernie4_5_moe", |f| {
        decoder::model(f, &Style { tied: true, experts: CORRECTED, ..biased("use_bias", false) })
    }),
    ("glm4_moe", |f| decoder::model(f, &GLM4_MOE)),
    ("solar_open", |f| decoder::model(f, &GLM4_MOE)),
    ("glm4v_moe", |f| decoder::model(f, &GLM4_MOE)),
    ("glm4v_moe_text", |f| decoder::model(f, &GLM4_MOE)),
    ("minimax_m2", |f| decoder::model(f, &MINIMAX_M2)),
    ("gpt_oss", |f| decoder::model(f, &GPT_OSS)),
    ("phimoe", |f| decoder::model(f, &PHIMOE)),
    ("bailing_moe", |f| decoder::model(f, &BAILING)),
    ("bailing_moe_v2", |f| decoder::model(f, &BAILING)),
    ("dots1", |f| decoder::model(f, &DOTS1)),
    ("hunyuan_v1_moe", |f| decoder::model(f, &HUNYUAN)),
    ("hunyuan", hunyuan_large),
    ("grok-1", grok),
    ("dbrx", dbrx),
    ("afmoe", afmoe),
    ("exaone_moe", |f| decoder::model(f, &EXAONE_MOE)),
    ("hy_v3", |f| decoder::model(f, &HY3)),
    ("mellum", |f| decoder::model(f, &Style { windows: Windows::All, ..QWEN3 })),
    ("granite_swa", |f| decoder::model(f, &GRANITE_SWA)),
    ("granitemoe_swa", |f| decoder::model(f, &GRANITE_SWA)),
    ("cohere2_moe", cohere2_moe),
    ("llama4", llama4),
    ("llama4_text", llama4),
];

/// Hunyuan-Large: every n-th layer computes keys and values, the others reuse them (`use_cla`).
fn hunyuan_large(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let mut spec = decoder::model(fields, &HUNYUAN)?;
    if !fields.flag("use_cla", false)? {
        return Ok(spec);
    }
    let share = fields.size_or("cla_share_factor", 1)?;
    let mut layers = vec![];
    for group in spec.layers {
        let own = group.count.div_ceil(share);
        let mut reusing = LayerGroup { count: group.count - own, ..group.clone() };
        if let Mixer::GroupedQuery { reuses_kv, .. } = &mut reusing.mixer {
            *reuses_kv = true;
        }
        layers.extend([LayerGroup { count: own, ..group }, reusing]);
    }
    layers.retain(|g| g.count > 0);
    spec.layers = layers;
    Ok(spec)
}

/// Grok-1: norms before and after both parts; tied.
fn grok(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    // Tables of model shapes say with `num_ffi` how many projections read the input.
    let gated = fields.size_or("num_ffi", 2)? == 2;
    decoder::model(fields, &Style { gated, norms: 4, tied: true, ..BIAS_FREE })
}

/// DBRX: LayerNorm without biases; attention and experts in objects of their own.
fn dbrx(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = BIAS_FREE;
    let Some(ffn) = fields.nested("ffn_config")? else { return decoder::model(fields, &style) };
    let block = FeedForward::Moe {
        experts: ffn.size_or("num_experts", 4)?,
        top_k: ffn.size_or("num_experts_per_tok", 1)?,
        intermediate_size: ffn.size_or("intermediate_size", 3584)?.into(),
        gated: true,
        bias: false,
        shared_intermediate_size: 0,
        shared_gate: false,
        latent_size: 0,
        router_other_parameters: 0,
        zero_experts: 0,
    };
    let layers = vec![block; fields.layer_count()? as usize];
    let mut spec = decoder::with_feed_forward(fields, &style, layers)?;
    let groups = match fields.nested("attn_config")? {
        Some(attention) => attention.size_or("kv_n_heads", 1)?,
        None => 1,
    };
    for group in &mut spec.layers {
        if let Mixer::GroupedQuery { kv_heads, .. } = &mut group.mixer {
            *kv_heads = groups;
        }
    }
    Ok(spec)
}

/// Command A with experts: the dense layers in front have a width of their own.
fn cohere2_moe(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let experts = experts::block(fields, &COHERE2_MOE)?;
    let dense = match fields.optional_size("prefix_dense_intermediate_size")? {
        Some(width) => FeedForward::Dense { intermediate_size: width.into(), gated: true, bias: false },
        None => decoder::dense(fields, &COHERE2_MOE)?,
    };
    let sparse = experts::sparse_layers(fields, fields.layer_count()?)?;
    let layers = sparse.into_iter().map(|s| if s { experts.clone() } else { dense.clone() }).collect();
    decoder::with_feed_forward(fields, &COHERE2_MOE, layers)
}

/// Trinity: as many gate outputs as attention outputs.
fn afmoe(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let (heads, _, head_dim) = decoder::heads(fields)?;
    let mut spec = decoder::model(fields, &AFMOE)?;
    for group in &mut spec.layers {
        if let Mixer::GroupedQuery { output_gate_size, .. } = &mut group.mixer {
            *output_gate_size = u64::from(heads) * u64::from(head_dim);
        }
    }
    Ok(spec)
}

/// Llama 4: routed experts and one shared expert of the same width in every n-th layer, wider dense
/// blocks in the others; attention in chunks but for every fourth layer.
fn llama4(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let fields = &fields.with_defaults(&[("num_experts", 16), ("num_experts_per_tok", 1)]);
    let style = Style { mlp_bias: Switch::Off, windows: Windows::Chunked, ..LLAMA };
    let width = fields.size("intermediate_size")?;
    let mut block = experts::block(fields, &style)?;
    if let FeedForward::Moe { shared_intermediate_size, .. } = &mut block {
        *shared_intermediate_size = width.into();
    }
    let dense = FeedForward::Dense {
        intermediate_size: fields.size_or("intermediate_size_mlp", width)?.into(),
        gated: true,
        bias: false,
    };
    let sparse = experts::sparse_layers(fields, fields.layer_count()?)?;
    let layers = sparse.into_iter().map(|s| if s { block.clone() } else { dense.clone() }).collect();
    decoder::with_feed_forward(fields, &style, layers)
}
