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

/// Where the time of a line comes from; `provenance` says the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kernel coefficients in force (`provenance.kernels`).
    Kernels,
    /// The terms of the engine (`provenance.engine`).
    Engine,
    /// A limit of the accelerator's file.
    Datasheet,
}

impl Source {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernels => "kernels",
            Self::Engine => "engine",
            Self::Datasheet => "datasheet",
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
    /// Where the time comes from.
    pub source: Source,
}

impl Line {
    /// Adds a line of the same label; the longer one says what bounds it.
    pub fn merge(&mut self, other: &Self) {
        if other.seconds > self.seconds {
            self.bound = other.bound;
        }
        self.count += other.count;
        self.seconds += other.seconds;
        self.flops += other.flops;
        self.bytes += other.bytes;
    }

    /// The same, run so many times.
    #[must_use]
    pub fn repeated(self, times: f64) -> Self {
        Self {
            count: self.count * times,
            seconds: self.seconds * times,
            flops: self.flops * times,
            bytes: self.bytes * times,
            ..self
        }
    }

    /// The formula behind the line, in the symbols of docs/DESIGN.md.
    #[must_use]
    pub fn formula(&self) -> &'static str {
        match self.label {
            "prefill_attention" | "vision_attention" => "roofline of 2h(dk+dv)·(t·p + t(t+1)/2) FLOP",
            "decode_attention" => "roofline of 2h(dk+dv)·s FLOP and s·KV bytes a row, over busy SMs",
            "sparse_indexer" => "roofline of 2·hi·di FLOP a pair",
            "experts" => "roofline of 6·T·k·D·F FLOP, E(1-(1-k/E)^T) experts read",
            "state_update" => "roofline of 6 FLOP an element, state read and written",
            "embedding" | "elementwise" | "sampling" => "t0 a kernel + bytes / (eb·B)",
            "offloaded_weights" => "bytes / (0.85·host link)",
            "engine_prefill_slowdown" => "(scale - 1)·device time",
            "host_launch_gap" => "max(launches·t, floor·layers) - device time",
            "engine_step" => "t_step + t_row·rows",
            "pipeline_send" => "a + min(X/(e1·B), a2 + X/(e·B)), X = S",
            label if label.ends_with("all_reduce") => "a + min(X/(e1·B), a2 + X/(e·B)), X = 2(n-1)/n·S",
            label if label.ends_with("gather") || label.starts_with("expert_") => {
                "a + min(X/(e1·B), a2 + X/(e·B)), X = (n-1)/n·S"
            }
            _ => "t0 + [(2MNK/(ec·P))^p + (bytes/(eb·B))^p]^(1/p)",
        }
    }
}
