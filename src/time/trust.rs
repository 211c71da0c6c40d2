//! Which calibration is used for an accelerator, and how far it can be trusted: measured on this
//! machine, fitted to recorded tables of this accelerator, transferred from a relative through the
//! datasheet, or none.

use serde::Serialize;

use crate::spec::{Accelerator, DataType};

/// Trust levels, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Measured on this very machine, or given with `--calibration`.
    Given,
    /// Fitted to recorded operator tables of this accelerator.
    Fitted,
    /// Transferred from the same chip in another board or memory configuration.
    SameChip,
    /// Transferred from an accelerator that runs the same kernels: the same generation of tensor cores and kind of
    /// memory.
    SameFamily,
    /// Defaults of the architecture family, rounded from fits to one member.
    FamilyDefault,
    /// Transferred from another generation of the same vendor.
    OtherFamily,
    /// Defaults without a fit.
    Default,
    /// The datasheet's limits, without losses.
    Limit,
}

impl Trust {
    /// The name used in files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Fitted => "fitted",
            Self::SameChip => "same_chip",
            Self::SameFamily => "same_family",
            Self::FamilyDefault => "family_default",
            Self::OtherFamily => "other_family",
            Self::Default => "default",
            Self::Limit => "limit",
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Given => "fitted to the calibration given",
            Self::Fitted => "fitted to operator tables of this accelerator",
            Self::SameChip => "transferred from another board of the same chip",
            Self::SameFamily => "transferred from a relative of the same family",
            Self::FamilyDefault => "roofline, coefficients fitted for the family",
            Self::OtherFamily => "transferred from another generation of the vendor",
            Self::Default => "roofline, default coefficients",
            Self::Limit => "datasheet limits",
        }
    }
}

/// What decides which kernels run on an accelerator: how its tensor cores are fed. Kernels of one generation do
/// not carry over to another, and neither do their efficiencies: with fits of the other kind of Blackwell, prefill
/// attention of RTX PRO 6000 is 2.6 times too long in the median, with fits of L40S it is within 16 %
/// (docs/ACCURACY.md, transfer). Sources: PTX ISA, `mma` (compute capability 7.x, 8.x, 12.x), `wgmma` (9.x) and
/// `tcgen05` (10.x). None without tensor cores.
fn generation(accelerator: &Accelerator) -> Option<&str> {
    match family(accelerator) {
        "Pascal" => None,
        "Volta" | "Turing" | "Ampere" | "Ada" => Some("mma"),
        // compute capability 12 of workstations and desktops against 10 of data centres
        "Blackwell" if !is_stacked(accelerator) => Some("mma"),
        other => Some(other),
    }
}

/// The first word of the architecture: `Blackwell Ultra` is a Blackwell.
fn family(accelerator: &Accelerator) -> &str {
    accelerator.architecture.split(' ').next().unwrap_or_default()
}

/// How near two accelerators are: none for other vendors, between HBM and other memory, because caches and memory
/// controllers differ as much as chips do, and without tensor cores.
#[must_use]
pub fn kinship(target: &Accelerator, donor: &Accelerator) -> Option<(Trust, f64)> {
    if target.id == donor.id {
        return Some((Trust::Fitted, 0.0));
    }
    if target.vendor != donor.vendor || is_stacked(target) != is_stacked(donor) {
        return None;
    }
    let trust = match (generation(target)?, generation(donor)?) {
        (a, b) if a != b => Trust::OtherFamily,
        _ if family(target) == family(donor) && units_apart(target, donor) < 0.2 => Trust::SameChip,
        _ => Trust::SameFamily,
    };
    Some((trust, distance(target, donor)))
}

/// |ln| of the ratios of multiprocessors and of bandwidths, and 1 for every format that the target multiplies in and the
/// donor does not: its tables lack those kernels.
fn distance(target: &Accelerator, donor: &Accelerator) -> f64 {
    let bandwidth = (target.memory_bandwidth().0 / donor.memory_bandwidth().0).ln().abs();
    let lacks = |format: &&DataType| target.peak(**format).is_some() && donor.peak(**format).is_none();
    units_apart(target, donor) + bandwidth + DataType::ALL.iter().filter(lacks).count() as f64
}

fn units_apart(target: &Accelerator, donor: &Accelerator) -> f64 {
    let units = |a: &Accelerator| a.multiprocessors.as_ref().map_or(1.0, |m| m.value);
    (units(target) / units(donor)).ln().abs()
}

fn is_stacked(accelerator: &Accelerator) -> bool {
    accelerator.memory_type.as_deref().is_some_and(|m| m.starts_with("HBM"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    fn gpu(name: &str) -> Accelerator {
        catalog::accelerator(name, &Directories::default()).unwrap()
    }

    #[test]
    fn relatives() {
        let trust = |a: &str, b: &str| kinship(&gpu(a), &gpu(b)).map(|(t, _)| t);
        assert_eq!(trust("h100-sxm", "h100-sxm"), Some(Trust::Fitted));
        assert_eq!(trust("h200-sxm", "h100-sxm"), Some(Trust::SameChip));
        assert_eq!(trust("b300-sxm", "b200-sxm"), Some(Trust::SameChip));
        assert_eq!(trust("h20", "h100-sxm"), Some(Trust::SameFamily));
        assert_eq!(trust("rtx-4090", "l40s"), Some(Trust::SameChip));
        assert_eq!(trust("h100-sxm", "b200-sxm"), Some(Trust::OtherFamily));
        assert_eq!(trust("mi300x", "h100-sxm"), None);
        assert_eq!(trust("p100-sxm2", "a100-sxm-80"), None);
        assert_eq!(trust("m3-max", "b200-sxm"), None);
    }

    #[test]
    fn desktop_cards_are_relatives_of_each_other_and_not_of_their_namesakes_in_data_centres() {
        let trust = |a: &str, b: &str| kinship(&gpu(a), &gpu(b)).map(|(t, _)| t);
        assert_eq!(trust("rtx-5090", "rtx-pro-6000-server"), Some(Trust::SameChip));
        assert_eq!(trust("rtx-5090", "l40s"), Some(Trust::SameFamily));
        assert_eq!(trust("rtx-5090", "b200-sxm"), None);
        assert_eq!(trust("rtx-3090", "a100-sxm-80"), None);
    }
}
