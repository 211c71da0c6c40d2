//! `models list` and `models show` on paper.

use serde_json::{Value, json};

use super::{Report, Section, bytes_gib, versioned};
use crate::answer::ModelSummary;
use crate::spec::model::{FeedForward, LayerGroup, Mixer};

/// The catalog's models, one a row.
#[must_use]
pub fn model_list(models: &[ModelSummary]) -> Report {
    let header =
        ["model", "parameters", "active", "layers", "context", "KV per token", "checkpoint", "Hugging Face"];
    let mut section = Section::new("", &header);
    for m in models {
        section.row([
            m.id.clone(),
            parameters(m.parameters.total),
            parameters(m.parameters.active),
            m.layers.to_string(),
            m.max_position_embeddings.map_or_else(String::new, |n| n.to_string()),
            kib(m.kv_cache_bytes_per_token),
            format!("{} {}", precision(m), bytes_gib(m.checkpoint_bytes)),
            m.hf_id.clone().unwrap_or_default(),
        ]);
    }
    let item = |m: &ModelSummary| {
        versioned(&json!({
            "id": m.id, "hf_id": m.hf_id, "architecture": m.architecture, "layers": m.layers,
            "max_position_embeddings": m.max_position_embeddings,
            "parameters": { "total": m.parameters.total, "active": m.parameters.active },
            "kv_cache_bytes_per_token": m.kv_cache_bytes_per_token,
            "checkpoint_bytes": m.checkpoint_bytes, "precision": precision(m),
        }))
    };
    Report {
        footer: vec![format!(
            "{} of the catalog; any other config.json, directory or .gguf is read directly.",
            models.len()
        )],
        sections: vec![section],
        json: Value::Array(models.iter().map(item).collect()),
        ..Report::default()
    }
}

/// One model.
#[must_use]
pub fn model(m: &ModelSummary) -> Report {
    let mut facts = Section::new("", &[]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    fact("architecture", m.architecture.clone());
    fact("parameters", grouped(m.parameters.total));
    fact("active per token", grouped(m.parameters.active));
    fact("embeddings and output projection", grouped(m.parameters.embedding));
    if m.parameters.vision > 0 {
        fact("vision tower", grouped(m.parameters.vision));
    }
    if m.parameters.mtp > 0 {
        fact("multi-token prediction", grouped(m.parameters.mtp));
    }
    fact("layers", m.layers.to_string());
    fact("hidden size", m.hidden_size.to_string());
    fact("vocabulary", m.vocab_size.to_string());
    if let Some(context) = m.max_position_embeddings {
        fact("longest context", format!("{context} tokens"));
    }
    fact("KV cache per token, bf16", kib(m.kv_cache_bytes_per_token));
    fact("checkpoint", format!("{}, {}", precision(m), bytes_gib(m.checkpoint_bytes)));
    if let Some(source) = &m.source {
        fact("configuration from", format!("{} {}", source.repository, source.path).trim().to_owned());
        fact("how it was obtained", source.kind.clone());
    }
    let mut layers = Section::new("Layers", &["count", "mixer", "feed-forward"]);
    for group in &m.layer_groups {
        layers.row([group.count.to_string(), mixer(group), feed_forward(&group.feed_forward)]);
    }
    Report {
        heading: vec![m.hf_id.as_ref().map_or_else(|| m.id.clone(), |hf_id| format!("{} ({hf_id})", m.id))],
        sections: vec![facts, layers],
        warnings: m.warnings.clone(),
        json: versioned(&json!(m)),
        ..Report::default()
    }
}

/// `gated_delta_net 16 × 128` and the like: kind and the numbers that tell layers apart.
fn mixer(group: &LayerGroup) -> String {
    match &group.mixer {
        Mixer::GroupedQuery { heads, kv_heads, head_dim, window, .. } => {
            let window = window.map_or_else(String::new, |w| format!(", window {w}"));
            format!("attention, {heads} query and {kv_heads} KV heads of {head_dim}{window}")
        }
        Mixer::Latent { heads, kv_lora_rank, qk_rope_head_dim, indexer, .. } => {
            let sparse = indexer.map_or_else(String::new, |i| format!(", top {}", i.top_k));
            format!("latent attention, {heads} heads, cached {kv_lora_rank} + {qk_rope_head_dim}{sparse}")
        }
        other => kind_of(&json!(other)),
    }
}

fn feed_forward(block: &FeedForward) -> String {
    match block {
        FeedForward::None => "none".into(),
        FeedForward::Dense { intermediate_size, .. } => format!("dense, {intermediate_size}"),
        FeedForward::Moe { experts, top_k, intermediate_size, shared_intermediate_size, .. } => {
            let shared = match shared_intermediate_size {
                0 => String::new(),
                width => format!(", shared {width}"),
            };
            format!("{top_k} of {experts} experts of {intermediate_size}{shared}")
        }
    }
}

/// The tag of a serialised mixer in words.
fn kind_of(mixer: &Value) -> String {
    mixer.get("kind").and_then(Value::as_str).unwrap_or_default().replace('_', " ")
}

/// How the weights are stored: `bf16`, or the method and the formats that it uses.
fn precision(m: &ModelSummary) -> String {
    let mut formats: Vec<&str> = m.checkpoint.quantized.values().map(|d| d.name()).collect();
    formats.sort_unstable();
    formats.dedup();
    if formats.is_empty() { m.checkpoint.data_type.name().into() } else { formats.join("+") }
}

fn grouped(n: u64) -> String {
    super::count(n as f64)
}

/// `8.03 B`.
fn parameters(n: u64) -> String {
    let n = n as f64;
    if n >= 1e9 { format!("{:.2} B", n / 1e9) } else { format!("{:.0} M", n / 1e6) }
}

fn kib(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1024.0)
}
