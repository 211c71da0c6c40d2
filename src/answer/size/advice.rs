//! How to run the first candidate: flags with the reason for each, the line that starts it, and what the usual mistakes would cost.

mod mistakes;

use rayon::prelude::*;
use serde::Serialize;

use super::SizeQuestion;
use super::search::Found;
use super::site::Site;
use crate::memory::occupancy;
use crate::serving::Outcome;
use crate::spec::launch_line;
use crate::spec::{Deployment, EngineDefaults, EngineKind, Load, Parallelism, SpecError, Workload};
use crate::units::{bytes_gib, count, duration, percent, percentile};
pub use mistakes::Mistake;

/// A flag of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineFlag {
    /// Its name, as vLLM has it.
    pub flag: String,
    /// Its value.
    pub value: String,
    /// Why this value.
    pub reason: String,
}

/// How to run a fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Flags with reasons.
    pub engine_flags: Vec<EngineFlag>,
    /// The line that starts one replica; none of engines without a server.
    pub command: Option<Vec<String>>,
    /// What has to be done beside it.
    pub notes: Vec<String>,
    /// What other settings would do, the worst first.
    pub mistakes: Vec<Mistake>,
}

/// Token budgets that are compared: powers of two around the engines' defaults.
const BUDGETS: [u32; 4] = [1024, 2048, 8192, 16384];
/// How much nearer to its limits a fleet has to come before a setting other than the engine's own is advised.
const WORTH: f64 = 0.10;

/// Advice for a fleet.
pub(super) fn advice(question: &SizeQuestion<'_>, found: &Found<'_>) -> Result<Advice, SpecError> {
    let site = &found.site;
    let defaults =
        EngineDefaults::resolve(site.candidate.model, site.candidate.accelerator, &site.deployment);
    let mut flags = layout_flags(question, found)?;
    let mut deployment = site.deployment.clone();
    if let Some(flag) = length_flag(site) {
        flags.push(flag);
    }
    if let Some((seats, flag)) = seats_flag(question, found, &defaults)? {
        deployment.max_num_seqs = Some(seats);
        flags.push(flag);
    }
    if let Some((tokens, flag)) = budget_flag(question, found, &defaults)? {
        deployment.max_num_batched_tokens = Some(tokens);
        flags.push(flag);
    }
    let prefix = question.workload.prefix_len;
    if prefix > 0 && site.deployment.engine.kind == EngineKind::Vllm {
        flags.push(EngineFlag {
            flag: "--enable-prefix-caching".into(),
            value: String::new(),
            reason: format!("{} tokens of every prompt are the same", count(prefix as f64)),
        });
    }
    let model = site.candidate.model;
    let name = model.hf_id.as_deref().unwrap_or(&model.id);
    let mut notes = vec![];
    if let Some(format) = site.deployment.quantization.filter(|f| f.bytes() < 0.75) {
        notes.push(format!(
            "MODEL has to be a checkpoint of {name} in {}; the engine makes none itself",
            format.name()
        ));
    }
    if found.fitted.replicas > 1 {
        notes.push(format!("start {} of them behind a router", found.fitted.replicas));
    }
    Ok(Advice {
        engine_flags: flags,
        command: launch_line::write(name, &deployment),
        notes,
        mistakes: mistakes::mistakes(question, found, &defaults),
    })
}

/// The fleet with another deployment, under the same load; none where it would not start.
fn altered(
    question: &SizeQuestion<'_>,
    site: &Site<'_>,
    deployment: Deployment,
    replicas: u32,
) -> Option<Outcome> {
    let memory = occupancy(site.candidate.model, site.candidate.accelerator, &deployment).ok()?;
    let other = site.with(deployment);
    let mut fleet = memory.fits.then(|| other.fleet(question).ok()).flatten()?;
    other.glance(&mut fleet, replicas).ok()
}

/// How near a fleet comes to its limits: the largest of its percentiles over their limits.
fn nearness(site: &Site<'_>, outcome: &Outcome) -> f64 {
    let (slo, share) = (site.demand.slo, site.demand.share);
    let m = &outcome.metrics;
    [(&m.ttft, slo.ttft_s), (&m.tpot, slo.tpot_s), (&m.e2e, slo.e2e_s)]
        .into_iter()
        .filter_map(|(times, limit)| Some(times.quantile(share) / limit?))
        .fold(0.0, f64::max)
}

fn layout_flags(question: &SizeQuestion<'_>, found: &Found<'_>) -> Result<Vec<EngineFlag>, SpecError> {
    let site = &found.site;
    let p = site.deployment.parallelism;
    let mut flags = vec![];
    let mut add = |flag: &str, value: String, reason: String| {
        flags.push(EngineFlag { flag: flag.into(), value, reason });
    };
    let memory = occupancy(site.candidate.model, site.candidate.accelerator, &site.deployment)
        .map_err(|e| SpecError::Usage(e.to_string()))?;
    if p.tp > 1 {
        add("--tensor-parallel-size", p.tp.to_string(), why_split(question, found));
    }
    if p.pp > 1 {
        add(
            "--pipeline-parallel-size",
            p.pp.to_string(),
            format!(
                "{} of weights on each accelerator, without all-reduces between the stages",
                bytes_gib(memory.weights_bytes_per_gpu.0)
            ),
        );
    }
    if p.dp > 1 {
        add(
            "--data-parallel-size",
            p.dp.to_string(),
            "every rank has its own requests and KV cache; only the experts are shared".into(),
        );
    }
    if p.ep > 1 {
        add(
            "--enable-expert-parallel",
            String::new(),
            format!("whole experts on each of {} accelerators instead of a slice of all", p.ep),
        );
    }
    if let Some(format) = site.deployment.quantization {
        let plain = Deployment { quantization: None, ..site.deployment.clone() };
        let without = match altered(question, site, plain, found.fitted.replicas) {
            None => "the checkpoint's own format does not fit".to_owned(),
            Some(outcome) => match site.failure(&outcome) {
                Some(reason) => format!("in the checkpoint's own format {reason}"),
                None => "the checkpoint's own format holds too, with less to spare".to_owned(),
            },
        };
        let weights = bytes_gib(memory.weights_bytes_per_gpu.0);
        add(
            "--quantization",
            format.name().into(),
            format!("{weights} of weights on each accelerator; {without}"),
        );
    }
    if let Some(format) = site.deployment.kv_cache_data_type {
        add(
            "--kv-cache-dtype",
            format.name().into(),
            format!("{} tokens of KV cache a replica", count(memory.kv_cache_tokens as f64)),
        );
    }
    Ok(flags)
}

/// Why the weights are divided: half as much does not fit, does not hold, or holds no better.
fn why_split(question: &SizeQuestion<'_>, found: &Found<'_>) -> String {
    let site = &found.site;
    let p = site.deployment.parallelism;
    let tp = p.tp / 2;
    let halved = Deployment {
        parallelism: Parallelism { tp, ep: p.ep.min(tp * p.dp), ..p },
        ..site.deployment.clone()
    };
    match altered(question, site, halved, 2 * found.fitted.replicas) {
        None => format!("the model does not fit on {tp} of these"),
        Some(outcome) => match site.failure(&outcome) {
            Some(reason) => format!("on {tp} with twice the replicas {reason}"),
            None => format!(
                "on {tp} with twice the replicas the limits hold too; this one is faster for each request"
            ),
        },
    }
}

fn length_flag(site: &Site<'_>) -> Option<EngineFlag> {
    let length =
        site.deployment.max_model_len.filter(|_| site.candidate.deployment.max_model_len.is_none())?;
    let open = Deployment { max_model_len: None, ..site.deployment.clone() };
    let memory = occupancy(site.candidate.model, site.candidate.accelerator, &open).ok()?;
    let positions = count(memory.settings.max_model_len as f64);
    let reason = if memory.fits {
        format!(
            "the longest request of this load; the engine would take {positions}, which one request could fill"
        )
    } else {
        format!(
            "the longest request of this load; a KV cache for the model's {positions} tokens does not fit, and the engine would not start"
        )
    };
    Some(EngineFlag { flag: "--max-model-len".into(), value: length.to_string(), reason })
}

/// The most rows with which a decode step keeps the limit of TPOT, where the engine would take more.
fn seats_flag(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
    defaults: &EngineDefaults,
) -> Result<Option<(u32, EngineFlag)>, SpecError> {
    let site = &found.site;
    let (Some(limit), None) = (site.demand.slo.tpot_s, site.deployment.max_num_seqs) else { return Ok(None) };
    let fleet = site.fleet(question)?;
    let mean = question.workload.at_mean();
    let ranks = site.deployment.parallelism.dp.max(1);
    let step = |rows: u32| {
        let workload = Workload { load: Load::StaticBatch(rows.saturating_mul(ranks)), ..mean };
        fleet.estimator().latency(&workload, &mut vec![]).itl_s
    };
    let most = defaults.max_num_seqs;
    if step(most) <= limit {
        return Ok(None);
    }
    // step times grow with rows
    let (mut low, mut high) = (1, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if step(middle) <= limit { low = middle } else { high = middle }
    }
    let seats = if low >= 16 { low / 8 * 8 } else { low };
    let other = Deployment { max_num_seqs: Some(seats), ..site.deployment.clone() };
    let holds =
        altered(question, site, other, found.fitted.replicas).is_some_and(|o| site.failure(&o).is_none());
    Ok(holds.then(|| {
        let reason = format!(
            "a decode step of more rows takes longer than {}: an overload then waits instead of slowing everyone",
            duration(limit)
        );
        (seats, EngineFlag { flag: "--max-num-seqs".into(), value: seats.to_string(), reason })
    }))
}

/// Another token budget, where it comes clearly nearer to the limits.
fn budget_flag(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
    defaults: &EngineDefaults,
) -> Result<Option<(u32, EngineFlag)>, SpecError> {
    let site = &found.site;
    if site.deployment.max_num_batched_tokens.is_some() || site.deployment.engine.kind == EngineKind::Llamacpp
    {
        return Ok(None);
    }
    let now = nearness(site, &found.fitted.outcome);
    let others: Vec<(u32, f64)> = BUDGETS
        .par_iter()
        .filter(|tokens| **tokens != defaults.max_num_batched_tokens)
        .filter_map(|tokens| {
            let other = Deployment { max_num_batched_tokens: Some(*tokens), ..site.deployment.clone() };
            let outcome = altered(question, site, other, found.fitted.replicas)?;
            site.failure(&outcome).is_none().then(|| (*tokens, nearness(site, &outcome)))
        })
        .collect();
    let best = others.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(best.filter(|(_, near)| *near < now * (1.0 - WORTH)).map(|(tokens, near)| {
        let reason = format!(
            "steps of {} tokens come to {} of the limits at {}, the engine's own {} to {}",
            count(f64::from(tokens)),
            percent(near),
            percentile(site.demand.share),
            count(f64::from(defaults.max_num_batched_tokens)),
            percent(now)
        );
        (tokens, EngineFlag { flag: "--max-num-batched-tokens".into(), value: tokens.to_string(), reason })
    }))
}
