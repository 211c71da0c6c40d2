//! The header of one `.safetensors` file: eight bytes of length, then JSON that gives each tensor's
//! type, shape and place. It is summed up while it is read; no tensor name is kept.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io::Read;

use super::LARGEST_TEXT;
use crate::spec::SpecError;

/// Sum over the tensors of one or more files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Elements in types of which every element is a weight: 8, 16, 32 or 64-bit floats and int8.
    pub weights: u64,
    /// Bytes in types that may hold several packed weights an element.
    pub packed_bytes: u64,
}

impl Contents {
    /// Adds another file's.
    pub fn add(&mut self, other: &Self) {
        self.tensors = self.tensors.saturating_add(other.tensors);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.weights = self.weights.saturating_add(other.weights);
        self.packed_bytes = self.packed_bytes.saturating_add(other.packed_bytes);
    }

    /// Elements, where (nearly) all are weights and none holds several.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        (self.packed_bytes < self.bytes / 100).then_some(self.weights)
    }
}

/// Bits of an element, and whether an element is a weight by itself.
fn element(data_type: &str) -> Option<(u64, bool)> {
    Some(match data_type {
        "F64" => (64, true),
        "F32" => (32, true),
        "F16" | "BF16" => (16, true),
        "F8_E4M3" | "F8_E5M2" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" | "I8" => (8, true),
        "I64" | "U64" | "C64" => (64, false),
        "I32" | "U32" => (32, false),
        "I16" | "U16" => (16, false),
        "U8" | "BOOL" | "F8_E8M0" => (8, false),
        "F6_E2M3" | "F6_E3M2" => (6, false),
        "F4" => (4, false),
        _ => return None,
    })
}

/// Reads the header at the start of a file and sums up its tensors. `file` names it in messages;
/// `file_size` in bytes, where known, bounds what the header may claim.
///
/// # Errors
/// When the file is no safetensors file, or the header contradicts itself or the file's size.
pub fn parse_header(
    mut reader: impl Read,
    file: &str,
    file_size: Option<u64>,
) -> Result<Contents, SpecError> {
    let syntax = |message: String| SpecError::Syntax { file: file.into(), format: "safetensors", message };
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|e| syntax(format!("no header: {e}")))?;
    let length = u64::from_le_bytes(length);
    let room = file_size.map_or(LARGEST_TEXT, |s| s.saturating_sub(8).min(LARGEST_TEXT));
    if length > room {
        let hint = "a Git LFS pointer instead of the file looks so, too";
        return Err(syntax(format!("the header claims {length} bytes where {room} are possible ({hint})")));
    }
    let mut text = Vec::new();
    reader.take(length).read_to_end(&mut text).map_err(|e| syntax(e.to_string()))?;
    if text.len() as u64 != length {
        return Err(syntax(format!("the file ends inside the header of {length} bytes")));
    }
    let sums: Sums = serde_json::from_slice(&text).map_err(|e| syntax(e.to_string()))?;
    let data = file_size.map_or(u64::MAX, |s| s.saturating_sub(8 + length));
    if sums.end > data {
        let lacking = sums.end - data;
        return Err(syntax(format!("ends {lacking} bytes before its tensors do; is the download complete?")));
    }
    Ok(sums.contents)
}

#[derive(Default)]
struct Sums {
    contents: Contents,
    end: u64,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Sums {
    fn count(&mut self, name: &str, entry: &Entry) -> Result<(), String> {
        let [start, end] = entry.data_offsets;
        let (bits, weight) = element(&entry.dtype)
            .ok_or_else(|| format!("tensor `{name}` has the unknown dtype `{}`", entry.dtype))?;
        let elements = entry.shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
        let bytes = end.checked_sub(start);
        let (Some(elements), Some(bytes)) = (elements, bytes) else {
            return Err(format!("tensor `{name}` has an absurd shape or place"));
        };
        if elements.checked_mul(bits).map(|n| n.div_ceil(8)) != Some(bytes) {
            return Err(format!(
                "tensor `{name}` of {elements} {} elements takes {bytes} bytes",
                entry.dtype
            ));
        }
        let counted = if weight { (elements, 0) } else { (0, bytes) };
        self.contents.add(&Contents { tensors: 1, bytes, weights: counted.0, packed_bytes: counted.1 });
        self.end = self.end.max(end);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Sums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Summing)
    }
}

struct Summing;

impl<'de> Visitor<'de> for Summing {
    type Value = Sums;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sums, A::Error> {
        let mut sums = Sums::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                let entry: Entry = map.next_value()?;
                sums.count(&name, &entry).map_err(A::Error::custom)?;
            }
        }
        Ok(sums)
    }
}
