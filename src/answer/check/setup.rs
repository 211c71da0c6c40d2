//! The engine may be set up otherwise than thought.

use super::likelihood::Prior::{Common, Occasional, Rare};
use super::scenario::{Scenario, Suspect};
use super::{Estimate, Question, in_flight};
use crate::answer::{Draft, SpeculationOptions, engine_file};
use crate::spec::catalog::Directories;
use crate::spec::deployment::{Release, Version};
use crate::spec::{Deployment, Engine, EngineKind, Load, Workload};
use crate::time::calibration::Calibration;
use crate::time::points::PointScale;

/// Factors on the host's time that a slow, busy or badly pinned processor may have. Judged.
const HOST_FACTORS: [f64; 4] = [1.2, 1.7, 2.5, 4.0];

/// Shares of the memory for which the KV pool is asked, beside the one thought. Judged.
const MEMORY_SHARES: [f64; 5] = [0.8, 0.65, 0.5, 0.35, 0.2];

/// Tokens in a step that people set.
const BUDGETS: [u32; 4] = [512, 2048, 8192, 16_384];

/// Drafted tokens and the probability that one is accepted: from a poor to a good draft.
const DRAFTS: [(u32, f64); 4] = [(1, 0.7), (3, 0.6), (3, 0.8), (5, 0.8)];

pub(super) fn suspects(question: &Question<'_>, answer: &Estimate) -> Vec<Suspect> {
    let mut all = vec![graphs(question.deployment)];
    all.extend(versions(question));
    all.extend(budgets(answer));
    all.extend(seats(question, answer));
    all.extend(pool(question, answer));
    all.extend(host(question));
    all.extend(drafts(question));
    all
}

fn set(change: impl Fn(&mut Deployment) + Send + Sync + 'static) -> impl Fn(&mut Scenario<'_>) + Send + Sync {
    move |scenario| change(scenario.deployment.to_mut())
}

fn graphs(deployment: &Deployment) -> Suspect {
    let tell = match deployment.engine.kind {
        EngineKind::Vllm => {
            "grep -E 'enforce_eager=True|Cudagraph is disabled|Graph capturing finished' in the server's log: \
             without graphs the last line is missing; foretoken estimate … --enforce-eager"
        }
        EngineKind::Sglang => {
            "grep 'Capture cuda graph end' in the server's log; --disable-cuda-graph, --cuda-graph-max-bs below the batch"
        }
        EngineKind::Trtllm => {
            "look for cuda_graph_config in the --extra_llm_api_options file; foretoken estimate … --enforce-eager"
        }
        _ => "compare with foretoken estimate … --enforce-eager",
    };
    if deployment.enforce_eager {
        return Suspect::one(
            Occasional,
            tell,
            "CUDA graphs are captured after all",
            set(|d| d.enforce_eager = false),
        );
    }
    let words = "decode runs without CUDA graphs (eager mode, or a batch above the captured sizes)";
    Suspect::one(Occasional, tell, words, set(|d| d.enforce_eager = true))
}

/// One version of each range of terms that the question's is not in.
fn versions(question: &Question<'_>) -> Option<Suspect> {
    let engine = question.deployment.engine;
    let directories = Directories { engines: question.options.engines.clone(), ..Directories::default() };
    let file = engine_file(engine.kind, &directories).ok()?;
    let here = file.ranges_on(&question.accelerator.architecture);
    let others = here.filter(|r| !r.versions.contains(engine.release()));
    let others: Vec<Engine> = others
        .filter_map(|range| {
            let newest = Engine::newest(engine.kind);
            let version = match (range.versions.to, range.versions.from) {
                (None, _) => newest.version,
                // the last version before the range ends
                (Some(Release(major, minor, _)), _) if minor > 0 => Version(major, minor - 1),
                (Some(_), Some(Release(major, minor, _))) => Version(major, minor),
                _ => return None,
            };
            Some(Engine { version, patch: 0, ..engine })
        })
        .collect();
    let tell = match engine.kind {
        EngineKind::Vllm => "curl -s http://SERVER:8000/version, or the first line of the server's log",
        EngineKind::Sglang => "curl -s http://SERVER:30000/get_server_info | jq .version",
        _ => "the server's first log lines, or pip show",
    };
    let names: Vec<String> = others.iter().map(|e| format!("another version runs: {e}")).collect();
    let words = move |i: usize| names.get(i).cloned().unwrap_or_default();
    (!others.is_empty()).then(|| {
        Suspect::each(Occasional, tell, others.len(), words, move |s, i| {
            s.deployment.to_mut().engine = others.get(i).copied().unwrap_or(engine);
        })
    })
}

fn budgets(answer: &Estimate) -> Option<Suspect> {
    let now = answer.memory.settings.max_num_batched_tokens;
    let others: Vec<u32> = BUDGETS.into_iter().filter(|b| *b != now).collect();
    let of = move |i: usize| others.get(i).copied().unwrap_or(now);
    let also = of.clone();
    let tell = "grep -E 'max_num_batched_tokens|chunked_prefill' in the server's log; foretoken estimate … \
                --max-num-batched-tokens N";
    let words = move |i| format!("a step holds {} tokens instead of {now} (--max-num-batched-tokens)", of(i));
    let n = BUDGETS.iter().filter(|b| **b != now).count();
    (answer.inputs.input_len > u64::from(BUDGETS[0])).then(|| {
        Suspect::each(Occasional, tell, n, words, move |s, i| {
            let d = s.deployment.to_mut();
            d.max_num_batched_tokens = Some(also(i));
            d.max_num_seqs = d.max_num_seqs.map(|seqs| seqs.min(also(i)));
        })
    })
}

/// Fewer seats than requests in flight: the rest queues.
fn seats(question: &Question<'_>, answer: &Estimate) -> Option<Suspect> {
    let n = in_flight(question.workload.load).filter(|n| *n >= 4)?;
    let ranks = f64::from(question.deployment.parallelism.dp);
    let most = f64::from(n) / ranks;
    let nodes: Vec<f64> = [0.75, 0.5, 0.25, 0.125]
        .map(|share| (share * most).round())
        .into_iter()
        .filter(|n| *n >= 1.0)
        .collect();
    let words = |n| format!("only {n:.0} sequences run at once (--max-num-seqs), the others queue");
    let tell = match answer.inputs.layout.engine.split('@').next() {
        Some("vllm") => {
            "the log's `Running: … reqs, Waiting: … reqs`, or vllm:num_requests_waiting at /metrics, is above 0"
        }
        _ => "the server's log or /metrics: waiting requests above 0",
    };
    Some(Suspect::range(Occasional, tell, nodes, words, |s, n| {
        s.deployment.to_mut().max_num_seqs = Some(n.round().max(1.0) as u32);
        queueing(s.workload.to_mut());
    }))
}

/// A static batch has no queue; the same requests in flight have.
pub(super) fn queueing(workload: &mut Workload) {
    if let Load::StaticBatch(n) = workload.load {
        workload.load = Load::Concurrency(n);
    }
}

/// A smaller KV pool: requests wait for room, or lose their cache.
fn pool(question: &Question<'_>, answer: &Estimate) -> Option<Suspect> {
    if in_flight(question.workload.load) == Some(1) {
        return None;
    }
    let now = answer.memory.settings.gpu_memory_utilization;
    let nodes: Vec<f64> = MEMORY_SHARES.into_iter().filter(|share| *share < now - 0.05).collect();
    let words = move |share| {
        format!("the KV pool is exhausted: the engine has {share:.2} of the memory instead of {now}")
    };
    let tell = "the log's `GPU KV cache usage` near 100 %, `Preempted` lines, vllm:num_preemptions_total at /metrics; \
                foretoken memory … shows what `GPU KV cache size` should be";
    Some(Suspect::range(Occasional, tell, nodes, words, |s, share| {
        s.deployment.to_mut().gpu_memory_utilization = Some(share);
        queueing(s.workload.to_mut());
    }))
}

/// The host takes longer for its part: factors as a person's own points have them.
fn host(question: &Question<'_>) -> Option<Suspect> {
    let engine = question.deployment.engine.kind;
    let known = question.kernels?.calibration.points_of(engine).map_or([1.0; 4], PointScale::factors);
    let words = |factor| {
        format!("the host needs {factor:.1} times as long for a step and a request (slow or busy CPU)")
    };
    let tell = "top -H during decode: the engine's thread at 100 %; nvidia-smi dmon -s u: GPU well below 100 %; \
                lscpu | grep MHz; cgroup CPU limits of the container";
    Some(Suspect::range(Occasional, tell, HOST_FACTORS, words, move |s, factor| {
        if let Some(kernels) = &mut s.kernels {
            let [prefill, decode, request, step] = known;
            let factors = [prefill, decode, factor * request, factor * step];
            slow_host(&mut kernels.to_mut().calibration, engine, factors);
        }
    }))
}

fn slow_host(calibration: &mut Calibration, engine: EngineKind, factors: [f64; 4]) {
    let scale = PointScale { source: "what-if".into(), ..PointScale::unscaled(engine) };
    calibration.points.retain(|p| !p.is_of(engine));
    calibration.points.push(scale.with(factors));
}

fn drafts(question: &Question<'_>) -> Option<Suspect> {
    let tell =
        "grep -i speculative in the server's log; vllm:spec_decode_num_accepted_tokens_total at /metrics";
    if question.options.speculation.is_some() {
        return Some(Suspect::one(Common, tell, "no drafts are made (speculative decoding is off)", |s| {
            s.options.to_mut().speculation = None;
        }));
    }
    let engine = question.deployment.engine.kind;
    if engine == EngineKind::Ideal || engine.is_library() {
        return None;
    }
    let own = question.model.mtp.is_some();
    let of = |i: usize| DRAFTS.get(i).copied().unwrap_or((1, 0.7));
    let words = move |i| {
        let (tokens, acceptance) = of(i);
        format!("speculative decoding is on: {tokens} drafted, {:.0} % accepted each", 100.0 * acceptance)
    };
    let prior = if own { Occasional } else { Rare };
    Some(Suspect::each(prior, tell, DRAFTS.len(), words, move |s, i| {
        let (tokens, acceptance) = of(i);
        let draft = if own { Draft::Mtp } else { Draft::Ngram };
        queueing(s.workload.to_mut());
        s.options.to_mut().speculation =
            Some(SpeculationOptions { tokens, acceptance, most_rows: None, draft });
    }))
}
