//! `estimate`: latency, throughput and cost of one deployment under a static batch or a closed loop.

mod estimator;
mod latency;
mod loop_description;
mod loops;
mod provenance;
mod regime;

use serde::Serialize;
use std::path::PathBuf;
use std::str::FromStr;

use super::cost::{Cost, CostInputs};
use super::energy::Energy;
use super::interval::Intervals;
use super::kernels::Kernels;
use super::speculation::{SpeculationOptions, SpeculationUse, refuse_static};
use crate::memory::{MemoryError, MemoryReport, occupancy};
use crate::spec::{Accelerator, Deployment, EngineKind, Formats, Load, ModelSpec, SpecError, Workload};
use crate::time::Line;
use crate::work::Overrides;
use loops::is_alone;
pub(super) use regime::Course;

pub use estimator::{Counted, Estimator};
pub use latency::Latency;
pub(super) use loop_description::{Described, described};
pub(super) use loops::outcome_warnings;
pub(super) use loops::service as loop_service;
pub use loops::traffic;
pub use provenance::{DefaultKernels, Provenance};

/// Images sent with every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Images {
    /// Images per request.
    pub count: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// How TPOT is printed. The prediction itself is always vLLM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpotDefinition {
    /// (E2E − TTFT) / (N − 1): vLLM, `GenAI-Perf`, `AIPerf`.
    #[default]
    Vllm,
    /// (E2E − TTFT) / N.
    PerToken,
    /// E2E / N: the first token included, as LLMPerf's inter-token latency.
    Inclusive,
}

impl TpotDefinition {
    /// All definitions.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::PerToken, Self::Inclusive];

    /// The name used in flags and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::PerToken => "per-token",
            Self::Inclusive => "inclusive",
        }
    }

    /// The formula, with N generated tokens.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Vllm => "(E2E − TTFT) / (N − 1)",
            Self::PerToken => "(E2E − TTFT) / N",
            Self::Inclusive => "E2E / N",
        }
    }
}

impl FromStr for TpotDefinition {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| {
            SpecError::Usage(format!(
                "`{text}` is no TPOT definition; use vllm, per-token or inclusive (see `foretoken explain tpot`)"
            ))
        })
    }
}

/// Everything else that a question may say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Directories of the user's engine terms, which win over the embedded ones.
    pub engines: Vec<PathBuf>,
    /// Changes to the model.
    pub overrides: Overrides,
    /// Requests at a time that are one request repeated, as some benchmarks send them: they share their experts. 0 and
    /// 1 where all differ.
    pub same_requests: u32,
    /// Images per request.
    pub images: Option<Images>,
    /// Round trip to the client in seconds.
    pub network_rtt_s: f64,
    /// The cached prefix lies in host memory and crosses the host link first.
    pub kv_offload: bool,
    /// Bytes per second at which a cold start reads the weights; none without a cold start.
    pub cold_start_bytes_per_s: Option<f64>,
    /// Definition under which TPOT is reported.
    pub tpot_definition: TpotDefinition,
    /// Money.
    pub cost: CostInputs,
    /// Drafts verified several tokens at a time.
    pub speculation: Option<SpeculationOptions>,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The accelerator.
    pub accelerator: &'a Accelerator,
    /// Engine, parallelism, formats.
    pub deployment: &'a Deployment,
    /// Lengths and load.
    pub workload: &'a Workload,
    /// Fitted kernel models; none for the family defaults.
    pub kernels: Option<&'a Kernels>,
    /// Everything else.
    pub options: &'a Options,
}

/// The question as it was understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inputs {
    /// Model id.
    pub model: String,
    /// Accelerator id.
    pub gpu: String,
    /// Accelerators in all.
    pub num_gpus: u32,
    /// Engine with version.
    pub engine: String,
    /// Tensor parallel degree.
    pub tensor_parallel_size: u32,
    /// Pipeline parallel degree.
    pub pipeline_parallel_size: u32,
    /// Data parallel degree.
    pub data_parallel_size: u32,
    /// Expert parallel degree.
    pub expert_parallel_size: u32,
    /// Format of the bulk of the weights.
    pub weight_dtype: String,
    /// Format of activations between layers.
    pub activation_dtype: String,
    /// Format of the KV cache.
    pub kv_cache_dtype: String,
    /// Prompt tokens, image tokens included.
    pub input_len: u64,
    /// Generated tokens.
    pub output_len: u64,
    /// Prompt tokens already cached.
    pub prefix_len: u64,
    /// Requests in a static batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Requests in flight of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests per second of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rate_per_s: Option<f64>,
    /// Shape of the gaps of an open loop: 1 is a Poisson process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<f64>,
    /// Requests simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_prompts: Option<u64>,
    /// Shortest length over the nominal one; the lengths above are means.
    pub length_ratio_min: f64,
    /// Most tokens in one step.
    pub max_num_batched_tokens: u32,
    /// Definition under which TPOT is reported.
    pub tpot_definition: TpotDefinition,
    /// What-if changes to the model.
    pub overrides: Overrides,
    /// Images per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
}

/// Rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// Generated tokens per second, all requests.
    pub output_tokens_per_s: f64,
    /// Prompt and generated tokens per second.
    pub total_tokens_per_s: f64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Generated tokens per second and accelerator.
    pub output_tokens_per_s_per_gpu: f64,
    /// Generated tokens per second that one user sees: 1 / TPOT.
    pub output_tokens_per_s_per_user: f64,
    /// Prompt tokens over prefill time.
    pub prefill_tokens_per_s: f64,
}

/// Shares of the hardware's limits that are used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Utilization {
    /// Model FLOPs utilisation of prefill: Σ FLOPs/peak over the time.
    pub prefill_mfu: f64,
    /// Memory-bandwidth utilisation of decode: bytes over time and peak bandwidth.
    pub decode_mbu: f64,
    /// What most of the prefill time waits for.
    pub prefill_bottleneck: &'static str,
    /// What most of the decode time waits for.
    pub decode_bottleneck: &'static str,
}

/// Lines of both phases; each list sums to its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breakdown {
    /// Prefill of the whole batch.
    pub prefill: Vec<Line>,
    /// One decode step at the mean context.
    pub decode: Vec<Line>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The question as it was understood.
    pub inputs: Inputs,
    /// Latencies in seconds.
    pub latency: Latency,
    /// 80 % intervals.
    pub intervals: Intervals,
    /// Rates.
    pub throughput: Throughput,
    /// Utilisation.
    pub utilization: Utilization,
    /// Cost, where a price is known.
    pub cost: Option<Cost>,
    /// Energy, where power was measured or the datasheet names it.
    pub energy: Option<Energy>,
    /// Lines.
    pub breakdown: Breakdown,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Where the memory of one accelerator goes.
    pub memory: MemoryReport,
    /// Speculative decoding, where it was asked for; memory, breakdown and utilisation are those of the model without drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<SpeculationUse>,
    /// What to know before using them.
    pub warnings: Vec<String>,
}

/// Answers one question.
///
/// # Errors
/// When the deployment cannot run the model (formats, parallelism) or a value makes no sense.
pub fn estimate(question: &Question<'_>) -> Result<Estimate, MemoryError> {
    let Question { model, accelerator, deployment, options, .. } = *question;
    let asked = &resolve_images(question)?;
    if options.overrides.low_rank == Some(0) {
        return Err(SpecError::Usage("--low-rank must be at least 1".into()).into());
    }
    let workload = &asked.at_mean();
    check_workload(workload)?;
    let speculates = options.speculation.is_some();
    if speculates {
        refuse_static(workload.load)?;
    }
    let formats = Formats::resolve(model, deployment, accelerator)?;
    let estimator = Estimator::new(question, &formats)?;
    let memory = occupancy(model, accelerator, deployment)?;
    let simulated = if is_alone(asked) && !speculates {
        None
    } else {
        Some(loops::simulated(question, asked, &estimator, &memory)?)
    };
    let rows = match (&simulated, workload.load) {
        (Some(simulated), _) => simulated.rows,
        (None, Load::StaticBatch(n) | Load::Concurrency(n)) => f64::from(n),
        (None, Load::Rate { .. }) => 1.0,
    };
    // one prompt, and a decode step with the mean number of rows
    let shown = match simulated {
        Some(_) => Workload { load: Load::Concurrency(rows.round().max(1.0) as u32), ..*workload },
        None => *workload,
    };
    let waves = waves(&shown, &memory, deployment);
    let mut latency = match &simulated {
        Some(simulated) => simulated.latency,
        None => estimator.latency_in_waves(workload, waves, &mut vec![]),
    };
    latency.add_extras(&estimator, workload, options, model, &formats);
    let lengths = [workload.input_len as f64, workload.output_len as f64];
    let gpus = deployment.parallelism.accelerators();
    let breakdown = estimator.breakdown(&shown, waves);
    let course = simulated.as_ref().map_or(Course::Batch, |s| s.course);
    let (regime, kernel_shares) = regime::regime(question, &estimator, &shown, waves, &latency, course);
    let mut warnings = model.warnings.clone();
    warnings.extend(formats.warnings.iter().cloned());
    warnings.extend(estimator.engine_warning().map(str::to_owned));
    match &simulated {
        None => {
            let rows = rows / f64::from(deployment.parallelism.dp);
            warnings.extend(capacity_warning(&memory, workload, rows, waves));
        }
        Some(simulated) => {
            if !memory.fits {
                warnings.extend(capacity_warning(&memory, workload, 0.0, waves));
            }
            warnings.extend(simulated.warnings.iter().cloned());
            if asked.length_ratio_min >= 1.0 && matches!(asked.load, Load::Concurrency(_)) {
                warnings.push(
                    "equal lengths march in step and queue for each other: real lengths are spread, \
                     try --length-ratio-min 0.8"
                        .into(),
                );
            }
        }
    }
    if workload.input_len + workload.output_len > model.max_position_embeddings.unwrap_or(u64::MAX) {
        warnings.push(format!(
            "input + output = {} tokens exceed the model's {} positions",
            workload.input_len + workload.output_len,
            model.max_position_embeddings.unwrap_or(0)
        ));
    }
    let reported = latency.redefined(options.tpot_definition, workload.output_len);
    let intervals = regime.intervals(reported.ttft_s, reported.tpot_s, reported.e2e_s);
    Ok(Estimate {
        inputs: inputs(question, asked, &formats, &estimator),
        memory,
        speculation: simulated.as_ref().and_then(|s| s.speculation.clone()),
        throughput: match &simulated {
            Some(simulated) => simulated.throughput(gpus, workload.prefix_len),
            None => throughput(&latency, rows, lengths, gpus, workload),
        },
        utilization: estimator.utilization(&shown, waves, &breakdown),
        energy: {
            let measured = question.kernels.and_then(|k| k.calibration.measured.as_ref());
            let measured = measured.and_then(|m| m.energy.as_ref());
            let phases = estimator.phases(&shown, waves);
            Energy::of(accelerator, measured, gpus, phases, options.cost.electricity_usd_per_kwh)
        },
        cost: {
            let paid = simulated.as_ref().map_or(rows, loops::Simulated::paid_requests);
            Cost::of(accelerator, options.cost, gpus, paid, lengths, &latency)
        },
        breakdown,
        provenance: provenance::provenance(question, &estimator, &kernel_shares),
        intervals,
        latency: reported,
        warnings,
    })
}

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
pub(super) fn waves(workload: &Workload, memory: &MemoryReport, deployment: &Deployment) -> f64 {
    let preempts = match deployment.engine.kind {
        EngineKind::Vllm | EngineKind::Sglang => true,
        EngineKind::Trtllm => false,
        EngineKind::Llamacpp | EngineKind::Transformers | EngineKind::Ideal => return 1.0,
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
fn capacity_warning(memory: &MemoryReport, workload: &Workload, rows: f64, waves: f64) -> Option<String> {
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

fn check_workload(workload: &Workload) -> Result<(), SpecError> {
    if workload.prefix_len >= workload.input_len {
        return Err(SpecError::Usage(format!(
            "--prefix-len {} must be smaller than the {} prompt tokens of --input-len: at least one is computed",
            workload.prefix_len, workload.input_len
        )));
    }
    Ok(())
}

/// Image tokens join the prompt.
fn resolve_images(question: &Question<'_>) -> Result<Workload, SpecError> {
    let mut workload = *question.workload;
    if let Some(images) = question.options.images {
        let Some(vision) = &question.model.vision else {
            return Err(SpecError::Usage(format!(
                "--images needs a model with a vision tower; {} has none",
                question.model.id
            )));
        };
        workload.input_len += u64::from(images.count) * vision.tokens(images.width, images.height);
    }
    Ok(workload)
}

fn inputs(question: &Question<'_>, asked: &Workload, formats: &Formats, estimator: &Estimator) -> Inputs {
    let Question { model, accelerator, deployment, options, .. } = *question;
    let p = deployment.parallelism;
    let workload = asked.at_mean();
    let (batch_size, concurrency) = match workload.load {
        Load::StaticBatch(n) => (Some(n), None),
        Load::Concurrency(n) => (None, Some(n)),
        Load::Rate { .. } => (None, None),
    };
    let (request_rate_per_s, burstiness) = match workload.load {
        Load::Rate { per_s, burstiness } => (Some(per_s), Some(burstiness)),
        _ => (None, None),
    };
    Inputs {
        model: model.id.clone(),
        gpu: accelerator.id.clone(),
        num_gpus: p.accelerators(),
        engine: deployment.engine.to_string(),
        tensor_parallel_size: p.tp,
        pipeline_parallel_size: p.pp,
        data_parallel_size: p.dp,
        expert_parallel_size: p.ep,
        weight_dtype: formats.main(model).weights.name().into(),
        activation_dtype: formats.activations.name().into(),
        kv_cache_dtype: formats.kv_cache.name().into(),
        input_len: workload.input_len,
        output_len: workload.output_len,
        prefix_len: workload.prefix_len,
        batch_size,
        concurrency,
        request_rate_per_s,
        burstiness,
        num_prompts: (!is_alone(asked)).then(|| asked.requests()),
        length_ratio_min: asked.length_ratio_min,
        max_num_batched_tokens: estimator.token_budget(),
        tpot_definition: options.tpot_definition,
        overrides: options.overrides,
        images: options.images,
    }
}

fn throughput(
    latency: &Latency,
    rows: f64,
    [input, output]: [f64; 2],
    gpus: u32,
    workload: &Workload,
) -> Throughput {
    // Little: requests in flight over the time that each stays
    let requests = rows / latency.e2e_s;
    let new_tokens = input - workload.prefix_len as f64;
    let prefilled = match workload.load {
        Load::StaticBatch(n) => f64::from(n) * new_tokens,
        Load::Concurrency(_) | Load::Rate { .. } => new_tokens,
    };
    Throughput {
        output_tokens_per_s: requests * output,
        total_tokens_per_s: requests * (input + output),
        requests_per_s: requests,
        output_tokens_per_s_per_gpu: requests * output / f64::from(gpus),
        output_tokens_per_s_per_user: if latency.tpot_s > 0.0 { 1.0 / latency.tpot_s } else { 0.0 },
        prefill_tokens_per_s: prefilled / latency.prefill_s,
    }
}
