//! What is known of one benchmark after it was measured.

use super::{Benchmark, Summary, Telemetry};

/// The rule's name where none decided.
pub const INTERRUPTED: &str = "interrupted";

/// How measuring ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The stopping rule that ended it.
    pub rule: &'static str,
    /// The figure is good; false after a time cap or an interruption.
    pub converged: bool,
}

/// A benchmark with its times.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Which benchmark.
    pub benchmark: Benchmark,
    /// Seconds of one iteration.
    pub summary: Summary,
    /// How it ended.
    pub ending: Ending,
    /// Means over the samples kept.
    pub telemetry: Telemetry,
    /// Samples thrown away because heat or hardware slowed the device.
    pub slowed: usize,
    /// Samples thrown away because others took the cores.
    pub contended: usize,
}
