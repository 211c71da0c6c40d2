//! What an engine's scheduler does, as settings: one event loop serves all of them.
//!
//! Sources, read in the engines' releases: vLLM V1 `Scheduler.schedule` and `AsyncScheduler`; TensorRT-LLM
//! `PyExecutor._waiting_requests` and `_balance_adp_requests`; SGLang `SchedulerRecvSkipper`,
//! `PrefillAdder` and `get_next_batch_to_run`; llama.cpp `server_context::update_slots`.

use crate::spec::deployment::{SchedulingFlags, Version};
use crate::spec::{Engine, EngineDefaults, EngineKind};

/// Who goes first into a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Decode rows, then prompts with what is left of the token budget (vLLM, TensorRT-LLM, llama.cpp).
    DecodeFirst,
    /// A step of prompts alone while there are any; decode waits (SGLang).
    PrefillFirst,
    /// A batch is filled when the last one has ended, prefilled whole, and decoded to its end.
    Static,
}

/// What must be free in the KV pool before a request starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Its prompt and a block for every running row; a pool that runs out takes the cache of the youngest
    /// (preemption by recomputing).
    Prompt,
    /// Its prompt and its whole output, which are reserved: nothing is ever evicted.
    Whole,
}

/// Which waiting request is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discipline {
    /// The first come.
    #[default]
    Fcfs,
    /// Shortest job first: prompt and output tokens, taken as known. What runs is left alone.
    Sjf,
    /// Shortest remaining processing time: the one with the fewest tokens left, taken as known. One that needs a seat or
    /// room takes it from the running request with the most left, which is computed anew later.
    Srpt,
    /// Multi-level feedback queue: levels by tokens served, prompt and generated, that double from [`LEVEL_TOKENS`]; the
    /// first come within a level. A long prompt starts in its own level (skip-join, FastServe: Wu et al., 2023), and one
    /// that needs a seat or room takes it from a running request of a lower one.
    Mlfq,
}

/// Tokens served in the highest level of a feedback queue.
pub const LEVEL_TOKENS: u32 = 256;

impl Discipline {
    /// Every discipline with its name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Fcfs, "fcfs"), (Self::Sjf, "sjf"), (Self::Srpt, "srpt"), (Self::Mlfq, "mlfq")];

    /// Running requests give way.
    #[must_use]
    pub fn is_preemptive(self) -> bool {
        matches!(self, Self::Srpt | Self::Mlfq)
    }

    /// Place of a request of which `prompt` tokens are to be computed, `generated` of `output` tokens are there, and `served`
    /// tokens have been served: the smaller, the sooner.
    pub(super) fn place(self, prompt: u32, generated: u32, output: u32, served: u32) -> u64 {
        match self {
            Self::Fcfs => 0,
            Self::Sjf => u64::from(prompt) + u64::from(output),
            Self::Srpt => u64::from(prompt) + u64::from(output - generated),
            Self::Mlfq => u64::from(served.div_ceil(LEVEL_TOKENS).next_power_of_two().trailing_zeros()),
        }
    }
}

/// TensorRT-LLM's wait for fuller prefill steps (`batch_wait_timeout_iters`, `batch_wait_max_tokens_ratio`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchWait {
    /// Iterations after which prompts start anyway.
    pub iterations: u32,
    /// Share of the token budget at which they start at once.
    pub ratio: f64,
}

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheduler {
    /// Who goes first.
    pub order: Order,
    /// Which waiting request is next.
    pub discipline: Discipline,
    /// Prompts are cut to what is left of the token budget.
    pub chunked: bool,
    /// Most tokens in a step of a rank.
    pub token_budget: u32,
    /// Most requests in service on a rank.
    pub max_seqs: u32,
    /// Longest request in tokens.
    pub max_model_len: u64,
    /// What must be free before a request starts.
    pub admission: Admission,
    /// An iteration is decided when the one before it starts (asynchronous scheduling), not when it ends.
    pub overlapped: bool,
    /// Decode iterations between two looks at what has arrived; prompts and idleness look at once (SGLang's
    /// `scheduler-recv-interval`).
    pub receive_interval: u32,
    /// Wait for fuller prefill steps.
    pub batch_wait: Option<BatchWait>,
    /// Data-parallel ranks start prompts together: iterations that a rank with a prompt waits for the others
    /// (TensorRT-LLM's `attention_dp_config.timeout_iters`).
    pub rank_balance: Option<u32>,
    /// Arrival at the server to the scheduler's queue, in seconds.
    pub intake_s: f64,
}

impl Scheduler {
    /// The scheduler of an engine at a version with its settings.
    ///
    /// vLLM schedules ahead by default since 0.14, TensorRT-LLM's and SGLang's overlap schedulers are
    /// older than the versions modelled here. TensorRT-LLM runs whole prompts unless they are longer than
    /// its token budget.
    #[must_use]
    pub fn of(engine: Engine, flags: SchedulingFlags, settings: &EngineDefaults, request_ms: f64) -> Self {
        let base = Self {
            order: Order::DecodeFirst,
            discipline: Discipline::Fcfs,
            chunked: true,
            token_budget: settings.max_num_batched_tokens.max(1),
            max_seqs: settings.max_num_seqs.max(1),
            max_model_len: settings.max_model_len,
            admission: Admission::Prompt,
            overlapped: false,
            receive_interval: flags.receive_interval.unwrap_or(1).max(1),
            batch_wait: flags.batch_wait.map(|(iterations, ratio)| BatchWait { iterations, ratio }),
            rank_balance: flags.rank_wait,
            intake_s: 1e-3 * request_ms,
        };
        let mut scheduler = match engine.kind {
            EngineKind::Vllm => Self {
                overlapped: engine.version >= Version(0, 14),
                chunked: settings.chunked_prefill,
                ..base
            },
            EngineKind::Sglang => {
                Self { order: Order::PrefillFirst, overlapped: true, admission: Admission::Whole, ..base }
            }
            EngineKind::Trtllm => {
                Self { chunked: false, overlapped: true, admission: Admission::Whole, ..base }
            }
            // each slot owns its share of the context from the start
            EngineKind::Llamacpp => Self { admission: Admission::Whole, ..base },
            // prompts go whole into the step of those that generate
            EngineKind::Lmdeploy => Self { chunked: false, overlapped: true, ..base },
            EngineKind::Fastllm => base,
            EngineKind::Transformers | EngineKind::TransformersCompiled => {
                Self { order: Order::Static, admission: Admission::Whole, ..base }
            }
            EngineKind::Ideal => base,
        };
        scheduler.overlapped = flags.asynchronous.unwrap_or(scheduler.overlapped);
        scheduler
    }
}
