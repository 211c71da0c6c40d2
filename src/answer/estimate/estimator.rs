//! A deployment made ready once, asked many times.

use super::{Breakdown, Latency, Options, Utilization};
use crate::spec::{Accelerator, Deployment, EngineKind, Formats, Load, ModelSpec, SpecError, Workload};
use crate::time::{Bound, Coefficients, Device, EngineTerms, Line, StepTime, StepTimer};
use crate::units::{Bytes, Seconds};
use crate::work::{DecodeRows, Operator, Plan, PrefillChunk, Shape, Step, Traffic};

/// A deployment of a model on an accelerator, ready to time workloads.
#[derive(Debug, Clone)]
pub struct Estimator {
    timer: StepTimer,
    pipeline: f64,
    data_parallel: f64,
    token_budget: u32,
}

/// The whole prefill of one data-parallel rank as equal steps.
struct Chunks {
    steps: f64,
    chunk: PrefillChunk,
}

impl Estimator {
    /// Prepares a deployment.
    ///
    /// # Errors
    /// When embedded coefficients are broken, which a test excludes.
    pub fn new(
        model: &ModelSpec,
        accelerator: &Accelerator,
        deployment: &Deployment,
        formats: &Formats,
        options: &Options,
    ) -> Result<Self, SpecError> {
        let broken = |e: crate::time::CoefficientError| SpecError::Usage(e.to_string());
        let mut coefficients = Coefficients::default_for(&accelerator.architecture).map_err(broken)?;
        if deployment.engine.kind == EngineKind::Ideal {
            coefficients = coefficients.ideal();
        }
        let terms = EngineTerms::default_for(deployment.engine.kind).map_err(broken)?;
        let plan = Plan::new(model, deployment, formats, options.overrides);
        let layers = options.overrides.layers.map_or(f64::from(model.layer_count()), f64::from);
        let device = Device::with(accelerator, coefficients);
        let p = deployment.parallelism;
        Ok(Self {
            timer: StepTimer::new(plan, device, terms, deployment.enforce_eager, layers),
            pipeline: f64::from(p.pp),
            data_parallel: f64::from(p.dp),
            token_budget: deployment.max_num_batched_tokens.unwrap_or(8192).max(1),
        })
    }

    /// Most tokens in one step.
    #[must_use]
    pub fn token_budget(&self) -> u32 {
        self.token_budget
    }

    /// Where the kernel coefficients came from.
    #[must_use]
    pub fn kernel_source(&self) -> &str {
        self.timer.device().source()
    }

    /// Where the engine terms came from.
    #[must_use]
    pub fn engine_source(&self) -> &str {
        &self.timer.terms().source
    }

    /// Requests prefilled together.
    pub(super) fn batch_of(&self, workload: &Workload) -> f64 {
        match workload.load {
            Load::StaticBatch(n) => f64::from(n),
            Load::Concurrency(_) => 1.0,
        }
    }

    pub(super) fn seconds_of(&self, operator: &Operator) -> f64 {
        self.timer.device().line(operator).seconds.0
    }

    pub(super) fn host_transfer_seconds(&self, bytes: f64) -> f64 {
        let operator = Operator {
            traffic: Traffic { host: Bytes(bytes), ..Traffic::default() },
            shape: Shape::Elementwise,
            ..Operator::elementwise("kv_load", crate::spec::DataType::Bf16, 0.0, 1.0)
        };
        if bytes > 0.0 { self.seconds_of(&operator) } else { 0.0 }
    }

    /// Latencies of a workload. `scratch` is reused between calls.
    #[must_use]
    pub fn latency(&self, workload: &Workload, scratch: &mut Vec<Operator>) -> Latency {
        let overhead = 1e-3 * self.timer.terms().request_ms;
        let chunks = self.chunks(workload);
        let step = self.prefill_step(&chunks, scratch).seconds.0;
        // later stages of the pipeline overlap with earlier ones of the next step
        let prefill = step * (1.0 + (chunks.steps - 1.0) / self.pipeline);
        let decode = self.decode_seconds(workload, scratch);
        let n = workload.output_len;
        let (itl, queue) = match workload.load {
            Load::StaticBatch(_) | Load::Concurrency(0 | 1) => (decode, 0.0),
            Load::Concurrency(c) => {
                // Steady state: every other request's prefill falls into some decode step of this one.
                // TPOT = t_d + (c − 1)/N · t_m; TTFT = t_p·(1 + f·(c − 1)/2) + t_off, f = 0.1.
                // Source: EQUATIONS section 5, fitted to InferenceMAX rows.
                let others = f64::from(c - 1) / self.data_parallel;
                (decode + others / n as f64 * prefill, 0.1 * others / 2.0 * prefill)
            }
        };
        let latency = Latency {
            queue_s: queue,
            prefill_s: prefill,
            first_token_overhead_s: overhead,
            itl_s: if n > 1 { itl } else { 0.0 },
            ..Latency::default()
        };
        latency.total(n)
    }

    /// Prompts of one rank cut into equal steps of at most the token budget.
    fn chunks(&self, workload: &Workload) -> Chunks {
        let requests = (self.batch_of(workload) / self.data_parallel).ceil().max(1.0);
        let new = (workload.input_len - workload.prefix_len) as f64;
        let past = workload.prefix_len as f64;
        let budget = f64::from(self.token_budget);
        if new > budget {
            // a prompt longer than the budget: equal chunks at their mean past
            let pieces = (new / budget).ceil();
            let tokens = new / pieces;
            let past_tokens = past + tokens * (pieces - 1.0) / 2.0;
            let chunk = PrefillChunk { requests: 1.0, new_tokens: tokens, past_tokens, last: true };
            return Chunks { steps: requests * pieces, chunk };
        }
        let steps = (requests * new / budget).ceil();
        let chunk =
            PrefillChunk { requests: requests / steps, new_tokens: new, past_tokens: past, last: true };
        Chunks { steps, chunk }
    }

    fn prefill_step(&self, chunks: &Chunks, scratch: &mut Vec<Operator>) -> StepTime {
        self.timer.time(&Step { prefill: &[chunks.chunk], decode: &[] }, scratch)
    }

    /// Rows of one decode step of one rank: a pipeline keeps one micro-batch in every stage.
    fn decode_rows(&self, workload: &Workload) -> f64 {
        let rows = match workload.load {
            Load::StaticBatch(n) | Load::Concurrency(n) => f64::from(n),
        };
        (rows / self.data_parallel / self.pipeline).ceil().max(1.0)
    }

    /// Mean decode step over the contexts from the prompt to the end, by Simpson's rule
    /// (exact while step times are at most cubic in context).
    fn decode_seconds(&self, workload: &Workload, scratch: &mut Vec<Operator>) -> f64 {
        let rows = self.decode_rows(workload);
        let first = workload.input_len as f64 + 1.0;
        let last = (workload.input_len + workload.output_len) as f64 - 1.0;
        let mut at = |context: f64| {
            let decode = [DecodeRows { rows, context: context.max(1.0) }];
            self.timer.time(&Step { prefill: &[], decode: &decode }, scratch).seconds.0
        };
        if last <= first {
            return at(first);
        }
        (at(first) + 4.0 * at(f64::midpoint(first, last)) + at(last)) / 6.0
    }

    /// Lines of the whole prefill and of one decode step at the mean context.
    pub(super) fn breakdown(&self, workload: &Workload) -> Breakdown {
        let chunks = self.chunks(workload);
        let repeats = 1.0 + (chunks.steps - 1.0) / self.pipeline;
        let mut prefill = self.timer.lines(&Step { prefill: &[chunks.chunk], decode: &[] });
        for line in &mut prefill {
            line.count *= chunks.steps;
            line.seconds = line.seconds * repeats;
            line.flops = line.flops * chunks.steps;
            line.bytes = line.bytes * chunks.steps;
        }
        let decode = if workload.output_len > 1 {
            let mut lines = self.timer.lines(&Step { prefill: &[], decode: &[self.mean_rows(workload)] });
            let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
            let mean = self.decode_seconds(workload, &mut vec![]);
            for line in &mut lines {
                // the mean over the contexts differs from the time at the mean context by rounding only
                line.seconds = Seconds(line.seconds.0 * mean / total);
            }
            lines
        } else {
            vec![]
        };
        Breakdown { prefill, decode }
    }

    fn mean_rows(&self, workload: &Workload) -> DecodeRows {
        let context = workload.input_len as f64 + workload.output_len as f64 / 2.0;
        DecodeRows { rows: self.decode_rows(workload), context }
    }

    /// MFU of prefill, MBU of decode and what each phase waits for.
    pub(super) fn utilization(&self, workload: &Workload, breakdown: &Breakdown) -> Utilization {
        let mut scratch = vec![];
        let prefill = self.prefill_step(&self.chunks(workload), &mut scratch);
        let decode =
            self.timer.time(&Step { prefill: &[], decode: &[self.mean_rows(workload)] }, &mut scratch);
        let stages = self.pipeline;
        Utilization {
            prefill_mfu: prefill.compute_seconds.0 / prefill.seconds.0 / stages,
            decode_mbu: decode.memory_bytes.0 / (decode.seconds.0 * self.timer.device().bandwidth()) / stages,
            prefill_bottleneck: bottleneck(&breakdown.prefill),
            decode_bottleneck: bottleneck(&breakdown.decode),
        }
    }
}

/// The bound that most of the time belongs to.
fn bottleneck(lines: &[Line]) -> &'static str {
    let of = |bound: Bound| -> f64 { lines.iter().filter(|l| l.bound == bound).map(|l| l.seconds.0).sum() };
    [Bound::Compute, Bound::Memory, Bound::Link, Bound::Host, Bound::Latency]
        .into_iter()
        .max_by(|a, b| of(*a).total_cmp(&of(*b)))
        .filter(|_| !lines.is_empty())
        .map_or("none", Bound::name)
}
