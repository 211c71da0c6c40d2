//! Requests over time: arrivals, an engine's scheduler and the event loop. Nothing here knows a formula
//! of time: every step is asked of [`crate::time::StepTimer`], through the tables of [`StepClock`].
//!
//! A [`Traffic`] yields [`Request`]s; [`run`] gives them to [`Replica`]s, each of which advances from
//! iteration to iteration as its [`Scheduler`] decides. Between two events (an arrival that the scheduler
//! can see, a request that ends, a KV pool that runs out) all decode steps are advanced at once: their
//! times are affine in the context between the knots of the clock, so that k steps sum in closed form.
//!
//! [`run_split`] does the same with pools of their own for prefill and decode.
//!
//! Not modelled: skew of expert routing between steps.

mod arrivals;
mod clock;
mod fluidity;
mod histogram;
mod lengths;
mod metrics;
mod pool;
mod prefix;
mod presets;
mod replica;
mod request;
mod router;
mod run;
mod scheduler;
mod sessions;
mod source;
mod speculation;
mod split;
mod trace;
mod transfer;
mod waiting;

pub use arrivals::{Arrivals, Rate, Traffic};
pub use clock::{Chunk, RankLoad, Run, StepClock};
pub use fluidity::Deadlines;
pub use histogram::{LogHistogram, Summary};
pub use lengths::{Length, Lengths};
pub use metrics::{Metrics, Slo, Worked};
pub use prefix::Tier;
pub use presets::Preset;
pub use replica::{Pool, Replica};
pub use request::{Finished, Rejection, Request};
pub use router::Routing;
pub use run::{Backlog, LocalPrefill, Outcome, RunOptions, run};
pub use scheduler::{Admission, BatchWait, Discipline, LEVEL_TOKENS, Order, Scheduler};
pub use sessions::Turns;
pub use speculation::Speculation;
pub use split::{SplitOutcome, Stage, run_split};
pub use trace::{Trace, TraceRow};
pub use transfer::{CacheBytes, Link};
