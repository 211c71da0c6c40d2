//! Dense architectures of the Llama kind. Biases, norms and class defaults follow the transformers
//! modelling and configuration classes of the same name, or the code shipped with the model.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::moe::GLM4_MOE;
use super::windows::Windows;
use super::{Family, Fields};
use crate::spec::{ModelSpec, SpecError};

const ON: Switch = Switch::On;
const OFF: Switch = Switch::Off;

/// Without a single bias, whatever the keys say.
pub(crate) const BIAS_FREE: Style = Style { qkv_bias: OFF, output_bias: OFF, mlp_bias: OFF, ..LLAMA };

/// One key switches the biases of attention and feed-forward.
pub(crate) const fn biased(key: &'static str, default: bool) -> Style {
    let switch = Switch::Key(key, default);
    Style { qkv_bias: switch, output_bias: switch, mlp_bias: switch, ..LLAMA }
}

/// Mistral: one window for all layers.
pub(crate) const MISTRAL: Style = Style { windows: Windows::All, ..BIAS_FREE };

/// Qwen2: biases on query, key and value; windows only on request.
pub(crate) const QWEN2: Style = Style { qkv_bias: ON, windows: Windows::OptIn, ..BIAS_FREE };

/// Qwen3: norms on queries and keys.
pub(crate) const QWEN3: Style =
    Style { qk_norm: (QkNorm::Shared, ON), mlp_bias: OFF, windows: Windows::OptIn, ..LLAMA };

/// Gemma: tied, no biases but by key.
const GEMMA: Style = Style { mlp_bias: OFF, tied: true, ..LLAMA };

/// Gemma 2: norms before and after both parts, every second layer sees a window.
const GEMMA2: Style = Style { norms: 4, windows: Windows::Alternating { every: 2, window: 4096 }, ..GEMMA };

/// Gemma 3: as Gemma 2 with norms on queries and keys; every sixth layer is full.
const GEMMA3: Style = Style {
    qk_norm: (QkNorm::Shared, ON),
    windows: Windows::Alternating { every: 6, window: 4096 },
    ..GEMMA2
};

/// OLMo 2: norms after both parts, norms over the whole width of queries and keys.
pub(crate) const OLMO2: Style = Style { qk_norm: (QkNorm::Whole, ON), mlp_bias: OFF, ..LLAMA };

/// GLM: biases on query, key and value only.
const GLM: Style = Style { output_bias: OFF, mlp_bias: OFF, ..LLAMA };

/// GLM-4-0414: norms before and after both parts; the 32B model has no biases.
const GLM4: Style = Style { norms: 4, qkv_bias: Switch::Key("attention_bias", true), ..GLM };

/// Cohere: one norm without bias for attention and feed-forward in parallel; tied.
const COHERE: Style = Style {
    norms: 1,
    qk_norm: (QkNorm::Whole, Switch::Key("use_qk_norm", false)),
    mlp_bias: OFF,
    tied: true,
    ..LLAMA
};

/// StableLM: LayerNorm; the norms of all heads on queries and keys by key.
const STABLELM: Style = Style {
    qkv_bias: Switch::Key("use_qkv_bias", false),
    norm_bias: ON,
    qk_norm: (QkNorm::Whole, Switch::Key("qk_layernorm", false)),
    ..BIAS_FREE
};

/// Seed-OSS: switches of their own for both sides of attention.
const SEED_OSS: Style = Style {
    qkv_bias: Switch::Key("attention_bias", true),
    output_bias: Switch::Key("attention_out_bias", false),
    ..LLAMA
};

/// Hunyuan: norms on queries and keys.
pub(crate) const HUNYUAN: Style =
    Style { qk_norm: (QkNorm::Shared, Switch::Key("use_qk_norm", true)), mlp_bias: OFF, ..LLAMA };

/// EXAONE 4: norms after both parts and on queries and keys; every fourth layer is full.
const EXAONE4: Style = Style {
    qk_norm: (QkNorm::Shared, ON),
    windows: Windows::Alternating { every: 4, window: 4096 },
    ..BIAS_FREE
};

/// Jais 2: LayerNorm, up and down projections without a gate, biases by key (on).
const JAIS2: Style = Style {
    mlp_bias: Switch::Key("mlp_bias", true),
    gated: false,
    norm_bias: ON,
    ..biased("attention_bias", true)
};

/// InternLM 2: one switch for both sides of attention.
const INTERNLM2: Style =
    Style { qkv_bias: Switch::Key("bias", true), output_bias: Switch::Key("bias", true), ..BIAS_FREE };

/// InternLM 3: a switch for queries, keys and values, another for everything else.
const INTERNLM3: Style = Style { qkv_bias: Switch::Key("qkv_bias", false), ..biased("bias", false) };

/// Class defaults that the configurations leave out.
const GEMMA3_DEFAULTS: &[(&str, u32)] = &[
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
];
const HEAD_DIM_256: &[(&str, u32)] = &[("head_dim", 256)];
const HEAD_DIM_128: &[(&str, u32)] = &[("head_dim", 128)];
/// Multi-modal configurations name only what differs from the class.
const LLAMA_DEFAULTS: &[(&str, u32)] = &[
    ("vocab_size", 32_000),
    ("hidden_size", 4096),
    ("intermediate_size", 11_008),
    ("num_hidden_layers", 32),
    ("num_attention_heads", 32),
];
const MISTRAL_DEFAULTS: &[(&str, u32)] = &[
    ("vocab_size", 32_000),
    ("hidden_size", 4096),
    ("intermediate_size", 14_336),
    ("num_hidden_layers", 32),
    ("num_attention_heads", 32),
    ("num_key_value_heads", 8),
];

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("llama", |f| within(f, LLAMA_DEFAULTS, &LLAMA)),
    ("cwm", |f| {
        decoder::model(f, &Style { windows: Windows::Alternating { every: 4, window: 8192 }, ..LLAMA })
    }),
    ("aquila", |f| decoder::model(f, &BIAS_FREE)),
    ("xverse", |f| decoder::model(f, &BIAS_FREE)),
    ("baichuan", |f| decoder::model(f, &BIAS_FREE)),
    ("exaone", |f| decoder::model(f, &Style { tied: true, ..BIAS_FREE })),
    ("minicpm", |f| decoder::model(f, &Style { tied: true, ..LLAMA })),
    ("granite", |f| decoder::model(f, &LLAMA)),
    ("smollm3", |f| decoder::model(f, &Style { tied: true, windows: Windows::All, ..LLAMA })),
    ("arcee", |f| decoder::model(f, &Style { gated: false, ..LLAMA })),
    ("helium", |f| decoder::model(f, &Style { output_bias: OFF, ..LLAMA })),
    ("internlm", |f| decoder::model(f, &Style { mlp_bias: OFF, ..biased("bias", true) })),
    ("internlm2", |f| decoder::model(f, &INTERNLM2)),
    ("internlm3", |f| decoder::model(f, &INTERNLM3)),
    ("ernie4_5", |f| decoder::model(f, &Style { tied: true, ..biased("use_bias", false) })),
    ("seed_oss", |f| decoder::model(&f.with_defaults(HEAD_DIM_128), &SEED_OSS)),
    ("orion", |f| decoder::model(f, &Style { norm_bias: ON, ..BIAS_FREE })),
    ("stablelm", |f| decoder::model(f, &STABLELM)),
    ("stablelm_epoch", |f| decoder::model(f, &STABLELM)),
    ("jais2", |f| decoder::model(f, &JAIS2)),
    ("nemotron", |f| decoder::model(f, &Style { gated: false, norm_bias: ON, ..LLAMA })),
    ("mistral", |f| within(f, MISTRAL_DEFAULTS, &MISTRAL)),
    ("mistral3", |f| within(f, MISTRAL_DEFAULTS, &MISTRAL)),
    ("ministral", |f| decoder::model(f, &MISTRAL)),
    ("ministral3", |f| decoder::model(f, &MISTRAL)),
    ("phi3", |f| decoder::model(f, &MISTRAL)),
    ("phi3_v", language_only),
    ("phi4mm", language_only),
    ("phi4_multimodal", language_only),
    ("qwen2", |f| decoder::model(f, &QWEN2)),
    ("qwen2_vl", |f| decoder::model(f, &QWEN2)),
    ("qwen2_vl_text", |f| decoder::model(f, &QWEN2)),
    ("qwen2_5_vl", |f| decoder::model(f, &QWEN2)),
    ("qwen2_5_vl_text", |f| decoder::model(f, &QWEN2)),
    ("qwen2_5_omni_text", |f| decoder::model(f, &QWEN2)),
    ("mimo", |f| decoder::model(f, &Style { qkv_bias: Switch::Key("attention_bias", true), ..QWEN2 })),
    ("qwen3", |f| decoder::model(&f.with_defaults(HEAD_DIM_128), &QWEN3)),
    ("qwen3_vl", |f| decoder::model(f, &QWEN3)),
    ("qwen3_vl_text", |f| decoder::model(f, &QWEN3)),
    ("gemma", |f| decoder::model(&f.with_defaults(HEAD_DIM_256), &GEMMA)),
    ("gemma2", |f| decoder::model(&f.with_defaults(HEAD_DIM_256), &GEMMA2)),
    ("vaultgemma", |f| decoder::model(&f.with_defaults(HEAD_DIM_256), &Style { norms: 2, ..GEMMA2 })),
    ("gemma3", |f| decoder::model(&f.with_defaults(GEMMA3_DEFAULTS), &GEMMA3)),
    ("gemma3_text", |f| decoder::model(&f.with_defaults(GEMMA3_DEFAULTS), &GEMMA3)),
    ("olmo", |f| decoder::model(f, &Style { norms: 0, final_norm: false, mlp_bias: OFF, ..LLAMA })),
    ("olmo2", |f| decoder::model(f, &OLMO2)),
    ("olmo3", |f| {
        decoder::model(f, &Style { windows: Windows::Alternating { every: 4, window: 4096 }, ..OLMO2 })
    }),
    // A configuration of GLM-4.5 that circulates says `glm`.
    ("glm", |f| decoder::model(f, if f.has("num_experts") { &GLM4_MOE } else { &GLM })),
    ("glm4", |f| decoder::model(f, &GLM4)),
    ("glm4v", |f| decoder::model(f, &GLM4)),
    ("glm4v_text", |f| decoder::model(f, &GLM4)),
    ("cohere", |f| decoder::model(f, &COHERE)),
    ("cohere2", |f| {
        decoder::model(f, &Style { windows: Windows::Alternating { every: 4, window: 4096 }, ..COHERE })
    }),
    ("exaone4", |f| decoder::model(f, &EXAONE4)),
    ("exaone4_5_text", |f| decoder::model(f, &EXAONE4)),
    ("hunyuan_v1_dense", |f| decoder::model(f, &HUNYUAN)),
    ("apertus", apertus),
    ("bitnet", bitnet),
];

/// A model whose configuration may leave out class defaults when it is part of a larger one.
fn within(
    fields: &Fields<'_>,
    defaults: &'static [(&'static str, u32)],
    style: &Style,
) -> Result<ModelSpec, SpecError> {
    if fields.is_nested() {
        decoder::model(&fields.with_defaults(defaults), style)
    } else {
        decoder::model(fields, style)
    }
}

/// Phi with encoders whose sizes the configuration does not tell.
fn language_only(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let mut spec = decoder::model(fields, &MISTRAL)?;
    spec.warnings.push("vision and speech encoders and their adapters are not counted".into());
    Ok(spec)
}

/// Apertus: up and down projections with xIELU between them, whose two shape parameters are learned.
fn apertus(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let style = Style { gated: false, qk_norm: (QkNorm::Shared, ON), mlp_bias: OFF, ..LLAMA };
    let mut spec = decoder::model(fields, &style)?;
    for group in &mut spec.layers {
        group.other_parameters = 2;
    }
    Ok(spec)
}

/// `BitNet` b1.58: a norm inside of attention and one inside of the feed-forward part.
fn bitnet(fields: &Fields<'_>) -> Result<ModelSpec, SpecError> {
    let inner = u64::from(fields.size("hidden_size")?) + u64::from(fields.size("intermediate_size")?);
    let mut spec = decoder::model(fields, &Style { mlp_bias: OFF, ..LLAMA })?;
    for group in &mut spec.layers {
        group.other_parameters = inner;
    }
    Ok(spec)
}
