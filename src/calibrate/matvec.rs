//! Fit of llama.cpp's kernels to results: one set of coefficients an architecture family, with the errors
//! on accelerators and on models left out.

use rayon::prelude::*;
use std::collections::BTreeSet;

use super::fit::{FitError, Patience, minimise};
use super::statistics::{Errors, quantile};
use crate::time::Hardware;
use crate::time::forms::matvec::{self, COEFFICIENTS, Setting};
use crate::time::ggml::{Families, Family, LeftOut, Spread};
use crate::work::Operator;

/// Pull of a coefficient to its start, in residual per unit of its logarithm: what rows do not decide stays.
const PRIOR: f64 = 0.08;
/// Fewest rows from which a family is fitted.
const FEWEST_ROWS: usize = 2 * COEFFICIENTS.len();

/// Architectures whose kernels are the same code on like hardware; a family's start is the first one's fit
/// where it is named in the last column.
const FAMILIES: [(&str, &[&str], Option<&str>); 4] = [
    ("nvidia", &["Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper"], None),
    ("blackwell", &["Blackwell", "Blackwell Ultra"], Some("nvidia")),
    ("apple", &["M1", "M2", "M3", "M4", "M5"], None),
    ("rdna", &["RDNA2", "RDNA3", "RDNA3.5", "RDNA4"], None),
];

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The prompt.
    Prefill,
    /// One step of decoding.
    Decode,
}

/// One measured time with what ran in it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which phase.
    pub phase: Phase,
    /// Accelerator's id.
    pub gpu: String,
    /// Its architecture.
    pub architecture: String,
    /// Model's id.
    pub model: String,
    /// How the kernels ran.
    pub setting: Setting,
    /// The accelerator.
    pub hardware: Hardware,
    /// Operators and how often each counts.
    pub operators: Vec<(f64, Operator)>,
    /// Seconds outside these operators.
    pub host_s: f64,
    /// Measured seconds.
    pub seconds: f64,
}

impl Sample {
    /// True for operators that the form times.
    #[must_use]
    pub fn is_fitted(operator: &Operator, hardware: &Hardware) -> bool {
        let starts: Vec<f64> = COEFFICIENTS.iter().map(|c| c.start).collect();
        let setting = Setting { flash: true, split: false };
        matvec::seconds(&starts, operator, hardware, setting).is_some()
    }

    fn predicted(&self, c: &[f64]) -> f64 {
        let kernels = self
            .operators
            .iter()
            .filter_map(|(times, o)| Some(times * matvec::seconds(c, o, &self.hardware, self.setting)?.0));
        self.host_s + kernels.sum::<f64>()
    }
}

/// Predicted and measured seconds of rows left out.
type Pairs = Vec<(f64, f64)>;

/// Fits every family that has rows and the mean of them for all others.
///
/// # Errors
/// When no family has enough rows, or a time is none.
pub fn fit_families(
    samples: &[Sample],
    source: &str,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Families, FitError> {
    if let Some((row, bad)) = samples.iter().enumerate().find(|(_, s)| !(s.seconds > 0.0 && s.seconds < 1e6))
    {
        return Err(FitError::NoTime { row, value: bad.seconds });
    }
    let mut fitted: Vec<Fit> = vec![];
    for (name, architectures, near) in FAMILIES {
        let own: Vec<&Sample> =
            samples.iter().filter(|s| architectures.contains(&s.architecture.as_str())).collect();
        if own.len() < FEWEST_ROWS {
            continue;
        }
        progress(name);
        let relative = fitted.iter().find(|f| Some(f.name) == near);
        let start: Vec<f64> =
            COEFFICIENTS.iter().enumerate().map(|(j, c)| relative.map_or(c.start, |r| r.c[j])).collect();
        fitted.push(Fit::new(name, architectures, own, &start));
    }
    if fitted.is_empty() {
        let (rows, coefficients) = (samples.len(), COEFFICIENTS.len());
        return Err(FitError::TooFew { rows, coefficients, needed: FEWEST_ROWS });
    }
    complete(&mut fitted);
    Ok(Families {
        schema: 1,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        source: source.to_owned(),
        family: families(&fitted),
    })
}

/// A family's fit.
struct Fit<'a> {
    name: &'static str,
    architectures: &'static [&'static str],
    samples: Vec<&'a Sample>,
    c: Vec<f64>,
    /// Which coefficients the rows depend on.
    seen: Vec<bool>,
    by_gpu: [Pairs; 2],
    by_model: [Pairs; 2],
}

impl<'a> Fit<'a> {
    fn new(
        name: &'static str,
        architectures: &'static [&'static str],
        samples: Vec<&'a Sample>,
        start: &[f64],
    ) -> Self {
        let c = descend(&samples, start, start);
        let left_out = |key: fn(&Sample) -> &str| {
            let names: BTreeSet<&str> = samples.iter().map(|s| key(s)).collect();
            let pairs: Vec<(Phase, (f64, f64))> = names
                .into_par_iter()
                .flat_map_iter(|name| {
                    let (out, kept): (Vec<&Sample>, Vec<&Sample>) =
                        samples.iter().copied().partition(|s| key(s) == name);
                    // where nothing is left, the start is all that is known
                    let c = if kept.is_empty() { start.to_vec() } else { descend(&kept, &c, start) };
                    out.into_iter().map(move |s| (s.phase, (s.predicted(&c), s.seconds)))
                })
                .collect();
            split(pairs)
        };
        let (by_gpu, by_model) = (left_out(|s| &s.gpu), left_out(|s| &s.model));
        let seen = (0..COEFFICIENTS.len())
            .map(|j| {
                let mut moved = c.clone();
                moved[j] *= 1.05;
                samples.iter().any(|s| (s.predicted(&moved) / s.predicted(&c)).ln().abs() > 1e-4)
            })
            .collect();
        Self { name, architectures, samples, c, seen, by_gpu, by_model }
    }
}

/// Pairs of each phase: prefill, decode.
fn split(pairs: Vec<(Phase, (f64, f64))>) -> [Pairs; 2] {
    let (prefill, decode): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(p, _)| *p == Phase::Prefill);
    [prefill, decode].map(|list| list.into_iter().map(|(_, pair)| pair).collect())
}

/// Levenberg–Marquardt from `near`, drawn weakly to `start`.
fn descend(samples: &[&Sample], near: &[f64], start: &[f64]) -> Vec<f64> {
    let n = samples.len();
    let residuals = |u: &[f64], out: &mut [f64]| {
        let c: Vec<f64> = u.iter().map(|x| x.exp()).collect();
        let (rows, pulls) = out.split_at_mut(n);
        rows.par_iter_mut().zip(samples).with_min_len(32).for_each(|(slot, s)| {
            *slot = (s.predicted(&c) / s.seconds).ln();
        });
        for (slot, (u, start)) in pulls.iter_mut().zip(u.iter().zip(start)) {
            *slot = PRIOR * (u - start.ln());
        }
    };
    let near = near.iter().map(|c| c.ln()).collect();
    let bounds: Vec<[f64; 2]> = COEFFICIENTS.iter().map(|c| [c.low.ln(), c.high.ln()]).collect();
    let (u, _) = minimise(&bounds, near, n + COEFFICIENTS.len(), Patience::STRICT, residuals);
    u.into_iter().map(f64::exp).collect()
}

/// What a family's rows do not depend on comes from the one it starts from or that starts from it, whose kernels are the
/// same code; else it stays at its start: another vendor's kernels say nothing of it.
fn complete(fitted: &mut [Fit<'_>]) {
    for j in 0..COEFFICIENTS.len() {
        let known: Vec<(&str, f64)> = fitted.iter().filter(|f| f.seen[j]).map(|f| (f.name, f.c[j])).collect();
        for family in fitted.iter_mut().filter(|f| !f.seen[j]) {
            let relative = FAMILIES.iter().find_map(|(name, _, near)| match *near {
                Some(near) if near == family.name => Some(*name),
                Some(near) if *name == family.name => Some(near),
                _ => None,
            });
            if let Some((_, c)) = relative.and_then(|name| known.iter().find(|(n, _)| *n == name)) {
                family.c[j] = *c;
            }
        }
    }
}

/// Geometric mean of the coefficients of all families but one.
fn mean_without(fitted: &[Fit<'_>], without: Option<&str>) -> Vec<f64> {
    let used: Vec<&Fit<'_>> = fitted.iter().filter(|f| Some(f.name) != without).collect();
    (0..COEFFICIENTS.len())
        .map(|j| match used.len() {
            0 => COEFFICIENTS[j].start,
            n => (used.iter().map(|f| f.c[j].ln()).sum::<f64>() / n as f64).exp(),
        })
        .collect()
}

fn families(fitted: &[Fit<'_>]) -> Vec<Family> {
    // errors on an accelerator left out, where most accelerators were: the least that another family has
    let widest = fitted.iter().max_by_key(|f| gpus(f));
    let mut all: Vec<Family> = fitted
        .iter()
        .map(|f| {
            let spread = |phase: usize| {
                let own: Pairs = f.by_gpu[phase].iter().chain(&f.by_model[phase]).copied().collect();
                let other = widest.filter(|_| gpus(f) < 2).map_or([1.0, 1.0], |w| ratios(&w.by_gpu[phase]));
                let own = ratios(&own);
                [own[0].min(other[0]), own[1].max(other[1])]
            };
            let mut family = family(f.name, f.architectures, f.samples.len(), &f.c, [spread(0), spread(1)]);
            for (left, by) in [("gpu", &f.by_gpu), ("model", &f.by_model)] {
                note(&mut family, left, by);
            }
            family
        })
        .collect();
    let pairs = fitted.iter().flat_map(|f| {
        let c = mean_without(fitted, Some(f.name));
        f.samples.iter().map(move |s| (s.phase, (s.predicted(&c), s.seconds))).collect::<Vec<_>>()
    });
    let by_family = split(pairs.collect());
    let spread = [ratios(&by_family[0]), ratios(&by_family[1])];
    let mut rest = family("mean of all families", &[], 0, &mean_without(fitted, None), spread);
    note(&mut rest, "family", &by_family);
    all.push(rest);
    all
}

fn gpus(fit: &Fit<'_>) -> usize {
    fit.samples.iter().map(|s| s.gpu.as_str()).collect::<BTreeSet<_>>().len()
}

fn family(name: &str, architectures: &[&str], rows: usize, c: &[f64], spread: [Spread; 2]) -> Family {
    Family {
        name: name.to_owned(),
        architectures: architectures.iter().map(|a| (*a).to_owned()).collect(),
        rows,
        c: COEFFICIENTS.iter().zip(c).map(|(k, c)| (k.name.to_owned(), *c)).collect(),
        decode: spread[1],
        prefill: spread[0],
        left_out: std::collections::BTreeMap::new(),
    }
}

fn note(family: &mut Family, left_out: &str, [prefill, decode]: &[Pairs; 2]) {
    for (phase, pairs) in [("prefill", prefill), ("decode", decode)] {
        if let Some(e) = Errors::of(pairs) {
            let errors = LeftOut { n: e.n, mape: e.mape, median: e.median_ape, p90: e.p90_ape, bias: e.bias };
            family.left_out.insert(format!("{phase}_by_{left_out}"), errors);
        }
    }
}

/// 10 % and 90 % quantiles of measured over predicted, at least 3 % to either side.
fn ratios(pairs: &[(f64, f64)]) -> Spread {
    let all: Vec<f64> = pairs.iter().map(|(p, m)| m / p).collect();
    [quantile(&all, 0.1).min(0.97), quantile(&all, 0.9).max(1.03)]
}
