//! Speculative decoding: k tokens are drafted for every row, one step of the model verifies them.
//!
//! Of k drafted tokens, each accepted with probability α independently of the others, a step keeps
//!
//! E = 1 + α + … + α^k = (1 − α^(k+1))/(1 − α)
//!
//! tokens on average, the model's own one included (Leviathan, Kalman, Matias, ICML 2023, eq. 1), and takes
//! T = T_verify(b·(k + 1) tokens) + k·T_draft(b). The event loop counts tokens: a decode step of one token lasts T/E, so that
//! every row gains E tokens in T. What is lost is that they come in bursts: gaps between tokens are those between bursts, as
//! a client sees them, but ends of requests and arrivals fall between bursts, not on them.
//!
//! Verification reads a row's cache once for all its tokens: its attention lasts as long as that of one token a row, or as
//! its arithmetic at the device's peak, whichever is more. Every row gains E, not a random number with mean E.

use super::clock::{RankLoad, StepClock};

/// How drafts are made and verified.
#[derive(Debug, Clone)]
pub struct Speculation {
    /// Tokens drafted, k.
    pub tokens: u32,
    /// Probability that a drafted token is accepted, α.
    pub acceptance: f64,
    /// Rows of all ranks up to which drafts are made (vLLM's `speculative_disable_by_batch_size`).
    pub most_rows: u32,
    /// The draft's step times without an engine's host time; none where drafts cost nothing (n-gram look-up).
    pub draft: Option<Box<StepClock>>,
}

impl Speculation {
    /// Tokens that a step keeps on average, E.
    #[must_use]
    pub fn tokens_per_step(&self) -> f64 {
        (0..=self.tokens).map(|i| self.acceptance.powi(i as i32)).sum()
    }

    /// Tokens of a row that a step verifies, k + 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.tokens + 1
    }

    /// Drafts are made for these rows.
    #[must_use]
    pub fn is_on(&self, ranks: &[RankLoad]) -> bool {
        ranks.iter().map(|r| u64::from(r.rows)).sum::<u64>() <= u64::from(self.most_rows)
    }

    /// Time of the drafts of a step: k passes one after another.
    pub(super) fn draft_seconds(&mut self, ranks: &[RankLoad], ahead: f64) -> f64 {
        let passes = f64::from(self.tokens);
        match &mut self.draft {
            Some(draft) if ranks.iter().any(|r| r.rows > 0) => passes * draft.decode(ranks, ahead),
            _ => 0.0,
        }
    }

    /// Time in which the draft computes prompts of its own.
    pub(super) fn prompt_seconds(&mut self, ranks: &[RankLoad]) -> f64 {
        let Some(draft) = &mut self.draft else { return 0.0 };
        let prompts: Vec<RankLoad> = ranks.iter().map(|r| RankLoad { rows: 0, context: 0, ..*r }).collect();
        draft.mixed(&prompts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_tokens_by_hand() {
        let of = |tokens, acceptance| {
            Speculation { tokens, acceptance, most_rows: 1, draft: None }.tokens_per_step()
        };
        assert!((of(3, 0.8) - (1.0 - 0.8_f64.powi(4)) / 0.2).abs() < 1e-12);
        assert_eq!((of(4, 0.0), of(4, 1.0), of(0, 0.5)), (1.0, 5.0, 1.0));
    }
}
