//! Architectures that nobody described: read when the fields say enough, with a warning that names
//! what was assumed.

use super::decoder::{self, LLAMA, QkNorm, Style, Switch};
use super::windows::Windows;
use super::{Fields, reader, refuse};
use crate::spec::{ModelSpec, SpecError};

/// Families known by the names of their models, for configurations without `model_type`.
/// The first that the name contains counts.
const BY_NAME: &[(&str, &str)] = &[
    ("codellama", "llama"),
    ("tinyllama", "llama"),
    ("smollm3", "smollm3"),
    ("smollm", "llama"),
    ("qwen3", "qwen3"),
    ("qwen", "qwen2"),
    ("qwq", "qwen2"),
    ("jamba", "jamba"),
    ("dbrx", "dbrx"),
    ("opt-", "opt"),
    ("gpt3", "gpt2"),
    ("gpt-3", "gpt2"),
    ("pythia", "gpt_neox"),
    ("gemma-2", "gemma2"),
    ("gemma-3", "gemma3_text"),
    ("gemma", "gemma"),
    ("phi-3", "phi3"),
    ("phi-4", "phi3"),
    ("mixtral", "mixtral"),
    ("ministral", "mistral"),
    ("mistral", "mistral"),
    ("nemotron-4", "nemotron"),
    ("falcon3", "llama"),
    ("falcon-", "falcon"),
    ("grok", "grok-1"),
    ("llama", "llama"),
];

/// Reads a configuration whose model type, if it has one, is not known.
///
/// # Errors
/// When the fields that the shapes need are missing or absurd.
pub(crate) fn read(
    fields: &Fields<'_>,
    model_type: Option<String>,
) -> Result<(String, ModelSpec), SpecError> {
    if model_type.is_none()
        && let Some((family, why)) = by_name(fields)?
        && let Some(read) = reader(family)
    {
        let mut spec = read(fields)?;
        spec.warnings.push(format!("no model_type; read as {family} because of its name {why}"));
        return Ok((family.to_owned(), spec));
    }
    refuse::only_attention(fields, model_type.as_deref().unwrap_or("a model without model_type"))?;
    let mut assumed = vec!["RMSNorm before attention and feed-forward"];
    let mut style = Style { windows: Windows::All, ..LLAMA };
    if fields.has("attention_bias") || fields.has("qkv_bias") || fields.has("use_qkv_bias") {
        let key = ["attention_bias", "qkv_bias", "use_qkv_bias"].into_iter().find(|k| fields.has(k));
        style.qkv_bias = key.map_or(Switch::Off, |k| Switch::Key(k, false));
    } else {
        assumed.push("no biases");
    }
    let corrected = fields.text("topk_method")? == Some("noaux_tc")
        || fields.text("scoring_func")? == Some("sigmoid")
        || fields.flag("use_routing_bias", false)?;
    style.experts.correction = Switch::fixed(corrected);
    let norms_by_key = ["use_qk_norm", "qk_norm", "qk_layernorm"].into_iter().find(|k| fields.has(k));
    match norms_by_key {
        Some(key) => style.qk_norm = (QkNorm::Shared, Switch::Key(key, false)),
        None => assumed.push("no norms on queries and keys"),
    }
    assumed.push("a gated feed-forward");
    if !fields.has("tie_word_embeddings") && !fields.root().has("tie_word_embeddings") {
        assumed.push("an output projection of its own");
    }
    let mut spec = decoder::model(fields, &style)?;
    let name = model_type.unwrap_or_else(|| "unknown".into());
    let shown: String = name.escape_debug().take(80).collect();
    spec.warnings.push(format!("unknown model_type `{shown}`; assumed {}", assumed.join(", ")));
    Ok((name, spec))
}

/// A family that the model's own name gives away, with that name.
fn by_name<'a>(fields: &Fields<'a>) -> Result<Option<(&'static str, &'a str)>, SpecError> {
    for key in ["_name_or_path", "model_name", "model", "name"] {
        let Some(name) = fields.text(key)? else { continue };
        let lower = name.to_ascii_lowercase();
        if let Some((_, family)) = BY_NAME.iter().find(|(part, _)| lower.contains(part)) {
            return Ok(Some((family, name)));
        }
    }
    Ok(None)
}
