//! Fleets that cost less than the best and do not hold: why not the next cheaper one.

use rayon::prelude::*;
use serde::Serialize;

use super::SizeQuestion;
use super::search::Results;
use super::site::Site;
use crate::spec::SpecError;

/// How many are named.
const NAMED: usize = 6;

/// A fleet that is better in the objective than the first candidate, and does not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearMiss {
    /// Accelerator id.
    pub gpu: String,
    /// Accelerators in all.
    pub num_gpus: u32,
    /// Replicas.
    pub replicas: u32,
    /// Degrees of one: `tp2`.
    pub layout: String,
    /// Format of the bulk of the weights.
    pub weight_dtype: String,
    /// What the objective counts of it: dollars an hour, watts, accelerators.
    pub value: f64,
    /// Why it does not hold.
    pub reason: String,
}

/// The first candidate's own deployment with one replica fewer, and of every accelerator the likeliest deployment with as many
/// replicas as cost less, the dearest first.
pub(super) fn near_misses(
    question: &SizeQuestion<'_>,
    found: &Results<'_>,
) -> Result<Vec<NearMiss>, SpecError> {
    let Some(first) = found.listed().first() else { return Ok(vec![]) };
    // a latency is not bought by the replica
    if question.objective == super::Objective::Latency {
        return Ok(vec![]);
    }
    let best = first.value;
    let named = |site: &Site<'_>, replicas: u32, reason: String| NearMiss {
        gpu: site.layout.gpu.clone(),
        num_gpus: site.accelerators() * replicas,
        replicas,
        layout: site.layout.degrees(),
        weight_dtype: site.layout.weight_dtype.clone(),
        value: site.value(question, replicas, 0.0),
        reason,
    };
    let mut misses = vec![];
    if let Some(reason) = &first.fitted.one_fewer {
        misses.push(named(&first.site, first.fitted.replicas - 1, reason.clone()));
    }
    let mut others: Vec<(&Site<'_>, u32)> = vec![];
    let sites = found.listed().iter().skip(1).chain(found.unlisted()).map(|f| &f.site).chain(&found.pruned);
    for site in sites {
        let each = site.value(question, 1, 0.0);
        let replicas = ((best / each).ceil() - 1.0).min(1e6) as u32;
        if replicas >= 1
            && !(first.fitted.one_fewer.is_some() && site.layout.gpu == first.site.layout.gpu)
            && !others.iter().any(|(o, _)| o.layout.gpu == site.layout.gpu)
        {
            others.push((site, replicas));
        }
    }
    others.sort_by(|a, b| b.0.value(question, b.1, 0.0).total_cmp(&a.0.value(question, a.1, 0.0)));
    others.truncate(NAMED);
    let reasons: Vec<Result<Option<NearMiss>, SpecError>> = others
        .par_iter()
        .map(|(site, replicas)| {
            let outcome = site.glance(&mut site.fleet(question)?, *replicas)?;
            Ok(site.failure(&outcome).map(|reason| named(site, *replicas, reason)))
        })
        .collect();
    for miss in reasons {
        misses.extend(miss?);
    }
    Ok(misses)
}
