//! What vision towers are made of.

use crate::spec::SpecError;
use crate::spec::hf::Fields;
use crate::spec::hf::layers::elements;

/// Largest size of a tower taken for real.
const LARGEST: u32 = 100_000;

/// The fields of a tower with what surrounds them.
pub(super) struct Tower<'a> {
    /// The tower's own object; empty where the configuration has none.
    pub fields: Fields<'a>,
    /// The outermost object.
    pub root: Fields<'a>,
    /// Width of the language model.
    pub text_hidden: u64,
}

impl<'a> Tower<'a> {
    /// A size of the tower, or that of the released checkpoints.
    ///
    /// # Errors
    /// When it is no size, or one that no tower has.
    pub(super) fn size(&self, key: &'a str, default: u32) -> Result<u64, SpecError> {
        match self.fields.size_or(key, default)? {
            size @ ..=LARGEST => Ok(size.into()),
            _ => Err(self.fields.wrong(
                key,
                &format!("no vision tower has more than {LARGEST}"),
                "correct it, or take the model's original config.json",
            )),
        }
    }
}

/// Parameters of a linear layer.
pub(super) fn linear(inputs: u64, outputs: u64, bias: bool) -> u64 {
    elements(&[&[inputs, outputs], &[outputs, bias.into()]])
}

/// The sum, at most the largest integer.
pub(super) fn sum(parts: &[u64]) -> u64 {
    parts.iter().copied().fold(0, u64::saturating_add)
}

/// One transformer layer of a tower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Width h.
    pub width: u64,
    /// Width of queries, keys and values together with all heads.
    pub attention: u64,
    /// Width of the feed-forward part f.
    pub feed_forward: u64,
    /// A gate projection beside up and down.
    pub gated: bool,
    /// Biases on query, key and value.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub output_bias: bool,
    /// Biases in the feed-forward part.
    pub mlp_bias: bool,
    /// Norm and scale vectors of width h: two LayerNorms are four.
    pub vectors: u64,
}

impl Block {
    /// As in CLIP and SigLIP: biases everywhere, two LayerNorms, no gate.
    pub(super) fn plain(width: u64, feed_forward: u64) -> Self {
        Self {
            width,
            attention: width,
            feed_forward,
            gated: false,
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            vectors: 4,
        }
    }

    /// The same without biases, with two RMSNorms and a gate.
    pub(super) fn gated(width: u64, feed_forward: u64) -> Self {
        Self {
            gated: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            vectors: 2,
            ..Self::plain(width, feed_forward)
        }
    }

    /// Parameters of `layers` such layers.
    pub(super) fn parameters(&self, layers: u64) -> u64 {
        let (h, a, f) = (self.width, self.attention, self.feed_forward);
        let up = if self.gated { 2 } else { 1 };
        let one = elements(&[
            &[3, linear(h, a, self.qkv_bias)],
            &[linear(a, h, self.output_bias)],
            &[up, linear(h, f, self.mlp_bias)],
            &[linear(f, h, self.mlp_bias)],
            &[self.vectors, h],
        ]);
        layers.saturating_mul(one)
    }
}
