//! What a deployment occupies, by the engine's own rules: whether it fits, how long a context and
//! how many requests, and what would make room.
//!
//! For vLLM the KV pool is `u·M − weights − activation peak − non-torch (− CUDA graphs)` with share u
//! of the visible memory M; graphs count inside or outside by version ([`GraphBudget`]). SGLang keeps
//! weights and pool within its static share, TensorRT-LLM gives the pool a share of what is free after
//! loading, llama.cpp and transformers allocate what the context needs.

mod activation;
mod cache;
mod error;
mod experts;
mod levers;
mod runtime;
mod stage;
mod weights;

use serde::Serialize;
use std::collections::BTreeMap;

use crate::spec::model::TensorClass;
use crate::spec::{
    Accelerator, Deployment, EngineDefaults, EngineKind, Formats, GraphBudget, ModelSpec, check_deployment,
};
use crate::units::Bytes;
use cache::Layout;
pub use error::MemoryError;
pub use levers::Lever;
pub use weights::{Weights, weights_per_gpu};

/// Memory of one accelerator (the one that decides) and what follows from it. `bytes` fields are SI
/// bytes; everything is per data-parallel rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// The engine starts: a request of `max_model_len` tokens has room.
    pub fits: bool,
    /// Why it does not.
    pub reason: Option<String>,
    /// What is missing; 0 when it fits.
    pub shortfall_bytes_per_gpu: Bytes,
    /// Weights.
    pub weights_bytes_per_gpu: Bytes,
    /// Peak of activations.
    pub activation_bytes_per_gpu: Bytes,
    /// Context, libraries and collectives, outside the tensors.
    pub runtime_bytes_per_gpu: Bytes,
    /// CUDA graphs.
    pub cuda_graph_bytes_per_gpu: Bytes,
    /// KV pool.
    pub kv_cache_bytes_per_gpu: Bytes,
    /// What one more token of a long context takes.
    pub kv_cache_bytes_per_token: f64,
    /// Tokens in the pool, as the engine counts them.
    pub kv_cache_tokens: u64,
    /// 80 % interval of `kv_cache_tokens`.
    pub kv_cache_tokens_interval: [u64; 2],
    /// Requests of `max_model_len` tokens that the pool holds at once.
    pub max_concurrency: f64,
    /// Longest single request that the pool holds, up to the model's positions.
    pub max_context_tokens: u64,
    /// Fixed state of one sequence (recurrent layers), 0 for attention.
    pub state_bytes_per_sequence: Bytes,
    /// Memory that a program sees.
    pub capacity_bytes_per_gpu: Bytes,
    /// What the engine may use of it.
    pub usable_bytes_per_gpu: Bytes,
    /// Weights by tensor class.
    pub weights_by_class: BTreeMap<TensorClass, Bytes>,
    /// Settings with the engine's defaults filled in.
    pub settings: EngineDefaults,
    /// Tokens in a KV block (after a hybrid model's alignment).
    pub block_size: u64,
    /// The lines that vLLM logs.
    pub vllm_log: Vec<String>,
    /// What would make room, the ones that make it fit first.
    pub levers: Vec<Lever>,
    /// What the numbers rest on.
    pub assumptions: Vec<String>,
    /// What to know.
    pub warnings: Vec<String>,
}

/// Works out the memory of a deployment.
///
/// # Errors
/// When the engine would refuse the deployment for this model, or the accelerator lacks a format.
pub fn memory(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
) -> Result<MemoryReport, MemoryError> {
    let mut report = occupancy(model, accelerator, deployment)?;
    report.levers = levers::levers(model, accelerator, deployment, &report);
    Ok(report)
}

/// One stage with its share of everything.
struct Placed {
    weights: Weights,
    activation: Bytes,
    phase: &'static str,
    graphs: Bytes,
    layout: Layout,
    pool: f64,
    blocks: u64,
}

/// The same without levers, which take a calculation each.
///
/// # Errors
/// As [`memory`].
pub fn occupancy(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
) -> Result<MemoryReport, MemoryError> {
    check_deployment(model, deployment)?;
    let formats = Formats::resolve(model, deployment, accelerator)?;
    let settings = EngineDefaults::resolve(model, accelerator, deployment);
    let capacity = accelerator.memory();
    let usable = capacity * settings.gpu_memory_utilization;
    let runtime = runtime::non_torch(accelerator, deployment);
    let placed = tightest(model, accelerator, deployment, &formats, &settings, runtime)?;
    Ok(report(model, deployment, &formats, settings, capacity, usable, runtime, placed))
}

/// Tokens that the KV pool of one rank holds of requests of `length` tokens each: windows and recurrent states
/// take their share once a request, so that this is fewer than the engine counts at its longest request.
///
/// # Errors
/// As [`memory`].
pub fn kv_cache_tokens_at(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    length: u64,
) -> Result<u64, MemoryError> {
    let formats = Formats::resolve(model, deployment, accelerator)?;
    let settings = EngineDefaults::resolve(model, accelerator, deployment);
    let runtime = runtime::non_torch(accelerator, deployment);
    let placed = tightest(model, accelerator, deployment, &formats, &settings, runtime)?;
    let length = length.max(1);
    Ok((placed.layout.concurrency(placed.blocks, length) * length as f64) as u64)
}

/// The stage with the least room for the KV cache.
fn tightest(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    formats: &Formats,
    settings: &EngineDefaults,
    runtime: Bytes,
) -> Result<Placed, MemoryError> {
    let capacity = accelerator.memory();
    let usable = capacity * settings.gpu_memory_utilization;
    let place = |stage: &stage::Stage| {
        let mut weights = weights::stage_weights(model, accelerator, deployment, formats, stage);
        weights.total = (weights.total - Bytes(deployment.cpu_offload_bytes)).max(Bytes::ZERO);
        let peak = activation::peak(model, deployment, formats, settings, accelerator, stage);
        let graphs = runtime::graphs(model, accelerator, deployment, settings);
        let layout = Layout::new(model, deployment, formats, settings, stage);
        let inside = if settings.cuda_graphs == GraphBudget::Inside { graphs } else { Bytes::ZERO };
        let pool = match deployment.engine.kind {
            EngineKind::Sglang => usable - weights.total - runtime,
            EngineKind::Trtllm | EngineKind::Lmdeploy => {
                (capacity - weights.total - peak.bytes - runtime) * settings.gpu_memory_utilization
            }
            _ => usable - weights.total - peak.bytes - runtime - inside,
        };
        let blocks = layout.blocks(pool.0);
        Placed { weights, activation: peak.bytes, phase: peak.phase, graphs, layout, pool: pool.0, blocks }
    };
    let room = |p: &Placed| if p.blocks > 0 { p.blocks as f64 } else { p.pool.min(0.0) };
    stage::stages(model, deployment.parallelism.pp)
        .iter()
        .map(place)
        .min_by(|a, b| room(a).total_cmp(&room(b)))
        .ok_or_else(|| MemoryError::Empty { model: model.id.clone() })
}

#[allow(clippy::too_many_arguments)] // one call: the parts of one report
fn report(
    model: &ModelSpec,
    deployment: &Deployment,
    formats: &Formats,
    settings: EngineDefaults,
    capacity: Bytes,
    usable: Bytes,
    runtime: Bytes,
    placed: Placed,
) -> MemoryReport {
    let Placed { weights, activation, phase, graphs, layout, pool, blocks } = placed;
    let length = settings.max_model_len;
    // llama.cpp and transformers allocate for all slots at once, the others as requests come.
    let upfront = match deployment.engine.kind {
        EngineKind::Llamacpp | EngineKind::Transformers | EngineKind::TransformersCompiled => {
            f64::from(settings.max_num_seqs)
        }
        _ => 1.0,
    };
    let needed = layout.sequence_bytes(length) * upfront;
    let outside = if settings.cuda_graphs == GraphBudget::Outside { graphs.0 } else { 0.0 };
    let device = usable.0 + outside - capacity.0;
    let vllm = deployment.engine.kind == EngineKind::Vllm;
    let shortfall = (needed - pool).max(if vllm { device } else { 0.0 }).max(0.0);
    let tokens = |pool: f64| layout.tokens(layout.blocks(pool), length);
    let inside = if settings.cuda_graphs == GraphBudget::Inside { graphs.0 } else { 0.0 };
    let doubt = doubt(deployment, weights.total.0, activation.0, runtime.0, inside, pool);
    let longest = model.max_position_embeddings.unwrap_or(length).max(length);
    let kv_cache_tokens = layout.tokens(blocks, length);
    let max_concurrency = layout.concurrency(blocks, length);
    let fits = shortfall <= 0.0;
    let reason = (!fits).then(|| {
        if pool <= 0.0 {
            format!(
                "weights, activations and runtime need {:.2} GiB, {:.2} GiB more than the {:.2} GiB that may be used",
                Bytes(usable.0 - pool).gib(),
                Bytes(-pool).gib(),
                usable.gib()
            )
        } else if needed > pool {
            format!(
                "a request of {length} tokens needs {:.2} GiB of KV cache and {:.2} GiB are left; {} tokens fit",
                Bytes(needed).gib(),
                Bytes(pool).gib(),
                layout.longest(blocks, longest)
            )
        } else {
            format!(
                "CUDA graphs come on top of the share in this version: {:.2} GiB are missing",
                Bytes(device).gib()
            )
        }
    });
    let mut assumptions = vec![format!("activation peak: {phase}")];
    assumptions.extend(layout.notes.iter().cloned());
    if vllm && settings.cuda_graphs != GraphBudget::None {
        let where_ = if settings.cuda_graphs == GraphBudget::Inside { "inside" } else { "outside" };
        assumptions.push(format!("{} counts CUDA graphs {where_} the memory share", deployment.engine));
    }
    let vllm_log = if vllm && blocks > 0 {
        vec![
            format!("GPU KV cache size: {} tokens", grouped(kv_cache_tokens)),
            format!("Maximum concurrency for {} tokens per request: {max_concurrency:.2}x", grouped(length)),
        ]
    } else {
        vec![]
    };
    MemoryReport {
        fits,
        reason,
        shortfall_bytes_per_gpu: Bytes(shortfall),
        weights_bytes_per_gpu: weights.total,
        activation_bytes_per_gpu: activation,
        runtime_bytes_per_gpu: runtime,
        cuda_graph_bytes_per_gpu: graphs,
        kv_cache_bytes_per_gpu: Bytes(pool.max(0.0)),
        kv_cache_bytes_per_token: layout.bytes_per_token,
        kv_cache_tokens,
        kv_cache_tokens_interval: [tokens(pool - doubt), tokens(pool + doubt)],
        max_concurrency,
        max_context_tokens: layout.longest(blocks, longest),
        state_bytes_per_sequence: Bytes(layout.state_bytes),
        capacity_bytes_per_gpu: capacity,
        usable_bytes_per_gpu: usable,
        weights_by_class: weights.by_class,
        block_size: layout.block_size(),
        settings,
        vllm_log,
        levers: vec![],
        assumptions,
        warnings: formats.warnings.iter().chain(&model.warnings).cloned().collect(),
    }
}

/// 90th percentile of each part's residual on the logs of `tests/memory.rs`: weights, activations, runtime, graphs.
pub const PART_ERRORS: [f64; 4] = [0.005, 0.03, 0.1, 0.15];

/// Half width of the pool's 80 % interval in bytes by [`PART_ERRORS`]; doubled with 5 % of the pool for engines without
/// logs.
fn doubt(
    deployment: &Deployment,
    weights: f64,
    activation: f64,
    runtime: f64,
    graphs: f64,
    pool: f64,
) -> f64 {
    let [w, a, r, g] = PART_ERRORS;
    let parts = w * weights + a * activation + r * runtime + g * graphs;
    match deployment.engine.kind {
        EngineKind::Vllm => parts,
        EngineKind::Ideal => w * weights,
        _ => 2.0 * parts + 0.05 * pool.max(0.0),
    }
}

/// A number with commas between thousands, as vLLM prints it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands() {
        assert_eq!(grouped(126_256), "126,256");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
