//! How far the rotary tables reach when the positions are rescaled.

use serde_json::Value;

use super::Fields;
use crate::spec::SpecError;

/// Rows of the longest rotary table, where there are more than `max_position_embeddings`: linear and
/// dynamic scaling stretch it by `factor`, `YaRN` the original positions by `factor`, multi-modal
/// positions (`mrope`) by four. Source: vLLM `rotary_embedding/{linear_scaling,dynamic_ntk,yarn_scaling,mrope}_rope.py`.
///
/// # Errors
/// When `rope_scaling` is no object.
pub(crate) fn positions(fields: &Fields<'_>, longest: Option<u64>) -> Result<Option<u64>, SpecError> {
    let Some(longest) = longest else { return Ok(None) };
    let scaling = match fields.nested("rope_scaling")? {
        Some(scaling) => scaling,
        None => match fields.nested("rope_parameters")? {
            Some(by_type) => by_type.nested("full_attention")?.unwrap_or(by_type),
            None => return Ok(None),
        },
    };
    let number = |key| scaling.value(key).and_then(Value::as_f64).filter(|f| (1.0..=1e4).contains(f));
    let named = |key| scaling.value(key).and_then(Value::as_str);
    let factor = number("factor").unwrap_or(1.0);
    let original = scaling.value("original_max_position_embeddings").and_then(Value::as_u64);
    let stretched = match named("rope_type").or_else(|| named("type")) {
        _ if scaling.has("mrope_section") => longest as f64 * 4.0,
        Some("linear" | "dynamic") => longest as f64 * factor,
        Some("yarn" | "deepseek_yarn") => original.unwrap_or(longest) as f64 * factor,
        _ => 0.0,
    };
    Ok((stretched > longest as f64 && stretched < 1e12).then_some(stretched as u64))
}

#[cfg(test)]
mod tests {
    use crate::spec::hf::read_config;

    #[test]
    fn stretched_positions() {
        let rows = |scaling: &str| {
            let text = format!(
                r#"{{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
                    "intermediate_size": 128, "vocab_size": 100, "max_position_embeddings": 1000,
                    "rope_scaling": {scaling}}}"#
            );
            read_config(&text, "config.json").unwrap().rotary_positions
        };
        assert_eq!(rows(r#"{"rope_type": "linear", "factor": 8.0}"#), Some(8000));
        assert_eq!(
            rows(r#"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 500}"#),
            Some(2000)
        );
        assert_eq!(rows(r#"{"rope_type": "llama3", "factor": 8.0}"#), None);
        assert_eq!(rows("null"), None);
    }
}
