//! An accelerator as its datasheet and measurements describe it. A value that nobody published is
//! absent; a question that needs it is refused and names the key.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{DataType, SpecError};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Usd, Watts};

/// How far a value can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// From the vendor's datasheet, cross-checked.
    Datasheet,
    /// Measured on the device.
    Measured,
    /// Computed from other published values.
    Derived,
    /// Sources disagree; the note names them.
    Conflict,
    /// From one source, not checked.
    Unverified,
}

/// A value with where it came from. The unit is in the key that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sourced {
    /// The number, in the unit of its key.
    pub value: f64,
    /// How far it can be trusted.
    pub status: Status,
    /// Which document or measurement.
    pub source: String,
    /// When the source was read or the value measured (ISO date).
    pub date: String,
}

/// A price with its kind, source and date.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars: for one accelerator, or for one accelerator-hour.
    pub usd: f64,
    /// launch, list, street; on-demand, spot, median of offers …
    pub kind: String,
    /// Who names it.
    pub source: String,
    /// When (ISO date, or what is known of it: "2026-07", "undated").
    pub date: String,
}

/// An accelerator (or a CPU). One file a device in `hardware/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// Catalog id: `h100-sxm`.
    pub id: String,
    /// Name as sold.
    pub name: String,
    /// Other names people use for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Vendor.
    pub vendor: String,
    /// Architecture family: Hopper, Ada, CDNA3 …
    pub architecture: String,
    /// Release, as precisely as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// Memory type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_type: Option<String>,
    /// Memory as sold, in the vendor's gigabytes; most vendors mean 2³⁰ bytes.
    pub memory_gb: Sourced,
    /// Memory that a program sees (`cudaMemGetInfo` total), in GiB: measured, or derived from the
    /// size as sold by the rule that its source names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_memory_gib: Option<Sourced>,
    /// Peak memory bandwidth in GB/s.
    pub memory_bandwidth_gb_per_s: Sourced,
    /// Dense matrix peaks in TFLOP/s (TOP/s for integers) by data type; `fp32` is the vector rate.
    pub peak_tflops: BTreeMap<DataType, Sourced>,
    /// Peak of fp16 with fp16 accumulation in TFLOP/s, where it is a different rate (GeForce).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_tflops_fp16_accumulate: Option<Sourced>,
    /// Matrix peak with tf32 inputs in TFLOP/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_tflops_tf32: Option<Sourced>,
    /// Streaming multiprocessors, compute units or cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<Sourced>,
    /// Boost clock in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost_clock_mhz: Option<Sourced>,
    /// Last-level cache in MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_cache_mb: Option<Sourced>,
    /// Board power in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdp_w: Option<Sourced>,
    /// Name of the scale-up link: NVLink 4, Infinity Fabric …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interconnect: Option<String>,
    /// Scale-up link in GB/s per direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interconnect_gb_per_s: Option<Sourced>,
    /// Host link, as sold: "PCIe 5.0 x16".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie: Option<String>,
    /// Host link in GB/s per direction (before protocol losses).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_gb_per_s: Option<Sourced>,
    /// What one costs to buy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase_price: Option<Price>,
    /// What one costs to rent by the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly_price: Option<Price>,
    /// What else one should know, conflicts of sources included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Accelerator {
    /// Reads one of our TOML files.
    ///
    /// # Errors
    /// When the text is no TOML of an accelerator, or a value is zero, negative or not finite.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, SpecError> {
        let accelerator: Self =
            toml::from_str(text).map_err(|e| SpecError::toml(&e, text, file, "accelerator TOML"))?;
        accelerator.validate(file)?;
        Ok(accelerator)
    }

    fn validate(&self, file: &str) -> Result<(), SpecError> {
        let peaks = self.peak_tflops.iter().map(|(d, s)| (format!("peak_tflops.{d}"), Some(s)));
        let others = [
            ("memory_gb", Some(&self.memory_gb)),
            ("visible_memory_gib", self.visible_memory_gib.as_ref()),
            ("memory_bandwidth_gb_per_s", Some(&self.memory_bandwidth_gb_per_s)),
            ("peak_tflops_fp16_accumulate", self.peak_tflops_fp16_accumulate.as_ref()),
            ("peak_tflops_tf32", self.peak_tflops_tf32.as_ref()),
            ("multiprocessors", self.multiprocessors.as_ref()),
            ("boost_clock_mhz", self.boost_clock_mhz.as_ref()),
            ("l2_cache_mb", self.l2_cache_mb.as_ref()),
            ("tdp_w", self.tdp_w.as_ref()),
            ("interconnect_gb_per_s", self.interconnect_gb_per_s.as_ref()),
            ("pcie_gb_per_s", self.pcie_gb_per_s.as_ref()),
        ];
        for (key, sourced) in peaks.chain(others.map(|(k, s)| (k.to_owned(), s))) {
            let Some(sourced) = sourced else { continue };
            if !(sourced.value > 0.0 && sourced.value < 1e9) {
                return Err(SpecError::Value {
                    file: file.into(),
                    key,
                    value: sourced.value.to_string(),
                    problem: "must be above 0 and below 1e9".into(),
                    fix: "correct it, or leave the key out when it is not known".into(),
                });
            }
        }
        let prices = [("purchase_price", &self.purchase_price), ("hourly_price", &self.hourly_price)];
        for (key, price) in prices {
            let Some(price) = price else { continue };
            if !(price.usd >= 0.0 && price.usd < 1e9) {
                return Err(SpecError::Value {
                    file: file.into(),
                    key: format!("{key}.usd"),
                    value: price.usd.to_string(),
                    problem: "must be 0 or more and below 1e9".into(),
                    fix: "correct it, or leave the price out when it is not known".into(),
                });
            }
        }
        Ok(())
    }

    /// Dense peak of a data type, where one is known. bf16 and fp16 stand in for each other only
    /// where the file gives both; nothing is guessed.
    #[must_use]
    pub fn peak(&self, data_type: DataType) -> Option<FlopsPerSecond> {
        let key = match data_type {
            DataType::Fp8Block | DataType::Mxfp8 => DataType::Fp8,
            other => other,
        };
        self.peak_tflops.get(&key).map(|s| FlopsPerSecond(s.value * 1e12))
    }

    /// Peak memory bandwidth.
    #[must_use]
    pub fn memory_bandwidth(&self) -> BytesPerSecond {
        BytesPerSecond(self.memory_bandwidth_gb_per_s.value * 1e9)
    }

    /// Memory that a program can use: the visible memory, which every file of the catalog states.
    /// A user's file without it is read as decimal gigabytes, the smaller of the two meanings.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        self.visible_memory_gib
            .as_ref()
            .map_or(Bytes(self.memory_gb.value * 1e9), |s| Bytes::from_gib(s.value))
    }

    /// Scale-up link, per direction.
    #[must_use]
    pub fn interconnect_bandwidth(&self) -> Option<BytesPerSecond> {
        self.interconnect_gb_per_s.as_ref().map(|s| BytesPerSecond(s.value * 1e9))
    }

    /// Host link, per direction.
    #[must_use]
    pub fn pcie_bandwidth(&self) -> Option<BytesPerSecond> {
        self.pcie_gb_per_s.as_ref().map(|s| BytesPerSecond(s.value * 1e9))
    }

    /// Board power.
    #[must_use]
    pub fn tdp(&self) -> Option<Watts> {
        self.tdp_w.as_ref().map(|s| Watts(s.value))
    }

    /// Rent per hour.
    #[must_use]
    pub fn usd_per_hour(&self) -> Option<Usd> {
        self.hourly_price.as_ref().map(|p| Usd(p.usd))
    }
}
