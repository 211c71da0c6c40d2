//! Requests before, while and after they are served.

use serde::Serialize;

use super::fluidity::Fluid;
use super::scheduler::Discipline;

/// A request as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Request {
    /// When it is sent, in seconds.
    pub sent: f64,
    /// Prompt tokens.
    pub input: u32,
    /// Tokens generated.
    pub output: u32,
    /// Where its block hashes stand in the trace: first and number.
    pub blocks: [u32; 2],
    /// The session that it is a call of; 0 without.
    pub session: u32,
    /// Prompt tokens whose KV cache the call before has left, as far as it is still there.
    pub history: u32,
}

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Prompt and output exceed the longest request that the engine accepts.
    ExceedsModelLength,
    /// Its KV cache alone is larger than the pool.
    ExceedsPool,
}

/// A request that has ended. Times are in seconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Finished {
    /// When it was sent.
    pub sent: f64,
    /// When its first prompt token entered a step.
    pub scheduled: f64,
    /// When its first token left the engine.
    pub first_token: f64,
    /// When its last token did.
    pub finished: f64,
    /// Prompt tokens.
    pub input: u32,
    /// Tokens generated.
    pub output: u32,
    /// Prompt tokens found in the prefix cache.
    pub cached: u32,
    /// Times that it lost its KV cache and was computed anew.
    pub preemptions: u32,
    /// Its number in the order of sending.
    pub number: u64,
    /// What the transfer of its KV cache between two pools added to its first token.
    pub transfer: f64,
}

impl Finished {
    /// Time to first token.
    #[must_use]
    pub fn ttft(&self) -> f64 {
        self.first_token - self.sent
    }

    /// End to end.
    #[must_use]
    pub fn e2e(&self) -> f64 {
        self.finished - self.sent
    }

    /// (E2E − TTFT)/(N − 1); none for a single token.
    #[must_use]
    pub fn tpot(&self) -> Option<f64> {
        (self.output > 1).then(|| (self.finished - self.first_token) / f64::from(self.output - 1))
    }
}

/// A request in a replica.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    pub sent: f64,
    /// When the scheduler can see it.
    pub ready: f64,
    pub scheduled: f64,
    pub first_token: f64,
    /// When its last token so far left, kept over a preemption.
    pub last_token: f64,
    pub number: u64,
    /// Place in the order of admission.
    pub admitted: u64,
    pub input: u32,
    pub output: u32,
    /// Tokens to compute before the next one is sampled: the prompt and, after a preemption, what was
    /// generated.
    pub target: u32,
    /// Of them computed or found in the cache.
    pub done: u32,
    /// Tokens generated.
    pub emitted: u32,
    /// Tokens whose blocks belong to the prefix cache.
    pub shared: u32,
    pub cached: u32,
    pub preemptions: u32,
    pub blocks: [u32; 2],
    /// KV blocks reserved ahead, where admission reserves.
    pub reserved: u32,
    /// Its prompt was computed in another pool, and its KV cache comes from there.
    pub computed: bool,
    /// Time that this took.
    pub transfer: f64,
    pub session: u32,
    pub history: u32,
    /// What it can use of tiers below the accelerators was asked for.
    pub loaded: bool,
    /// Deadlines of its tokens, where they are counted.
    pub fluid: Fluid,
}

impl Slot {
    /// Its place among those that wait.
    pub fn place(&self, discipline: Discipline) -> u64 {
        let prompt = if self.computed { 0 } else { self.target - self.done };
        discipline.place(prompt, self.emitted, self.output, self.input + self.emitted)
    }

    pub fn new(request: &Request, number: u64, ready: f64) -> Self {
        Self {
            sent: request.sent,
            ready,
            number,
            input: request.input.max(1),
            output: request.output.max(1),
            target: request.input.max(1),
            blocks: request.blocks,
            session: request.session,
            history: request.history,
            scheduled: f64::NAN,
            ..Self::default()
        }
    }
}
