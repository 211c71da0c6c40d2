//! Measuring the machine this runs on: benchmarks of a [`Backend`] timed by the [`Runner`] until they are
//! known well enough, and kept as samples that the fits read.
//!
//! A backend (CUDA, CPU, a test's fake) says what it can run and times it; everything from samples on is
//! common: order, warm-up, stopping rules, outliers, the samples file, the fit.

mod backend;
mod benchmark;
pub mod cpu;
mod error;
mod facts;
mod measurement;
mod progress;
mod runner;
mod sample_file;
mod settings;
mod statistics;
mod stopping;
mod summary;
mod telemetry;

pub use backend::{Backend, Prepared, Sample};
pub use benchmark::{Benchmark, Class, KV_READ, Stream, Work};
pub use error::ProbeError;
pub use facts::DeviceFacts;
pub use measurement::{Ending, INTERRUPTED, Measurement};
pub use runner::{Observer, Outcome, Runner, Silent, Skipped};
pub use sample_file::{Origin, SampleFile};
pub use settings::Settings;
pub use statistics::{Summary, summarise};
pub use stopping::{Cap, Duration, History, Precise, StableNoise, StoppingRule, Verdict};
pub use summary::{accelerator, measured};
pub use telemetry::{Telemetry, Throttle};
