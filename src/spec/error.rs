//! What can be wrong with an input. Every message names the file, the key, the value and the fix.

/// An input that cannot be used. The process exits with 2 for all of these.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file could not be read at all.
    #[error("{file}: cannot be read: {message}; check the path and its permissions")]
    Unreadable {
        /// The path as given.
        file: String,
        /// What the operating system said.
        message: String,
    },
    /// A file is not what its name says: broken JSON, TOML, GGUF …
    #[error("{file}: not valid {format}: {message}; correct the file or give another")]
    Syntax {
        /// The path as given.
        file: String,
        /// JSON, TOML, GGUF, safetensors index.
        format: &'static str,
        /// Where and what.
        message: String,
    },
    /// A key that is needed and not there.
    #[error("{file}: `{key}` is missing; {fix}")]
    Missing {
        /// The path or catalog id.
        file: String,
        /// The key, dotted where nested.
        key: String,
        /// What to do about it.
        fix: String,
    },
    /// A key whose value makes no sense.
    #[error("{file}: `{key}` = {value}: {problem}; {fix}")]
    Value {
        /// The path or catalog id.
        file: String,
        /// The key, dotted where nested.
        key: String,
        /// The value as written (shortened when long).
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A configuration of something that generates no text token by token.
    #[error(
        "{file}: `{architecture}` is {what}, no autoregressive language model; give the config.json of a text-generating model"
    )]
    NotALanguageModel {
        /// The path or name.
        file: String,
        /// The model type or pipeline class found.
        architecture: String,
        /// "an image diffusion model", "a speech encoder–decoder" …
        what: &'static str,
    },
    /// A text-generating model whose layers are of a kind that is not described here.
    #[error(
        "{file}: `{architecture}` has {what}, whose cost is not known here; nothing is guessed for it: give a model of attention, \
         Mamba, gated delta or Kimi delta layers, or a TOML file as `foretoken models import` writes it"
    )]
    NotModelled {
        /// The path or name.
        file: String,
        /// The model type.
        architecture: String,
        /// What cannot be counted.
        what: String,
    },
    /// A name that no catalog knows.
    #[error("no {kind} named `{name}`{}; {fix}", suggestion(.similar))]
    Unknown {
        /// "model", "accelerator", "engine" …
        kind: &'static str,
        /// The name as given.
        name: String,
        /// Names that look like it, best first.
        similar: Vec<String>,
        /// What to do about it.
        fix: String,
    },
    /// A short name that fits several entries.
    #[error("`{name}` could be any of {}; give one of these", .candidates.join(", "))]
    Ambiguous {
        /// The name as given.
        name: String,
        /// The entries that it fits.
        candidates: Vec<String>,
    },
    /// Flags that cannot be meant together, or a deployment that no engine would start.
    #[error("{0}")]
    Usage(String),
}

impl SpecError {
    /// What a TOML reader said, in one line with the line number.
    pub(crate) fn toml(error: &toml::de::Error, text: &str, file: &str, format: &'static str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or_else(String::new, |b| format!("line {}: ", b.matches('\n').count() + 1));
        Self::Syntax { file: file.into(), format, message: format!("{line}{}", error.message()) }
    }
}

fn suggestion(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        [one] => format!(" (did you mean `{one}`?)"),
        [first, rest @ ..] => format!(" (did you mean `{first}`, or {}?)", rest.join(", ")),
    }
}

impl From<crate::units::UnitError> for SpecError {
    fn from(error: crate::units::UnitError) -> Self {
        Self::Usage(error.to_string())
    }
}
