//! The prompts of a static batch packed into steps, and how long those take.

use super::Estimator;
use crate::spec::Workload;
use crate::time::StepTime;
use crate::work::{Operator, PrefillChunk, Step};

/// Queries that attention kernels compute at once.
const TILE: f64 = 128.0;

/// The whole prefill of one data-parallel rank: steps filled to the token budget and the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    /// What each kind of step does, and how many there are of it.
    steps: [(f64, PrefillChunk); 3],
    /// The step that passes through the stages of a pipeline which are still empty.
    filling: PrefillChunk,
}

impl Packing {
    /// The steps that there are, with how many of each.
    pub(super) fn steps(&self) -> impl Iterator<Item = (f64, &PrefillChunk)> {
        self.steps.iter().filter(|(times, _)| *times > 0.0).map(|(times, chunk)| (*times, chunk))
    }

    /// Steps in a pipeline of p stages, each with how often its time counts, as if a step took as long as it has
    /// tokens: every stage is busy 1/p of every step, and the longest step passes through the stages that are still
    /// empty, Σt/p + (1 − 1/p)·max t; no more than `in_flight` steps run at a time.
    pub(super) fn pipelined(
        &self,
        stages: f64,
        in_flight: f64,
    ) -> impl Iterator<Item = (f64, &PrefillChunk)> {
        let fill = 1.0 - 1.0 / stages;
        let tokens: f64 = self.steps().map(|(times, chunk)| times * chunk.tokens()).sum();
        let overlapped = tokens / stages + fill * self.filling.tokens();
        let slower = (tokens / in_flight / overlapped).max(1.0);
        self.steps()
            .map(move |(times, chunk)| (slower * times / stages, chunk))
            .chain(std::iter::once((slower * fill, &self.filling)).filter(|(times, _)| *times > 0.0))
    }
}

/// What the steps of a prefill add up to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PrefillTime {
    /// One after another.
    pub(super) sequential: StepTime,
    /// Wall time in the pipeline: Σt/p + (1 − 1/p)·max t, and no less than Σt/c with at most c steps at a time.
    pub(super) seconds: f64,
}

impl Estimator {
    /// Prompts of one rank packed into steps of the token budget B, as chunked prefill packs them.
    ///
    /// R requests of t tokens fill n = ⌈R·t/B⌉ − 1 steps, the rest r = R·t − n·B one more. Where the budget cuts, it
    /// leaves a different end and beginning of a prompt in every step. Prompts within the budget (t ≤ B): products run
    /// over B tokens or r, attention over the mean of the N = n + 1 steps, R/N whole prompts, each in the step where
    /// it ends. Attention then grows with its work alone: (n + 1)·f(R/(n + 1)) ≥ n·f(R/n) for kernels that take no
    /// more than twice as long for twice as much. In proportion to the tokens instead, tiles would move from full
    /// steps into the rest as prompts grow, and hide there behind the longest tile: more work in less time.
    ///
    /// Longer prompts continue on a past; all steps take the mean past that conserves query–key pairs:
    /// p̄ = (R·(t·p + t²/2) − n·B²/2 − r²/2) / (R·t), and R of them end a prompt.
    ///
    /// A pipeline is filled by a step of min(R·t, B) tokens in prompts that fill whole tiles, so that it takes no less
    /// time as prompts grow.
    pub(super) fn packing(&self, workload: &Workload) -> Packing {
        let requests = (self.batch_of(workload) / self.data_parallel).ceil().max(1.0);
        let new = (workload.input_len - workload.prefix_len) as f64;
        let past = workload.prefix_len as f64;
        let budget = f64::from(self.token_budget);
        let total = requests * new;
        // the last step is never empty, so that it samples
        let full_steps = ((total - 1.0) / budget).floor();
        let rest = total - full_steps * budget;
        let whole =
            PrefillChunk { requests, new_tokens: new, past_tokens: past, ending: requests, mean_with: None };
        if new <= budget {
            let (tokens, tiled) = (total.min(budget), (new / TILE).ceil() * TILE);
            let filling = PrefillChunk {
                requests: tokens / tiled,
                new_tokens: tiled,
                past_tokens: past,
                ending: 1.0,
                mean_with: Some(tokens),
            };
            if full_steps <= 0.0 {
                return Packing { steps: [(1.0, whole), (0.0, whole), (0.0, whole)], filling };
            }
            let mean = requests / (full_steps + 1.0);
            let with =
                |tokens| PrefillChunk { requests: mean, ending: mean, mean_with: Some(tokens), ..whole };
            let steps = [(1.0, with(rest)), (full_steps, with(budget)), (0.0, whole)];
            return Packing { steps, filling };
        }
        let pairs = requests * (new * past + new * new / 2.0);
        let mean_past = (pairs - full_steps * budget * budget / 2.0 - rest * rest / 2.0) / total;
        let part = |tokens, ending| PrefillChunk {
            requests: 1.0,
            new_tokens: tokens,
            past_tokens: mean_past,
            ending,
            mean_with: Some(tokens),
        };
        let (ending, open) = (part(budget, 1.0), part(budget, 0.0));
        let ends = requests - 1.0;
        Packing {
            steps: [(1.0, part(rest, 1.0)), (ends, ending), (full_steps - ends, open)],
            filling: ending,
        }
    }

    pub(super) fn prefill_time(&self, packing: &Packing, scratch: &mut Vec<Operator>) -> PrefillTime {
        let mut sequential = StepTime::default();
        for (times, chunk) in packing.steps() {
            let time = self.timer.time(&Step { prefill: &[*chunk], decode: &[] }, scratch);
            sequential.seconds.0 += times * time.seconds.0;
            sequential.compute_seconds.0 += times * time.compute_seconds.0;
            sequential.memory_bytes.0 += times * time.memory_bytes.0;
        }
        let mut seconds = sequential.seconds.0;
        if self.pipeline > 1.0 {
            let step = Step { prefill: &[packing.filling], decode: &[] };
            let longest = self.timer.time(&step, scratch).seconds.0;
            let overlapped = seconds / self.pipeline + (1.0 - 1.0 / self.pipeline) * longest;
            seconds = overlapped.max(seconds / self.in_flight);
        }
        PrefillTime { sequential, seconds }
    }
}
