//! A class fitted, with its error on shapes that the fit has not seen.

use rayon::prelude::*;
use std::collections::BTreeSet;

use super::bootstrap::intervals;
use super::fit::{FitError, Row, fit, mix, refit};
use super::grid::fit_grid;
use super::statistics::Errors;
use crate::time::Hardware;
use crate::time::calibration::{ClassKey, Fitted};
use crate::time::forms::{Axes, Form, Grid};

/// Parts that the groups are divided into; each is left out once.
const FOLDS: u64 = 4;

/// A residual grid over the inputs of a form.
pub struct GridAxes<I> {
    /// Where its nodes lie, by the fewest samples that it takes, most samples first.
    pub by_samples: &'static [(usize, Axes)],
    /// Where an input lies.
    pub point: fn(&I) -> [f64; 3],
    /// The input that lies at a point, in all else like another.
    pub at: fn([f64; 3], &I) -> I,
}

/// Fits a class on all rows, and four more times on three quarters of its groups to learn its error
/// on the quarter left out, single rows where all are of one group. Coefficients and grid are fitted anew each time.
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
    scored: impl Fn(&F::Input) -> bool + Sync,
) -> Result<Fitted, FitError> {
    let any = rows.iter().any(|r| scored(&r.input));
    let axes = axes.and_then(|a| {
        let (_, nodes) = a.by_samples.iter().find(|(samples, _)| rows.len() >= *samples)?;
        Some((*nodes, a))
    });
    let residual = |c: &[f64], rows: &[Row<F::Input>]| {
        axes.zip(rows.first()).map(|((nodes, axes), like)| {
            let points: Vec<([f64; 3], f64)> = rows
                .iter()
                .map(|r| ((axes.point)(&r.input), (r.seconds / F::seconds(c, &r.input, hardware)).ln()))
                .collect();
            fit_grid(nodes, &points, |point| F::seconds(c, &(axes.at)(point, &like.input), hardware))
        })
    };
    let predict = |c: &[f64], grid: &Option<Grid>, input: &F::Input| {
        let factor = grid.as_ref().zip(axes).map_or(1.0, |(g, (_, axes))| g.factor((axes.point)(input)));
        F::seconds(c, input, hardware) * factor
    };
    let c = fit::<F>(rows, hardware)?;
    let groups: BTreeSet<u64> = rows.iter().map(|r| mix(r.group) % FOLDS).collect();
    let part = |i: usize, row: &Row<F::Input>| {
        // of one group alone nothing can be left out but single rows
        mix(if groups.len() > 1 { row.group } else { i as u64 }) % FOLDS
    };
    let score = |fold| {
        let (mut out, mut kept) = (vec![], vec![]);
        for (i, row) in rows.iter().enumerate() {
            if part(i, row) == fold { out.push(*row) } else { kept.push(*row) }
        }
        // a fold may leave too little to fit; its rows then go unscored
        let Ok(c) = refit::<F>(&c, &kept, hardware) else { return vec![] };
        let grid = residual(&c, &kept);
        let counted = out.iter().filter(|r| !any || scored(&r.input));
        counted.map(|r| (predict(&c, &grid, &r.input), r.seconds)).collect()
    };
    let (grid, pairs) = rayon::join(
        || residual(&c, rows),
        || (0..FOLDS).into_par_iter().flat_map_iter(score).collect::<Vec<_>>(),
    );
    let errors = Errors::of(&pairs);
    // recorded tables of thousands of rows know their coefficients; what they do not know is this machine
    let measured = key.engine.starts_with("measured");
    let intervals = if measured { intervals::<F>(&c, rows, hardware) } else { vec![] };
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
        intervals,
    })
}
