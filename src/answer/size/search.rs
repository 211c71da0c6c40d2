//! Deployments sized in the order of what they could cost at least, until nothing better can come.

use rayon::prelude::*;
use std::collections::BTreeMap;

use super::compare::pool;
use super::fewest::{Approach, Fitted};
use super::site::{Site, rejected};
use super::split::{pools, split};
use super::{Rejected, Searched, SizeCandidate, SizeQuestion};
use crate::answer::cost::Cost;
use crate::answer::estimate::Latency;
use crate::answer::simulate::{Latencies, paid, rates, usage};
use crate::serving::LocalPrefill;
use crate::spec::SpecError;

/// Deployments sized at a time. Fixed, so that the answer does not depend on the number of threads.
const WAVE: usize = 16;

/// A deployment with the smallest fleet that holds.
pub(super) struct Found<'a> {
    pub site: Site<'a>,
    pub fitted: Fitted,
    /// What the objective counts of it.
    pub value: f64,
}

/// What the search came to.
pub(super) struct Results<'a> {
    /// The best first.
    found: Vec<Found<'a>>,
    /// Those that cannot be better than what is listed, by what they could be at least.
    pub pruned: Vec<Site<'a>>,
    pub rejected: Vec<Rejected>,
    pub searched: Searched,
    /// Of `found` those that are listed.
    listed: usize,
}

/// What is compared with itself: an accelerator, or a deployment where all are listed.
type Group = usize;

/// How much dearer a fleet must come out than the last that is listed, as far as one replica that stands for all can tell, to be
/// left alone: the whole fleet, whose router may do better, never needed half as many (judged).
const FAR: f64 = 2.0;

/// A deployment with the fleet that seems to be its smallest.
struct Near<'a> {
    group: Group,
    site: Site<'a>,
    approach: Approach,
    /// What the objective would count of it.
    value: f64,
}

/// The best values so far, by group.
#[derive(Default, Clone)]
struct Standing(BTreeMap<Group, f64>);

impl Standing {
    fn take_in(&mut self, group: Group, value: f64) {
        let own = self.0.entry(group).or_insert(value);
        *own = own.min(value);
    }

    /// The value of the last that is listed, once so many are.
    fn worst(&self, question: &SizeQuestion<'_>) -> Option<f64> {
        let mut values: Vec<f64> = self.0.values().copied().collect();
        values.sort_by(f64::total_cmp);
        values.get(question.top.saturating_sub(1)).copied()
    }

    /// Whether something of a group with this value could not be listed. Equals could: they may be better in what comes second.
    fn beats(&self, worst: Option<f64>, group: Group, value: f64) -> bool {
        self.0.get(&group).is_some_and(|own| value > *own) || worst.is_some_and(|worst| value > worst)
    }

    /// Those that come out [`FAR`] behind, and the others.
    fn apart<'a>(&self, question: &SizeQuestion<'_>, all: Vec<Near<'a>>) -> (Vec<Near<'a>>, Vec<Near<'a>>) {
        let worst = self.worst(question);
        all.into_iter().partition(|near| self.beats(worst, near.group, near.value / FAR))
    }
}

/// Sizes deployments.
pub(super) fn search<'a>(
    question: &SizeQuestion<'a>,
    mut sites: Vec<Site<'a>>,
    rejected_before: Vec<Rejected>,
) -> Results<'a> {
    let mut searched = Searched { deployments: question.candidates.len(), ..Searched::default() };
    sites.sort_by(|a, b| a.bound(question).total_cmp(&b.bound(question)).then(a.index.cmp(&b.index)));
    let mut gpus: BTreeMap<String, Group> = BTreeMap::new();
    let mut group = |site: &Site<'_>| {
        let next = gpus.len();
        if question.all_layouts { site.index } else { *gpus.entry(site.layout.gpu.clone()).or_insert(next) }
    };
    let mut standing = Standing::default();
    let (mut found, mut pruned, mut rejections) = (vec![], vec![], rejected_before);
    let mut settle = |near: Vec<Near<'a>>, standing: &mut Standing, rejections: &mut Vec<Rejected>| {
        let settled: Vec<_> = near
            .into_par_iter()
            .map(|Near { group, site, approach, .. }| {
                let fitted = site.settled(approach);
                (group, site, fitted)
            })
            .collect();
        for (group, site, fitted) in settled {
            match fitted {
                Ok(fitted) => {
                    let value = site.value(question, fitted.replicas, fitted.outcome.metrics.e2e.mean());
                    standing.take_in(group, value);
                    found.push(Found { site, fitted, value });
                }
                Err((kind, reason)) => rejections.push(rejected(&site.layout, kind, reason)),
            }
        }
    };
    let mut far = vec![];
    let mut waiting = sites.into_iter().peekable();
    while waiting.peek().is_some() {
        let worst = standing.worst(question);
        let mut wave = vec![];
        while wave.len() < WAVE {
            let Some(site) = waiting.next() else { break };
            let group = group(&site);
            if standing.beats(worst, group, site.bound(question)) {
                (question.done)(1);
                pruned.push(site);
            } else {
                wave.push((group, site));
            }
        }
        searched.simulated += wave.len();
        let approached: Vec<_> = wave
            .into_par_iter()
            .map(|(group, site)| {
                let approach = site.approach(question);
                (question.done)(1);
                (group, site, approach)
            })
            .collect();
        // as if all held what they seem to: what is then far behind waits for the end
        let mut supposed = standing.clone();
        let mut near = vec![];
        for (group, site, approach) in approached {
            match approach {
                Ok(approach) => {
                    let value = site.value(question, approach.replicas, site.alone.e2e_s);
                    supposed.take_in(group, value);
                    near.push(Near { group, site, approach, value });
                }
                Err((kind, reason)) => rejections.push(rejected(&site.layout, kind, reason)),
            }
        }
        let (behind, near) = supposed.apart(question, near);
        far.extend(behind);
        settle(near, &mut standing, &mut rejections);
    }
    let (behind, near) = standing.apart(question, far);
    searched.simulated -= behind.len();
    pruned.extend(behind.into_iter().map(|near| near.site));
    settle(near, &mut standing, &mut rejections);
    searched.pruned = pruned.len();
    found.sort_by(|a, b| a.order(b));
    let listed = listed_first(question, &mut found);
    Results { found, pruned, rejected: rejections, searched, listed }
}

/// Moves the fleets that are listed to the front, and says how many they are.
fn listed_first(question: &SizeQuestion<'_>, found: &mut Vec<Found<'_>>) -> usize {
    let mut seen = vec![];
    let mut others = vec![];
    let mut first = vec![];
    for one in found.drain(..) {
        let new = question.all_layouts || !seen.contains(&one.site.layout.gpu);
        if new && first.len() < question.top {
            seen.push(one.site.layout.gpu.clone());
            first.push(one);
        } else {
            others.push(one);
        }
    }
    let listed = first.len();
    first.append(&mut others);
    *found = first;
    listed
}

impl<'a> Results<'a> {
    /// Adds the fleets of two pools that need fewer replicas than those listed.
    pub(super) fn split(&mut self, question: &SizeQuestion<'a>) -> Result<(), SpecError> {
        let fewer: Result<Vec<Option<Found<'a>>>, SpecError> =
            self.listed().par_iter().map(|found| split(question, found)).collect();
        for found in fewer?.into_iter().flatten() {
            let place = self.listed().partition_point(|listed| listed.value <= found.value);
            self.found.insert(place, found);
            self.listed += 1;
        }
        Ok(())
    }

    /// The first that does both in every replica.
    pub(super) fn first_whole(&self) -> Option<&Found<'a>> {
        self.listed().iter().find(|found| found.fitted.decode_replicas == 0)
    }

    /// The fleets that are listed.
    pub(super) fn listed(&self) -> &[Found<'a>] {
        &self.found[..self.listed]
    }

    /// Those that hold and are not listed.
    pub(super) fn unlisted(&self) -> &[Found<'a>] {
        &self.found[self.listed..]
    }

    /// Warnings of what is listed, each once.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = vec![];
        for warning in self.listed().iter().flat_map(|f| &f.site.warnings) {
            if !all.contains(warning) {
                all.push(warning.clone());
            }
        }
        all
    }
}

impl Found<'_> {
    /// Accelerators in all.
    pub(super) fn gpus(&self) -> u32 {
        self.site.accelerators() * (self.fitted.replicas + self.fitted.decode_replicas)
    }

    /// By value, then by accelerators, then by E2E; equals in the order they were given in.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let e2e = |f: &Self| f.fitted.outcome.metrics.e2e.mean();
        self.value
            .total_cmp(&other.value)
            .then(self.gpus().cmp(&other.gpus()))
            .then(e2e(self).total_cmp(&e2e(other)))
            .then(self.site.index.cmp(&other.site.index))
    }

    /// The fleet in the words of the answer.
    pub(super) fn described(&self, question: &SizeQuestion<'_>) -> Result<SizeCandidate, SpecError> {
        let (site, outcome) = (&self.site, &self.fitted.outcome);
        let metrics = &outcome.metrics;
        let gpus = self.gpus();
        let decode = self.fitted.decode_replicas;
        let latency = Latencies::of(metrics, decode > 0);
        let rows =
            if metrics.worked.seconds > 0.0 { crate::answer::service::mean_rows(metrics) } else { 1.0 };
        let asked = site.question(question);
        let means = [latency.ttft_s.mean, latency.tpot_s.mean, latency.e2e_s.mean];
        let mean = Latency::simulated(metrics);
        let intervals = if decode > 0 {
            let pool = pool(asked, decode, LocalPrefill::default());
            let fleet = pools(question, self, [self.fitted.replicas, decode])?.0;
            fleet.intervals(&asked, Some(&pool), &mean, rows, outcome, means).0
        } else {
            site.fleet(question)?.intervals(&asked, None, &mean, rows, outcome, means).0
        };
        let throughput = rates(outcome, gpus);
        let paid = paid(outcome, self.fitted.replicas + decode);
        let price = site.rates.price.clone();
        let cost = price.as_ref().map(|p| Cost::of(p, question.options.cost.duty(), gpus, paid));
        let layout = &site.layout;
        let p = site.deployment.parallelism;
        Ok(SizeCandidate {
            model: layout.model.clone(),
            gpu: layout.gpu.clone(),
            num_gpus: gpus,
            replicas: self.fitted.replicas,
            decode_replicas: decode,
            tensor_parallel_size: p.tp,
            pipeline_parallel_size: p.pp,
            data_parallel_size: p.dp,
            expert_parallel_size: p.ep,
            quantization: site.deployment.quantization.map_or("auto", |d| d.name()).into(),
            weight_dtype: layout.weight_dtype.clone(),
            kv_cache_dtype: layout.kv_cache_dtype.clone(),
            engine: layout.engine.clone(),
            max_model_len: site.deployment.max_model_len.unwrap_or_default(),
            request_rate_per_s: site.requests_per_s,
            price,
            usd_per_hour: cost.as_ref().map(|c| c.usd_per_hour),
            usd_per_million_input_tokens: cost.as_ref().map(|c| c.usd_per_million_input_tokens),
            usd_per_million_output_tokens: cost.as_ref().map(|c| c.usd_per_million_output_tokens),
            power_w: site.rates.watts.map(|w| w * f64::from(gpus)),
            latency,
            intervals,
            throughput,
            share_within_limits: metrics.good as f64 / outcome.sent.max(1) as f64,
            utilization: usage(
                metrics,
                outcome.peak_occupancy,
                if decode > 0 { decode } else { self.fitted.replicas },
                true,
            ),
            one_fewer: self.fitted.one_fewer.clone(),
            simulate_args: site.simulate_args(question, [self.fitted.replicas, decode]),
        })
    }
}
