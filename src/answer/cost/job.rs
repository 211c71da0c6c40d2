//! Offline jobs: a million documents, all there at once.

use serde::Serialize;

use super::Basis;
use super::question::{CostQuestion, Job};
use super::runs::{Runs, Saturated};
use super::situations::times;
use crate::answer::Interval;
use crate::answer::simulate::Simulation;
use crate::memory::MemoryError;
use crate::spec::SpecError;

/// A job done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobDone {
    /// Documents.
    pub documents: u64,
    /// Seconds in which all must be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<f64>,
    /// They are done by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_time: Option<bool>,
    /// Replicas, each with its share of the documents.
    pub replicas: u32,
    /// Accelerators of all.
    pub num_gpus: u32,
    /// From the first request to the last answer; loading of weights is not in it.
    pub duration_s: f64,
    /// 80 % interval.
    pub duration_interval_s: Interval,
    /// Documents per second over the whole job.
    pub documents_per_s: f64,
    /// Prompt tokens.
    pub input_tokens: f64,
    /// Generated tokens.
    pub output_tokens: f64,
    /// Energy of the accelerators, where their power is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator_kwh: Option<f64>,
    /// At every price.
    pub costs: Vec<JobCost>,
    /// The same tokens from an API, where its price was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_usd: Option<f64>,
}

/// Cost of a job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct JobCost {
    /// What hours are paid for.
    pub basis: Basis,
    /// Hours of all accelerators times their price.
    pub usd: f64,
    /// 80 % interval.
    pub usd_interval: Interval,
    /// A document.
    pub usd_per_document: f64,
}

/// How long a replica takes for some documents: simulated whole where they are few; else the time of the longest run and
/// (n − m)/X for the others, X the rate at which it worked off its last 3n of m = 5n.
struct Pace<'a> {
    runs: &'a Runs<'a>,
    long: Saturated,
    /// Documents of the longest run.
    simulated: u64,
}

impl<'a> Pace<'a> {
    fn new(runs: &'a Runs<'a>) -> Result<Self, MemoryError> {
        let (long, simulated) = runs.worked_off()?;
        Ok(Self { runs, long, simulated })
    }

    /// Seconds, and the run of the same documents or of the longest one.
    fn seconds(&self, documents: u64) -> Result<(f64, Option<Simulation>), MemoryError> {
        if documents < self.simulated {
            let run = self.runs.burst(documents.max(1))?;
            return Ok((run.duration_s, Some(run)));
        }
        let rest = (documents - self.simulated) as f64;
        Ok((self.long.run.duration_s + rest / self.long.requests_per_s, None))
    }
}

/// Does a job on the replicas given, or on as few as keep its deadline.
pub(super) fn done(asked: &CostQuestion<'_>, runs: &Runs<'_>, job: Job) -> Result<JobDone, MemoryError> {
    let pace = Pace::new(runs)?;
    let replicas = match job.deadline_s {
        Some(deadline) => fewest(asked, &pace, job.documents, deadline)?,
        None => u64::from(asked.replicas),
    };
    let (duration_s, run) = pace.seconds(job.documents.div_ceil(replicas))?;
    let run = run.as_ref().unwrap_or(&pace.long.run);
    let Interval { low, high } = times(run);
    let around = |value: f64| Interval { low: value * low, high: value * high };
    let gpus = u64::from(asked.accelerators()) * replicas;
    let hours = duration_s / 3600.0 * gpus as f64;
    let count = job.documents as f64;
    let mean = asked.question.workload.at_mean();
    let mean_w = run.paid.watts(run.energy.as_ref(), asked.accelerators(), run.utilization.prefix_hit_share);
    let duty = asked.question.options.cost.duty();
    let costs = asked.prices(mean_w).into_iter().map(|price| {
        let usd = hours * price.per_used_hour(duty);
        JobCost { basis: price.basis, usd, usd_interval: around(usd), usd_per_document: usd / count }
    });
    let watts = mean_w.or(asked.question.accelerator.tdp().map(|w| w.0));
    Ok(JobDone {
        documents: job.documents,
        deadline_s: job.deadline_s,
        in_time: job.deadline_s.map(|deadline| duration_s <= deadline),
        replicas: replicas as u32,
        num_gpus: gpus as u32,
        duration_s,
        duration_interval_s: around(duration_s),
        documents_per_s: count / duration_s,
        input_tokens: count * mean.input_len as f64,
        output_tokens: count * mean.output_len as f64,
        accelerator_kwh: watts.map(|w| w / 1000.0 * hours),
        costs: costs.collect(),
        api_usd: asked.api.map(|a| count * a.per_request([mean.input_len as f64, mean.output_len as f64])),
    })
}

/// The fewest replicas that are done by a deadline; times fall with replicas, so halving finds them.
///
/// # Errors
/// When one document alone takes longer, or it takes more replicas than make sense.
fn fewest(
    asked: &CostQuestion<'_>,
    pace: &Pace<'_>,
    documents: u64,
    deadline: f64,
) -> Result<u64, MemoryError> {
    let least = u64::from(asked.replicas);
    let in_time = |replicas: u64| -> Result<bool, MemoryError> {
        Ok(pace.seconds(documents.div_ceil(replicas))?.0 <= deadline)
    };
    if !in_time(documents.max(1))? {
        let (alone, _) = pace.seconds(1)?;
        return Err(SpecError::Usage(format!(
            "one document alone takes {alone:.3} s: no number of replicas is done within {deadline} s; give --deadline more time"
        ))
        .into());
    }
    let (mut low, mut high) = (0, least.max(1));
    while !in_time(high)? {
        (low, high) = (high, 2 * high);
        asked.countable(high as f64)?;
    }
    low = low.max(least.saturating_sub(1));
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if in_time(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}
