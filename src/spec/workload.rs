//! What is asked of a deployment: lengths and how many at once.

use serde::Serialize;

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// All prompts prefilled together, decoded in lockstep.
    StaticBatch(u32),
    /// That many requests always in flight.
    Concurrency(u32),
}

/// Requests: nominal lengths in tokens and their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Workload {
    /// Prompt tokens.
    pub input_len: u64,
    /// Generated tokens N.
    pub output_len: u64,
    /// Prompt tokens already in the prefix cache.
    pub prefix_len: u64,
    /// Arrival.
    pub load: Load,
}
