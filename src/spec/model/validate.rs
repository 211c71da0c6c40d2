//! What no model can look like.

use serde::Serialize;
use serde_json::Value;

use super::{FeedForward, Mixer, ModelSpec};
use crate::spec::SpecError;

/// Largest width, window or vocabulary taken for real.
const LARGEST: u64 = 100_000_000;

/// Largest number of heads, experts, layers or taps, and largest width of one head.
const LARGEST_COUNT: u64 = 1_000_000;

/// Largest number of parameters taken for real, in one tensor or in all of them; the biggest models
/// of 2026 have 10¹². Below it no sum or product of sizes leaves 64 bits.
const LARGEST_PARAMETERS: u64 = 1_000_000_000_000_000;

impl ModelSpec {
    /// Refuses shapes that no model has: zero or absurd sizes, heads that KV heads do not divide.
    ///
    /// # Errors
    /// Names the key, the value and what is wrong with it.
    pub fn validate(&self, file: &str) -> Result<(), SpecError> {
        let check = |key: &str, value: u64| size(file, key, value, LARGEST);
        check("hidden_size", self.hidden_size.into())?;
        check("vocab_size", self.vocab_size.into())?;
        check("layers", self.layers.len() as u64)?;
        check("layers (count of all groups)", self.layers.iter().map(|g| u64::from(g.count)).sum::<u64>())?;
        if let Some(longest) = self.max_position_embeddings {
            size(file, "max_position_embeddings", longest, LARGEST_PARAMETERS)?;
        }
        numbers(file, "embedding", &self.embedding)?;
        numbers(file, "vision", &self.vision)?;
        numbers(file, "mtp", &self.mtp)?;
        for group in &self.layers {
            numbers(file, "layers", group)?;
            match group.mixer {
                Mixer::GroupedQuery { heads, kv_heads, .. } | Mixer::Cross { heads, kv_heads, .. }
                    if !heads.is_multiple_of(kv_heads) =>
                {
                    return Err(SpecError::Value {
                        file: file.into(),
                        key: "kv_heads".into(),
                        value: kv_heads.to_string(),
                        problem: format!("does not divide the {heads} query heads"),
                        fix: "correct num_attention_heads or num_key_value_heads".into(),
                    });
                }
                _ => {}
            }
            match group.feed_forward {
                FeedForward::Moe { experts, top_k, .. } if top_k > experts => {
                    return Err(SpecError::Value {
                        file: file.into(),
                        key: "top_k".into(),
                        value: top_k.to_string(),
                        problem: format!("more than the {experts} experts there are"),
                        fix: "correct num_experts_per_tok or the number of experts".into(),
                    });
                }
                _ => {}
            }
        }
        let weights = self.weights();
        if weights > LARGEST_PARAMETERS as f64 {
            return Err(SpecError::Value {
                file: file.into(),
                key: "layers".into(),
                value: format!("{weights:.1e} weights in all"),
                problem: format!("no model has more than {LARGEST_PARAMETERS}"),
                fix: "correct hidden_size, intermediate_size, experts and the number of layers".into(),
            });
        }
        Ok(())
    }

    /// Weights of all matrices, in floating point so that no input overflows it.
    fn weights(&self) -> f64 {
        let d = u64::from(self.hidden_size);
        let group = |g: &super::LayerGroup| {
            let linears = g.mixer.linears(d).into_iter().chain(g.feed_forward.linears(d));
            let dense: f64 = linears.map(|l| l.inputs as f64 * l.outputs as f64).sum();
            let (experts, width) = match g.feed_forward {
                FeedForward::Moe { experts, intermediate_size, .. } => (experts, intermediate_size),
                _ => (0, 0),
            };
            let expert = 3.0 * g.feed_forward.expert_width(d) as f64 * width as f64;
            let small = [
                g.norm_parameters,
                g.other_parameters,
                g.mixer.other_parameters(d),
                g.feed_forward.other_parameters(),
            ];
            let small: f64 = small.map(|n| n as f64).iter().sum();
            f64::from(g.count) * (dense + f64::from(experts) * expert + small)
        };
        2.0 * d as f64 * f64::from(self.vocab_size) + self.layers.iter().map(group).sum::<f64>()
    }
}

/// Widths that some models do not have, so that zero means none.
const MAY_BE_ZERO: [&str; 3] = ["qk_nope_head_dim", "qk_rope_head_dim", "ratio"];

/// Sizes that may exceed [`LARGEST_COUNT`]; the products of all others stay below 64 bits.
fn is_wide(name: &str) -> bool {
    name == "window" || name.ends_with("_size") && !["state_size", "inner_size"].contains(&name)
}

/// Checks every number of a part of the model, by the name it has in our TOML files: sizes are at
/// least one (an optional one that is zero is not written out), element counts may be zero.
fn numbers(file: &str, path: &str, part: &impl Serialize) -> Result<(), SpecError> {
    let value = serde_json::to_value(part)
        .map_err(|e| SpecError::Usage(format!("{file}: `{path}` cannot be checked: {e}")))?;
    walk(file, path, &value)
}

fn walk(file: &str, path: &str, value: &Value) -> Result<(), SpecError> {
    let Value::Object(fields) = value else { return Ok(()) };
    for (name, value) in fields {
        let key = format!("{path}.{name}");
        match value.as_u64() {
            Some(n) if name.ends_with("parameters") => {
                size(file, &key, n.max(1), LARGEST_PARAMETERS)?;
            }
            Some(n) if MAY_BE_ZERO.contains(&name.as_str()) => size(file, &key, n.max(1), LARGEST_COUNT)?,
            Some(n) if is_wide(name) => size(file, &key, n, LARGEST)?,
            Some(n) => size(file, &key, n, LARGEST_COUNT)?,
            None => walk(file, &key, value)?,
        }
    }
    Ok(())
}

fn size(file: &str, key: &str, value: u64, largest: u64) -> Result<(), SpecError> {
    if (1..=largest).contains(&value) {
        return Ok(());
    }
    Err(SpecError::Value {
        file: file.into(),
        key: key.into(),
        value: value.to_string(),
        problem: format!("must lie in 1..={largest}"),
        fix: "correct the model file".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"
        id = "m"
        architecture = "llama"
        hidden_size = 64
        vocab_size = 100
        embedding = { tied = false, norm_parameters = 64 }
        checkpoint = { data_type = "bf16" }
        [[layers]]
        count = 2
        mixer = { kind = "grouped_query", heads = 4, kv_heads = 2, head_dim = 16 }
        feed_forward = { kind = "dense", intermediate_size = 128, gated = true }
        norm_parameters = 128
    "#;

    #[test]
    fn a_small_model_passes() {
        assert!(ModelSpec::from_toml(MODEL, "m.toml").is_ok());
    }

    #[test]
    fn absurd_sizes_are_named() {
        for (from, to, key) in [
            ("heads = 4", "heads = 0", "layers.mixer.heads"),
            ("head_dim = 16", "head_dim = 4000000000", "layers.mixer.head_dim"),
            ("count = 2", "count = 0", "layers"),
            ("intermediate_size = 128", "intermediate_size = 0", "layers.feed_forward.intermediate_size"),
            ("norm_parameters = 128", "norm_parameters = 9000000000000000000", "layers.norm_parameters"),
            ("kv_heads = 2", "kv_heads = 3", "kv_heads"),
            ("hidden_size = 64", "hidden_size = 0", "hidden_size"),
        ] {
            let error = ModelSpec::from_toml(&MODEL.replacen(from, to, 1), "m.toml").unwrap_err().to_string();
            assert!(error.contains(key) && error.starts_with("m.toml"), "{to}: {error}");
        }
    }

    #[test]
    fn sizes_that_only_overflow_together_are_refused() {
        let huge = MODEL
            .replace("hidden_size = 64", "hidden_size = 90000000")
            .replace("intermediate_size = 128", "intermediate_size = 90000000")
            .replace("count = 2", "count = 1000000");
        assert!(ModelSpec::from_toml(&huge, "m.toml").unwrap_err().to_string().contains("weights in all"));
    }
}
