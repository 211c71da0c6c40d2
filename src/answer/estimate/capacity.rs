//! Whether a batch has room, and what happens where it has none.

use crate::memory::MemoryReport;
use crate::spec::{Deployment, EngineKind, Load, Workload};

/// In how many waves a static batch decodes: 1 when the KV pool holds it to its end.
///
/// A rank holds B_max = min(⌊pool/(I + N)⌋, most sequences) requests of I input and N output tokens to their
/// end. TensorRT-LLM reserves that and runs W = ⌈B/B_max⌉ waves. vLLM and SGLang start all that have room for
/// their prompts and preempt the last ones when the pool is full: the first to go has then generated
/// j₀ = pool/B − I tokens, keeps them (they are recomputed with its prompt) and comes back after N steps, so
/// that W = ⌈B/B_max⌉ − max(0, j₀)/N. Every wave carries B/W requests: the row-steps are the same as in waves
/// of uneven size, and step times are near affine in the rows. The recomputation itself is not counted.
///
/// llama.cpp and transformers make room for the batch that they are given.
pub(in crate::answer) fn waves(workload: &Workload, memory: &MemoryReport, deployment: &Deployment) -> f64 {
    let preempts = match deployment.engine.kind {
        EngineKind::Vllm | EngineKind::Sglang | EngineKind::Lmdeploy | EngineKind::Fastllm => true,
        EngineKind::Trtllm => false,
        EngineKind::Llamacpp
        | EngineKind::Transformers
        | EngineKind::TransformersCompiled
        | EngineKind::Ideal => return 1.0,
    };
    let Load::StaticBatch(batch) = workload.load else { return 1.0 };
    let rank = batch.div_ceil(deployment.parallelism.dp.max(1));
    let tokens = workload.input_len + workload.output_len;
    let pool = memory.kv_cache_tokens;
    let holds = u32::try_from(pool / tokens.max(1)).unwrap_or(u32::MAX);
    let most = holds.min(memory.settings.max_num_seqs).max(1);
    if !memory.fits || rank <= most {
        return 1.0;
    }
    let mut waves = f64::from(rank.div_ceil(most));
    if preempts && rank <= memory.settings.max_num_seqs {
        let kept = pool as f64 / f64::from(rank) - workload.input_len as f64;
        waves -= (kept / workload.output_len as f64).clamp(0.0, 1.0);
    }
    waves.max(1.0)
}

/// What to know when the requests do not find room.
pub(super) fn capacity_warning(
    memory: &MemoryReport,
    workload: &Workload,
    rows: f64,
    waves: f64,
) -> Option<String> {
    if !memory.fits {
        let reason = memory.reason.as_deref().unwrap_or("the KV pool is too small");
        return Some(format!("does not fit: {reason}; times are what they would be if it did"));
    }
    if waves > 1.0 {
        return Some(format!(
            "{rows:.0} requests of {} tokens run in {waves:.2} waves: the KV pool holds {} tokens and the engine \
             {} sequences; times are those of the last requests, which wait for the others (queue_s)",
            workload.input_len + workload.output_len,
            memory.kv_cache_tokens,
            memory.settings.max_num_seqs
        ));
    }
    let most = memory.settings.max_num_seqs;
    if rows > f64::from(most) {
        return Some(format!(
            "{rows:.0} requests exceed --max-num-seqs {most}: the engine would run them in turns; times assume one batch"
        ));
    }
    let needed = rows * (workload.input_len + workload.output_len) as f64;
    (needed > memory.kv_cache_tokens as f64).then(|| {
        format!(
            "{rows:.0} requests need {needed:.0} tokens of KV cache and the pool holds {}: the engine would queue or \
             preempt some; times assume room for all",
            memory.kv_cache_tokens
        )
    })
}
