//! What would make room: the same calculation with one setting changed.

use serde::Serialize;

use super::{MemoryReport, occupancy};
use crate::spec::{Accelerator, DataType, Deployment, EngineKind, ModelSpec};
use crate::units::Bytes;

/// One change and its effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lever {
    /// What is changed, in words.
    pub name: &'static str,
    /// The flag to pass.
    pub flag: String,
    /// Memory gained for the KV cache on one accelerator; for a smaller cache format or a shorter
    /// context, what the same requests no longer need.
    pub gain_bytes_per_gpu: Bytes,
    /// Tokens in the pool afterwards.
    pub kv_cache_tokens_after: u64,
    /// It fits afterwards.
    pub fits_after: bool,
    /// What it costs.
    pub note: &'static str,
}

/// A change that can be tried.
struct Change {
    name: &'static str,
    flag: String,
    note: &'static str,
    deployment: Deployment,
}

/// The levers that gain something, the ones that make the deployment fit first, then by gain.
pub(super) fn levers(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    now: &MemoryReport,
) -> Vec<Lever> {
    let mut all: Vec<Lever> = changes(model, accelerator, deployment, now)
        .into_iter()
        .filter_map(|change| {
            let then = occupancy(model, accelerator, &change.deployment).ok()?;
            let gain = gain(now, &then);
            (gain > 1e6).then_some(Lever {
                name: change.name,
                flag: change.flag,
                gain_bytes_per_gpu: Bytes(gain),
                kv_cache_tokens_after: then.kv_cache_tokens,
                fits_after: then.fits,
                note: change.note,
            })
        })
        .collect();
    all.sort_by(|a, b| {
        b.fits_after
            .cmp(&a.fits_after)
            .then(b.gain_bytes_per_gpu.0.total_cmp(&a.gain_bytes_per_gpu.0))
            .then(a.name.cmp(b.name))
    });
    all
}

/// Room gained: a larger pool, or the part of the present pool (or of the missing bytes) that a smaller
/// cache no longer needs.
fn gain(now: &MemoryReport, then: &MemoryReport) -> f64 {
    let room = |r: &MemoryReport| {
        r.usable_bytes_per_gpu.0
            - r.weights_bytes_per_gpu.0
            - r.activation_bytes_per_gpu.0
            - r.runtime_bytes_per_gpu.0
    };
    let pool = if now.kv_cache_bytes_per_gpu.0 > 0.0 && then.kv_cache_bytes_per_gpu.0 > 0.0 {
        then.kv_cache_bytes_per_gpu.0 - now.kv_cache_bytes_per_gpu.0
    } else {
        room(then) - room(now)
    };
    let smaller = (1.0 - then.kv_cache_bytes_per_token / now.kv_cache_bytes_per_token.max(1.0)).max(0.0)
        * now.kv_cache_bytes_per_gpu.0;
    let shorter = now.shortfall_bytes_per_gpu.0 - then.shortfall_bytes_per_gpu.0;
    pool.max(pool + smaller).max(if then.settings.max_model_len < now.settings.max_model_len {
        shorter
    } else {
        0.0
    })
}

fn changes(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    now: &MemoryReport,
) -> Vec<Change> {
    let mut all = vec![];
    let mut add = |name, flag: String, note, change: &dyn Fn(&mut Deployment)| {
        let mut deployment = deployment.clone();
        change(&mut deployment);
        all.push(Change { name, flag, note, deployment });
    };
    let settings = &now.settings;
    let vllm = deployment.engine.kind == EngineKind::Vllm;
    let cached = deployment.kv_cache_data_type.or(model.checkpoint.kv_cache);
    if cached.is_none_or(|d| d.bytes() > 1.0) {
        add(
            "8-bit KV cache",
            "--kv-cache-dtype fp8".into(),
            "small loss of accuracy; attention may need another backend",
            &|d| d.kv_cache_data_type = Some(DataType::Fp8),
        );
    }
    if now.max_context_tokens >= 1024 && now.max_context_tokens < settings.max_model_len {
        let length = now.max_context_tokens / 1024 * 1024;
        add("shorter context", format!("--max-model-len {length}"), "longer requests are refused", &|d| {
            d.max_model_len = Some(length)
        });
    }
    if vllm && settings.max_num_seqs > 64 {
        let seqs = if settings.max_num_seqs > 256 { 256 } else { 64 };
        add(
            "fewer sequences at once",
            format!("--max-num-seqs {seqs}"),
            "the sampler's buffers shrink; more requests wait",
            &|d| d.max_num_seqs = Some(seqs),
        );
    }
    if settings.max_num_batched_tokens > 2048 && !deployment.engine.kind.is_library() {
        add(
            "fewer tokens in a step",
            "--max-num-batched-tokens 2048".into(),
            "prompts take more steps",
            &|d| d.max_num_batched_tokens = Some(2048),
        );
    }
    let share = settings.gpu_memory_utilization;
    if share < 0.95 && !matches!(deployment.engine.kind, EngineKind::Ideal) {
        add(
            "larger share of the memory",
            "--gpu-memory-utilization 0.95".into(),
            "less is left for graphs and fragmentation",
            &|d| d.gpu_memory_utilization = Some(0.95),
        );
    }
    if vllm && !deployment.enforce_eager {
        add("no CUDA graphs", "--enforce-eager".into(), "decode gets slower", &|d| d.enforce_eager = true);
    }
    let doubled = deployment.parallelism.tp * 2;
    add(
        "twice the tensor parallelism",
        format!("--tensor-parallel-size {doubled}"),
        "twice the accelerators",
        &|d| d.parallelism.tp = doubled,
    );
    if deployment.quantization.is_none() && model.checkpoint.quantized.is_empty() {
        if accelerator.peak(DataType::Fp8).is_some() {
            add("8-bit weights", "--quantization fp8".into(), "small loss of accuracy", &|d| {
                d.quantization = Some(DataType::Fp8);
            });
        }
        add("4-bit weights", "--quantization int4".into(), "needs an AWQ or GPTQ checkpoint", &|d| {
            d.quantization = Some(DataType::Int4);
        });
    }
    all
}
