//! Measured runs → engine terms of a range of versions, the kernels held fixed.
//!
//! Minimises Σ ρ(ln(t̂/t)) over the terms that the range lets move, within their bounds, over every latency
//! that the runs report, with the loss of [`super::fit`]. Errors are of runs left out: all runs of one model,
//! then all of one accelerator, are predicted with terms fitted to the others, from the same start as the whole
//! fit, so that nothing of the runs left out is in them.
//!
//! Simulated runs answer a small step with noise (a request more or less in a step), so derivatives are taken over
//! wider steps there, the search runs on some of the runs and the last iterations on all. A term that they do not
//! show well stays near its start: √(λn)·(ln c − ln c₀) joins the residuals of n values, λ = [`PRIOR`]; an addition
//! that no run shows at all is none.

use rayon::prelude::*;
use statrs::statistics::{Data, OrderStatistics};
use std::collections::BTreeSet;

use super::fit::{FitError, Patience, log_ratio, minimise, mix};
use super::statistics::Errors;
use crate::time::engine::{Absent, EngineRange, EngineTerms, LeftOut, RangeFit, Term, term};

/// Latencies of a run in seconds, in the order of [`METRICS`].
pub type Latencies = [f64; 3];

/// Keys of the latencies.
pub const METRICS: [&str; 3] = ["ttft_s", "tpot_s", "e2e_s"];

/// Fewest values that a quantile is taken of.
const LEAST: usize = 5;

/// Weight λ of the starting values beside one measured value.
const PRIOR: f64 = 1e-3;

/// Simulated runs on which a minimum is sought before the last iterations on all.
const SEARCHED: usize = 120;

/// A search over simulations: steps of 3 %, which move a mean over hundreds of requests by more than its noise.
const NOISY: Patience = Patience { settled: 2e-3, steps: 1, most: 10, derivative: 0.03 };

/// The last iterations, on all runs.
const POLISH: Patience = Patience { most: 2, ..NOISY };

/// A measured run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Model, left out together.
    pub model: String,
    /// Accelerator, left out together.
    pub gpu: String,
    /// Measured seconds; none where the run does not say.
    pub measured: [Option<f64>; 3],
    /// Predicted by simulation, not by a formula.
    pub simulated: bool,
}

/// What terms say to a run: those fitted to all, and those fitted without its model and without its accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prediction {
    /// Terms fitted to all runs.
    pub fitted: Latencies,
    /// Terms fitted to the runs of other models; none where there are none.
    pub without_model: Option<Latencies>,
    /// Terms fitted to the runs of other accelerators; none where there are none.
    pub without_gpu: Option<Latencies>,
}

/// Predicts run i under engine terms.
pub trait Predict: Fn(usize, &EngineTerms) -> Latencies + Sync {}
impl<P: Fn(usize, &EngineTerms) -> Latencies + Sync> Predict for P {}

/// Fits a range on runs and fills in its [`RangeFit`]. The second is what is predicted of every run.
///
/// # Errors
/// When there are too few runs for the terms that may move.
pub fn fit_range(
    range: &EngineRange,
    runs: &[Run],
    date: &str,
    predict: &impl Predict,
) -> Result<(EngineRange, Vec<Prediction>), FitError> {
    let free: Vec<&Term> = range.fitted.iter().filter_map(|key| term(key)).collect();
    let values: usize = runs.iter().map(|r| r.measured.iter().flatten().count()).sum();
    let needed = 2 * free.len();
    if values < needed.max(LEAST) {
        return Err(FitError::TooFew { rows: values, coefficients: free.len(), needed: needed.max(LEAST) });
    }
    let all: Vec<usize> = (0..runs.len()).collect();
    let problem = Problem { free: &free, base: &range.terms, runs, predict };
    let terms = problem.fit(&all, true);
    let mut predictions: Vec<Prediction> =
        all.par_iter().map(|i| Prediction { fitted: predict(*i, &terms), ..Prediction::default() }).collect();
    let names = |of: fn(&Run) -> &String| runs.iter().map(of).cloned().collect::<BTreeSet<String>>();
    let (models, gpus) = (names(|r| &r.model), names(|r| &r.gpu));
    let mut left_out = vec![];
    for (by, of, groups) in
        [("model", (|r| &r.model) as fn(&Run) -> &String, &models), ("gpu", |r| &r.gpu, &gpus)]
    {
        if groups.len() < 2 {
            continue;
        }
        let found: Vec<(usize, Latencies)> = groups
            .par_iter()
            .flat_map_iter(|group| {
                let (out, kept): (Vec<usize>, Vec<usize>) = all.iter().partition(|i| of(&runs[**i]) == group);
                let terms = problem.fit(&kept, false);
                out.into_iter().map(move |i| (i, predict(i, &terms)))
            })
            .collect();
        let values: Vec<(usize, f64, f64)> = found.iter().flat_map(|(i, p)| pairs(&runs[*i], p)).collect();
        for (i, p) in found {
            let slot = &mut predictions[i];
            *(if by == "model" { &mut slot.without_model } else { &mut slot.without_gpu }) = Some(p);
        }
        for (metric, key) in METRICS.iter().enumerate() {
            let of_metric: Vec<(f64, f64)> =
                values.iter().filter(|(m, ..)| *m == metric).map(|(_, p, m)| (*p, *m)).collect();
            left_out.extend(summary(by, key, &of_metric));
        }
    }
    let fit = RangeFit {
        date: date.to_owned(),
        rows: runs.len(),
        models: models.into_iter().collect(),
        gpus: gpus.into_iter().collect(),
        left_out,
    };
    Ok((EngineRange { terms, fit: Some(fit), ..range.clone() }, predictions))
}

/// (Metric, predicted, measured) of a run.
fn pairs(run: &Run, predicted: &Latencies) -> Vec<(usize, f64, f64)> {
    run.measured
        .iter()
        .zip(predicted)
        .enumerate()
        .filter_map(|(metric, (measured, predicted))| Some((metric, *predicted, (*measured)?)))
        .collect()
}

fn summary(by: &str, metric: &str, pairs: &[(f64, f64)]) -> Option<LeftOut> {
    if pairs.len() < LEAST {
        return None;
    }
    let errors = Errors::of(pairs)?;
    let mut logs = Data::new(pairs.iter().map(|(p, m)| -log_ratio(*p, *m)).collect::<Vec<f64>>());
    Some(LeftOut {
        by: by.to_owned(),
        metric: metric.to_owned(),
        n: errors.n,
        median_ape: tidy(errors.median_ape, 3),
        p90_ape: tidy(errors.p90_ape, 3),
        log_spread: [logs.quantile(0.1), logs.quantile(0.9)].map(|q| tidy(q, 3)),
    })
}

/// Terms that may move, from where, and runs to be met.
struct Problem<'a, P> {
    free: &'a [&'a Term],
    base: &'a EngineTerms,
    runs: &'a [Run],
    predict: &'a P,
}

impl<P: Predict> Problem<'_, P> {
    /// Fits the terms to some of the runs; of simulated ones a sample, and in the end all if `polished`.
    fn fit(&self, kept: &[usize], polished: bool) -> EngineTerms {
        let start: Vec<f64> = self.free.iter().map(|t| t.start.ln()).collect();
        if !kept.iter().any(|i| self.runs[*i].simulated) {
            let u = self.descend(Patience::STRICT, start, kept);
            return self.rounded(&u, kept);
        }
        let mut u = self.descend(NOISY, start, &sample(kept, SEARCHED));
        if polished && kept.len() > SEARCHED {
            u = self.descend(POLISH, u, kept);
        }
        self.rounded(&u, kept)
    }

    /// Whether any of some runs tells this term from none.
    fn shows(&self, term: &Term, terms: &EngineTerms, kept: &[usize]) -> bool {
        let mut without = terms.clone();
        (term.set)(&mut without, 0.0);
        kept.iter().any(|i| (self.predict)(*i, &without) != (self.predict)(*i, terms))
    }

    fn with(&self, u: &[f64]) -> EngineTerms {
        let mut terms = self.base.clone();
        for (t, x) in self.free.iter().zip(u) {
            (t.set)(&mut terms, x.exp());
        }
        terms
    }

    fn descend(&self, patience: Patience, first: Vec<f64>, kept: &[usize]) -> Vec<f64> {
        let bounds: Vec<[f64; 2]> = self.free.iter().map(|t| t.bounds.map(f64::ln)).collect();
        let count: usize = kept.iter().map(|i| self.runs[*i].measured.iter().flatten().count()).sum();
        let simulated = kept.iter().any(|i| self.runs[*i].simulated);
        let weight = if simulated { (PRIOR * count as f64).sqrt() } else { 0.0 };
        let (u, _) = minimise(&bounds, first, count + self.free.len(), patience, |u, out| {
            let terms = self.with(u);
            let residuals: Vec<Vec<f64>> = kept
                .par_iter()
                .map(|i| {
                    let of = pairs(&self.runs[*i], &(self.predict)(*i, &terms));
                    of.iter().map(|(_, p, m)| log_ratio(*p, *m)).collect()
                })
                .collect();
            let prior = self.free.iter().zip(u).map(|(t, x)| weight * (x - t.start.ln()));
            for (slot, r) in out.iter_mut().zip(residuals.into_iter().flatten().chain(prior)) {
                *slot = r;
            }
        });
        u
    }

    /// Terms with four digits; additions that vanish or that no run shows are none.
    fn rounded(&self, u: &[f64], kept: &[usize]) -> EngineTerms {
        let fitted = self.with(u);
        let mut terms = fitted.clone();
        for (t, x) in self.free.iter().zip(u) {
            let [low, high] = t.bounds.map(f64::ln);
            let absent = match t.absent {
                Absent::Never => false,
                Absent::Low => *x < low + 0.05 || !self.shows(t, &fitted, kept),
                Absent::High => *x > high - 0.05,
            };
            (t.set)(&mut terms, if absent { 0.0 } else { tidy(x.exp(), 4) });
        }
        terms
    }
}

/// So many of some runs, the same ones every time.
fn sample(kept: &[usize], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = kept.to_vec();
    order.sort_by_key(|i| mix(*i as u64));
    order.truncate(most);
    order.sort_unstable();
    order
}

/// Rounded to so many significant digits.
fn tidy(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    #[allow(clippy::cast_possible_truncation)] // the exponent of a finite number
    let scale = 10_f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(fitted: &[&str]) -> EngineRange {
        let text = "request_ms = 2\nprefill_floor_ms = 0\nprefill_scale = 1\nstep_us = 300\nrow_us = 30\n\
                    host_slowdown = 1\ndecode_graphs = true";
        EngineRange {
            versions: "..".parse().unwrap(),
            architectures: vec![],
            source: "test".into(),
            fitted: fitted.iter().map(|k| (*k).to_owned()).collect(),
            terms: toml::from_str(text).unwrap(),
            fit: None,
        }
    }

    /// TPOT = 5 ms + step + row·batch, E2E = 100 of them.
    fn predict(i: usize, terms: &EngineTerms) -> Latencies {
        let tpot = 5e-3 + 1e-6 * (terms.step_us + terms.row_us * f64::from(1 << (i % 7)));
        [0.02, tpot, 0.02 + 100.0 * tpot]
    }

    fn runs(truth: &EngineTerms) -> Vec<Run> {
        (0..42)
            .map(|i| {
                let [_, tpot, e2e] = predict(i, truth);
                // one run in ten of a stalled machine
                let stall = if i % 10 == 3 { 1.8 } else { 1.0 };
                Run {
                    model: format!("m{}", i % 3),
                    gpu: format!("g{}", i % 2),
                    measured: [None, (i % 2 == 0).then_some(tpot * stall), Some(e2e * stall)],
                    simulated: false,
                }
            })
            .collect()
    }

    #[test]
    fn known_terms_come_back_in_spite_of_outliers() {
        let range = range(&["step_us", "row_us", "context_ns"]);
        let truth = EngineTerms { step_us: 1200.0, row_us: 60.0, ..range.terms.clone() };
        let (fitted, predictions) = fit_range(&range, &runs(&truth), "2026-11-21", &predict).unwrap();
        assert!(predictions.len() == 42 && predictions.iter().all(|p| p.without_gpu.is_some()));
        assert!((fitted.terms.step_us / 1200.0 - 1.0).abs() < 0.1, "{:?}", fitted.terms);
        assert!((fitted.terms.row_us / 60.0 - 1.0).abs() < 0.1, "{:?}", fitted.terms);
        let fit = fitted.fit.unwrap();
        assert_eq!((fit.rows, fit.models.len(), fit.gpus.len()), (42, 3, 2));
        let keys: Vec<_> = fit.left_out.iter().map(|l| (l.by.as_str(), l.metric.as_str())).collect();
        assert_eq!(keys, [("model", "tpot_s"), ("model", "e2e_s"), ("gpu", "tpot_s"), ("gpu", "e2e_s")]);
        assert!(fit.left_out.iter().all(|l| l.median_ape < 5.0), "{:?}", fit.left_out);
        // stalls are longer than predicted: the upper quantile sees them
        assert!(fit.log_spread("e2e_s").is_some_and(|[low, high]| low > -0.1 && high > 0.1));
    }

    #[test]
    fn what_does_not_show_is_none() {
        let range = range(&["step_us", "row_us"]);
        let truth = EngineTerms { step_us: 800.0, row_us: 0.0, ..range.terms.clone() };
        let (fitted, _) = fit_range(&range, &runs(&truth), "", &predict).unwrap();
        assert!(
            fitted.terms.row_us < 1.0 && (fitted.terms.step_us / 800.0 - 1.0).abs() < 0.1,
            "{:?}",
            fitted.terms
        );
    }

    #[test]
    fn too_few_runs_are_refused() {
        let range = range(&["step_us", "row_us"]);
        let few = &runs(&range.terms)[..2];
        assert!(matches!(fit_range(&range, few, "", &predict), Err(FitError::TooFew { .. })));
    }

    #[test]
    fn digits() {
        assert_eq!([tidy(1234.56, 3), tidy(-0.012_345, 3), tidy(0.0, 3)], [1230.0, -0.0123, 0.0]);
    }
}
