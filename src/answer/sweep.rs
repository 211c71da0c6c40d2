//! `sweep`: a grid of deployments × workloads, each point answered as `estimate` answers it.

mod crossover;
mod pareto;

use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

use super::estimate::{Figures, Latency, Prepared, Throughput};
use super::layout::Layout;
use super::{HourlyPrice, Kernels, Options, Question};
use crate::spec::{Accelerator, Deployment, Formats, Load, ModelSpec, Workload};
pub use crossover::{Crossover, Fleet};

/// A deployment of the grid.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The accelerator.
    pub accelerator: &'a Accelerator,
    /// Fitted kernel models; none for the family defaults.
    pub kernels: Option<&'a Kernels>,
    /// Engine, parallelism, formats.
    pub deployment: Deployment,
    /// Why its flags contradict each other, where they do.
    pub refused: Option<String>,
}

impl Candidate<'_> {
    fn layout(&self, formats: Option<&Formats>) -> Layout {
        Layout::of(self.model, self.accelerator, &self.deployment, formats)
    }
}

/// A grid.
#[derive(Clone, Copy)]
pub struct SweepQuestion<'a> {
    /// Deployments, in the order of the answer.
    pub candidates: &'a [Candidate<'a>],
    /// Workloads asked of each, in the order of the answer.
    pub workloads: &'a [Workload],
    /// Everything else.
    pub options: &'a Options,
    /// Called with the number of points done since the last call, from several threads.
    pub done: &'a (dyn Fn(usize) + Sync),
}

/// A point of the grid that has an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// Index of its deployment in [`Sweep::layouts`].
    pub layout: usize,
    /// Index of its workload in [`Sweep::workloads`].
    pub workload: usize,
    /// Latencies in seconds.
    pub latency: Latency,
    /// Rates.
    pub throughput: Throughput,
    /// US dollars per million prompt and generated tokens, where a price is known.
    pub usd_per_million_tokens: Option<[f64; 2]>,
    /// In how many waves a static batch decodes; more than 1 where the KV pool does not hold it.
    pub waves: f64,
    /// No other answer to the same lengths with this model has more tokens/s per accelerator and as many per user, or more
    /// per user and as many per accelerator.
    pub is_pareto: bool,
}

/// What kept points out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No engine would start it, or the flags contradict each other.
    Refused,
    /// It does not fit into memory.
    DoesNotFit,
}

/// Points left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What kind of reason.
    pub kind: Reason,
    /// The reason in words.
    pub reason: String,
    /// How many points.
    pub count: usize,
}

/// A point that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutPoint {
    /// Index of its deployment in [`Sweep::layouts`].
    pub layout: usize,
    /// Index of its workload in [`Sweep::workloads`]; none where all of them are left out.
    pub workload: Option<usize>,
    /// Index of the reason in [`Sweep::left_out`].
    pub reason: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Deployments of the grid, in its order.
    pub layouts: Vec<Layout>,
    /// Workloads of the grid, in its order.
    pub workloads: Vec<Workload>,
    /// Points with an answer, by deployment and then workload.
    pub points: Vec<SweepPoint>,
    /// Why others have none, the most frequent first.
    pub left_out: Vec<LeftOut>,
    /// Which.
    pub left_out_points: Vec<LeftOutPoint>,
    /// Where the best layout changes along the load.
    pub crossovers: Vec<Crossover>,
    /// Price of an hour of each accelerator, where one is known.
    pub prices: BTreeMap<String, HourlyPrice>,
    /// Warnings of the deployments, each once.
    pub warnings: Vec<String>,
}

/// Workloads that one task answers: enough to hide what a task costs, few enough to share.
const CHUNK: usize = 256;

type Refusal = (Reason, String);

/// All of one deployment.
struct Answered {
    layout: Layout,
    figures: Result<Vec<Result<Figures, Refusal>>, Refusal>,
    warnings: Vec<String>,
}

/// Answers every point of a grid, in parallel. The answer does not depend on the number of threads.
#[must_use]
pub fn sweep(question: &SweepQuestion<'_>) -> Sweep {
    let answered: Vec<Answered> =
        question.candidates.par_iter().map(|candidate| answer(question, candidate)).collect();
    let mut found = Sweep {
        layouts: vec![],
        workloads: question.workloads.to_vec(),
        points: vec![],
        left_out: vec![],
        left_out_points: vec![],
        crossovers: vec![],
        prices: prices(question),
        warnings: unpriced(question),
    };
    let mut refusals = vec![];
    for (layout, all) in answered.into_iter().enumerate() {
        found.layouts.push(all.layout);
        for warning in all.warnings {
            if !found.warnings.contains(&warning) {
                found.warnings.push(warning);
            }
        }
        match all.figures {
            Err(refusal) => refusals.push((layout, None, refusal)),
            Ok(figures) => {
                for (workload, figures) in figures.into_iter().enumerate() {
                    match figures {
                        Ok(figures) => found.points.push(point(layout, workload, figures)),
                        Err(refusal) => refusals.push((layout, Some(workload), refusal)),
                    }
                }
            }
        }
    }
    (found.left_out, found.left_out_points) = counted(refusals, question.workloads.len());
    pareto::mark(&mut found);
    found.crossovers = crossover::crossovers(&found);
    found
}

/// Accelerators that have no price of the kind asked for.
fn unpriced(question: &SweepQuestion<'_>) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for candidate in question.candidates {
        if let Err(error) = question.options.cost.check(candidate.accelerator) {
            let text = error.to_string();
            if !all.contains(&text) {
                all.push(text);
            }
        }
    }
    all
}

/// What an hour of each accelerator costs.
fn prices(question: &SweepQuestion<'_>) -> BTreeMap<String, HourlyPrice> {
    let cost = &question.options.cost;
    let each: BTreeMap<&str, &Accelerator> =
        question.candidates.iter().map(|c| (c.accelerator.id.as_str(), c.accelerator)).collect();
    each.into_iter().filter_map(|(id, gpu)| Some((id.to_owned(), cost.hourly(gpu)?))).collect()
}

fn answer(question: &SweepQuestion<'_>, candidate: &Candidate<'_>) -> Answered {
    let done = |figures| {
        (question.done)(question.workloads.len());
        figures
    };
    let refused = |reason: String| {
        let Candidate { model, accelerator, deployment, .. } = candidate;
        let formats = Formats::resolve(model, deployment, accelerator).ok();
        let layout = candidate.layout(formats.as_ref());
        Answered { layout, figures: done(Err((Reason::Refused, reason))), warnings: vec![] }
    };
    if let Some(reason) = &candidate.refused {
        return refused(reason.clone());
    }
    let nothing = Workload::batch(1, 1, 1);
    let prepared = Prepared::new(&Question {
        model: candidate.model,
        accelerator: candidate.accelerator,
        deployment: &candidate.deployment,
        workload: question.workloads.first().unwrap_or(&nothing),
        kernels: candidate.kernels,
        options: question.options,
    });
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refused(error.to_string()),
    };
    let layout = candidate.layout(Some(&prepared.formats));
    if !prepared.memory.fits {
        let reason = prepared.memory.reason.clone().unwrap_or_else(|| "the KV pool is too small".into());
        return Answered { layout, figures: done(Err((Reason::DoesNotFit, reason))), warnings: vec![] };
    }
    let mut warnings = candidate.model.warnings.clone();
    warnings.extend(prepared.formats.warnings.iter().cloned());
    // loops are simulated and take long: one at a time, so that all threads have some
    let is_static = |w: &Workload| matches!(w.load, Load::StaticBatch(_));
    let size = if question.workloads.iter().all(is_static) { CHUNK } else { 1 };
    let chunks: Vec<Vec<Result<Figures, Refusal>>> = question
        .workloads
        .par_chunks(size)
        .map(|chunk| {
            let mut scratch = vec![];
            let figures = chunk
                .iter()
                .map(|workload| {
                    let figures = prepared.figures(workload, &mut scratch);
                    figures.map_err(|error| (Reason::Refused, error.to_string()))
                })
                .collect();
            (question.done)(chunk.len());
            figures
        })
        .collect();
    Answered { layout, figures: Ok(chunks.into_iter().flatten().collect()), warnings }
}

fn point(layout: usize, workload: usize, figures: Figures) -> SweepPoint {
    let Figures { latency, throughput, usd_per_million_tokens, waves } = figures;
    SweepPoint { layout, workload, latency, throughput, usd_per_million_tokens, waves, is_pareto: false }
}

/// Reasons with their points, the most frequent first, then in the order of the alphabet.
fn counted(
    refusals: Vec<(usize, Option<usize>, Refusal)>,
    workloads: usize,
) -> (Vec<LeftOut>, Vec<LeftOutPoint>) {
    let mut counts: BTreeMap<&Refusal, usize> = BTreeMap::new();
    for (_, workload, refusal) in &refusals {
        *counts.entry(refusal).or_default() += if workload.is_some() { 1 } else { workloads };
    }
    let mut order: Vec<(&Refusal, usize)> = counts.into_iter().collect();
    order.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let place: BTreeMap<&Refusal, usize> = order.iter().enumerate().map(|(i, (r, _))| (*r, i)).collect();
    let points = refusals
        .iter()
        .map(|(layout, workload, refusal)| LeftOutPoint {
            layout: *layout,
            workload: *workload,
            reason: place[refusal],
        })
        .collect();
    let reasons = order
        .iter()
        .map(|((kind, reason), count)| LeftOut { kind: *kind, reason: reason.clone(), count: *count })
        .collect();
    (reasons, points)
}
