//! What the usual mistakes would do to a fleet.

use rayon::prelude::*;
use serde::Serialize;

use super::{WORTH, altered, nearness};
use crate::answer::size::SizeQuestion;
use crate::answer::size::search::Found;
use crate::answer::size::site::Site;
use crate::memory::occupancy;
use crate::serving::Outcome;
use crate::spec::{DataType, Deployment, EngineDefaults, EngineKind, Parallelism};
use crate::units::{duration, percent, percentile};

/// A setting that people choose, and what it does to this fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    /// What is set otherwise.
    pub change: String,
    /// Share of the requests that keep all limits then; none where the engine would not start.
    pub share_within_limits: Option<f64>,
    /// What it comes to, in words.
    pub effect: String,
}

/// What people often set, and what it would do here. Those that change nothing worth a word are left out.
pub(super) fn mistakes(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
    defaults: &EngineDefaults,
) -> Vec<Mistake> {
    let site = &found.site;
    let now = site.deployment.clone();
    let p = now.parallelism;
    let replicas = found.fitted.replicas;
    let mut changes: Vec<(String, Deployment, u32)> = vec![];
    let mut change =
        |text: String, deployment: Deployment, replicas: u32| changes.push((text, deployment, replicas));
    change("--enforce-eager".into(), Deployment { enforce_eager: true, ..now.clone() }, replicas);
    if defaults.gpu_memory_utilization > 0.7 {
        let half = Deployment { gpu_memory_utilization: Some(0.5), ..now.clone() };
        change("--gpu-memory-utilization 0.5".into(), half, replicas);
    }
    if defaults.max_num_seqs > 16 {
        change("--max-num-seqs 16".into(), Deployment { max_num_seqs: Some(16), ..now.clone() }, replicas);
    }
    for tokens in [512, 16384] {
        if tokens != defaults.max_num_batched_tokens && now.engine.kind != EngineKind::Llamacpp {
            let other = Deployment { max_num_batched_tokens: Some(tokens), ..now.clone() };
            change(format!("--max-num-batched-tokens {tokens}"), other, replicas);
        }
    }
    if site.candidate.deployment.max_model_len.is_none() {
        change("without --max-model-len".into(), Deployment { max_model_len: None, ..now.clone() }, replicas);
    }
    if now.kv_cache_data_type.is_none() {
        change(
            "--kv-cache-dtype fp8".into(),
            Deployment { kv_cache_data_type: Some(DataType::Fp8), ..now.clone() },
            replicas,
        );
    }
    let all = found.gpus();
    if replicas > 1 && all <= 8 && all.is_power_of_two() && p.dp == 1 && p.pp == 1 {
        let one = Parallelism { tp: all, ep: if p.ep > 1 { all } else { 1 }, ..p };
        change(
            format!("one replica with --tensor-parallel-size {all}"),
            Deployment { parallelism: one, ..now.clone() },
            1,
        );
    }
    let mut all: Vec<(f64, Mistake)> = changes
        .into_par_iter()
        .filter_map(|(change, deployment, replicas)| {
            let refused = refusal(site, &deployment);
            let outcome = altered(question, site, deployment, replicas);
            effect(site, &found.fitted.outcome, outcome.as_ref(), refused)
                .map(|(near, share, effect)| (near, Mistake { change, share_within_limits: share, effect }))
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.change.cmp(&b.1.change)));
    all.into_iter().map(|(_, mistake)| mistake).collect()
}

/// Why a deployment would not start, if it would not.
fn refusal(site: &Site<'_>, deployment: &Deployment) -> Option<String> {
    match occupancy(site.candidate.model, site.candidate.accelerator, deployment) {
        Err(error) => Some(error.to_string()),
        Ok(memory) if !memory.fits => memory.reason.or_else(|| Some("it does not fit".into())),
        Ok(_) => None,
    }
}

/// How near to the limits a change brings the fleet, the share that keeps them, and what that is in words; none where it makes no
/// difference worth a word.
fn effect(
    site: &Site<'_>,
    now: &Outcome,
    then: Option<&Outcome>,
    refused: Option<String>,
) -> Option<(f64, Option<f64>, String)> {
    let Some(then) = then else {
        return Some((f64::INFINITY, None, format!("does not start: {}", refused.unwrap_or_default())));
    };
    let (share, p) = (site.demand.share, percentile(site.demand.share));
    let of = |o: &Outcome| o.metrics.good as f64 / o.sent.max(1) as f64;
    let mut words = vec![];
    let (a, b) = (&now.metrics, &then.metrics);
    for (name, before, after) in [("TTFT", &a.ttft, &b.ttft), ("TPOT", &a.tpot, &b.tpot)] {
        let [before, after] = [before, after].map(|times| times.quantile(share));
        if (after / before - 1.0).abs() > WORTH {
            words.push(format!("{name} {p} {} → {}", duration(before), duration(after)));
        }
    }
    if words.is_empty() {
        return None;
    }
    words.push(format!("{} → {} within the limits", percent(of(now)), percent(of(then))));
    Some((nearness(site, then), Some(of(then)), words.join(", ")))
}
