//! The requests may be others than thought.

use super::likelihood::Prior::{Common, Occasional};
use super::scenario::{Scenario, Suspect};
use super::{Estimate, Question, in_flight};
use crate::spec::{EngineKind, Load, Workload};

/// Factors on lengths and on the number of requests between which they may lie. Judged.
const FACTORS: [f64; 8] = [1.0 / 16.0, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0, 64.0];

/// Shares of a prompt that may be in the prefix cache.
const CACHED: [f64; 5] = [0.25, 0.5, 0.75, 0.95, 0.999];

/// Most requests in flight that are thought of.
const MOST: f64 = 8192.0;

pub(super) fn suspects(question: &Question<'_>, answer: &Estimate) -> Vec<Suspect> {
    let mut all = vec![requests(question)];
    all.extend(interference(question.workload));
    let positions = question.model.max_position_embeddings.unwrap_or(u64::MAX) as f64;
    all.push(prompts(question.workload, positions));
    all.push(outputs(question.workload));
    all.push(prefix(question.workload, answer));
    all
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive, far below 2⁵³
fn whole(n: f64) -> u64 {
    n.round().max(1.0) as u64
}

/// Multiples of a length, each whole number once.
fn multiples(n: u64, least: f64, most: f64) -> Vec<f64> {
    let mut all: Vec<f64> =
        FACTORS.iter().map(|f| (f * n as f64).round()).filter(|m| (least..=most).contains(m)).collect();
    all.dedup();
    all
}

/// More or fewer of them.
fn requests(question: &Question<'_>) -> Suspect {
    let tell = match question.deployment.engine.kind {
        EngineKind::Vllm => {
            "the log's `Running: … reqs`, or vllm:num_requests_running at /metrics, while the number is taken; other clients \
             of the server"
        }
        EngineKind::Sglang => {
            "the log's `#running-req` while the number is taken; other clients of the server"
        }
        _ => "the server's log or /metrics: requests that run while the number is taken; its other clients",
    };
    let load = question.workload.load;
    let change = |to: fn(Load, f64) -> Load| {
        move |s: &mut Scenario<'_>, n: f64| {
            let w = s.workload.to_mut();
            w.load = to(w.load, n);
        }
    };
    match load {
        Load::StaticBatch(n) => Suspect::range(
            Common,
            tell,
            multiples(n.into(), 1.0, MOST),
            |n| format!("the batch holds {n:.0} requests"),
            change(|_, n| Load::StaticBatch(whole(n) as u32)),
        ),
        Load::Concurrency(n) => Suspect::range(
            Common,
            tell,
            multiples(n.into(), 1.0, MOST),
            |n| format!("{n:.0} requests are in flight"),
            change(|_, n| Load::Concurrency(whole(n) as u32)),
        ),
        Load::Rate { per_s, .. } => Suspect::range(
            Common,
            tell,
            FACTORS[1..6].iter().map(|f| f * per_s).collect::<Vec<_>>(),
            |rate| format!("{rate:.3} requests arrive per second"),
            change(|load, per_s| match load {
                Load::Rate { burstiness, .. } => Load::Rate { per_s, burstiness },
                other => other,
            }),
        ),
    }
}

/// Prompts of new requests in the steps of those that decode.
fn interference(workload: &Workload) -> Option<Suspect> {
    let n = in_flight(workload.load).filter(|_| matches!(workload.load, Load::StaticBatch(_)))?;
    let words = "new prompts are mixed into the decode steps (requests follow one another, not as one batch)";
    let tell = "foretoken estimate … --concurrency N --length-ratio-min 0.8; ITL p99 far above its median";
    Some(Suspect::one(Common, tell, words, move |s| {
        let w = s.workload.to_mut();
        (w.load, w.length_ratio_min) = (Load::Concurrency(n), w.length_ratio_min.min(0.8));
    }))
}

fn prompts(workload: &Workload, positions: f64) -> Suspect {
    let now = workload.input_len;
    let nodes = multiples(now, workload.prefix_len as f64 + 1.0, positions);
    let tell = "usage.prompt_tokens of a response: chat template, system prompt, tools and history count";
    let words = move |n| format!("prompts have {n:.0} tokens instead of {now}");
    Suspect::range(Common, tell, nodes, words, |s, n| s.workload.to_mut().input_len = whole(n))
}

fn outputs(workload: &Workload) -> Suspect {
    let now = workload.output_len;
    let nodes = multiples(now, 2.0, 1e6);
    let tell =
        "usage.completion_tokens of a response: early stops, thinking tokens, ignore_eos in the benchmark";
    let words = move |n| format!("{n:.0} tokens are generated instead of {now}");
    Suspect::range(Common, tell, nodes, words, |s, n| s.workload.to_mut().output_len = whole(n))
}

fn prefix(workload: &Workload, answer: &Estimate) -> Suspect {
    let tell = "the log's `Prefix cache hit rate`, or usage.prompt_tokens_details.cached_tokens; repeated prompts in the benchmark";
    if workload.prefix_len > 0 {
        let words = format!("the prefix of {} tokens is not in the cache", workload.prefix_len);
        return Suspect::one(Occasional, tell, words, |s| s.workload.to_mut().prefix_len = 0);
    }
    let input = answer.inputs.input_len;
    let cached = move |share: f64| whole(share * input as f64).min(input.saturating_sub(1));
    let words = move |share| format!("{} tokens of the prompt come from the prefix cache", cached(share));
    Suspect::range(Common, tell, CACHED, words, move |s, share| {
        s.workload.to_mut().prefix_len = cached(share)
    })
}
