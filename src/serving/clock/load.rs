//! What the ranks of a deployment do in a step.

use crate::work::PrefillChunk;

/// Prompt tokens of some requests in one step, merged into requests of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Chunk {
    /// Requests.
    pub requests: u32,
    /// Their tokens in this step.
    pub tokens: u64,
    /// Query–key pairs of these tokens: Σ n·p + n²/2 for n tokens after p.
    pub pairs: f64,
}

impl Chunk {
    /// Adds a request with `tokens` tokens on `past` cached ones.
    pub fn add(&mut self, tokens: u32, past: u32) {
        let (n, p) = (f64::from(tokens), f64::from(past));
        self.requests += 1;
        self.tokens += u64::from(tokens);
        self.pairs += n * p + n * n / 2.0;
    }

    /// Equal requests with the same tokens and pairs: the past p̄ = (pairs − R·n̄²/2)/(R·n̄), which also
    /// carries what unequal lengths add to the pairs.
    pub(super) fn merged(&self, last: bool, share: f64) -> Option<PrefillChunk> {
        if self.tokens == 0 {
            return None;
        }
        let requests = f64::from(self.requests);
        let tokens = self.tokens as f64;
        let mean = tokens / requests;
        let past = (self.pairs / tokens - mean / 2.0).max(0.0);
        // a share of a pipeline's step has fewer requests, or less of the only one
        let (requests, new_tokens) =
            if requests * share >= 1.0 { (requests * share, mean) } else { (1.0, tokens * share) };
        let ending = if last { requests } else { 0.0 };
        Some(PrefillChunk { requests, new_tokens, past_tokens: past, ending, mean_with: None })
    }
}

/// What one data-parallel rank does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RankLoad {
    /// Decode rows.
    pub rows: u32,
    /// Sum of their contexts, the new tokens included.
    pub context: u64,
    /// Chunks that end their prompts.
    pub ending: Chunk,
    /// Chunks that do not.
    pub partial: Chunk,
}

impl RankLoad {
    /// Prompt tokens.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.ending.tokens + self.partial.tokens
    }
}

/// The chunks that there are, first.
pub(super) fn compact([ending, partial]: [Option<PrefillChunk>; 2]) -> ([PrefillChunk; 2], usize) {
    let none =
        PrefillChunk { requests: 0.0, new_tokens: 0.0, past_tokens: 0.0, ending: 0.0, mean_with: None };
    match (ending, partial) {
        (Some(a), Some(b)) => ([a, b], 2),
        (Some(a), None) | (None, Some(a)) => ([a, none], 1),
        (None, None) => ([none, none], 0),
    }
}
