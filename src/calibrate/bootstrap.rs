//! How well coefficients are known: intervals by the bootstrap.

use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::fit::{Row, refit_closely};
use crate::time::Hardware;
use crate::time::forms::Form;

/// Resamples.
const RESAMPLES: u64 = 100;
/// Share of cases in which all coefficients of a class lie within their intervals.
const LEVEL: f64 = 0.95;

/// 95 % intervals of fitted coefficients, all of a class at once.
///
/// Rows are drawn with replacement and fitted anew; the spread of ln c over the resamples, widened by n/(n − k) for the k
/// coefficients that the fit has used up, is the standard error (Efron, Tibshirani, "An Introduction to the
/// Bootstrap", ch. 6 and 9). Its multiple is Student's t with n − k degrees of freedom at the level of Bonferroni for k
/// coefficients. Intervals end at the bounds of a coefficient. The same rows give the same intervals.
///
/// What the form itself misses is in the held-out error, not here.
#[must_use]
pub fn intervals<F: Form>(c: &[f64], rows: &[Row<F::Input>], hardware: &Hardware) -> Vec<[f64; 2]> {
    let (n, k) = (rows.len() as f64, c.len() as f64);
    let whole = || F::COEFFICIENTS.iter().map(|x| [x.low, x.high]).collect();
    let freedom = n - k;
    let Some(t) = StudentsT::new(0.0, 1.0, freedom.max(1.0)).ok().filter(|_| freedom >= 1.0) else {
        return whole();
    };
    let multiple = t.inverse_cdf(1.0 - (1.0 - LEVEL) / (2.0 * k)) * (n / freedom).sqrt();
    let fits: Vec<Vec<f64>> = (0..RESAMPLES)
        .into_par_iter()
        .filter_map(|seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let drawn: Vec<_> =
                (0..rows.len()).filter_map(|_| rows.get(random.usize(..rows.len())).copied()).collect();
            refit_closely::<F>(c, &drawn, hardware).ok()
        })
        .collect();
    if fits.len() < 20 {
        return whole();
    }
    let bounds = F::COEFFICIENTS.iter();
    c.iter()
        .zip(bounds)
        .enumerate()
        .map(|(i, (value, bound))| {
            let logs: Vec<f64> = fits.iter().filter_map(|f| f.get(i)).map(|x| x.ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            let variance = logs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (logs.len() - 1) as f64;
            let factor = (multiple * variance.sqrt()).exp();
            [(value / factor).max(bound.low), (value * factor).min(bound.high)]
        })
        .collect()
}
