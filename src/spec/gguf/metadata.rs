//! The key–value pairs of a header, read as what a model needs.

use std::collections::BTreeMap;

use crate::spec::SpecError;

/// Largest number taken for real.
const LARGEST: u64 = 1_000_000_000;

/// A value, as far as a model's shape can need it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Any integer or boolean.
    Integer(i128),
    /// Any floating-point number.
    Float(f64),
    /// A short text.
    Text(String),
    /// An array; `integers` is empty when it holds something else or is very long.
    Array {
        /// Entries in the file.
        length: u64,
        /// The entries, where they are integers.
        integers: Vec<i128>,
    },
    /// A text too long to name anything.
    Other,
}

/// All pairs of a file.
#[derive(Debug)]
pub(super) struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// No pairs yet.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), values: BTreeMap::new() }
    }

    /// Adds a pair; false when the key is there already.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        self.values.insert(key, value).is_none()
    }

    /// The file as it is named in messages.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Length of an array.
    pub(super) fn array_length(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some(Value::Array { length, .. }) => Some(*length),
            _ => None,
        }
    }

    /// Entries of an array of integers or booleans.
    pub(super) fn integers(&self, key: &str) -> Option<&[i128]> {
        match self.values.get(key) {
            Some(Value::Array { integers, .. }) if !integers.is_empty() => Some(integers),
            _ => None,
        }
    }

    /// A number, where the key is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SpecError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(value) => self.layer_value(key, value, 0).map(Some),
        }
    }

    /// A number for layer `index`: the same for all, or one entry a layer.
    pub(super) fn per_layer(&self, key: &str, index: u32) -> Result<Option<u64>, SpecError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(value) => self.layer_value(key, value, index).map(Some),
        }
    }

    fn layer_value(&self, key: &str, value: &Value, index: u32) -> Result<u64, SpecError> {
        let number = match value {
            Value::Integer(n) => Some(*n),
            Value::Array { integers, .. } => integers.get(index as usize).copied(),
            _ => None,
        };
        match number {
            Some(n) => u64::try_from(n)
                .ok()
                .filter(|n| *n <= LARGEST)
                .ok_or_else(|| self.value_error(key, n, "lies outside 0..=1000000000")),
            None => Err(self.value_error(key, format_args!("{value:?}"), "is no number (one a layer)")),
        }
    }

    /// The error for a value that cannot be.
    pub(super) fn value_error(&self, key: &str, value: impl std::fmt::Display, problem: &str) -> SpecError {
        let mut value = value.to_string();
        if let Some((cut, _)) = value.char_indices().nth(60) {
            value.truncate(cut);
            value.push('…');
        }
        SpecError::Value {
            file: self.file.clone(),
            key: key.into(),
            value,
            problem: problem.into(),
            fix: "the file is damaged or was converted wrongly; download or convert it again".into(),
        }
    }

    /// The error for a key that is needed and not there.
    pub(super) fn missing(&self, key: &str) -> SpecError {
        SpecError::Missing {
            file: self.file.clone(),
            key: key.into(),
            fix: "convert the model with llama.cpp's convert_hf_to_gguf.py, which writes it".into(),
        }
    }
}
