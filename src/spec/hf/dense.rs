//! Dense architectures. Biases, norms and class defaults follow the transformers modelling and
//! configuration classes of the same name, or the code shipped with the model.

use super::Family;
use super::decoder::{self, LLAMA, Positions, QkNorm, Style, Switch};
use super::windows::Windows;

/// Without a single bias, whatever the keys say.
const BIAS_FREE: Style =
    Style { qkv_bias: Switch::Off, output_bias: Switch::Off, mlp_bias: Switch::Off, ..LLAMA };

/// Mistral: no biases, one window for all layers.
const MISTRAL: Style = Style { windows: Windows::All, ..BIAS_FREE };

/// Qwen2: biases on query, key and value; windows only on request.
const QWEN2: Style = Style { qkv_bias: Switch::On, windows: Windows::OptIn, ..BIAS_FREE };

/// Qwen3: norms on queries and keys.
pub(crate) const QWEN3: Style =
    Style { qk_norm: (QkNorm::Shared, Switch::On), mlp_bias: Switch::Off, windows: Windows::OptIn, ..LLAMA };

/// Gemma 2: norms before and after both parts, every second layer sees a window.
const GEMMA2: Style = Style {
    norms: 4,
    mlp_bias: Switch::Off,
    tied: true,
    windows: Windows::Alternating { every: 2, window: 4096 },
    ..LLAMA
};

/// Gemma 3: as Gemma 2 with norms on queries and keys; every sixth layer is full.
const GEMMA3: Style = Style {
    qk_norm: (QkNorm::Shared, Switch::On),
    windows: Windows::Alternating { every: 6, window: 4096 },
    ..GEMMA2
};

/// Class defaults that Gemma 3 configurations leave out.
const GEMMA3_DEFAULTS: &[(&str, u32)] = &[
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
];

/// OLMo 2: norms after both parts, norms over the whole width of queries and keys.
const OLMO2: Style = Style { qk_norm: (QkNorm::Whole, Switch::On), mlp_bias: Switch::Off, ..LLAMA };

/// LayerNorm, biases everywhere, up and down without a gate.
const GPT: Style = Style {
    qkv_bias: Switch::On,
    output_bias: Switch::On,
    mlp_bias: Switch::On,
    gated: false,
    norm_bias: Switch::On,
    ..LLAMA
};

/// `model_type` → reader.
pub(crate) const FAMILIES: &[Family] = &[
    ("llama", |f| decoder::model(f, &LLAMA)),
    ("mistral", |f| decoder::model(f, &MISTRAL)),
    ("qwen2", |f| decoder::model(f, &QWEN2)),
    ("qwen3", |f| decoder::model(f, &QWEN3)),
    ("gemma2", |f| decoder::model(f, &GEMMA2)),
    ("gemma3_text", |f| decoder::model(&f.with_defaults(GEMMA3_DEFAULTS), &GEMMA3)),
    ("olmo2", |f| decoder::model(f, &OLMO2)),
    ("gpt2", |f| decoder::model(f, &Style { positions: Positions::Learned(0), tied: true, ..GPT })),
    ("gpt_neox", |f| decoder::model(f, &GPT)),
];
