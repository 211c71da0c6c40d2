//! Bounded, robust, deterministic least squares on the logarithm of times.
//!
//! Minimises Σ ρ(ln(t̂ᵢ/tᵢ)) over ln c within bounds, with the soft-L1 loss
//! ρ(r) = 2s²(√(1 + (r/s)²) − 1), s = 0.1: quadratic for small residuals, linear for outliers.
//! Levenberg–Marquardt with iteratively reweighted residuals, several starts.
//!
//! Reference: Nocedal, Wright, "Numerical Optimization", 2nd ed., §10.3; the loss is that of
//! SciPy's `least_squares(loss="soft_l1")`.

use nalgebra::{DMatrix, DVector};

use crate::time::Hardware;
use crate::time::calibration::ClassKey;
use crate::time::forms::power::ln;
use crate::time::forms::{Coefficient, Form};
pub use crate::work::mix;

/// Scale s of the loss: residuals beyond 10 % count as outliers.
pub(super) const LOSS_SCALE: f64 = 0.1;
/// Most rows that coefficients are fitted on; more add time and no accuracy.
const MOST_ROWS: usize = 1500;
/// The same where only the error on what is left out is asked for.
const FOLD_ROWS: usize = 1000;
/// Rows on which starts are compared.
const SCREENING_ROWS: usize = 400;
/// Starts beside the form's own.
const EXTRA_STARTS: usize = 3;
/// A descent ends when a step lowers the loss by less than this share of it: where starts are compared, where
/// the error is asked for, and where coefficients are settled.
const SCREENED: f64 = 1e-3;
const FOLD_SETTLED: f64 = 3e-4;
const SETTLED: f64 = 1e-5;
/// Starts that are followed to the end where rows are so few that all of them screen.
const FINALISTS: usize = 2;
/// Fewest rows per coefficient.
const ROWS_PER_COEFFICIENT: usize = 2;

/// Why a class could not be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few rows for the number of coefficients.
    #[error("{rows} samples are too few for {coefficients} coefficients; at least {needed} are needed")]
    TooFew {
        /// Rows given.
        rows: usize,
        /// Coefficients of the form.
        coefficients: usize,
        /// Rows needed.
        needed: usize,
    },
    /// All rows look the same.
    #[error("all {rows} samples took the same time; vary the shapes")]
    Degenerate {
        /// Rows given.
        rows: usize,
    },
    /// The form does not follow them.
    #[error(
        "on shapes left out the median error is {median_ape:.0} %: these samples are noise or of another kernel"
    )]
    Scattered {
        /// Median absolute percentage error.
        median_ape: f64,
    },
    /// A data type that no class has.
    #[error(
        "the data type is not known or none that this accelerator multiplies in; known are bfloat16, float16, fp8, fp8_block, \
         nvfp4, mxfp4, int8, sq, int8_wo, int4_wo and fp8_wo, of experts w4a16_mxfp4 and w4a8_mxfp4_mxfp8 too"
    )]
    UnknownType,
    /// Launches were timed, not kernels.
    #[error(
        "the shortest of all samples takes {floor_us:.0} us: launches were timed, not kernels; time replays of a CUDA graph"
    )]
    LaunchBound {
        /// Shortest sample in microseconds.
        floor_us: f64,
    },
    /// Samples that no hardware can give.
    #[error("{:.0} % of its large samples read faster than the memory can; remove the table", 100.0 * share)]
    Impossible {
        /// Share of the samples beyond the cache.
        share: f64,
    },
    /// Another table has the same engine, data type and kernel.
    #[error("another table given has this class already; give one table an engine and operator")]
    Duplicate,
    /// A kernel that was timed as nobody would run it.
    #[error("it reaches {:.0} % of the memory bandwidth: not tuned, or not with weights of this width", 100.0 * memory)]
    Untuned {
        /// Share of memory bandwidth that its samples reach.
        memory: f64,
    },
    /// A time that is none.
    #[error("sample {row}: {value} is no time; remove it")]
    NoTime {
        /// Index of the row.
        row: usize,
        /// Its value in seconds.
        value: f64,
    },
}

/// A class that could not be fitted, with the reason.
pub type Refusal = (ClassKey, FitError);

/// A sample: a shape and its measured time in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Row<I> {
    /// Shape.
    pub input: I,
    /// Measured seconds.
    pub seconds: f64,
    /// Shapes of one group are left out together when the error is estimated.
    pub group: u64,
}

/// Fits the coefficients of a form: several starts on a few rows, the best of them on all.
///
/// # Errors
/// When samples are too few, degenerate or hold times that are none.
pub fn fit<F: Form>(rows: &[Row<F::Input>], hardware: &Hardware) -> Result<Vec<f64>, FitError> {
    check::<F>(rows)?;
    let few = subsample(rows, SCREENING_ROWS);
    let mut screened: Vec<(Vec<f64>, f64)> = starts(F::COEFFICIENTS)
        .into_iter()
        .map(|start| descend::<F>(start, &few, hardware, SCREENED))
        .collect();
    screened.sort_by(|a, b| a.1.total_cmp(&b.1));
    screened.truncate(if rows.len() > SCREENING_ROWS { 1 } else { FINALISTS });
    let polished =
        screened.into_iter().map(|(start, _)| polish::<F>(start, rows, hardware, MOST_ROWS, SETTLED));
    Ok(polished.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(c, _)| c).unwrap_or_default())
}

/// Fits from coefficients known to be near, those of a fit on more of the same rows.
///
/// # Errors
/// As [`fit`].
pub fn refit<F: Form>(
    near: &[f64],
    rows: &[Row<F::Input>],
    hardware: &Hardware,
) -> Result<Vec<f64>, FitError> {
    check::<F>(rows)?;
    Ok(polish::<F>(near.iter().map(|c| c.ln()).collect(), rows, hardware, FOLD_ROWS, FOLD_SETTLED).0)
}

/// As [`refit`], to the end: where the spread of refits counts, one that stops early would hide some of it.
///
/// # Errors
/// As [`fit`].
pub fn refit_closely<F: Form>(
    near: &[f64],
    rows: &[Row<F::Input>],
    hardware: &Hardware,
) -> Result<Vec<f64>, FitError> {
    check::<F>(rows)?;
    Ok(polish::<F>(near.iter().map(|c| c.ln()).collect(), rows, hardware, MOST_ROWS, SETTLED).0)
}

/// Descends over most of the rows; returns the coefficients and the loss.
fn polish<F: Form>(
    start: Vec<f64>,
    rows: &[Row<F::Input>],
    hardware: &Hardware,
    most: usize,
    settled: f64,
) -> (Vec<f64>, f64) {
    let (u, loss) = descend::<F>(start, &subsample(rows, most), hardware, settled);
    (u.into_iter().map(f64::exp).collect(), loss)
}

fn check<F: Form>(rows: &[Row<F::Input>]) -> Result<(), FitError> {
    let coefficients = F::COEFFICIENTS.iter().filter(|c| !c.refines).count();
    let needed = ROWS_PER_COEFFICIENT * coefficients;
    if rows.len() < needed {
        return Err(FitError::TooFew { rows: rows.len(), coefficients, needed });
    }
    if let Some((row, bad)) = rows.iter().enumerate().find(|(_, r)| !(r.seconds > 0.0 && r.seconds < 1e6)) {
        return Err(FitError::NoTime { row, value: bad.seconds });
    }
    let first = rows.first().map_or(0.0, |r| r.seconds);
    if rows.iter().all(|r| (r.seconds / first - 1.0).abs() < 1e-3) {
        return Err(FitError::Degenerate { rows: rows.len() });
    }
    Ok(())
}

/// Every ⌈n/most⌉-th row after a fixed shuffle, so that all regions stay represented.
fn subsample<I: Copy>(rows: &[Row<I>], most: usize) -> Vec<Row<I>> {
    if rows.len() <= most {
        return rows.to_vec();
    }
    let mut order: Vec<(u64, usize)> = (0..rows.len()).map(|i| (mix(i as u64), i)).collect();
    order.sort_unstable();
    order.truncate(most);
    order.into_iter().filter_map(|(_, i)| rows.get(i).copied()).collect()
}

/// The form's own start and points drawn uniformly in the logarithm within the bounds; of coefficients with a few
/// values only, every value with each.
fn starts(coefficients: &[Coefficient]) -> Vec<Vec<f64>> {
    let own = coefficients.iter().map(|c| c.start.ln()).collect();
    let drawn = (0..EXTRA_STARTS).map(|s| {
        coefficients
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let share = mix((s * 1000 + i) as u64) as f64 / u64::MAX as f64;
                // the inner half of the range around the start: edges are rarely good starts
                let (low, high) = (c.low.ln(), c.high.ln());
                f64::midpoint(c.start.ln(), low + share * (high - low))
            })
            .collect()
    });
    let mut all: Vec<Vec<f64>> = std::iter::once(own).chain(drawn).collect();
    for (i, coefficient) in coefficients.iter().enumerate().filter(|(_, c)| !c.choices.is_empty()) {
        let before = std::mem::take(&mut all);
        for value in coefficient.choices {
            all.extend(before.iter().cloned().map(|mut start| {
                start[i] = value.ln();
                start
            }));
        }
    }
    all
}

fn loss(residuals: &[f64]) -> f64 {
    let s2 = LOSS_SCALE * LOSS_SCALE;
    residuals.iter().map(|r| 2.0 * s2 * ((1.0 + r * r / s2).sqrt() - 1.0)).sum()
}

/// Fits the coefficients of a form from one start; returns ln c and the loss.
fn descend<F: Form>(
    start: Vec<f64>,
    samples: &[Row<F::Input>],
    hardware: &Hardware,
    settled: f64,
) -> (Vec<f64>, f64) {
    let few = samples.len() < ROWS_PER_COEFFICIENT * F::COEFFICIENTS.len();
    // what has a few values only keeps that of the start
    let bounds: Vec<[f64; 2]> = F::COEFFICIENTS
        .iter()
        .zip(&start)
        .map(|(c, at)| match c.choices {
            [] if c.refines && few => [c.low.ln(); 2],
            [] => [c.low.ln(), c.high.ln()],
            _ => [*at, *at],
        })
        .collect();
    // a step may be short for its damping alone: two in turn end it
    let patience = Patience { settled, steps: 2, ..Patience::STRICT };
    minimise(&bounds, start, samples.len(), patience, |u, out| {
        let c: Vec<f64> = u.iter().map(|x| x.exp()).collect();
        for (slot, row) in out.iter_mut().zip(samples) {
            let predicted = F::seconds(&c, &row.input, hardware);
            *slot =
                if predicted > 0.0 && predicted.is_finite() { ln(predicted / row.seconds) } else { FAR_OFF };
        }
    })
}

/// Residual where the prediction is no time.
const FAR_OFF: f64 = 50.0;

/// When a descent ends: after so many steps in turn that lower the loss by less than a share of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Share of the loss.
    pub settled: f64,
    /// Steps.
    pub steps: u32,
    /// Steps at most.
    pub most: u32,
    /// Step of a variable by which derivatives are taken.
    pub derivative: f64,
}

impl Patience {
    /// One step below a millionth: for few residuals that each cost a simulation.
    pub const STRICT: Self = Self { settled: 1e-6, steps: 1, most: 60, derivative: 1e-4 };
}

/// ln(predicted / measured); far off where the prediction is no time.
pub(super) fn log_ratio(predicted: f64, measured: f64) -> f64 {
    if predicted > 0.0 && predicted.is_finite() { (predicted / measured).ln() } else { FAR_OFF }
}

/// Levenberg–Marquardt from one start within bounds; `residuals` fills `rows` of them. Returns the
/// variables and the loss. The variables are logarithms: no step is longer than 1.
pub(super) fn minimise(
    bounds: &[[f64; 2]],
    start: Vec<f64>,
    rows: usize,
    patience: Patience,
    residuals: impl Fn(&[f64], &mut [f64]),
) -> (Vec<f64>, f64) {
    let n = bounds.len();
    let clamp = |u: &mut [f64]| {
        for (x, [low, high]) in u.iter_mut().zip(bounds) {
            *x = x.clamp(*low, *high);
        }
    };
    let mut u = start;
    clamp(&mut u);
    let mut r = vec![0.0; rows];
    let mut shifted = vec![0.0; rows];
    residuals(&u, &mut r);
    let mut current = loss(&r);
    let mut damping = 1e-2;
    let mut small = 0;
    for _ in 0..patience.most {
        // weighted normal equations: w = ρ'(r)/r = 1/√(1 + (r/s)²)
        let w: Vec<f64> = r.iter().map(|r| 1.0 / (1.0 + (r / LOSS_SCALE).powi(2)).sqrt()).collect();
        let mut jacobian = DMatrix::zeros(rows, n);
        for (j, [_, high]) in bounds.iter().enumerate().filter(|(_, [low, high])| low < high) {
            let step =
                if u[j] + patience.derivative > *high { -patience.derivative } else { patience.derivative };
            let mut v = u.clone();
            v[j] += step;
            residuals(&v, &mut shifted);
            for i in 0..rows {
                jacobian[(i, j)] = (shifted[i] - r[i]) / step;
            }
        }
        let weighted = DMatrix::from_fn(rows, n, |i, j| w[i] * jacobian[(i, j)]);
        let normal = weighted.transpose() * &jacobian;
        let gradient = weighted.transpose() * DVector::from_column_slice(&r);
        let mut improved = 0.0;
        for _ in 0..10 {
            let mut damped = normal.clone();
            for j in 0..n {
                damped[(j, j)] += damping * normal[(j, j)].max(1e-9);
            }
            let Some(step) = damped.cholesky().map(|c| c.solve(&gradient)) else {
                damping *= 10.0;
                continue;
            };
            let mut v: Vec<f64> = u.iter().zip(step.iter()).map(|(x, d)| x - d.clamp(-1.0, 1.0)).collect();
            clamp(&mut v);
            residuals(&v, &mut shifted);
            let next = loss(&shifted);
            if next < current {
                improved = (current - next) / current;
                (u, current) = (v, next);
                std::mem::swap(&mut r, &mut shifted);
                damping = (damping * 0.3).max(1e-6);
                break;
            }
            damping *= 5.0;
        }
        small = if improved > patience.settled { 0 } else { small + 1 };
        if improved <= 0.0 || small == patience.steps {
            break;
        }
    }
    (u, current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DataType;
    use crate::spec::catalog::{self, Directories};
    use crate::time::forms::gemm::{Gemm, SoftGemm};

    fn rows(c: &[f64], hardware: &Hardware, noise: f64) -> Vec<Row<Gemm>> {
        let mut all = vec![];
        for (i, m) in [1.0, 8.0, 64.0, 512.0, 4096.0].into_iter().enumerate() {
            for (j, n) in [1024.0, 4096.0, 16384.0].into_iter().enumerate() {
                for (k_index, k) in [1024.0, 4096.0, 8192.0].into_iter().enumerate() {
                    let input = Gemm { m, n, k, weights: DataType::Bf16, math: DataType::Bf16 };
                    let id = (i * 100 + j * 10 + k_index) as u64;
                    let wobble = 1.0 + noise * (mix(id) as f64 / u64::MAX as f64 - 0.5);
                    all.push(Row {
                        input,
                        seconds: SoftGemm::seconds(c, &input, hardware) * wobble,
                        group: id,
                    });
                }
            }
        }
        all
    }

    fn h100() -> Hardware {
        Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap())
    }

    #[test]
    fn known_coefficients_come_back() {
        let truth = [0.75, 0.85, 4.0, 2.5, 100.0, 0.3, 0.1];
        let hardware = h100();
        let c = fit::<SoftGemm>(&rows(&truth, &hardware, 0.0), &hardware).unwrap();
        for (found, wanted) in c.iter().zip(&truth).take(4) {
            assert!((found / wanted - 1.0).abs() < 0.02, "{c:?}");
        }
    }

    #[test]
    fn an_outlier_does_not_pull() {
        let truth = [0.75, 0.85, 4.0, 2.5, 100.0, 0.3, 0.1];
        let hardware = h100();
        let mut rows = rows(&truth, &hardware, 0.02);
        rows[3].seconds *= 20.0;
        let c = fit::<SoftGemm>(&rows, &hardware).unwrap();
        assert!((c[0] / 0.75 - 1.0).abs() < 0.05 && (c[1] / 0.85 - 1.0).abs() < 0.05, "{c:?}");
    }

    #[test]
    fn too_few_or_equal_samples_are_refused() {
        let hardware = h100();
        let good = rows(&[0.7, 0.8, 4.0, 2.0, 100.0, 0.3, 0.1], &hardware, 0.0);
        assert!(matches!(fit::<SoftGemm>(&good[..5], &hardware), Err(FitError::TooFew { .. })));
        let same: Vec<_> = good.iter().map(|r| Row { seconds: 1e-5, ..*r }).collect();
        assert!(matches!(fit::<SoftGemm>(&same, &hardware), Err(FitError::Degenerate { .. })));
    }
}
