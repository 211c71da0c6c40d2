//! The two closed forms that every first-form kernel time is made of.

use serde::{Deserialize, Serialize};

/// Soft roofline: t = t₀ + [ (F / (e_c·P))^p + (Q / (e_b·B))^p ]^(1/p).
///
/// F operations, Q bytes, P peak operations per second, B peak bytes per second, e_c and e_b the
/// achievable shares of them, t₀ a fixed cost, p how sharply the two blend: p → ∞ is the hard
/// roofline max(·,·), p = 1 no overlap at all. Source: EQUATIONS section 3 (softroof), after
/// Williams, Waterman, Patterson, "Roofline", CACM 2009. Not modelled: wave and tile quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftRoofline {
    /// e_c: achievable share of peak operations.
    pub compute: f64,
    /// e_b: achievable share of peak bandwidth.
    pub memory: f64,
    /// t₀ in microseconds.
    pub latency_us: f64,
    /// p ≥ 1.
    pub blend: f64,
}

impl SoftRoofline {
    /// (fixed, compute, memory, total) in seconds. Terms are those of the hard roofline at this
    /// form's efficiencies; the total is never below fixed + the larger of them.
    #[must_use]
    pub fn seconds(&self, flops: f64, peak: f64, bytes: f64, bandwidth: f64) -> [f64; 4] {
        let fixed = self.latency_us * 1e-6;
        let compute = if flops > 0.0 { flops / (self.compute * peak) } else { 0.0 };
        let memory = if bytes > 0.0 { bytes / (self.memory * bandwidth) } else { 0.0 };
        let (large, small) = if compute > memory { (compute, memory) } else { (memory, compute) };
        let blended = if small > 0.0 {
            large * (1.0 + (small / large).powf(self.blend)).powf(1.0 / self.blend)
        } else {
            large
        };
        [fixed, compute, memory, fixed + blended]
    }
}

/// Collectives with a one-shot and a two-shot regime:
/// t = α + α_r·n + min(X/(e₁·B), α₂ + X/(e·B)).
///
/// X bytes that one rank's link carries (all-reduce 2(n−1)/n·S, all-gather and all-to-all (n−1)/n·S),
/// B the link's bytes per second and direction, n ranks. Small messages go one-shot: lower latency,
/// lower efficiency e₁. Source: KERNELS section 4 (2-regime).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoRegime {
    /// e: achievable share of the link for large messages.
    pub efficiency: f64,
    /// α in microseconds.
    pub latency_us: f64,
    /// α_r per further rank in microseconds.
    pub latency_per_rank_us: f64,
    /// e₁: achievable share for small messages.
    pub one_shot: f64,
    /// α₂ in microseconds.
    pub second_us: f64,
}

impl TwoRegime {
    /// (fixed, transfer) in seconds for `bytes` on one rank's link.
    #[must_use]
    pub fn seconds(&self, bytes: f64, ranks: f64, bandwidth: f64) -> [f64; 2] {
        let fixed = (self.latency_us + self.latency_per_rank_us * ranks) * 1e-6;
        let one = bytes / (self.one_shot * bandwidth);
        let two = self.second_us * 1e-6 + bytes / (self.efficiency * bandwidth);
        [fixed, one.min(two)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: SoftRoofline = SoftRoofline { compute: 0.5, memory: 0.5, latency_us: 2.0, blend: 2.0 };

    #[test]
    fn by_hand() {
        // compute 3e6/(0.5·1e12) = 6 µs, memory 4e6/(0.5·1e12) = 8 µs, √(36 + 64) = 10, + 2
        let [_, compute, memory, total] = FORM.seconds(3e6, 1e12, 4e6, 1e12);
        assert!((compute - 6e-6).abs() < 1e-12 && (memory - 8e-6).abs() < 1e-12);
        assert!((total - 12e-6).abs() < 1e-12);
    }

    #[test]
    fn an_empty_operator_costs_its_launch() {
        assert_eq!(FORM.seconds(0.0, 1e12, 0.0, 1e12)[3], 2e-6);
    }

    #[test]
    fn collectives_switch_regime() {
        let form = TwoRegime {
            efficiency: 0.8,
            latency_us: 4.0,
            latency_per_rank_us: 0.0,
            one_shot: 0.2,
            second_us: 6.0,
        };
        // 1 kB: one-shot; 100 MB: 6 µs + 1e8/(0.8·4e11)
        assert!(form.seconds(1e3, 8.0, 4e11)[1] < 1e-6);
        assert!((form.seconds(1e8, 8.0, 4e11)[1] - (6e-6 + 312.5e-6)).abs() < 1e-12);
    }
}
