//! What is asked of a deployment: lengths and how many at once.

use serde::Serialize;

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// All prompts prefilled together, decoded in lockstep.
    StaticBatch(u32),
    /// That many requests always in flight.
    Concurrency(u32),
    /// Requests per second, whether or not earlier ones have ended.
    Rate {
        /// Mean.
        per_s: f64,
        /// Shape of the gamma distribution of the gaps: 1 is a Poisson process.
        burstiness: f64,
    },
}

/// Prompts that are sent over and over, in turn: from its second time on a prompt is in the prefix cache while that has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Repeats {
    /// Different prompts.
    pub prompts: u32,
    /// Tokens at the beginning of all of them.
    pub shared_len: u64,
}

/// Requests: nominal lengths in tokens and their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Workload {
    /// Prompt tokens.
    pub input_len: u64,
    /// Generated tokens N.
    pub output_len: u64,
    /// Shortest length over the nominal one: lengths are uniform in between.
    pub length_ratio_min: f64,
    /// Prompt tokens already in the prefix cache; of prompts that repeat those of one sent before.
    pub prefix_len: u64,
    /// Prompts that an open loop repeats; none where all differ behind the prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<Repeats>,
    /// Arrival.
    pub load: Load,
    /// Requests of a closed or open loop; the usual number where none is given.
    pub requests: Option<u64>,
    /// Seed of lengths and arrivals.
    pub seed: u64,
}

/// Requests of an open loop where none are given.
pub const OPEN_LOOP_REQUESTS: u64 = 1000;

impl Workload {
    /// Equal lengths without a prefix.
    #[must_use]
    pub fn new(input_len: u64, output_len: u64, load: Load) -> Self {
        Self {
            input_len,
            output_len,
            length_ratio_min: 1.0,
            prefix_len: 0,
            repeats: None,
            load,
            requests: None,
            seed: 0,
        }
    }

    /// A static batch of equal lengths.
    #[must_use]
    pub fn batch(input_len: u64, output_len: u64, requests: u32) -> Self {
        Self::new(input_len, output_len, Load::StaticBatch(requests))
    }

    /// The same with every length at the mean of its distribution.
    #[must_use]
    pub fn at_mean(self) -> Self {
        let mean = f64::midpoint(self.length_ratio_min, 1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and at most 1e9
        let length = |nominal: u64| ((nominal as f64 * mean).round() as u64).max(1);
        Self {
            input_len: length(self.input_len),
            output_len: length(self.output_len),
            length_ratio_min: 1.0,
            ..self
        }
    }

    /// Requests to send: as given, else ten for each in flight (as the usual harness does), or 1,000 of an open
    /// loop.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.unwrap_or(match self.load {
            Load::StaticBatch(n) => u64::from(n),
            Load::Concurrency(n) => 10 * u64::from(n),
            Load::Rate { .. } => OPEN_LOOP_REQUESTS,
        })
    }
}
