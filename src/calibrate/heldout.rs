//! A class fitted, with its error on shapes that the fit has not seen.

use super::fit::{FitError, Row, fit, fit_grid, mix};
use super::statistics::Errors;
use crate::time::Hardware;
use crate::time::calibration::{ClassKey, Fitted};
use crate::time::forms::{Form, Grid};

/// Parts that the groups are divided into; each is left out once.
const FOLDS: u64 = 4;
/// Fewest samples for a residual grid.
const GRID_SAMPLES: usize = 128;

/// Axes and point of a residual grid over the inputs of a form.
pub struct GridAxes<I> {
    /// Size at the first node of each axis.
    pub low: [f64; 3],
    /// Size at the last node of each axis.
    pub high: [f64; 3],
    /// Where an input lies.
    pub point: fn(&I) -> [f64; 3],
}

/// Fits a class on all rows, and four more times on three quarters of its groups to learn its error
/// on the quarter left out. Coefficients and grid are fitted anew each time.
///
/// # Errors
/// As [`fit`].
pub fn fit_class<F: Form>(
    key: ClassKey,
    rows: &[Row<F::Input>],
    hardware: &Hardware,
    axes: Option<&GridAxes<F::Input>>,
) -> Result<Fitted, FitError> {
    fit_class_scored::<F>(key, rows, hardware, axes, |_| true)
}

/// As [`fit_class`], with an error over the rows for which `scored` holds; over all where it holds for none.
///
/// # Errors
/// As [`fit`].
pub fn fit_class_scored<F: Form>(
    key: ClassKey,
    rows: &[Row<F::Input>],
    hardware: &Hardware,
    axes: Option<&GridAxes<F::Input>>,
    scored: impl Fn(&F::Input) -> bool,
) -> Result<Fitted, FitError> {
    let any = rows.iter().any(|r| scored(&r.input));
    let axes = axes.filter(|_| rows.len() >= GRID_SAMPLES);
    let train = |rows: &[Row<F::Input>]| -> Result<(Vec<f64>, Option<Grid>), FitError> {
        let c = fit::<F>(rows, hardware)?;
        let grid = axes.map(|axes| {
            let points: Vec<([f64; 3], f64)> = rows
                .iter()
                .map(|r| ((axes.point)(&r.input), (r.seconds / F::seconds(&c, &r.input, hardware)).ln()))
                .collect();
            fit_grid(axes.low, axes.high, &points)
        });
        Ok((c, grid))
    };
    let predict = |(c, grid): &(Vec<f64>, Option<Grid>), input: &F::Input| {
        let factor = grid.as_ref().zip(axes).map_or(1.0, |(g, axes)| g.factor((axes.point)(input)));
        F::seconds(c, input, hardware) * factor
    };
    let mut pairs = vec![];
    for fold in 0..FOLDS {
        let (out, kept): (Vec<_>, Vec<_>) = rows.iter().copied().partition(|r| mix(r.group) % FOLDS == fold);
        // a fold may leave too little to fit; its rows then go unscored
        if let Ok(trained) = train(&kept) {
            pairs.extend(
                out.iter()
                    .filter(|r| !any || scored(&r.input))
                    .map(|r| (predict(&trained, &r.input), r.seconds)),
            );
        }
    }
    let (c, grid) = train(rows)?;
    let errors = Errors::of(&pairs);
    let seconds = || rows.iter().map(|r| r.seconds * 1e6);
    Ok(Fitted {
        key,
        c,
        grid,
        samples: rows.len(),
        heldout_ape: errors
            .map_or([f64::INFINITY; 3], |e| [e.mape, e.median_ape, e.p90_ape])
            .map(|e| e.min(1e4)),
        range_us: [seconds().fold(f64::INFINITY, f64::min), seconds().fold(0.0, f64::max)],
    })
}
