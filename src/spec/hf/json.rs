//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` appear in real configurations.

use serde_json::{Map, Value};

use crate::spec::SpecError;

/// Literals that Python's `json` writes and the standard does not know; longest first.
const LITERALS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Reads one JSON object. The non-standard literals become strings of the same spelling, so that
/// a field that needs a number refuses them by name and any other field does not care.
///
/// # Errors
/// When the text is no JSON or its outermost value is no object.
pub(crate) fn parse(text: &str, file: &str) -> Result<Map<String, Value>, SpecError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let syntax = |message: String| SpecError::Syntax { file: file.into(), format: "JSON", message };
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(first) => serde_json::from_str(&quote_literals(text)).map_err(|_| syntax(first.to_string()))?,
    };
    match value {
        Value::Object(map) => Ok(map),
        other => Err(syntax(format!("expected an object of settings, found {}", kind(&other)))),
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Puts quotes around the non-standard literals that stand outside of strings.
fn quote_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_string && let Some(literal) = LITERALS.iter().find(|l| rest.starts_with(**l)) {
            out.push('"');
            out.push_str(literal);
            out.push('"');
            rest = &rest[literal.len()..];
            continue;
        }
        if in_string && escaped {
            escaped = false;
        } else if in_string && c == '\\' {
            escaped = true;
        } else if c == '"' {
            in_string = !in_string;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_literals_outside_strings_are_quoted() {
        let map =
            parse(r#"{"a": [0.0, Infinity], "b": -Infinity, "c": "NaN \" NaN", "d": NaN}"#, "f").unwrap();
        assert_eq!(map["a"][1], "Infinity");
        assert_eq!(map["b"], "-Infinity");
        assert_eq!(map["c"], "NaN \" NaN");
        assert_eq!(map["d"], "NaN");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(10_000);
        assert!(matches!(parse(&deep, "f"), Err(SpecError::Syntax { .. })));
    }
}
