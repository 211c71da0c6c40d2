//! Step times made fast: what a step costs is split into parts that depend on little, and each part is
//! asked of the step timer once.
//!
//! device(step) = tokens(M) + experts(M̄) + head(sampled) + core(chunks, rows, contexts)
//!
//! with M tokens of the busiest data-parallel rank, M̄ their mean over the ranks, and the slowest core of the
//! ranks: they run in lock step. The first three are tables over whole numbers. The core of decode rows is
//! a table over rows and mean context with four knots to a doubling, linear between them (a test holds the
//! error); that of chunks is computed and kept for the next time. Engine terms are added by the timer itself.
//!
//! A pipeline of p stages holds p micro-batches: rows and prompt tokens of a step are divided by p, and the
//! step lasts as long as one micro-batch needs through all stages.

mod load;
mod run;
mod step;
mod tables;

use super::speculation::Speculation;
use crate::time::{EngineTerms, StepTimer};
use crate::work::Operator;
use tables::Table;

pub use load::{Chunk, RankLoad};
pub use run::{Piece, Run};

/// The step timer of a deployment behind tables.
#[derive(Debug, Clone)]
pub struct StepClock {
    timer: StepTimer,
    stages: f64,
    decode_tokens: Table,
    mixed_tokens: Table,
    experts: Table,
    head: Table,
    /// By rows: seconds of the core at the knots of the context.
    cores: Vec<Vec<f64>>,
    core_launches: f64,
    /// Core of a step = that of its chunks and that of its rows.
    additive: bool,
    /// Chunks with the seconds and launches of their core.
    kept: Vec<([Chunk; 2], [f64; 2])>,
    scratch: Vec<Operator>,
    speculation: Option<Box<Speculation>>,
}

impl StepClock {
    /// Puts tables before a timer. `stages` is the pipeline's depth.
    #[must_use]
    pub fn new(timer: StepTimer, stages: u32) -> Self {
        Self {
            additive: timer.core_is_additive(),
            kept: vec![],
            timer,
            stages: f64::from(stages.max(1)),
            decode_tokens: Table::default(),
            mixed_tokens: Table::default(),
            experts: Table::default(),
            head: Table::default(),
            cores: vec![],
            core_launches: 0.0,
            scratch: vec![],
            speculation: None,
        }
    }

    /// The same with drafts verified.
    #[must_use]
    pub fn speculating(self, speculation: Speculation) -> Self {
        Self { speculation: Some(Box::new(speculation)), ..self }
    }

    /// How drafts are made and verified, where they are.
    #[must_use]
    pub fn speculation(&self) -> Option<&Speculation> {
        self.speculation.as_deref()
    }

    /// Tokens that every row of a step gains on average.
    #[must_use]
    pub fn gain(&self, ranks: &[RankLoad]) -> f64 {
        self.speculation.as_ref().filter(|s| s.is_on(ranks)).map_or(1.0, |s| s.tokens_per_step())
    }

    /// The same under other engine terms. What the tables hold is kept where the terms leave kernels alone.
    #[must_use]
    pub fn with_terms(&self, terms: EngineTerms) -> Self {
        let timer = self.timer.with_terms(terms);
        if self.timer.terms().has_kernels_of(timer.terms()) {
            Self { timer, ..self.clone() }
        } else {
            Self { speculation: self.speculation.clone(), ..Self::new(timer, self.stages()) }
        }
    }

    /// The timer behind it.
    #[must_use]
    pub fn timer(&self) -> &StepTimer {
        &self.timer
    }

    /// Micro-batches in flight.
    #[must_use]
    pub fn stages(&self) -> u32 {
        self.stages as u32
    }

    /// Time of one decode step of all ranks, `ahead` steps from now. Of a step that verifies drafts its share of one token.
    pub fn decode(&mut self, ranks: &[RankLoad], ahead: f64) -> f64 {
        match self.speculation.take() {
            None => self.verify(ranks, ahead, 1),
            Some(mut speculation) => {
                let seconds = if speculation.is_on(ranks) {
                    let step = self.verify(ranks, ahead, speculation.width());
                    (step + speculation.draft_seconds(ranks, ahead)) / speculation.tokens_per_step()
                } else {
                    self.verify(ranks, ahead, 1)
                };
                self.speculation = Some(speculation);
                seconds
            }
        }
    }

    /// Time of one step of all ranks with prefill in it, in which every row gains [`StepClock::gain`] tokens.
    pub fn mixed(&mut self, ranks: &[RankLoad]) -> f64 {
        match self.speculation.take() {
            None => self.mixed_verify(ranks, 1),
            Some(mut speculation) => {
                let on = speculation.is_on(ranks);
                let step = self.mixed_verify(ranks, if on { speculation.width() } else { 1 });
                let drafts = if on { speculation.draft_seconds(ranks, 0.0) } else { 0.0 };
                let seconds = step + drafts + speculation.prompt_seconds(ranks);
                self.speculation = Some(speculation);
                seconds
            }
        }
    }
}
