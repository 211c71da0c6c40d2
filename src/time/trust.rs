//! Which calibration is used for an accelerator, and how far it can be trusted: measured on this
//! machine, fitted to recorded tables of this accelerator, transferred from a relative through the
//! datasheet, or none.

use serde::Serialize;

use crate::spec::Accelerator;

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
    /// Transferred from the same architecture family.
    SameFamily,
    /// Defaults of the architecture family, rounded from fits to one member.
    FamilyDefault,
    /// Defaults without a fit.
    Default,
    /// The datasheet's limits, without losses.
    Limit,
}

impl Trust {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Given => "fitted to the calibration given",
            Self::Fitted => "fitted to operator tables of this accelerator",
            Self::SameChip => "transferred from another board of the same chip",
            Self::SameFamily => "transferred from a relative of the same family",
            Self::FamilyDefault => "roofline, coefficients fitted for the family",
            Self::Default => "roofline, default coefficients",
            Self::Limit => "datasheet limits",
        }
    }
}

/// How near two accelerators are: none for different families. HBM and other memory are different
/// families, because caches and memory controllers differ as much as chips do.
#[must_use]
pub fn kinship(target: &Accelerator, donor: &Accelerator) -> Option<(Trust, f64)> {
    let family = |a: &Accelerator| a.architecture.split(' ').next().unwrap_or_default().to_owned();
    let stacked = |a: &Accelerator| a.memory_type.as_deref().is_some_and(|m| m.starts_with("HBM"));
    if target.vendor != donor.vendor || family(target) != family(donor) {
        return None;
    }
    if target.id == donor.id {
        return Some((Trust::Fitted, 0.0));
    }
    let cores = |a: &Accelerator| a.multiprocessors.as_ref().map_or(1.0, |m| m.value);
    let ratio = |a: f64, b: f64| (a / b).ln().abs();
    let units = ratio(cores(target), cores(donor));
    let bandwidth = ratio(target.memory_bandwidth().0, donor.memory_bandwidth().0);
    let other_memory = stacked(target) != stacked(donor);
    let distance = units + bandwidth + if other_memory { 2.0 } else { 0.0 };
    let same_chip = target.architecture == donor.architecture && units < 0.2 && !other_memory;
    Some((if same_chip { Trust::SameChip } else { Trust::SameFamily }, distance))
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
        assert_eq!(trust("h20", "h100-sxm"), Some(Trust::SameFamily));
        assert_eq!(trust("rtx-4090", "l40s"), Some(Trust::SameChip));
        assert_eq!(trust("mi300x", "h100-sxm"), None);
        assert_eq!(trust("m3-max", "b200-sxm"), None);
    }

    #[test]
    fn a_workstation_card_is_nearer_to_its_like() {
        let target = gpu("rtx-5090");
        let distance = |donor: &str| kinship(&target, &gpu(donor)).map_or(f64::INFINITY, |(_, d)| d);
        assert!(distance("rtx-pro-6000-server") < distance("b200-sxm"));
    }
}
