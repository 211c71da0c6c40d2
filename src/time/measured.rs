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
    /// Best matrix product by data type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub matmul: BTreeMap<String, BestProduct>,
    /// The long load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Sustained>,
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
