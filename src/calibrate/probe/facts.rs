//! What the device is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Facts of a device as they stand in its samples and its calibration; what the device does not tell is left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceFacts {
    /// Catalog id of the accelerator, `local-cpu` for the host's CPU.
    pub gpu: String,
    /// Name as the driver gives it.
    pub name: String,
    /// FNV-1a hash of the device's UUID: tells two cards apart and names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid_hash: Option<String>,
    /// Driver version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Libraries whose kernels were timed, with their versions: `cublaslt = "13.4"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub libraries: BTreeMap<String, String>,
    /// Multiprocessors or cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<f64>,
    /// Threads that the benchmarks used (CPU).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<f64>,
    /// Last-level cache in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<f64>,
    /// Highest clock of the multiprocessors or cores in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_clock_mhz: Option<f64>,
    /// Highest memory clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_clock_mhz: Option<f64>,
    /// Memory bandwidth by the bus and its clock in bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theoretical_bandwidth_bytes_per_s: Option<f64>,
    /// Power limit in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Power drawn before anything ran, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_power_w: Option<f64>,
    /// Error correction of the memory is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<bool>,
    /// The card is partitioned, and this is a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// What else matters: instruction sets, settings that slow it down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
