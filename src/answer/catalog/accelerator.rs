//! One accelerator, every value with its status, source and date.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::spec::accelerator::{Price, Sourced};
use crate::spec::{Accelerator, DataType, Offer, Offers};
use crate::units::GIB;

/// `gpus show` of one accelerator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AcceleratorSummary {
    /// Catalog id.
    pub id: String,
    /// Name as sold.
    pub name: String,
    /// Other names that are understood.
    pub aliases: Vec<String>,
    /// Vendor.
    pub vendor: String,
    /// Architecture family.
    pub architecture: String,
    /// Release.
    pub released: Option<String>,
    /// Memory type.
    pub memory_type: Option<String>,
    /// Scale-up link.
    pub interconnect: Option<String>,
    /// Host link.
    pub pcie: Option<String>,
    /// Bytes that a program sees.
    pub memory_bytes: Sourced,
    /// Peak memory bandwidth in bytes/s.
    pub memory_bandwidth_bytes_per_s: Sourced,
    /// Dense peaks in FLOP/s (OP/s for integers).
    pub peak_flops_per_s: BTreeMap<DataType, Sourced>,
    /// What else is known, each key with its SI unit.
    #[serde(flatten)]
    pub other: BTreeMap<&'static str, Sourced>,
    /// What one costs.
    pub purchase_price: Option<Price>,
    /// What one costs to rent by the hour.
    pub hourly_price: Option<Price>,
    /// What else one should know.
    pub note: Option<String>,
    /// What clouds ask for an hour, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<Offer>,
}

impl AcceleratorSummary {
    /// The same with the offers of a list.
    #[must_use]
    pub fn with_offers(self, offers: &Offers) -> Self {
        let offers = offers.of(&self.id).cloned().collect();
        Self { offers, ..self }
    }

    /// Lowest, median and highest price per hour of the offers, on demand and on spot.
    #[must_use]
    pub fn offered_range(&self) -> [Option<[f64; 3]>; 2] {
        [false, true].map(|spot| {
            let mut all: Vec<f64> = self.offers.iter().filter_map(|o| o.usd_per_gpu_hour(spot)).collect();
            all.sort_by(f64::total_cmp);
            let middle = f64::midpoint(*all.get(all.len().checked_sub(1)? / 2)?, *all.get(all.len() / 2)?);
            Some([*all.first()?, middle, *all.last()?])
        })
    }
}

/// An accelerator in SI base units.
#[must_use]
pub fn summarise_accelerator(a: &Accelerator) -> AcceleratorSummary {
    let si = |s: &Sourced, factor: f64| Sourced { value: s.value * factor, ..s.clone() };
    let other = [
        ("peak_flops_per_s_fp16_accumulate", &a.peak_tflops_fp16_accumulate, 1e12),
        ("peak_flops_per_s_tf32", &a.peak_tflops_tf32, 1e12),
        ("multiprocessors", &a.multiprocessors, 1.0),
        ("boost_clock_hz", &a.boost_clock_mhz, 1e6),
        ("l2_cache_bytes", &a.l2_cache_mb, 1e6),
        ("tdp_w", &a.tdp_w, 1.0),
        ("interconnect_bytes_per_s", &a.interconnect_gb_per_s, 1e9),
        ("pcie_bytes_per_s", &a.pcie_gb_per_s, 1e9),
    ];
    AcceleratorSummary {
        id: a.id.clone(),
        name: a.name.clone(),
        aliases: a.aliases.clone(),
        vendor: a.vendor.clone(),
        architecture: a.architecture.clone(),
        released: a.released.clone(),
        memory_type: a.memory_type.clone(),
        interconnect: a.interconnect.clone(),
        pcie: a.pcie.clone(),
        memory_bytes: a.visible_memory_gib.as_ref().map_or_else(|| si(&a.memory_gb, 1e9), |s| si(s, GIB)),
        memory_bandwidth_bytes_per_s: si(&a.memory_bandwidth_gb_per_s, 1e9),
        peak_flops_per_s: a.peak_tflops.iter().map(|(&d, s)| (d, si(s, 1e12))).collect(),
        other: other.into_iter().filter_map(|(key, s, f)| Some((key, si(s.as_ref()?, f)))).collect(),
        purchase_price: a.purchase_price.clone(),
        hourly_price: a.hourly_price.clone(),
        note: a.note.clone(),
        offers: vec![],
    }
}
