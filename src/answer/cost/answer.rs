//! `cost`: what tokens cost on a deployment of one's own or a rented one, in several situations and against an API.

use serde::Serialize;

use super::break_even::{Against, BreakEven};
use super::job::{JobDone, done};
use super::question::{ApiPrice, CostQuestion, Volume};
use super::runs::Runs;
use super::situations::{Situation, SituationCost, SituationKind, situations};
use super::{Assumption, Basis, HourlyPrice};
use crate::answer::{Inputs, Provenance};
use crate::memory::MemoryError;
use crate::spec::SpecError;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostAnswer {
    /// The question as it was understood; the load is a replica's.
    pub inputs: Inputs,
    /// Replicas at least.
    pub replicas: u32,
    /// Hours used over hours paid.
    pub duty: f64,
    /// The load that there is, as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// What an hour of an accelerator costs, at the power of the saturated deployment.
    pub prices: Vec<HourlyPrice>,
    /// What the prices of one's own rest on.
    pub assumptions: Vec<Assumption>,
    /// Requests per second that a replica can take, within the limits where some are given and held.
    pub capacity_requests_per_s: f64,
    /// The deployment in each situation.
    pub situations: Vec<Situation>,
    /// Costs in each situation at each price.
    pub costs: Vec<SituationCost>,
    /// The API's price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiPrice>,
    /// Against the API, at each price.
    pub break_even: Vec<BreakEven>,
    /// The job, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobDone>,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// What to know before using them.
    pub warnings: Vec<String>,
}

impl CostAnswer {
    /// The limits are kept at some rate, and at the load that there is.
    #[must_use]
    pub fn limits_are_kept(&self) -> bool {
        let of = |kind| self.situations.iter().find(|s| s.situation == kind);
        let yours = of(SituationKind::AtYourLoad).and_then(|s| s.held);
        of(SituationKind::AtSlo).is_some() && yours != Some(false)
    }
}

/// Answers a question of cost.
///
/// # Errors
/// When the deployment is refused or does not fit, no price is known, or a value makes no sense.
pub fn cost(asked: &CostQuestion<'_>) -> Result<CostAnswer, MemoryError> {
    let inputs = &asked.question.options.cost;
    let gpu = asked.question.accelerator;
    inputs.check(gpu)?;
    if asked.prices(None).is_empty() {
        return Err(SpecError::Usage(format!(
            "no price of {} is known and no board power; give --gpu-hour-usd",
            gpu.id
        ))
        .into());
    }
    asked.countable(f64::from(asked.replicas))?;
    let runs = Runs::new(asked)?;
    let found = situations(asked, &runs)?;
    let mut warnings = found.asked.warnings.clone();
    warnings.extend(found.warnings);
    if !inputs.own && inputs.rented(gpu).is_none() {
        warnings.push(format!("no rent of {} is known: give --gpu-hour-usd", gpu.id));
    }
    if inputs.owned(gpu, None).is_none() {
        warnings.push(format!("no purchase price of {} is known: give --purchase-usd", gpu.id));
    }
    let of = |kind| found.all.iter().find(|s: &&Situation| s.situation == kind);
    let full = of(SituationKind::Saturated);
    let prices = asked.prices(full.and_then(|s| s.mean_w));
    for price in &prices {
        if let Some(caution) = price.caution() {
            warnings.push(format!("price {}: {caution}", price.basis.name()));
        }
    }
    let used = found.all.last().map_or(0, |s| s.num_gpus);
    warnings.extend(prices.iter().filter_map(|p| p.unused(used)));
    let costs: Vec<SituationCost> = found.all.iter().flat_map(|s| asked.costs(s)).collect();
    let break_even = match asked.api {
        Some(api) => against(asked, api, found.capacity_per_s, &found.all, &costs),
        None => vec![],
    };
    let has_owned = prices.iter().any(|p| p.basis != Basis::Rented);
    Ok(CostAnswer {
        replicas: asked.replicas,
        duty: inputs.duty(),
        volume: asked.volume,
        assumptions: if has_owned {
            inputs.ownership.sources(inputs.electricity_usd_per_kwh)
        } else {
            vec![]
        },
        prices,
        capacity_requests_per_s: found.capacity_per_s,
        break_even,
        costs,
        situations: found.all,
        api: asked.api,
        job: asked.job.map(|job| done(asked, &runs, job)).transpose()?,
        inputs: found.asked.inputs,
        provenance: found.asked.provenance,
        warnings,
    })
}

/// The deployment against an API, priced as it is when it carries what it can.
fn against(
    asked: &CostQuestion<'_>,
    api: ApiPrice,
    capacity_per_s: f64,
    all: &[Situation],
    costs: &[SituationCost],
) -> Vec<BreakEven> {
    let of = |kind| all.iter().find(|s: &&Situation| s.situation == kind);
    let Some(full) = of(SituationKind::AtSlo).or_else(|| of(SituationKind::Saturated)) else { return vec![] };
    let against = Against {
        api,
        lengths: full.paid.lengths,
        replicas: asked.replicas,
        accelerators: asked.accelerators(),
        capacity_per_s,
        saturated_per_s: of(SituationKind::Saturated)
            .map_or(capacity_per_s, |s| s.requests_per_s / f64::from(s.replicas)),
        duty: asked.question.options.cost.duty(),
    };
    let yours = of(SituationKind::AtYourLoad);
    let each = asked.prices(full.mean_w).into_iter().map(|price| {
        let paid = costs.iter().find(|c| c.situation == SituationKind::AtYourLoad && c.basis == price.basis);
        BreakEven {
            at_your_load: yours.zip(paid).map(|(s, c)| {
                Against { lengths: s.paid.lengths, ..against }.compared(s.requests_per_s, c.usd_per_month)
            }),
            ..against.break_even(&price)
        }
    });
    each.collect()
}
