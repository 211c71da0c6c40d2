//! The header of a GGUF file: metadata and tensor list. Layout: `docs/gguf.md` of ggml, versions 2
//! and 3 (they differ in nothing but big-endian files, which are refused).

use std::collections::BTreeSet;
use std::io::BufRead;

use super::metadata::{Metadata, Value};
use super::source::Source;
use super::types::{TensorType, tensor_type};
use crate::spec::SpecError;

const MOST_KEYS: u64 = 65_536;
const MOST_TENSORS: u64 = 200_000;
/// Arrays up to this length are kept when they hold numbers; no model has as many layers.
const LONGEST_ARRAY: u64 = 16_384;
const LONGEST_TEXT: usize = 4096;
const DEEPEST_ARRAY: u32 = 4;
/// Of one tensor; sums over all tensors then stay below 64 bits.
const MOST_ELEMENTS: u64 = 1 << 42;

/// One entry of the tensor list.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    /// `blk.0.attn_q.weight` …
    pub(super) name: String,
    /// Sizes, the contiguous one (a linear layer's inputs) first; absent ones are 1.
    pub(super) dims: [u64; 4],
    /// Storage type.
    pub(super) kind: &'static TensorType,
    /// Start in the data section.
    offset: u64,
}

impl Tensor {
    /// Product of the sizes, below 2⁴².
    pub(super) fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Storage.
    pub(super) fn bytes(&self) -> u64 {
        self.elements() / self.kind.block * self.kind.bytes
    }
}

/// A header.
#[derive(Debug)]
pub(super) struct Header {
    /// Key–value pairs.
    pub(super) metadata: Metadata,
    /// Tensors in the order of the file.
    pub(super) tensors: Vec<Tensor>,
    /// Bytes that a complete file has.
    pub(super) file_bytes: u64,
}

/// Reads a header and nothing behind it.
pub(super) fn read<R: BufRead>(reader: R, file: &str, size: Option<u64>) -> Result<Header, SpecError> {
    let mut source = Source::new(reader, file, size);
    if source.bytes("the magic number")? != *b"GGUF" {
        return Err(source.error("the file does not start with `GGUF`; give a .gguf model file"));
    }
    let version = source.u32("the version")?;
    match version {
        2 | 3 => {}
        1 => return Err(source.error("version 1 is no longer in use; convert the model again")),
        _ if version.swap_bytes() <= 3 => {
            return Err(source.error("the file is big-endian; convert it with gguf-py's gguf_convert_endian"));
        }
        _ => return Err(source.error(format_args!("version {version} is unknown; known are 2 and 3"))),
    }
    let tensor_count = source.u64("the tensor count")?;
    let key_count = source.u64("the metadata count")?;
    // The smallest pair is an empty key with a one-byte value, the smallest tensor has no name and one size.
    let (most_keys, most_tensors) = (source.remaining() / 13, source.remaining() / 32);
    if key_count > MOST_KEYS.min(most_keys) || tensor_count > MOST_TENSORS.min(most_tensors) {
        let counts = format_args!("{tensor_count} tensors and {key_count} metadata keys do not fit the file");
        return Err(source.error(counts));
    }
    let metadata = metadata(&mut source, key_count)?;
    let tensors = tensors(&mut source, tensor_count)?;
    let alignment = metadata.number("general.alignment")?.unwrap_or(32);
    if !alignment.is_power_of_two() {
        return Err(metadata.value_error("general.alignment", alignment, "is no power of two"));
    }
    let data = source.position().next_multiple_of(alignment);
    let end = tensors.iter().map(|t| t.offset.saturating_add(t.bytes())).max().unwrap_or(0);
    Ok(Header { metadata, tensors, file_bytes: data.saturating_add(end) })
}

fn metadata<R: BufRead>(source: &mut Source<'_, R>, count: u64) -> Result<Metadata, SpecError> {
    let mut metadata = Metadata::new(source.file());
    for _ in 0..count {
        let Some(key) = source.text(LONGEST_TEXT, "a metadata key")? else {
            return Err(source.error("a metadata key is no text or too long"));
        };
        let kind = source.u32(&key)?;
        let value = value(source, kind, &key, 0)?;
        if !metadata.insert(key.clone(), value) {
            return Err(source.error(format_args!("`{key}` stands twice in the metadata")));
        }
    }
    Ok(metadata)
}

fn value<R: BufRead>(
    source: &mut Source<'_, R>,
    kind: u32,
    key: &str,
    depth: u32,
) -> Result<Value, SpecError> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(source.bytes(key)?).into()),
        1 => Value::Integer(i8::from_le_bytes(source.bytes(key)?).into()),
        2 => Value::Integer(u16::from_le_bytes(source.bytes(key)?).into()),
        3 => Value::Integer(i16::from_le_bytes(source.bytes(key)?).into()),
        4 => Value::Integer(source.u32(key)?.into()),
        5 => Value::Integer(i32::from_le_bytes(source.bytes(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(source.bytes(key)?).into()),
        7 => Value::Integer(i128::from(source.bytes::<1>(key)? != [0])),
        8 => source.text(LONGEST_TEXT, key)?.map_or(Value::Other, Value::Text),
        9 => array(source, key, depth)?,
        10 => Value::Integer(source.u64(key)?.into()),
        11 => Value::Integer(i64::from_le_bytes(source.bytes(key)?).into()),
        12 => Value::Float(f64::from_le_bytes(source.bytes(key)?)),
        _ => return Err(source.error(format_args!("`{key}` has the unknown value type {kind}"))),
    })
}

fn array<R: BufRead>(source: &mut Source<'_, R>, key: &str, depth: u32) -> Result<Value, SpecError> {
    let kind = source.u32(key)?;
    let length = source.u64(key)?;
    let mut integers = Vec::new();
    // Bytes of an entry; of a string or an array, the least it takes.
    let width = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => return Err(source.error(format_args!("`{key}` is an array of the unknown type {kind}"))),
    };
    if length > source.remaining() / width {
        return Err(source.error(format_args!("`{key}` claims {length} entries, more than the file holds")));
    }
    match kind {
        8 => {
            for _ in 0..length {
                source.text(0, key)?;
            }
        }
        9 if depth + 1 >= DEEPEST_ARRAY => {
            return Err(source.error(format_args!("`{key}` nests arrays too deeply")));
        }
        9 => {
            for _ in 0..length {
                array(source, key, depth + 1)?;
            }
        }
        6 | 12 => source.skip(length * width, key)?,
        _ if length > LONGEST_ARRAY => source.skip(length * width, key)?,
        _ => {
            for _ in 0..length {
                if let Value::Integer(n) = value(source, kind, key, depth)? {
                    integers.push(n);
                }
            }
        }
    }
    Ok(Value::Array { length, integers })
}

fn tensors<R: BufRead>(source: &mut Source<'_, R>, count: u64) -> Result<Vec<Tensor>, SpecError> {
    let mut names = BTreeSet::new();
    let mut tensors = Vec::new();
    for _ in 0..count {
        let Some(name) = source.text(LONGEST_TEXT, "a tensor name")? else {
            return Err(source.error("a tensor name is no text or too long"));
        };
        let rank = source.u32(&name)?;
        if !(1..=4).contains(&rank) {
            return Err(source.error(format_args!("tensor `{name}` has {rank} dimensions; 1 to 4 are known")));
        }
        let mut dims = [1; 4];
        for dim in dims.iter_mut().take(rank as usize) {
            *dim = source.u64(&name)?;
        }
        let kind =
            tensor_type(source.u32(&name)?).map_err(|e| source.error(format_args!("tensor `{name}` {e}")))?;
        let elements = dims.iter().try_fold(1_u64, |product, d| product.checked_mul(*d));
        if !elements.is_some_and(|n| (1..=MOST_ELEMENTS).contains(&n)) || dims[0] % kind.block != 0 {
            let shape = format_args!("tensor `{name}` of type {} has the absurd shape {dims:?}", kind.name);
            return Err(source.error(shape));
        }
        let offset = source.u64(&name)?;
        if !names.insert(name.clone()) {
            return Err(source.error(format_args!("tensor `{name}` stands twice in the file")));
        }
        tensors.push(Tensor { name, dims, kind, offset });
    }
    Ok(tensors)
}
