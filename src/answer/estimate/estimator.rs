//! A deployment made ready once, asked many times.

use std::collections::BTreeMap;

use super::{Breakdown, Latency, Question, Utilization};
use crate::answer::EngineChoice;
use crate::answer::energy::Phase;
use crate::answer::interval::Share;
use crate::spec::catalog::Directories;
use crate::spec::{EngineDefaults, EngineKind, Formats, Load, SpecError, Workload};
use crate::time::engine::RangeFit;
use crate::time::forms::matvec::Setting;
use crate::time::ggml::{Ggml, Spread};
use crate::time::{
    Bound, Coefficients, Device, EngineTerms, Hardware, Layers, Line, StepTime, StepTimer, Trust, Tuned,
};
use crate::units::{Bytes, Seconds};
use crate::work::{DecodeRows, Operator, Plan, PrefillChunk, Shape, Step, Traffic};

/// A deployment of a model on an accelerator, ready to time workloads.
#[derive(Debug, Clone)]
pub struct Estimator {
    timer: StepTimer,
    pipeline: f64,
    data_parallel: f64,
    token_budget: u32,
    trust: Trust,
    /// Of operators that no fit covers.
    fallback: Trust,
    kernel_source: String,
    engine_warning: Option<String>,
    engine_fit: Option<RangeFit>,
    spread: Option<[Spread; 2]>,
}

/// Fewest rows whose 10 % quantile is taken for one: below, it is that of one or two runs.
const LEAST_ROWS: usize = 15;

/// The whole prefill of one data-parallel rank: steps filled to the token budget and the rest.
#[derive(Debug, Clone, Copy)]
struct Chunks {
    /// How many full steps.
    full_steps: f64,
    full: PrefillChunk,
    rest: PrefillChunk,
}

/// Seconds of the steps of a prefill.
#[derive(Debug, Clone, Copy)]
struct PrefillTime {
    full: StepTime,
    rest: StepTime,
    full_steps: f64,
}

impl PrefillTime {
    /// All steps one after another.
    fn sequential(&self) -> f64 {
        self.full_steps * self.full.seconds.0 + self.rest.seconds.0
    }

    /// Steps in a pipeline of `stages`: each stage is busy 1/stages of every step, and the longest step
    /// passes through the stages that are still empty: Σt/p + (1 − 1/p)·max t.
    fn pipelined(&self, stages: f64) -> f64 {
        let longest = if self.full_steps > 0.0 {
            self.full.seconds.max(self.rest.seconds).0
        } else {
            self.rest.seconds.0
        };
        self.sequential() / stages + (1.0 - 1.0 / stages) * longest
    }
}

impl Estimator {
    /// Prepares a deployment.
    ///
    /// # Errors
    /// When embedded coefficients are broken, which a test excludes.
    pub fn new(question: &Question<'_>, formats: &Formats) -> Result<Self, SpecError> {
        let Question { model, accelerator, deployment, kernels, options, .. } = *question;
        let broken = |e: crate::time::CoefficientError| SpecError::Usage(e.to_string());
        let engine = deployment.engine.kind;
        let mut coefficients = Coefficients::default_for(&accelerator.architecture).map_err(broken)?;
        if engine == EngineKind::Ideal {
            coefficients = coefficients.ideal();
        }
        let fallback = match (engine, !coefficients.fitted_on.is_empty()) {
            (EngineKind::Ideal, _) => Trust::Limit,
            (_, true) => Trust::FamilyDefault,
            (_, false) => Trust::Default,
        };
        let engines = Directories { engines: options.engines.clone(), ..Directories::default() };
        let choice = EngineChoice::in_force(deployment.engine, &engines)?;
        if let Some(found) =
            kernels.and_then(|k| k.calibration.measured.as_ref()).filter(|_| engine != EngineKind::Ideal)
        {
            let cpu = accelerator.architecture == "CPU";
            let hardware = Hardware::of(accelerator);
            let peak = hardware.peak(hardware.half());
            coefficients = coefficients.measured(found, hardware.bandwidth, peak, cpu);
        }
        let plan = Plan::new(model, deployment, formats, options.overrides).repeated(options.same_requests);
        let layers = Layers::of(model);
        let mut device = Device::with(accelerator, coefficients);
        let (mut trust, mut kernel_source) = (fallback, device.source().to_owned());
        if let Some(kernels) = kernels {
            let tuned = Tuned::new(&kernels.calibration, engine);
            if !tuned.is_empty() {
                trust = kernels.trust;
                kernel_source = format!("{}: {}", kernels.file, kernels.calibration.source);
                device = device.tuned(tuned);
            }
        }
        let points = kernels.and_then(|k| k.calibration.points_of(engine));
        let terms = match points {
            Some(points) => points.terms(choice.terms),
            None => choice.terms,
        };
        let p = deployment.parallelism;
        let mut spread = None;
        // a CPU that was measured is known better than the family of its kernels
        let measured = device.is_tuned();
        if engine == EngineKind::Llamacpp && !measured {
            let flash = deployment.engine.flash_attention();
            let ggml =
                Ggml::of(accelerator, Setting { flash, split: p.accelerators() > 1 }).map_err(broken)?;
            trust = if ggml.measured { Trust::FamilyDefault } else { Trust::Default };
            kernel_source.clone_from(&ggml.source);
            spread = Some([ggml.prefill, ggml.decode]);
            device = device.ggml(ggml);
        }
        Ok(Self {
            timer: StepTimer::new(plan, device, terms, deployment.enforce_eager, layers, f64::from(p.tp))
                .with_decode_scale(points.map_or(1.0, |p| p.decode)),
            engine_warning: choice.warning,
            engine_fit: choice.fit,
            pipeline: f64::from(p.pp),
            data_parallel: f64::from(p.dp),
            token_budget: EngineDefaults::resolve(model, accelerator, deployment)
                .max_num_batched_tokens
                .max(1),
            trust,
            fallback,
            kernel_source,
            spread,
        })
    }

    /// The step timer, for the simulator.
    #[must_use]
    pub fn timer(&self) -> &StepTimer {
        &self.timer
    }

    /// How near the kernel coefficients are to the accelerator.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Most tokens in one step.
    #[must_use]
    pub fn token_budget(&self) -> u32 {
        self.token_budget
    }

    /// Where the kernel coefficients came from.
    #[must_use]
    pub fn kernel_source(&self) -> &str {
        &self.kernel_source
    }

    /// Where the coefficients of operators came from that no fit covers.
    #[must_use]
    pub fn default_source(&self) -> &str {
        self.timer.device().source()
    }

    /// Quantiles of ln(measured / predicted) of TTFT, TPOT and E2E on rows left out of the fit of the engine's terms,
    /// where there were enough; TPOT takes those of E2E where it has none, being most of it. Kernels fitted to whole
    /// runs (llama.cpp's) have quantiles of prefill and decode, whose ends add as the times do: both are as wrong as
    /// each other.
    pub(super) fn engine_spread(&self, latency: &Latency) -> [Option<[f64; 2]>; 3] {
        if let Some([prefill, decode]) = self.spread {
            let rest = (latency.e2e_s - latency.ttft_s).max(0.0);
            let all = [0, 1]
                .map(|end| (latency.ttft_s * prefill[end] + rest * decode[end]) / (latency.ttft_s + rest));
            return [prefill, decode, all].map(|ends| Some(ends.map(f64::ln)));
        }
        let of = |metric: &str| {
            let fit = self.engine_fit.as_ref()?;
            let rows = fit.left_out.iter().filter(|l| l.metric == metric).map(|l| l.n).max()?;
            fit.log_spread(metric).filter(|_| rows >= LEAST_ROWS)
        };
        [of("ttft_s"), of("tpot_s").or_else(|| of("e2e_s")), of("e2e_s")]
    }

    /// Kernels whose transfer widens intervals: none where the spread was found on accelerators left out.
    pub(super) fn transferred(&self, shares: [Vec<Share>; 3]) -> [Vec<Share>; 3] {
        if self.spread.is_some() { Default::default() } else { shares }
    }

    /// Quantiles that those coefficients name for themselves.
    pub(super) fn default_spread(&self) -> Option<[f64; 2]> {
        self.timer.device().coefficients().log_spread
    }

    /// Where the engine terms came from.
    #[must_use]
    pub fn engine_source(&self) -> &str {
        &self.timer.terms().source
    }

    /// What to know of the engine terms: none where a range holds the version.
    #[must_use]
    pub fn engine_warning(&self) -> Option<&str> {
        self.engine_warning.as_deref()
    }

    /// The engine terms in force.
    #[must_use]
    pub fn terms(&self) -> &EngineTerms {
        self.timer.terms()
    }

    /// The same deployment under other engine terms.
    #[must_use]
    pub fn with_terms(&self, terms: EngineTerms) -> Self {
        Self { timer: self.timer.with_terms(terms), ..self.clone() }
    }

    /// Requests prefilled together.
    pub(super) fn batch_of(&self, workload: &Workload) -> f64 {
        match workload.load {
            Load::StaticBatch(n) => f64::from(n),
            Load::Concurrency(_) | Load::Rate { .. } => 1.0,
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

    /// Latencies of a static batch, or of a request alone. `scratch` is reused between calls.
    #[must_use]
    pub fn latency(&self, workload: &Workload, scratch: &mut Vec<Operator>) -> Latency {
        self.latency_in_waves(workload, 1.0, scratch)
    }

    /// The same where a static batch decodes in W waves of B/W requests, one after another: the last
    /// requests wait (W − 1)·(N − 1) decode steps of the others; all prompts are prefilled before them.
    pub(super) fn latency_in_waves(
        &self,
        workload: &Workload,
        waves: f64,
        scratch: &mut Vec<Operator>,
    ) -> Latency {
        let overhead = 1e-3 * self.timer.terms().request_ms;
        let prefill = self.prefill_time(&self.chunks(workload), scratch).pipelined(self.pipeline);
        let decode = self.decode_seconds(workload, waves, scratch);
        let n = workload.output_len;
        let queue = (waves - 1.0) * n.saturating_sub(1) as f64 * decode;
        let latency = Latency {
            queue_s: queue,
            prefill_s: prefill,
            first_token_overhead_s: overhead,
            itl_s: if n > 1 { decode } else { 0.0 },
            ..Latency::default()
        };
        latency.total(n)
    }

    /// Prompts of one rank packed into steps of the token budget B, as chunked prefill packs them.
    ///
    /// n = ⌊R·t/B⌋ steps are full, the rest r = R·t − n·B fills one more. Prompts that are longer than
    /// the budget continue on a past; all steps take the mean past that conserves query–key pairs:
    /// p̄ = (R·(t·p + t²/2) − n·B²/2 − r²/2) / (R·t).
    fn chunks(&self, workload: &Workload) -> Chunks {
        let requests = (self.batch_of(workload) / self.data_parallel).ceil().max(1.0);
        let new = (workload.input_len - workload.prefix_len) as f64;
        let past = workload.prefix_len as f64;
        let budget = f64::from(self.token_budget);
        let total = requests * new;
        // the last step is never empty, so that it samples
        let full_steps = ((total - 1.0) / budget).floor();
        let rest = total - full_steps * budget;
        let chunk = |requests, new_tokens, past_tokens, last| PrefillChunk {
            requests,
            new_tokens,
            past_tokens,
            last,
        };
        if new <= budget {
            return Chunks {
                full_steps,
                full: chunk(budget / new, new, past, true),
                rest: chunk(rest / new, new, past, true),
            };
        }
        let pairs = requests * (new * past + new * new / 2.0);
        let mean_past = (pairs - full_steps * budget * budget / 2.0 - rest * rest / 2.0) / total;
        Chunks {
            full_steps,
            full: chunk(1.0, budget, mean_past, false),
            rest: chunk(1.0, rest, mean_past, true),
        }
    }

    fn prefill_time(&self, chunks: &Chunks, scratch: &mut Vec<Operator>) -> PrefillTime {
        let mut time = |chunk| self.timer.time(&Step { prefill: &[chunk], decode: &[] }, scratch);
        let full = if chunks.full_steps > 0.0 { time(chunks.full) } else { StepTime::default() };
        PrefillTime { full, rest: time(chunks.rest), full_steps: chunks.full_steps }
    }

    /// Rows of one decode step of one rank: a pipeline keeps one micro-batch in every stage. Of waves the
    /// mean, which need not be whole.
    fn decode_rows(&self, workload: &Workload, waves: f64) -> f64 {
        let rows = match workload.load {
            Load::StaticBatch(n) | Load::Concurrency(n) => f64::from(n),
            Load::Rate { .. } => 1.0,
        };
        ((rows / self.data_parallel / self.pipeline).ceil() / waves).max(1.0)
    }

    /// Mean decode step over the contexts from the prompt to the end, by Simpson's rule
    /// (exact while step times are at most cubic in context).
    fn decode_seconds(&self, workload: &Workload, waves: f64, scratch: &mut Vec<Operator>) -> f64 {
        let rows = self.decode_rows(workload, waves);
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

    /// Shares of prefill and of decode that kernels take, by class and what their coefficients rest on; what is
    /// left is the engine's own time.
    pub(super) fn shares(&self, workload: &Workload, waves: f64) -> [Vec<Share>; 2] {
        let share = |steps: &[(Step<'_>, f64)]| {
            let (mut kernels, mut total) = (BTreeMap::new(), 0.0);
            for (step, times) in steps.iter().filter(|(_, times)| *times > 0.0) {
                total += times * self.timer.time(step, &mut vec![]).seconds.0;
                for (key, seconds) in self.timer.kernel_seconds(step) {
                    *kernels.entry(key).or_insert(0.0) += times * seconds;
                }
            }
            kernels
                .into_iter()
                .map(|((class, fitted), seconds)| Share {
                    class,
                    trust: if fitted { self.trust } else { self.fallback },
                    share: (seconds / total).min(1.0),
                })
                .collect()
        };
        let Chunks { full_steps, full, rest } = self.chunks(workload);
        let rows = [self.mean_rows(workload, waves)];
        let prefill = |chunk| Step { prefill: chunk, decode: &[] };
        [
            share(&[(prefill(&[full]), full_steps), (prefill(&[rest]), 1.0)]),
            share(&[(Step { prefill: &[], decode: &rows }, 1.0)]),
        ]
    }

    /// The prefill and the mean decode step of a static batch as operators that take no part in the engine's
    /// terms, each with how often its time counts: what a fit of kernel times to results needs.
    #[must_use]
    pub fn counted(&self, workload: &Workload) -> [Counted; 2] {
        let plan = self.timer.plan();
        let host = |sampled: f64| {
            let t = self.timer.terms();
            1e-6 * (t.step_us + t.row_us * sampled)
        };
        let Chunks { full_steps, full, rest } = self.chunks(workload);
        // the longest step passes through the stages that are still empty
        let fill = 1.0 - 1.0 / self.pipeline;
        let (full_fill, rest_fill) = if full_steps > 0.0 { (fill, 0.0) } else { (0.0, fill) };
        let mut prefill = Counted::default();
        for (chunk, times) in
            [(full, full_steps / self.pipeline + full_fill), (rest, 1.0 / self.pipeline + rest_fill)]
        {
            if times > 0.0 {
                let step = Step { prefill: &[chunk], decode: &[] };
                prefill.add(plan, &step, times, host(step.sampled()));
            }
        }
        let rows = self.decode_rows(workload, 1.0);
        let first = workload.input_len as f64 + 1.0;
        let last = ((workload.input_len + workload.output_len) as f64 - 1.0).max(first);
        let mut decode = Counted::default();
        for (context, times) in
            [(first, 1.0 / 6.0), (f64::midpoint(first, last), 4.0 / 6.0), (last, 1.0 / 6.0)]
        {
            let step = [DecodeRows { rows, context: context.max(1.0) }];
            decode.add(plan, &Step { prefill: &[], decode: &step }, times, host(rows));
        }
        [prefill, decode]
    }

    /// Lines of the whole prefill and of one decode step at the mean context.
    pub(super) fn breakdown(&self, workload: &Workload, waves: f64) -> Breakdown {
        let prefill = self.prefill_lines(&self.chunks(workload));
        let decode = if workload.output_len > 1 {
            let mut lines =
                self.timer.lines(&Step { prefill: &[], decode: &[self.mean_rows(workload, waves)] });
            let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
            let mean = self.decode_seconds(workload, waves, &mut vec![]);
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

    /// Lines of all prefill steps, scaled to the time that their pipeline takes.
    fn prefill_lines(&self, chunks: &Chunks) -> Vec<Line> {
        let of = |chunk| self.timer.lines(&Step { prefill: &[chunk], decode: &[] });
        let time = self.prefill_time(chunks, &mut vec![]);
        let mut lines = of(chunks.rest);
        if chunks.full_steps > 0.0 {
            for full in of(chunks.full) {
                let full = full.repeated(chunks.full_steps);
                match lines.iter_mut().find(|l| l.label == full.label) {
                    Some(same) => same.merge(&full),
                    None => lines.push(full),
                }
            }
        }
        let overlap = time.pipelined(self.pipeline) / time.sequential();
        for line in &mut lines {
            line.seconds = line.seconds * overlap;
        }
        lines
    }

    fn mean_rows(&self, workload: &Workload, waves: f64) -> DecodeRows {
        let context = workload.input_len as f64 + workload.output_len as f64 / 2.0;
        DecodeRows { rows: self.decode_rows(workload, waves), context }
    }

    /// The whole prefill and a decode step at the mean context (nothing without decode): shares of an accelerator's limits,
    /// seconds, and tokens of all requests. A pipeline works on as many micro-batches as it has stages.
    pub(super) fn phases(&self, workload: &Workload, waves: f64) -> [Phase; 2] {
        let mut scratch = vec![];
        let time = self.prefill_time(&self.chunks(workload), &mut scratch);
        let (stages, bandwidth) = (self.pipeline, self.timer.device().bandwidth());
        let all = |of: fn(&StepTime) -> f64| time.full_steps * of(&time.full) + of(&time.rest);
        let seconds = time.pipelined(stages);
        let prefill = Phase {
            compute: all(|t| t.compute_seconds.0) / seconds / stages,
            memory: all(|t| t.memory_bytes.0) / (seconds * bandwidth) / stages,
            seconds,
            tokens: self.batch_of(workload) * (workload.input_len - workload.prefix_len) as f64,
        };
        if workload.output_len < 2 {
            return [prefill, Phase::default()];
        }
        let rows = self.mean_rows(workload, waves);
        let step = self.timer.time(&Step { prefill: &[], decode: &[rows] }, &mut scratch);
        let seconds = step.seconds.0;
        let decode = Phase {
            compute: step.compute_seconds.0 / seconds,
            memory: step.memory_bytes.0 / (seconds * bandwidth) / stages,
            seconds,
            tokens: rows.rows * self.data_parallel * stages,
        };
        [prefill, decode]
    }

    /// MFU of prefill, MBU of decode (0 without decode) and what each phase waits for.
    pub(super) fn utilization(&self, workload: &Workload, waves: f64, breakdown: &Breakdown) -> Utilization {
        let [prefill, decode] = self.phases(workload, waves);
        Utilization {
            prefill_mfu: prefill.compute,
            decode_mbu: decode.memory,
            prefill_bottleneck: bottleneck(&breakdown.prefill),
            decode_bottleneck: bottleneck(&breakdown.decode),
        }
    }
}

/// Operators with how often each counts, and the engine's own seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted {
    /// Operators; `repeat` of one execution counts already.
    pub operators: Vec<(f64, Operator)>,
    /// Host seconds of the engine.
    pub host_s: f64,
}

impl Counted {
    fn add(&mut self, plan: &Plan, step: &Step<'_>, times: f64, host: f64) {
        let mut operators = vec![];
        plan.lower(step, &mut operators);
        self.operators.extend(operators.into_iter().map(|o| (times * o.repeat, o)));
        self.host_s += times * host;
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
