//! A person's own measured runs → factors on what the calibration in force says of them.

use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

use super::asked::{Asked, OPEN};
use super::names::Known;
use super::row::Asking;
use super::{KernelChoice, MeasuredRow, MeasuredTable, Quantity, Skipped};
use crate::answer::{Kernels, Options, Question, estimate};
use crate::calibrate::points::{PointFit, Problem, SIGMA, fit};
use crate::spec::catalog::Directories;
use crate::spec::{Accelerator, Deployment, Engine, EngineKind, SpecError};
use crate::time::Trust;
use crate::time::calibration::Calibration;
use crate::time::points::{MOST, PointScale};

/// Ends of an 80 % interval of a normal distribution lie so many standard deviations from its middle.
const EIGHTY: f64 = 1.2816;
/// Spread of the host's terms, in ln: judged; a slow host takes some times as long as a fast one.
const HOST: f64 = 1.0;
/// Fewest runs with a quantity before the host's part of it is told from the kernels'.
const TELL_APART: usize = 3;
/// A derivative below this leaves a factor where it was: no point tells.
const TELLS: f64 = 0.05;

/// A quantity of a point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointError {
    /// The file's id of the run, or its line.
    pub id: String,
    /// Model, accelerator, engine and load as understood.
    pub question: String,
    /// Key of the quantity.
    pub metric: &'static str,
    /// In SI units.
    pub measured: f64,
    /// Without factors.
    pub before: f64,
    /// With them.
    pub after: f64,
}

/// What came of the points.
#[derive(Debug, Clone, PartialEq)]
pub struct PointsFit {
    /// The accelerator of all points.
    pub accelerator: Accelerator,
    /// Factors, an engine each.
    pub scales: Vec<PointScale>,
    /// Factors that points tell of, by engine.
    pub told: BTreeMap<String, Vec<&'static str>>,
    /// The points.
    pub points: Vec<PointError>,
    /// Rows not used, by reason.
    pub skipped: Vec<Skipped>,
}

/// Runs of one engine.
struct Runs<'a> {
    engine: EngineKind,
    kernels: Kernels,
    asking: Vec<(String, Asking<'a>)>,
    /// Run and quantity of every observation.
    observed: Vec<(usize, Quantity, f64)>,
}

/// Fits factors to the points of the files: as few as the points support. `date` and `source` stand in the result.
///
/// # Errors
/// When the points are of several accelerators, contradict each other, cannot be true, or none can be used.
pub fn fit_points(
    tables: &[MeasuredTable],
    date: &str,
    source: &str,
    directories: &Directories,
) -> Result<PointsFit, SpecError> {
    let rows: Vec<MeasuredRow<'_>> = tables.iter().flat_map(MeasuredTable::rows).collect();
    let known = Known::of(rows.iter().copied(), &KernelChoice::InForce, directories)?;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut engines: BTreeMap<&'static str, Vec<(String, Asking<'_>)>> = BTreeMap::new();
    for row in rows {
        match Asking::of(row, &known)? {
            Ok(asking) if asking.asked.is_open() => {
                *reasons.entry(OPEN.into()).or_default() += 1;
            }
            Ok(asking) => {
                engines.entry(asking.deployment.engine.kind.name()).or_default().push((row.id(), asking))
            }
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    let skipped: Vec<Skipped> =
        reasons.into_iter().map(|(reason, count)| Skipped { reason, count }).collect();
    let gpus: BTreeSet<&str> = engines.values().flatten().map(|(_, a)| a.accelerator.id.as_str()).collect();
    if gpus.len() > 1 {
        let gpus: Vec<&str> = gpus.into_iter().collect();
        return Err(SpecError::Usage(format!(
            "the points are of {}: a calibration is of one accelerator; give a file for each",
            gpus.join(", ")
        )));
    }
    let Some(accelerator) = engines.values().flatten().next().map(|(_, a)| a.accelerator.clone()) else {
        let why = skipped.first().map_or_else(String::new, |s| format!(": {}", s.reason));
        return Err(SpecError::Usage(format!("no point can be used, and nothing was written{why}")));
    };
    let mut found = PointsFit { accelerator, scales: vec![], told: BTreeMap::new(), points: vec![], skipped };
    for asking in engines.into_values() {
        let runs = Runs::of(asking);
        runs.refuse_impossible()?;
        let (scale, told, points) = runs.fit(date, source)?;
        found.told.insert(scale.engine.clone(), told);
        found.scales.push(scale);
        found.points.extend(points);
    }
    Ok(found)
}

/// Times rather than rates, and the whole only where its parts are missing: each thing counts once.
fn observed(asking: &Asking<'_>) -> Vec<(Quantity, f64)> {
    let get = |wanted| asking.measured.iter().find(|(q, _)| *q == wanted).copied();
    let first = get(Quantity::Ttft).or_else(|| get(Quantity::PrefillRate));
    let each = get(Quantity::Tpot).or_else(|| get(Quantity::DecodeRate));
    let whole = get(Quantity::E2e).or_else(|| get(Quantity::OutputRate));
    match (first, each) {
        (Some(first), Some(each)) => vec![first, each],
        (first, each) => first.or(each).into_iter().chain(whole).collect(),
    }
}

impl<'a> Runs<'a> {
    fn of(asking: Vec<(String, Asking<'a>)>) -> Self {
        let engine = asking.first().map_or(EngineKind::Vllm, |(_, a)| a.deployment.engine.kind);
        let none = || {
            let id = asking.first().map_or("", |(_, a)| a.accelerator.id.as_str());
            Kernels { calibration: Calibration::new(id, ""), trust: Trust::Default, file: String::new() }
        };
        let mut kernels = asking.first().and_then(|(_, a)| a.kernels.cloned()).unwrap_or_else(none);
        // what earlier points said is what these replace
        kernels.calibration.points.clear();
        let observed = asking
            .iter()
            .enumerate()
            .flat_map(|(i, (_, a))| observed(a).into_iter().map(move |(q, value)| (i, q, value)))
            .collect();
        Self { engine, kernels, asking, observed }
    }

    /// Kernels with these factors.
    fn scaled(&self, factors: &[f64]) -> Kernels {
        let factor = |i: usize| factors.get(i).copied().unwrap_or(1.0);
        let mut kernels = self.kernels.clone();
        kernels.calibration.points.push(self.blank().with([factor(0), factor(1), factor(2), factor(3)]));
        kernels
    }

    fn blank(&self) -> PointScale {
        PointScale { points: self.asking.len(), ..PointScale::unscaled(self.engine) }
    }

    /// Predicted value and its 80 % interval of every observation, in SI units.
    fn predicted(&self, factors: &[f64]) -> Result<Vec<(f64, [f64; 2])>, SpecError> {
        let kernels = self.scaled(factors);
        let answers = self
            .asking
            .par_iter()
            .map(|(id, asking)| {
                let options = Options::default();
                let question = Question { kernels: Some(&kernels), ..asking.question(&options) };
                estimate(&question)
                    .map_err(|e| SpecError::Usage(format!("point {id} cannot be predicted: {e}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let value = |(i, quantity, _): &(usize, Quantity, f64)| {
            let (value, interval) = quantity.predicted(answers.get(*i)?, &self.asking.get(*i)?.1.asked);
            Some((value, [interval.low, interval.high]))
        };
        Ok(self.observed.iter().filter_map(value).collect())
    }

    /// ln of a time; of a rate its inverse, so that factors make all of them longer.
    fn log(quantity: Quantity, value: f64) -> f64 {
        if quantity.is_rate() { -value.ln() } else { value.ln() }
    }

    fn logs(&self, factors: &[f64]) -> Result<Vec<f64>, SpecError> {
        let predicted = self.predicted(factors)?;
        Ok(self.observed.iter().zip(predicted).map(|((_, q, _), (p, _))| Self::log(*q, p)).collect())
    }

    fn named(&self, i: usize) -> String {
        self.asking.get(i).map_or_else(String::new, |(id, a)| {
            format!(
                "{id} ({} in, {} out, batch {})",
                a.asked.workload.input_len, a.asked.generated, a.asked.batch
            )
        })
    }

    /// Points faster than the datasheet lets any engine be, and equal questions with answers that no noise explains.
    fn refuse_impossible(&self) -> Result<(), SpecError> {
        for (i, quantity, measured) in &self.observed {
            let Some((id, asking)) = self.asking.get(*i) else { continue };
            let deployment =
                Deployment { engine: Engine::newest(EngineKind::Ideal), ..asking.deployment.clone() };
            let options = Options::default();
            let question = Question { deployment: &deployment, kernels: None, ..asking.question(&options) };
            let Ok(answer) = estimate(&question) else { continue };
            let (limit, _) = quantity.predicted(&answer, &asking.asked);
            if Self::log(*quantity, *measured) < Self::log(*quantity, limit) {
                return Err(SpecError::Usage(format!(
                    "point {id}: {} {} is beyond the datasheet of {}, whose limit is {}; check units (ms), model, \
                     formats, number of accelerators, and that no prompt was cached",
                    quantity.column(),
                    short(measured / quantity.scale()),
                    asking.accelerator.id,
                    short(limit / quantity.scale()),
                )));
            }
        }
        let apart = 1.96 * 2f64.sqrt() * SIGMA;
        for (at, (i, q, a)) in self.observed.iter().enumerate() {
            for (j, r, b) in self.observed.iter().skip(at + 1).filter(|o| o.1 == *q) {
                let same = self.asking.get(*i).zip(self.asking.get(*j)).is_some_and(|(a, b)| {
                    let of = |x: &Asking<'_>| (x.model.id.clone(), x.deployment.clone(), x.asked);
                    of(&a.1) == of(&b.1)
                });
                if same && (a / b).ln().abs() > apart {
                    return Err(SpecError::Usage(format!(
                        "points {} and {} ask the same and measured {} {} and {}: they contradict each other; measure \
                         again or remove one",
                        self.named(*i),
                        self.named(*j),
                        r.column(),
                        short(a / q.scale()),
                        short(b / q.scale()),
                    )));
                }
            }
        }
        Ok(())
    }

    /// What is known of prefill's and decode's times before: the mean spread of the 80 % intervals of the answers that
    /// they make up.
    fn prior(&self, predicted: &[(f64, [f64; 2])]) -> [f64; 2] {
        let spread = |of: &[Quantity]| {
            let own: Vec<f64> = self
                .observed
                .iter()
                .zip(predicted)
                .filter(|((_, q, _), _)| of.contains(q))
                .map(|(_, (_, [low, high]))| (high / low).ln() / (2.0 * EIGHTY))
                .collect();
            (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
        };
        let whole = spread(&[Quantity::E2e, Quantity::OutputRate]);
        [
            spread(&[Quantity::Ttft, Quantity::PrefillRate]).or(whole).unwrap_or(0.0),
            spread(&[Quantity::Tpot, Quantity::DecodeRate]).or(whole).unwrap_or(0.0),
        ]
    }

    /// Prefill and decode of kernels always; the host's part of either where at least three runs can tell it apart and the
    /// runs left out say that it does.
    fn fit(
        &self,
        date: &str,
        source: &str,
    ) -> Result<(PointScale, Vec<&'static str>, Vec<PointError>), SpecError> {
        let before = self.predicted(&[])?;
        let [prefill, decode] = self.prior(&before);
        let mut runs: Vec<usize> = self.observed.iter().map(|o| o.0).collect();
        runs.dedup();
        let count = |of: &[Quantity]| self.observed.iter().filter(|o| of.contains(&o.1)).count();
        let whole = count(&[Quantity::E2e, Quantity::OutputRate]);
        let request = count(&[Quantity::Ttft]) + whole >= TELL_APART;
        let step = count(&[Quantity::Tpot, Quantity::DecodeRate]) + whole >= TELL_APART;
        let host = |wanted: bool| if wanted { HOST } else { 0.0 };
        let measured: Vec<f64> = self.observed.iter().map(|(_, q, v)| Self::log(*q, *v)).collect();
        let mut best: Option<PointFit> = None;
        for (with_request, with_step) in [(false, false), (true, false), (false, true), (true, true)] {
            if (with_request && !request) || (with_step && !step) {
                continue;
            }
            let prior = vec![prefill, decode, host(with_request), host(with_step)];
            let groups =
                self.observed.iter().map(|o| runs.iter().position(|r| *r == o.0).unwrap_or(0)).collect();
            let problem = Problem { measured: measured.clone(), groups, prior };
            let found = fit(&problem, |factors| self.logs(factors))?;
            if best.as_ref().is_none_or(|b| found.left_out_rms() < b.left_out_rms()) {
                best = Some(found);
            }
        }
        let Some(best) = best else {
            return Err(SpecError::Usage("no factor can be fitted to the points".into()));
        };
        self.refuse_discord(&measured, &best)?;
        let mape = |errors: &mut dyn Iterator<Item = f64>| {
            let all: Vec<f64> = errors.map(|e: f64| 100.0 * (e.exp() - 1.0).abs()).collect();
            rounded(all.iter().sum::<f64>() / all.len().max(1) as f64)
        };
        let logs = self.logs(&[])?;
        let factor = |i: usize| rounded(best.factors.get(i).copied().unwrap_or(1.0));
        let scale = PointScale {
            points: runs.len(),
            source: source.into(),
            date: date.into(),
            before_mape: mape(&mut logs.iter().zip(&measured).map(|(p, m)| p - m)),
            after_mape: mape(&mut best.predicted.iter().zip(&measured).map(|(p, m)| p - m)),
            left_out_mape: best.left_out.as_ref().map(|r| mape(&mut r.iter().map(|e| -e))),
            ..self.blank()
        }
        .with([factor(0), factor(1), factor(2), factor(3)]);
        if let Some((name, value)) = scale.unsound() {
            return Err(SpecError::Usage(format!(
                "the points make {name} of {} {} times as long as the calibration says, more than {MOST} or less than \
                 1/{MOST} of it: nothing of a device explains that; check units (ms), gpu, model, formats and engine",
                scale.engine,
                short(value)
            )));
        }
        let after = self.predicted(&scale.factors())?;
        let points = self.observed.iter().zip(before.iter().zip(&after));
        let points = points.filter_map(|((i, quantity, measured), (before, after))| {
            let (id, asking) = self.asking.get(*i)?;
            Some(PointError {
                id: id.clone(),
                question: question(asking),
                metric: quantity.key(),
                measured: *measured,
                before: before.0,
                after: after.0,
            })
        });
        let told = self.told(&scale)?;
        Ok((scale, told, points.collect()))
    }

    /// Factors that move a point.
    fn told(&self, scale: &PointScale) -> Result<Vec<&'static str>, SpecError> {
        let here = self.logs(&scale.factors())?;
        let mut told = vec![];
        for (i, name) in PointScale::NAMES.into_iter().enumerate() {
            let mut factors = scale.factors();
            let Some(own) = factors.get_mut(i) else { continue };
            let fitted = i < 2 || (*own - 1.0).abs() > 1e-9;
            *own *= 1.02;
            let there = self.logs(&factors)?;
            let moved = |(a, b): (&f64, &f64)| ((b - a) / 1.02_f64.ln()).abs() > TELLS;
            if fitted && here.iter().zip(&there).any(moved) {
                told.push(name);
            }
        }
        Ok(told)
    }

    /// Points that no factors bring together.
    fn refuse_discord(&self, measured: &[f64], best: &PointFit) -> Result<(), SpecError> {
        let errors: Vec<f64> = measured.iter().zip(&best.predicted).map(|(m, p)| m - p).collect();
        let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len().max(1) as f64).sqrt();
        if self.asking.len() < 2 || rms <= 2.0 * SIGMA {
            return Ok(());
        }
        let end = |by: f64| {
            let worst = errors.iter().enumerate().max_by(|a, b| (by * a.1).total_cmp(&(by * b.1)));
            let (at, error) = worst?;
            let (i, quantity, _) = self.observed.get(at)?;
            let percent = 100.0 * (error.exp() - 1.0);
            Some(format!("{} of {} took {percent:+.0} %", quantity.column(), self.named(*i)))
        };
        let both: Vec<String> = [end(1.0), end(-1.0)].into_iter().flatten().collect();
        Err(SpecError::Usage(format!(
            "the points contradict each other: with the best factors {} of what they make predicted; check the rows, or \
             give points of one setting only",
            both.join(" and ")
        )))
    }
}

fn question(asking: &Asking<'_>) -> String {
    let Asked { batch, generated, workload, .. } = asking.asked;
    format!(
        "{} on {}× {}, {}, batch {batch}, {} in, {generated} out",
        asking.model.id,
        asking.deployment.parallelism.accelerators(),
        asking.accelerator.id,
        asking.deployment.engine,
        workload.input_len
    )
}

/// Four decimals, as they stand in the file.
fn rounded(value: f64) -> f64 {
    (1e4 * value).round() / 1e4
}

/// Three significant digits.
fn short(value: f64) -> String {
    format!("{value:.2e}").parse::<f64>().unwrap_or(value).to_string()
}
