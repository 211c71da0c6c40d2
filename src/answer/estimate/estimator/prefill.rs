//! The prompts of a static batch packed into steps, and how long those take.

use super::Estimator;
use crate::spec::Workload;
use crate::time::StepTime;
use crate::work::{Operator, PrefillChunk, Step};

/// The whole prefill of one data-parallel rank: steps filled to the token budget and the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    /// How many full steps.
    pub(super) full_steps: f64,
    pub(super) full: PrefillChunk,
    pub(super) rest: PrefillChunk,
}

/// Seconds of the steps of a prefill.
#[derive(Debug, Clone, Copy)]
pub(super) struct PrefillTime {
    pub(super) full: StepTime,
    pub(super) rest: StepTime,
    pub(super) full_steps: f64,
}

impl PrefillTime {
    /// All steps one after another.
    pub(super) fn sequential(&self) -> f64 {
        self.full_steps * self.full.seconds.0 + self.rest.seconds.0
    }

    /// Steps in a pipeline of `stages`: each stage is busy 1/stages of every step, and the longest step
    /// passes through the stages that are still empty: Σt/p + (1 − 1/p)·max t, and no less than Σt/c with at most c =
    /// `in_flight` steps at a time.
    pub(super) fn pipelined(&self, stages: f64, in_flight: f64) -> f64 {
        let longest = if self.full_steps > 0.0 {
            self.full.seconds.max(self.rest.seconds).0
        } else {
            self.rest.seconds.0
        };
        (self.sequential() / stages + (1.0 - 1.0 / stages) * longest).max(self.sequential() / in_flight)
    }
}

impl Estimator {
    /// Prompts of one rank packed into steps of the token budget B, as chunked prefill packs them.
    ///
    /// n = ⌊R·t/B⌋ steps are full, the rest r = R·t − n·B fills one more. Prompts that are longer than
    /// the budget continue on a past; all steps take the mean past that conserves query–key pairs:
    /// p̄ = (R·(t·p + t²/2) − n·B²/2 − r²/2) / (R·t).
    pub(super) fn chunks(&self, workload: &Workload) -> Chunks {
        let requests = (self.batch_of(workload) / self.data_parallel).ceil().max(1.0);
        let new = (workload.input_len - workload.prefix_len) as f64;
        let past = workload.prefix_len as f64;
        let budget = f64::from(self.token_budget);
        let total = requests * new;
        // the last step is never empty, so that it samples
        let full_steps = ((total - 1.0) / budget).floor();
        let rest = total - full_steps * budget;
        let chunk = |requests, new_tokens, past_tokens, last| PrefillChunk {
            requests,
            new_tokens,
            past_tokens,
            last,
        };
        if new <= budget {
            return Chunks {
                full_steps,
                full: chunk(budget / new, new, past, true),
                rest: chunk(rest / new, new, past, true),
            };
        }
        let pairs = requests * (new * past + new * new / 2.0);
        let mean_past = (pairs - full_steps * budget * budget / 2.0 - rest * rest / 2.0) / total;
        Chunks {
            full_steps,
            full: chunk(1.0, budget, mean_past, false),
            rest: chunk(1.0, rest, mean_past, true),
        }
    }

    pub(super) fn prefill_time(&self, chunks: &Chunks, scratch: &mut Vec<Operator>) -> PrefillTime {
        let mut time = |chunk| self.timer.time(&Step { prefill: &[chunk], decode: &[] }, scratch);
        let full = if chunks.full_steps > 0.0 { time(chunks.full) } else { StepTime::default() };
        PrefillTime { full, rest: time(chunks.rest), full_steps: chunks.full_steps }
    }
}
