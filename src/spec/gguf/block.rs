//! The tensors of one layer, taken out one by one as they are understood; what is left over at the
//! end is counted too, so that no element is lost.

use std::collections::BTreeMap;

use super::header::Tensor;
use super::metadata::Metadata;
use crate::spec::SpecError;

/// Largest head count or width taken for real.
const LARGEST: u32 = 1_000_000;

/// A linear layer as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    /// Input width.
    pub(super) inputs: u64,
    /// Output width.
    pub(super) outputs: u64,
    /// How many are stacked (experts).
    pub(super) stacked: u64,
    /// A bias comes with it.
    pub(super) bias: bool,
}

/// The tensors of one layer with the metadata that describe it.
pub(super) struct Block<'a> {
    /// Number of the layer.
    pub(super) index: u32,
    /// Metadata of the file.
    pub(super) metadata: &'a Metadata,
    /// `general.architecture`, the prefix of its keys.
    pub(super) architecture: &'a str,
    /// Width of the residual stream.
    pub(super) hidden: u64,
    /// Tensors not taken yet, by their name without `blk.N.`.
    pub(super) rest: BTreeMap<&'a str, &'a Tensor>,
    /// Elements of the tensors that were taken.
    pub(super) taken: u64,
}

impl<'a> Block<'a> {
    /// Whether a tensor is there and not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.contains_key(name)
    }

    /// Whether any tensor's name starts so.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.rest.keys().any(|name| name.starts_with(prefix))
    }

    /// Takes a tensor.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Tensor> {
        let tensor = self.rest.remove(name)?;
        self.taken += tensor.elements();
        Some(tensor)
    }

    /// Takes a tensor for the number of its elements; 0 when it is not there.
    pub(super) fn take_elements(&mut self, name: &str) -> u64 {
        self.take(name).map_or(0, Tensor::elements)
    }

    /// Takes all tensors whose name starts so, for the number of their elements.
    pub(super) fn take_prefix(&mut self, prefix: &str) -> u64 {
        let names: Vec<&str> = self.rest.keys().copied().filter(|name| name.starts_with(prefix)).collect();
        names.into_iter().map(|name| self.take_elements(name)).sum()
    }

    /// Takes a linear layer with its bias.
    pub(super) fn linear(&mut self, name: &str) -> Option<Matrix> {
        let [inputs, outputs, stacked, _] = self.take(&format!("{name}.weight"))?.dims;
        let bias = self.take(&format!("{name}.bias")).is_some();
        Some(Matrix { inputs, outputs, stacked, bias })
    }

    /// A number of this layer under `{architecture}.`, where it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SpecError> {
        self.metadata.per_layer(&self.key(key), self.index)
    }

    /// A positive number of this layer under `{architecture}.`.
    pub(super) fn size(&self, key: &str) -> Result<u32, SpecError> {
        let key = self.key(key);
        let value = self.metadata.per_layer(&key, self.index)?.ok_or_else(|| self.metadata.missing(&key))?;
        self.narrow(&key, value)
    }

    /// The number as a count or a width of a head; the products of such stay below 64 bits.
    pub(super) fn narrow(&self, key: &str, value: u64) -> Result<u32, SpecError> {
        u32::try_from(value)
            .ok()
            .filter(|v| (1..=LARGEST).contains(v))
            .ok_or_else(|| self.metadata.value_error(key, value, "is no possible size"))
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The error for a tensor whose shape contradicts the metadata.
    pub(super) fn shape_error(&self, tensor: &str, found: u64, problem: &str) -> SpecError {
        let key = format!("blk.{}.{tensor}", self.index);
        self.metadata.value_error(&key, found, problem)
    }
}
