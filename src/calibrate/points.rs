//! Factors on predicted times from a few end-to-end times that a person measured.
//!
//! With y = ln(measured), f(x) = ln(predicted) under the logarithms x of the factors, σ the error that no factor takes away
//! and z the spread of what was known of each factor before, the fit is the most likely x (MAP, normal errors, normal prior
//! around no change): the least of Σᵢ (yᵢ − fᵢ(x))²/σ² + Σⱼ xⱼ²/zⱼ², by Gauss and Newton with steps halved until they descend.
//!
//! The error on points left out follows from the same matrices without a fit each: of a linear model the residuals of a
//! group B left out are (I − H_BB)⁻¹·r_B with H = J·A⁻¹·Jᵀ/σ² and A = JᵀJ/σ² + diag(1/z²) (Allen, Technometrics 16, 1974;
//! Cook, Weisberg, "Residuals and Influence in Regression", 1982, §2.2).

use nalgebra::{DMatrix, DVector};

/// What a factor cannot take away, in ln: the standard deviation of ln(measured / predicted) among the runs of one model on
/// one accelerator and engine is 0.121 for TTFT and 0.058 for TPOT of closed loops (medians over 50 settings) and 0.108 for
/// E2E of static batches (79 settings); their mean, rounded. `scripts/point_error.py` computes them from result files.
pub const SIGMA: f64 = 0.1;

/// Steps of the derivatives, in ln.
const STEP: f64 = 0.02;

/// Most iterations; four are the rule.
const MOST: usize = 30;

/// Points to fit: `groups[i]` is the run that observation i belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// ln(measured).
    pub measured: Vec<f64>,
    /// The run of each observation.
    pub groups: Vec<usize>,
    /// Spread of what is known of each factor, in ln; 0 for a factor that is not fitted.
    pub prior: Vec<f64>,
}

/// A fit.
#[derive(Debug, Clone, PartialEq)]
pub struct PointFit {
    /// Factors, 1 where none was fitted.
    pub factors: Vec<f64>,
    /// ln(predicted) with them.
    pub predicted: Vec<f64>,
    /// ln(measured) − ln(predicted) of every observation when its run is left out; none of a single run.
    pub left_out: Option<Vec<f64>>,
}

impl PointFit {
    /// Root of the mean square of the errors on runs left out; infinite of a single run.
    #[must_use]
    pub fn left_out_rms(&self) -> f64 {
        self.left_out
            .as_ref()
            .map_or(f64::INFINITY, |r| (r.iter().map(|e| e * e).sum::<f64>() / r.len().max(1) as f64).sqrt())
    }
}

/// Fits the factors. `predict` gives ln(predicted) of every observation for factors.
///
/// # Errors
/// Those of `predict`.
pub fn fit<E>(problem: &Problem, predict: impl Fn(&[f64]) -> Result<Vec<f64>, E>) -> Result<PointFit, E> {
    let free: Vec<usize> = (0..problem.prior.len()).filter(|j| problem.prior[*j] > 0.0).collect();
    let at = |x: &DVector<f64>| {
        let mut factors = vec![1.0; problem.prior.len()];
        for (i, j) in free.iter().enumerate() {
            factors[*j] = x[i].exp();
        }
        predict(&factors).map(|p| (factors, p))
    };
    let residuals =
        |p: &[f64]| DVector::from_iterator(p.len(), problem.measured.iter().zip(p).map(|(y, f)| y - f));
    let weights = DVector::from_iterator(free.len(), free.iter().map(|j| problem.prior[*j].powi(-2)));
    let loss = |r: &DVector<f64>, x: &DVector<f64>| {
        r.norm_squared() / SIGMA.powi(2) + x.component_mul(x).dot(&weights)
    };
    let mut x = DVector::zeros(free.len());
    let (mut factors, mut predicted) = at(&x)?;
    let mut r = residuals(&predicted);
    let mut jacobian = DMatrix::zeros(r.len(), free.len());
    for _ in 0..MOST {
        for i in 0..free.len() {
            let mut moved = x.clone();
            moved[i] += STEP;
            let (_, there) = at(&moved)?;
            let slope = there.iter().zip(&predicted).map(|(b, a)| (b - a) / STEP);
            jacobian.set_column(i, &DVector::from_iterator(r.len(), slope));
        }
        let normal = information(&jacobian, &weights);
        let gradient = jacobian.transpose() * &r / SIGMA.powi(2) - x.component_mul(&weights);
        let Some(step) = normal.cholesky().map(|c| c.solve(&gradient)) else { break };
        let before = loss(&r, &x);
        let mut length = 1.0;
        let mut better = false;
        while length > 1e-3 && !better {
            let next = &x + &step * length;
            let (f, p) = at(&next)?;
            let own = residuals(&p);
            better = loss(&own, &next) < before - 1e-9;
            if better {
                (x, factors, predicted, r) = (next, f, p, own);
            }
            length /= 2.0;
        }
        if !better {
            break;
        }
    }
    let left_out = leave_out(problem, &jacobian, &weights, &r);
    Ok(PointFit { factors, predicted, left_out })
}

/// JᵀJ/σ² + diag(1/z²).
fn information(jacobian: &DMatrix<f64>, weights: &DVector<f64>) -> DMatrix<f64> {
    jacobian.transpose() * jacobian / SIGMA.powi(2) + DMatrix::from_diagonal(weights)
}

/// Residuals of every run left out in turn.
fn leave_out(
    problem: &Problem,
    jacobian: &DMatrix<f64>,
    weights: &DVector<f64>,
    r: &DVector<f64>,
) -> Option<Vec<f64>> {
    let runs = problem.groups.iter().max().map_or(0, |last| last + 1);
    if runs < 2 {
        return None;
    }
    let inverse = information(jacobian, weights).try_inverse()?;
    let hat = jacobian * inverse * jacobian.transpose() / SIGMA.powi(2);
    let mut out = vec![0.0; r.len()];
    for run in 0..runs {
        let own: Vec<usize> = (0..r.len()).filter(|i| problem.groups[*i] == run).collect();
        let kept = DMatrix::from_fn(own.len(), own.len(), |a, b| {
            f64::from(u8::from(a == b)) - hat[(own[a], own[b])]
        });
        let residuals = DVector::from_iterator(own.len(), own.iter().map(|i| r[*i]));
        let found = kept.lu().solve(&residuals)?;
        for (i, value) in own.iter().zip(found.iter()) {
            out[*i] = *value;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// t = a·1 ms·size + b·2 ms: two factors on two parts.
    fn predict(sizes: &'static [f64]) -> impl Fn(&[f64]) -> Result<Vec<f64>, Infallible> {
        |x| Ok(sizes.iter().map(|s| (x[0] * s + x[1] * 2.0).ln()).collect())
    }

    #[test]
    fn one_point_moves_one_factor_as_far_as_the_prior_lets_it() {
        // y − f = ln 1.3; x = ln 1.3 · z²/(z² + σ²)
        let problem =
            Problem { measured: vec![(10.0_f64 * 1.3).ln()], groups: vec![0], prior: vec![0.2, 0.0] };
        let found = fit(&problem, |x: &[f64]| Ok::<_, Infallible>(vec![(10.0 * x[0]).ln()])).unwrap();
        let wanted = 1.3_f64.ln() * 0.04 / (0.04 + SIGMA * SIGMA);
        assert!((found.factors[0].ln() - wanted).abs() < 1e-6, "{found:?}");
        assert!(found.left_out.is_none() && (found.factors[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn two_parts_are_told_apart_and_left_out_errors_are_those_of_refits() {
        const SIZES: &[f64] = &[0.5, 2.0, 8.0, 40.0];
        let noise = [0.01, -0.02, 0.015, -0.005];
        let measured: Vec<f64> =
            SIZES.iter().zip(noise).map(|(s, e)| (1.2 * s + 0.6 * 2.0).ln() + e).collect();
        let problem = Problem { measured, groups: vec![0, 1, 2, 3], prior: vec![1.0, 1.0] };
        let found = fit(&problem, predict(SIZES)).unwrap();
        assert!((found.factors[0] / 1.2 - 1.0).abs() < 0.03, "{found:?}");
        assert!((found.factors[1] / 0.6 - 1.0).abs() < 0.05, "{found:?}");
        // the real thing for the first point; the model is not linear, so that they agree to a tenth
        let rest = Problem {
            measured: problem.measured[1..].to_vec(),
            groups: vec![0, 1, 2],
            prior: problem.prior.clone(),
        };
        let refit = fit(&rest, predict(&SIZES[1..])).unwrap();
        let real = problem.measured[0] - predict(SIZES)(&refit.factors).unwrap()[0];
        let quick = found.left_out.unwrap()[0];
        assert!((quick / real - 1.0).abs() < 0.1, "{quick} {real}");
    }
}
