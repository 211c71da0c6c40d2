//! `check`: is a measured number what it should be, and if not, what would explain it.
//!
//! The expected interval is that of [`estimate`] for the same question. Causes are what-ifs put to the same function: the
//! model says what the number would be without CUDA graphs, with lower clocks, over PCIe …, and how well that explains what
//! was measured, times a prior, is the cause's weight.

mod figures;
mod hardware;
mod likelihood;
mod load;
mod reading;
mod scenario;
mod setup;
mod weights;

use rayon::prelude::*;
use serde::Serialize;

use super::estimate::{Estimate, Inputs, Question, estimate};
use super::interval::Interval;
use crate::memory::MemoryError;
use crate::spec::catalog::Directories;
use crate::spec::{Deployment, Engine, EngineKind, Load, SpecError};
pub use figures::{Figures, Measure};
use likelihood::{Answered, NOTHING_WRONG, unknown};
use scenario::Asked;

/// What a measured number is against its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Within the 80 % interval.
    Normal,
    /// Worse than the interval: a longer time, a lower rate.
    Slow,
    /// Better than the interval.
    Fast,
}

impl Verdict {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Slow => "slow",
            Self::Fast => "fast",
        }
    }
}

/// One measured number beside its prediction, in seconds or tokens per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Which number.
    pub metric: Measure,
    /// As measured.
    pub measured: f64,
    /// As predicted.
    pub predicted: f64,
    /// Measured over predicted.
    pub ratio: f64,
    /// 80 % interval of the prediction.
    pub expected: Interval,
    /// Within it or not.
    pub verdict: Verdict,
    /// The best that the hardware could do: peak arithmetic and full bandwidth, no overhead.
    pub limit: Option<f64>,
    /// Better than that.
    pub impossible: bool,
}

/// A number that is better than the hardware's own limit: counted at peak arithmetic and full bandwidth, no overhead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Impossible {
    /// Which number.
    pub metric: Measure,
    /// The limit, in seconds or tokens per second.
    pub limit: f64,
    /// Bytes that a decode step moves on one accelerator.
    pub step_bytes: f64,
    /// Memory bandwidth of one accelerator.
    pub bandwidth_bytes_per_s: f64,
}

/// Something that may be otherwise than the question says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// What, in words.
    pub cause: String,
    /// The metric in question with this cause over the same without it.
    pub predicted_ratio: f64,
    /// A command or a look that tells.
    pub how_to_tell: String,
    /// Probability among all that was considered, with what nobody thought of.
    pub likelihood: f64,
    /// With it all measured numbers lie in their intervals.
    pub explains: bool,
    /// What would be measured with it.
    pub predicted: Figures,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The question as it was understood.
    pub inputs: Inputs,
    /// Of the number that lies farthest from its prediction.
    pub verdict: Verdict,
    /// Which one that is.
    pub metric: Measure,
    /// It over its prediction.
    pub ratio: f64,
    /// Its 80 % interval: `estimate`'s.
    pub expected: Interval,
    /// Every measured number.
    pub metrics: Vec<Judged>,
    /// Why no accelerator of this kind can do this, where it cannot.
    pub impossible: Option<Impossible>,
    /// What would explain it, the likeliest first; none of a normal number.
    pub causes: Vec<Cause>,
    /// Probability of none of those considered.
    pub unexplained: f64,
    /// What to know.
    pub warnings: Vec<String>,
}

/// Causes that are named at most.
const NAMED: usize = 8;

/// Likelihood from which a cause is named although it leaves a number outside its interval.
const LEAST: f64 = 0.02;

/// Causes that are named where none explains the numbers.
const NEAREST: usize = 3;

/// Judges measured numbers. `directories` are those in which calibrations of relatives are looked for.
///
/// # Errors
/// As [`estimate`], and when nothing was measured or a number is none.
pub fn check(
    question: &Question<'_>,
    measured: &Figures,
    directories: &Directories,
) -> Result<Check, MemoryError> {
    measured.validate(question.workload.at_mean().output_len)?;
    let answer = estimate(question)?;
    let limit = limits(question);
    let metrics: Vec<Judged> = measured
        .given()
        .map(|(metric, value)| judge(metric, value, &answer, limit.as_ref().map(|(figures, _)| figures)))
        .collect();
    let Some(worst) = metrics.iter().max_by(|a, b| distance(a).total_cmp(&distance(b))) else {
        return Err(SpecError::Usage("nothing was measured".into()).into());
    };
    let (metric, verdict) = (worst.metric, worst.verdict);
    let (ratio, expected) = (worst.ratio, worst.expected);
    let impossible = metrics.iter().find(|j| j.impossible).and_then(|j| {
        let (_, step_bytes) = limit.as_ref()?;
        Some(Impossible {
            metric: j.metric,
            limit: j.limit?,
            step_bytes: *step_bytes,
            bandwidth_bytes_per_s: question.accelerator.memory_bandwidth().0,
        })
    });
    let (causes, unexplained) = if verdict == Verdict::Normal {
        (vec![], 1.0)
    } else {
        causes(question, &answer, measured, metric, directories)
    };
    let mut warnings = answer.warnings.clone();
    warnings.extend(measured.contradiction(question.workload.at_mean().output_len, question.workload.load));
    Ok(Check {
        inputs: answer.inputs,
        verdict,
        metric,
        ratio,
        expected,
        metrics,
        impossible,
        causes,
        unexplained,
        warnings,
    })
}

/// How far a number lies from its prediction, in half widths of the interval; 1 is its end.
fn distance(judged: &Judged) -> f64 {
    let end = if judged.ratio >= 1.0 { judged.expected.high } else { judged.expected.low };
    let half = (end / judged.predicted).ln().abs().max(f64::MIN_POSITIVE);
    judged.ratio.ln().abs() / half
}

fn judge(metric: Measure, measured: f64, answer: &Estimate, limit: Option<&Figures>) -> Judged {
    let predicted = Figures::of(answer).get(metric).unwrap_or(0.0);
    let expected = metric.interval(answer);
    let [low, high] =
        if metric.is_rate() { [Verdict::Slow, Verdict::Fast] } else { [Verdict::Fast, Verdict::Slow] };
    let verdict = match measured {
        m if m < expected.low => low,
        m if m > expected.high => high,
        _ => Verdict::Normal,
    };
    // what arrives bounds the rate of an open loop, not the hardware
    let arrives = metric.is_rate() && answer.inputs.request_rate_per_s.is_some();
    let limit = limit.and_then(|l| l.get(metric)).filter(|_| !arrives);
    let beyond = |l: f64| if metric.is_rate() { measured > l } else { measured < l };
    Judged {
        metric,
        measured,
        predicted,
        ratio: measured / predicted,
        expected,
        verdict,
        limit,
        impossible: verdict == Verdict::Fast && limit.is_some_and(beyond),
    }
}

/// The same question to the hardware alone: no engine, no kernel slower than its roofline. None where that cannot be
/// asked. The second is the bytes that one decode step reads.
fn limits(question: &Question<'_>) -> Option<(Figures, f64)> {
    let engine = Engine::newest(EngineKind::Ideal);
    let deployment = Deployment { engine, ..question.deployment.clone() };
    let answer = estimate(&Question { deployment: &deployment, kernels: None, ..*question }).ok()?;
    let bytes = answer.breakdown.decode.iter().map(|line| line.bytes.0).sum();
    Some((Figures::of(&answer), bytes))
}

/// What would explain the numbers, and the probability that nothing considered does.
///
/// Weight of a suspect: its prior times the mean density of the numbers over its amounts. Beside them stand that nothing is
/// wrong but the prediction, and something nobody thought of; all weights are divided by their sum.
fn causes(
    question: &Question<'_>,
    answer: &Estimate,
    measured: &Figures,
    measure: Measure,
    directories: &Directories,
) -> (Vec<Cause>, f64) {
    let mut suspects = setup::suspects(question, answer);
    suspects.extend(weights::suspects(question, answer));
    suspects.extend(hardware::suspects(question, directories));
    suspects.extend(load::suspects(question, answer));
    suspects.extend(reading::suspects(question, answer));
    let fits = answer.memory.fits;
    let asked: Vec<Vec<Asked>> = suspects
        .par_iter()
        .map(|s| s.amounts().into_par_iter().filter_map(|amount| s.ask(question, amount, fits)).collect())
        .collect();
    let now = Answered::new(Figures::of(answer), answer);
    let mut all = NOTHING_WRONG * now.log_density(measured).0.exp() + unknown(measured, &now.figures);
    let mut found = vec![];
    for (suspect, asked) in suspects.iter().zip(&asked) {
        let amounts = suspect.filled(asked);
        let density = |a: &Asked| a.answered.log_density(measured).0;
        let Some(best) = amounts.iter().max_by(|a, b| density(a).total_cmp(&density(b))) else { continue };
        let mean = amounts.iter().map(|a| density(a).exp()).sum::<f64>() / amounts.len() as f64;
        let weight = suspect.prior * mean;
        all += weight;
        // exactly where it was interpolated
        let best = suspect.ask(question, best.amount, fits).unwrap_or(*best);
        let predicted = best.answered.figures;
        let (Some(then), Some(before)) = (predicted.get(measure), now.figures.get(measure)) else { continue };
        found.push(Cause {
            cause: suspect.words(best.amount),
            predicted_ratio: then / before,
            how_to_tell: suspect.how_to_tell.clone(),
            likelihood: weight,
            explains: best.answered.log_density(measured).1,
            predicted,
        });
    }
    for cause in &mut found {
        cause.likelihood = if all > 0.0 { cause.likelihood / all } else { 0.0 };
    }
    let named: f64 = found.iter().map(|c| c.likelihood).sum();
    found.sort_by(|a, b| b.likelihood.total_cmp(&a.likelihood));
    let counts = |c: &Cause| c.explains || c.likelihood >= LEAST;
    if found.iter().any(counts) {
        found.retain(counts);
        found.truncate(NAMED);
    } else {
        let gap = |c: &Cause| match (measured.get(measure), c.predicted.get(measure)) {
            (Some(m), Some(p)) if p > 0.0 => (m / p).ln().abs(),
            _ => f64::INFINITY,
        };
        found.sort_by(|a, b| gap(a).total_cmp(&gap(b)));
        found.truncate(NEAREST);
    }
    (found, 1.0 - named.min(1.0))
}

/// Requests at a time under a load, where it names them.
fn in_flight(load: Load) -> Option<u32> {
    match load {
        Load::StaticBatch(n) | Load::Concurrency(n) => Some(n),
        Load::Rate { .. } => None,
    }
}
