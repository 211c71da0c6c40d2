//! Error statistics of predictions.

use serde::{Deserialize, Serialize};
use statrs::statistics::{Data, Distribution, OrderStatistics};

/// Errors of predictions against measurements, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// How many pairs.
    pub n: usize,
    /// Mean absolute percentage error.
    pub mape: f64,
    /// Median absolute percentage error.
    pub median_ape: f64,
    /// 90 % quantile of the absolute percentage error.
    pub p90_ape: f64,
    /// Mean signed percentage error; positive when predictions are too long.
    pub bias: f64,
    /// Share within 20 %, in percent.
    pub within_20pct: f64,
}

impl Errors {
    /// Statistics of (predicted, measured) pairs; none without pairs.
    /// Quantiles by linear interpolation of order statistics (R type 8, `statrs`).
    #[must_use]
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let signed: Vec<f64> = pairs.iter().map(|(p, m)| 100.0 * (p - m) / m).collect();
        let absolute: Vec<f64> = signed.iter().map(|e| e.abs()).collect();
        let within = absolute.iter().filter(|e| **e <= 20.0).count();
        let bias = Data::new(signed).mean()?;
        let mut absolute = Data::new(absolute);
        Some(Self {
            n: pairs.len(),
            mape: absolute.mean()?,
            median_ape: absolute.quantile(0.5),
            p90_ape: absolute.quantile(0.9),
            bias,
            within_20pct: 100.0 * within as f64 / pairs.len() as f64,
        })
    }
}

/// A quantile of some values, as [`Errors`] takes them; 1 of none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    if values.is_empty() { 1.0 } else { Data::new(values.to_vec()).quantile(share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // errors +10, −10, +50 %
        let e = Errors::of(&[(110.0, 100.0), (90.0, 100.0), (150.0, 100.0)]).unwrap();
        assert_eq!(e.n, 3);
        assert!((e.mape - 70.0 / 3.0).abs() < 1e-9 && (e.bias - 50.0 / 3.0).abs() < 1e-9);
        assert!((e.median_ape - 10.0).abs() < 1e-9 && (e.within_20pct - 200.0 / 3.0).abs() < 1e-9);
        assert!(Errors::of(&[]).is_none());
    }
}
