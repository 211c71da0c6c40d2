//! Fewer replicas with pools of their own for prefill and decode, where those hold what more that do both are needed for.

use super::SizeQuestion;
use super::compare::pool;
use super::fewest::{Fitted, fewest_below};
use super::search::Found;
use crate::answer::simulate::{Demand, Fleet};
use crate::serving::LocalPrefill;
use crate::spec::SpecError;

/// Shares of the replicas that compute prompts, where there are too many to try every number.
const SHARES: [f64; 7] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8];
/// Requests beyond which no split is looked for: two pools are simulated whole, which takes seconds each.
const MOST_REQUESTS: u64 = 8000;
/// Replicas up to which every number is tried.
const ALL: u32 = 5;

/// The smallest split of a deployment that holds with fewer replicas than do both.
pub(super) fn split<'a>(
    question: &SizeQuestion<'a>,
    found: &Found<'a>,
) -> Result<Option<Found<'a>>, SpecError> {
    if found.site.demand.traffic.requests > MOST_REQUESTS {
        return Ok(None);
    }
    let mut best = None;
    fewest_below(found.fitted.replicas, 2, |fewer| {
        let fitted = holding(question, found, fewer)?;
        let holds = fitted.is_some();
        best = fitted.or(best.take());
        Ok::<bool, SpecError>(holds)
    })?;
    Ok(best.map(|fitted| {
        let site = found.site.with(found.site.deployment.clone());
        let replicas = fitted.replicas + fitted.decode_replicas;
        let value = site.value(question, replicas, fitted.outcome.metrics.e2e.mean());
        Found { site, fitted, value }
    }))
}

/// A way to split so many replicas that holds, if one does.
fn holding(question: &SizeQuestion<'_>, found: &Found<'_>, all: u32) -> Result<Option<Fitted>, SpecError> {
    let site = &found.site;
    let mut numbers: Vec<u32> = if all <= ALL {
        (1..all).collect()
    } else {
        SHARES.iter().map(|share| (share * f64::from(all)).round() as u32).collect()
    };
    numbers.dedup();
    for prefill in numbers {
        let replicas = [prefill, all - prefill];
        let (mut fleet, demand) = pools(question, found, replicas)?;
        let outcome = fleet.serve(&demand.traffic, &demand.options())?.outcome;
        if site.failure(&outcome).is_none() {
            return Ok(Some(Fitted {
                replicas: prefill,
                decode_replicas: all - prefill,
                outcome,
                one_fewer: None,
            }));
        }
    }
    Ok(None)
}

/// The deployment in two pools.
pub(super) fn pools(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
    [prefill, decode]: [u32; 2],
) -> Result<(Fleet, Demand), SpecError> {
    let asked = found.site.question(question);
    let demand = Demand { replicas: prefill, ..found.site.demand.clone() };
    let fleet = Fleet::new(&asked, &demand, Some(&pool(asked, decode, LocalPrefill::default())));
    Ok((fleet.map_err(|e| SpecError::Usage(e.to_string()))?, demand))
}
