//! Typed access to the fields of a configuration: aliases, ranges, and errors that name the file,
//! the key, the value and the fix. `null` counts as absent.

use serde_json::{Map, Value};
use std::sync::LazyLock;

use super::json::kind;
use crate::spec::SpecError;

/// Largest width or count taken for real; the product of three stays below 2⁶⁴ with room for sums.
const LARGEST: u64 = 1_000_000;
/// Largest vocabulary or window taken for real.
const LARGEST_WIDE: u64 = 100_000_000;
/// Keys of the latter kind.
const WIDE: [&str; 5] =
    ["vocab_size", "sliding_window", "window_size", "attention_chunk_size", "vocab_size_per_layer_input"];
/// Largest factor or number of modules taken for real.
const LARGEST_FEW: u64 = 1000;
/// Keys of that kind.
const FEW: [&str; 4] = ["hc_mult", "num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers"];
/// Most layers taken for real.
const MOST_LAYERS: u32 = 10_000;
/// Longest value shown in a message, in characters.
const SHOWN: usize = 60;

/// Other spellings of a key, in the order in which they are tried. Sources: the `attribute_map` of
/// the transformers configuration classes and the configurations of models with their own code.
const ALIASES: &[(&str, &[&str])] = &[
    ("hidden_size", &["n_embd", "d_model", "n_embed", "dim", "hidden_dim"]),
    ("num_hidden_layers", &["n_layer", "n_layers", "num_layers"]),
    ("num_attention_heads", &["n_head", "n_heads", "num_heads"]),
    ("num_key_value_heads", &["num_kv_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num"]),
    ("head_dim", &["kv_channels", "attention_head_dim"]),
    (
        "intermediate_size",
        &["ffn_dim", "n_inner", "ffn_hidden_size", "ff_intermediate_size", "ffn_embed_dim"],
    ),
    ("vocab_size", &["padded_vocab_size"]),
    ("max_position_embeddings", &["n_positions", "max_seq_len", "seq_length", "n_ctx", "max_model_len"]),
    ("num_experts", &["num_local_experts", "n_routed_experts", "moe_num_experts", "ffn_num_experts"]),
    (
        "num_experts_per_tok",
        &["num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts", "expert_top_k"],
    ),
    ("moe_intermediate_size", &["expert_ffn_hidden_size", "moe_ffn_hidden_size"]),
    ("shared_expert_intermediate_size", &["shared_intermediate_size", "moe_shared_expert_intermediate_size"]),
    ("first_k_dense_replace", &["moe_layer_start_index", "num_dense_layers"]),
    ("decoder_sparse_step", &["interleave_moe_layer_step", "moe_layer_interval"]),
    ("torch_dtype", &["dtype"]),
];

fn largest(key: &str) -> u64 {
    match key {
        _ if WIDE.contains(&key) => LARGEST_WIDE,
        _ if FEW.contains(&key) => LARGEST_FEW,
        _ => LARGEST,
    }
}

/// The fields of one object of a configuration, with the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    root: &'a Map<String, Value>,
    map: &'a Map<String, Value>,
    prefix: String,
    file: &'a str,
    defaults: &'static [(&'static str, u32)],
}

impl<'a> Fields<'a> {
    /// The outermost object of a file.
    pub(crate) fn new(root: &'a Map<String, Value>, file: &'a str) -> Self {
        Self { root, map: root, prefix: String::new(), file, defaults: &[] }
    }

    /// The outermost object again.
    pub(crate) fn root(&self) -> Self {
        Self::new(self.root, self.file)
    }

    /// The same fields with sizes that the architecture's class defaults to.
    pub(crate) fn with_defaults(&self, defaults: &'static [(&'static str, u32)]) -> Self {
        Self { defaults, ..self.clone() }
    }

    /// True for an object inside of another.
    pub(crate) fn is_nested(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// An object of the same file without a single field.
    pub(crate) fn empty(&self) -> Self {
        static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        Self { map: &EMPTY, prefix: String::new(), defaults: &[], ..self.clone() }
    }

    /// The file, as it is named in messages.
    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// Keys as they are written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    /// The key as written and its value, `null` skipped.
    fn find(&self, key: &'a str) -> Option<(&'a str, &'a Value)> {
        let aliases = ALIASES.iter().find(|(k, _)| *k == key).map_or(&[][..], |(_, a)| *a);
        std::iter::once(key)
            .chain(aliases.iter().copied())
            .find_map(|k| self.map.get(k).filter(|v| !v.is_null()).map(|v| (k, v)))
    }

    /// True when the key (or an alias) is there and not null.
    pub(crate) fn has(&self, key: &'a str) -> bool {
        self.find(key).is_some()
    }

    /// The value as it is.
    pub(crate) fn value(&self, key: &'a str) -> Option<&'a Value> {
        self.find(key).map(|(_, v)| v)
    }

    /// The key with the way to it: `text_config.hidden_size`.
    fn dotted(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// An error about the value of `key`.
    pub(crate) fn wrong(&self, key: &'a str, problem: &str, fix: &str) -> SpecError {
        let (key, value) = self.find(key).unwrap_or((key, &Value::Null));
        self.wrong_value(key, value, problem, fix)
    }

    fn wrong_value(&self, key: &str, value: &Value, problem: &str, fix: &str) -> SpecError {
        let text = value.to_string();
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        SpecError::Value {
            file: self.file.into(),
            key: self.dotted(key),
            value: shown,
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// An error about the absence of `key`.
    pub(crate) fn missing(&self, key: &str) -> SpecError {
        SpecError::Missing {
            file: self.file.into(),
            key: self.dotted(key),
            fix: "add it as in the model's original config.json".into(),
        }
    }

    fn whole(&self, key: &'a str, least: u64, most: u64) -> Result<Option<u64>, SpecError> {
        let Some((key, value)) = self.find(key) else { return Ok(None) };
        // Some models write one value a layer where all are the same (Hunyuan).
        let value = match value {
            Value::Array(list) if list.windows(2).all(|w| w[0] == w[1]) => list.first().unwrap_or(value),
            _ => value,
        };
        let number = value.as_f64().filter(|n| n.fract() == 0.0);
        match number {
            Some(n) if n >= least as f64 && n <= most as f64 => Ok(Some(n as u64)),
            _ => {
                let problem = if number.is_some() {
                    format!("must lie in {least}..={most}")
                } else {
                    format!("must be a whole number, not {}", kind(value))
                };
                Err(self.wrong_value(
                    key,
                    value,
                    &problem,
                    "correct it, or take the model's original config.json",
                ))
            }
        }
    }

    fn default_of(&self, key: &str) -> Option<u32> {
        self.defaults.iter().find(|(k, _)| *k == key).map(|(_, n)| *n)
    }

    /// A size from 1 to 10⁶ (a vocabulary or window to 10⁸), when it (or the class default) is there.
    pub(crate) fn optional_size(&self, key: &'a str) -> Result<Option<u32>, SpecError> {
        Ok(self.whole(key, 1, largest(key))?.map(|n| n as u32).or(self.default_of(key)))
    }

    /// A size from 1 to 10⁶ (a vocabulary or window to 10⁸) that must be there.
    pub(crate) fn size(&self, key: &'a str) -> Result<u32, SpecError> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A size from 1 to 10⁶ (a vocabulary or window to 10⁸), or the default of the architecture's class.
    pub(crate) fn size_or(&self, key: &'a str, default: u32) -> Result<u32, SpecError> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    /// A count from 0 to 10⁶, or the default.
    pub(crate) fn count_or(&self, key: &'a str, default: u32) -> Result<u32, SpecError> {
        Ok(self.whole(key, 0, largest(key))?.map_or(default, |n| n as u32))
    }

    /// A position count, up to 10¹¹, when it is there.
    pub(crate) fn positions(&self, key: &'a str) -> Result<Option<u64>, SpecError> {
        Ok(self.whole(key, 1, 100_000 * LARGEST)?.or(self.default_of(key).map(u64::from)))
    }

    /// The number of layers.
    pub(crate) fn layer_count(&self) -> Result<u32, SpecError> {
        let layers = self.size("num_hidden_layers")?;
        if layers > MOST_LAYERS {
            return Err(self.wrong(
                "num_hidden_layers",
                &format!("more than {MOST_LAYERS} layers"),
                "correct it, or take the model's original config.json",
            ));
        }
        Ok(layers)
    }

    /// True or false, when it is there.
    pub(crate) fn optional_flag(&self, key: &'a str) -> Result<Option<bool>, SpecError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, Value::Bool(flag))) => Ok(Some(*flag)),
            Some((key, other)) => {
                let problem = format!("must be true or false, not {}", kind(other));
                Err(self.wrong_value(key, other, &problem, "write true or false"))
            }
        }
    }

    /// True or false, or the default of the architecture's class.
    pub(crate) fn flag(&self, key: &'a str, default: bool) -> Result<bool, SpecError> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    /// Text, when it is there.
    pub(crate) fn text(&self, key: &'a str) -> Result<Option<&'a str>, SpecError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((key, other)) => {
                let problem = format!("must be text, not {}", kind(other));
                Err(self.wrong_value(key, other, &problem, "write it in quotes"))
            }
        }
    }

    fn list(&self, key: &'a str) -> Result<Option<(&'a str, &'a Vec<Value>)>, SpecError> {
        match self.find(key) {
            None => Ok(None),
            Some((key, Value::Array(list))) => Ok(Some((key, list))),
            Some((key, other)) => {
                let problem = format!("must be a list, not {}", kind(other));
                Err(self.wrong_value(key, other, &problem, "write a list"))
            }
        }
    }

    /// A list of whole numbers from 0 to 10⁶, when it is there.
    pub(crate) fn counts(&self, key: &'a str) -> Result<Option<Vec<u32>>, SpecError> {
        let Some((key, list)) = self.list(key)? else { return Ok(None) };
        let number = |v: &Value| v.as_u64().filter(|n| *n <= LARGEST).map(|n| n as u32);
        let bad = |v: &Value| {
            let problem = format!("every entry must be a whole number in 0..={LARGEST}");
            self.wrong_value(key, v, &problem, "correct the list")
        };
        list.iter().map(|v| number(v).ok_or_else(|| bad(v))).collect::<Result<_, _>>().map(Some)
    }

    /// A list of texts, when it is there.
    pub(crate) fn texts(&self, key: &'a str) -> Result<Option<Vec<&'a str>>, SpecError> {
        let Some((key, list)) = self.list(key)? else { return Ok(None) };
        let bad = |v| self.wrong_value(key, v, "every entry must be text", "correct the list");
        list.iter().map(|v| v.as_str().ok_or_else(|| bad(v))).collect::<Result<_, _>>().map(Some)
    }

    /// A nested object, when it is there.
    pub(crate) fn nested(&self, key: &'a str) -> Result<Option<Self>, SpecError> {
        match self.find(key) {
            None => Ok(None),
            Some((key, Value::Object(map))) => Ok(Some(Self {
                root: self.root,
                map,
                prefix: self.dotted(&format!("{key}.")),
                file: self.file,
                defaults: &[],
            })),
            Some((key, other)) => {
                let problem = format!("must be an object, not {}", kind(other));
                Err(self.wrong_value(key, other, &problem, "take the model's original config.json"))
            }
        }
    }

    /// A list of objects, when it is there.
    pub(crate) fn objects(&self, key: &'a str) -> Result<Option<Vec<Self>>, SpecError> {
        let Some((key, list)) = self.list(key)? else { return Ok(None) };
        let object = |(i, value): (usize, &'a Value)| match value {
            Value::Object(map) => Ok(Self {
                root: self.root,
                map,
                prefix: self.dotted(&format!("{key}[{i}].")),
                file: self.file,
                defaults: &[],
            }),
            other => Err(self.wrong_value(key, other, "every entry must be an object", "correct the list")),
        };
        list.iter().enumerate().map(object).collect::<Result<_, _>>().map(Some)
    }
}
