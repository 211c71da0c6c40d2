//! Figures of a device that were measured beside the classes of kernels.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a run on the device found; what it did not measure is left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measured {
    /// Cost of starting a kernel from the host, in microseconds; on a CPU that of sharing work out to all threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_us: Option<f64>,
    /// The same for a kernel in a captured graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_launch_us: Option<f64>,
    /// Memory bandwidth beyond the caches in bytes per second, by `read`, `copy`, `triad`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bandwidth_bytes_per_s: BTreeMap<String, f64>,
    /// Best read of a KV cache beyond the caches in bytes per second, by its data type: decode attention is no faster.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kv_read_bytes_per_s: BTreeMap<String, f64>,
    /// Best matrix product by data type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub matmul: BTreeMap<String, BestProduct>,
    /// Operations per second of attention in `decode` and `prefill`, causal operations counted: the median over its shapes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attention_flops_per_s: BTreeMap<String, f64>,
    /// The long load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Sustained>,
    /// What operations and bytes cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// Benchmarks whose figure had not converged when their time was up.
    pub not_converged: usize,
}

/// The maximum achievable matrix product (MAMF, as mamf-finder of stas00/ml-engineering names it): the best over all
/// shapes measured, each by its median.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestProduct {
    /// Operations per second.
    pub flops_per_s: f64,
    /// M, N and K of the shape.
    pub shape: [f64; 3],
}

/// Power as a sum: P = P_idle + e_f·(operations/s) + e_b·(bytes/s), by a product and a read kept up for seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// P_idle in watts, before anything ran.
    pub idle_w: f64,
    /// e_f in joules per operation, of the data type of the product kept up.
    pub joules_per_flop: f64,
    /// e_b in joules per byte through device memory.
    pub joules_per_byte: f64,
}

/// A matrix product kept up for seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sustained {
    /// Data type.
    pub dtype: String,
    /// Operations per second in its second half.
    pub flops_per_s: f64,
    /// Mean power in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Mean clock in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<f64>,
}
