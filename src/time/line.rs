//! A line of the breakdown: one operator with its time.

use serde::Serialize;

use crate::units::{Bytes, Flops, Seconds};

/// What an operator waits for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Device memory.
    Memory,
    /// Fixed cost: kernel launch and dependency latency.
    Latency,
    /// Links between accelerators or to the host.
    Link,
    /// The host processor, which launches kernels slower than they run.
    Host,
}

impl Bound {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Latency => "latency",
            Self::Link => "link",
            Self::Host => "host",
        }
    }
}

/// One line of a breakdown. Lines sum to the total.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// Name of the operator.
    pub label: &'static str,
    /// Executions.
    pub count: f64,
    /// Time of all executions in seconds.
    pub seconds: Seconds,
    /// Operations of all executions.
    pub flops: Flops,
    /// Bytes of all executions, through device memory or over a link.
    pub bytes: Bytes,
    /// What it waits for most.
    pub bound: Bound,
}
