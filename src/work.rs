//! What must be done: a step (prefill chunks with their past, decode rows with their context)
//! lowered to operators with FLOPs and bytes by kind. Nothing in this room knows an accelerator.
//!
//! [`Plan`] is what depends on model and deployment alone and is made once; [`Plan::lower`] turns
//! a [`Step`] into [`Operator`]s and is called millions of times.

mod attention;
mod experts;
mod lower;
mod operator;
mod plan;
mod recurrent;
mod routing;
mod vision;

pub use attention::pairs;
pub use lower::Parts;
pub use operator::{Collective, Expanded, Operator, Shape, Traffic};
pub use plan::{Overrides, Plan};
pub use routing::{Load, Router, Routing, RoutingTable, TILE_ROWS, mix};
pub use vision::lower_image;

/// Some requests at the same point of their prefill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillChunk {
    /// How many requests.
    pub requests: f64,
    /// Prompt tokens processed in this step, per request.
    pub new_tokens: f64,
    /// Tokens of the request already in the KV cache.
    pub past_tokens: f64,
    /// How many of the requests end their prompt in this step: for each a first token is sampled.
    pub ending: f64,
    /// Tokens in this step, where requests, their tokens and past are the mean over several steps that are not
    /// equally full: products run over these, attention over the mean. None where they are those of this very step.
    pub mean_with: Option<f64>,
}

impl PrefillChunk {
    /// Tokens that pass through the layers.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.mean_with.unwrap_or(self.requests * self.new_tokens)
    }
}

/// Some requests in decode with the same context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeRows {
    /// How many requests.
    pub rows: f64,
    /// Tokens in the KV cache of each, the new one included.
    pub context: f64,
}

/// One forward pass of one data-parallel rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'a> {
    /// Prefill chunks in it.
    pub prefill: &'a [PrefillChunk],
    /// Decode rows in it.
    pub decode: &'a [DecodeRows],
}

impl Step<'_> {
    /// Tokens that pass through the layers: new prompt tokens and decode rows.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.prefill.iter().map(PrefillChunk::tokens).sum::<f64>() + self.decode_rows()
    }

    /// Decode rows.
    #[must_use]
    pub fn decode_rows(&self) -> f64 {
        self.decode.iter().map(|d| d.rows).sum()
    }

    /// Rows for which a token is sampled.
    #[must_use]
    pub fn sampled(&self) -> f64 {
        self.prefill.iter().map(|c| c.ending).sum::<f64>() + self.decode_rows()
    }
}
