//! The first candidate's replicas arranged otherwise: prefill and decode in pools of their own, prompts computed where there is
//! room, other routers.

use rayon::prelude::*;
use serde::Serialize;

use super::SizeQuestion;
use super::reason::reason;
use super::search::Found;
use super::site::{FEWEST_REQUESTS, Site};
use crate::answer::estimate::Question;
use crate::answer::simulate::{Demand, Fleet, KvLink, SplitQuestion, highest};
use crate::serving::{Arrivals, LocalPrefill, Rate, Routing, Traffic};
use crate::spec::SpecError;
use crate::units::{number, percent};

/// Replicas that are arranged at most: ratios of more are close to one of these.
const MOST: u32 = 4;
/// Requests at the prefill replica in turn from which a prompt is computed where it generates, in the hybrid.
const QUEUE: u32 = 2;
/// A rate so much higher is a difference: beyond what the search and the draw of arrivals leave open.
const DIFFERENCE: f64 = 0.03;

/// How replicas share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// Every replica does both.
    Aggregated,
    /// A pool computes prompts, another generates.
    Disaggregated,
    /// So, but prompts are computed in the second pool while the first is busy.
    Hybrid,
}

/// The highest rate of an arrangement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArrangementRate {
    /// How the work is shared.
    pub arrangement: Arrangement,
    /// Replicas that compute prompts, or all.
    pub replicas: u32,
    /// Replicas that generate, of two pools.
    pub decode_replicas: u32,
    /// The router's rule.
    pub router: &'static str,
    /// Highest request rate that holds the limits.
    pub highest_rate_per_s: f64,
    /// Arguments with which `foretoken simulate` shows it at that rate.
    pub simulate_args: Vec<String>,
}

/// What arranging the replicas of the first candidate that does both in each of them otherwise would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Replicas that are arranged: those of the candidate, at least two and at most four.
    pub replicas: u32,
    /// Highest rates, of the candidate's own arrangement first.
    pub rates: Vec<ArrangementRate>,
    /// What follows.
    pub verdicts: Vec<String>,
}

/// One way to arrange replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    arrangement: Arrangement,
    replicas: [u32; 2],
    routing: Routing,
}

/// The highest rates of the ways to arrange a candidate's replicas.
pub(super) fn compared(question: &SizeQuestion<'_>, found: &Found<'_>) -> Result<Comparison, SpecError> {
    let site = &found.site;
    let all = found.fitted.replicas.clamp(2, MOST);
    let own = site.demand.routing;
    let mut ways = vec![Way { arrangement: Arrangement::Aggregated, replicas: [all, 0], routing: own }];
    for arrangement in [Arrangement::Disaggregated, Arrangement::Hybrid] {
        for prefill in 1..all {
            ways.push(Way { arrangement, replicas: [prefill, all - prefill], routing: own });
        }
    }
    let routers = Routing::ALL.iter().map(|(routing, _)| *routing).filter(|routing| *routing != own);
    for routing in routers {
        ways.push(Way { arrangement: Arrangement::Aggregated, replicas: [all, 0], routing });
    }
    let rates: Result<Vec<ArrangementRate>, SpecError> =
        ways.par_iter().map(|way| rate(question, found, *way)).collect();
    let rates = rates?;
    let verdicts = vec![splitting(question, found, &rates)?, mixing(&rates), routing(&rates)];
    Ok(Comparison { replicas: all, verdicts: verdicts.into_iter().flatten().collect(), rates })
}

/// The decode pool of a split: the same deployment, reached over RDMA.
pub(super) fn pool(asked: Question<'_>, replicas: u32, local: LocalPrefill) -> SplitQuestion<'_> {
    SplitQuestion {
        decode: asked,
        replicas,
        link: KvLink::Rdma,
        latency_s: 0.0,
        overlapped: false,
        local,
        search: None,
    }
}

fn arranged(
    question: &SizeQuestion<'_>,
    site: &Site<'_>,
    fitted: u32,
    way: Way,
) -> Result<(Fleet, Demand), SpecError> {
    let asked: Question<'_> = site.question(question);
    let mut demand = Demand { routing: way.routing, replicas: way.replicas[0], ..site.demand.clone() };
    // those of so many replicas of the candidate's
    let share = f64::from(way.replicas[0] + way.replicas[1]) / f64::from(fitted.max(1));
    let requests = demand.traffic.requests as f64 * share.min(1.0);
    demand.traffic.requests = (requests as u64).max(FEWEST_REQUESTS);
    let queue = (way.arrangement == Arrangement::Hybrid).then_some(QUEUE);
    let split = pool(asked, way.replicas[1], LocalPrefill { tokens: 0, queue });
    let fleet = Fleet::new(&asked, &demand, (way.replicas[1] > 0).then_some(&split));
    Ok((fleet.map_err(|e| SpecError::Usage(e.to_string()))?, demand))
}

fn rate(question: &SizeQuestion<'_>, found: &Found<'_>, way: Way) -> Result<ArrangementRate, SpecError> {
    let site = &found.site;
    let (mut fleet, demand) = arranged(question, site, found.fitted.replicas, way)?;
    let rate = highest(&mut fleet, &demand, &found.fitted.outcome)?;
    let mut arguments = site.simulate_args(question, way.replicas);
    if let Some(place) = arguments.iter().position(|word| word == "--request-rate") {
        arguments[place + 1] = rate.to_string();
    }
    let router = Routing::ALL.iter().find(|(r, _)| *r == way.routing).map_or("", |(_, name)| name);
    if way.routing != site.demand.routing {
        arguments.retain(|word| !Routing::ALL.iter().any(|(_, name)| name == word) && word != "--router");
        arguments.extend(["--router".into(), router.into()]);
    }
    if way.arrangement == Arrangement::Hybrid {
        arguments.extend(["--local-prefill-queue".into(), QUEUE.to_string()]);
    }
    Ok(ArrangementRate {
        arrangement: way.arrangement,
        replicas: way.replicas[0],
        decode_replicas: way.replicas[1],
        router,
        highest_rate_per_s: rate,
        simulate_args: arguments,
    })
}

fn best(rates: &[ArrangementRate], arrangement: Arrangement) -> Option<&ArrangementRate> {
    let of = rates.iter().filter(|r| r.arrangement == arrangement);
    of.max_by(|a, b| a.highest_rate_per_s.total_cmp(&b.highest_rate_per_s).then(b.replicas.cmp(&a.replicas)))
}

/// How much higher a rate is than another, as a share of it.
fn gain(of: &ArrangementRate, over: &ArrangementRate) -> f64 {
    of.highest_rate_per_s / over.highest_rate_per_s.max(f64::MIN_POSITIVE) - 1.0
}

fn signed(share: f64) -> String {
    format!("{}{}", if share >= 0.0 { "+" } else { "−" }, percent(share.abs()))
}

/// Whether pools of their own pay, and what stands in the way where they do not.
fn splitting(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
    rates: &[ArrangementRate],
) -> Result<Option<String>, SpecError> {
    let (Some(both), Some(split)) = (rates.first(), best(rates, Arrangement::Disaggregated)) else {
        return Ok(None);
    };
    let site = &found.site;
    let gain = gain(split, both);
    let pools = format!(
        "{} for prefill and {} for decode hold {} req/s, {} that do both {}",
        split.replicas,
        split.decode_replicas,
        number(split.highest_rate_per_s),
        both.replicas,
        number(both.highest_rate_per_s)
    );
    if gain > DIFFERENCE {
        return Ok(Some(format!("Split prefill and decode: {pools} ({}, over RDMA).", signed(gain))));
    }
    if gain >= -DIFFERENCE {
        return Ok(Some(format!("Splitting prefill and decode changes nothing: {pools}.")));
    }
    // the split under what the others can do
    let way = Way {
        arrangement: Arrangement::Disaggregated,
        replicas: [split.replicas, split.decode_replicas],
        routing: site.demand.routing,
    };
    let (mut fleet, demand) = arranged(question, site, found.fitted.replicas, way)?;
    let shape = match &demand.traffic.arrivals {
        Arrivals::Open(_, shape) => *shape,
        _ => 1.0,
    };
    let arrivals = Arrivals::Open(Rate::constant(both.highest_rate_per_s)?, shape);
    let traffic = Traffic { arrivals, ..demand.traffic.clone() };
    let served = fleet.serve(&traffic, &demand.options())?;
    let why = reason(&demand, &served.outcome, both.highest_rate_per_s);
    Ok(Some(format!("Do not split prefill and decode: {pools} ({}); split, {why}.", signed(gain))))
}

/// Whether computing some prompts in the decode pool pays.
fn mixing(rates: &[ArrangementRate]) -> Option<String> {
    let both = rates.first()?;
    let (split, hybrid) = (best(rates, Arrangement::Disaggregated)?, best(rates, Arrangement::Hybrid)?);
    let other = if gain(split, both) > 0.0 { split } else { both };
    let name = if gain(split, both) > 0.0 { "the split" } else { "replicas that do both" };
    let gain = gain(hybrid, other);
    let pools = format!(
        "{} for prefill and {} for decode that help out hold {} req/s",
        hybrid.replicas,
        hybrid.decode_replicas,
        number(hybrid.highest_rate_per_s)
    );
    Some(if gain > DIFFERENCE {
        format!("A hybrid is best: {pools} ({} over {name}).", signed(gain))
    } else {
        format!("A hybrid is not worth it: {pools} ({} against {name}).", signed(gain))
    })
}

/// Whether the router matters.
fn routing(rates: &[ArrangementRate]) -> Option<String> {
    let own = rates.first()?;
    let others = rates.iter().skip(1).filter(|r| r.arrangement == Arrangement::Aggregated);
    let best = others.max_by(|a, b| a.highest_rate_per_s.total_cmp(&b.highest_rate_per_s))?;
    let gain = gain(best, own);
    Some(if gain > DIFFERENCE {
        format!(
            "Route {}: {} req/s instead of {} with {} ({}).",
            best.router,
            number(best.highest_rate_per_s),
            number(own.highest_rate_per_s),
            own.router,
            signed(gain)
        )
    } else {
        format!(
            "No other router is better than {}: {} holds {} req/s.",
            own.router,
            best.router,
            number(best.highest_rate_per_s)
        )
    })
}
