//! A deployment made ready once, asked many times.

mod breakdown;
mod counted;
mod prefill;

use super::{Latency, Question};
use crate::answer::EngineChoice;
use crate::answer::interval::Share;
use crate::spec::catalog::Directories;
use crate::spec::{EngineDefaults, EngineKind, Formats, Load, SpecError, Workload};
use crate::time::engine::RangeFit;
use crate::time::forms::matvec::Setting;
use crate::time::ggml::{Ggml, Spread};
use crate::time::{Coefficients, Device, EngineTerms, Hardware, Layers, StepTimer, Trust, Tuned};
use crate::units::Bytes;
use crate::work::{DecodeRows, Operator, Parts, Plan, Shape, Step, Traffic};

pub use counted::Counted;

/// A deployment of a model on an accelerator, ready to time workloads.
#[derive(Debug, Clone)]
pub struct Estimator {
    timer: StepTimer,
    pipeline: f64,
    /// Most prefill steps at a time in the pipeline.
    in_flight: f64,
    data_parallel: f64,
    token_budget: u32,
    trust: Trust,
    /// Of operators that no fit covers.
    fallback: Trust,
    kernel_source: String,
    engine_warning: Option<String>,
    engine_fit: Option<RangeFit>,
    /// The engine's terms were found on this architecture's kernels.
    own_terms: bool,
    spread: Option<[Spread; 2]>,
}

/// Fewest rows whose 10 % quantile is taken for one: below, it is that of one or two runs.
const LEAST_ROWS: usize = 15;

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
        let choice = EngineChoice::in_force(deployment.engine, accelerator, &engines)?;
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
        let (mut spread, mut in_flight) = (None, f64::INFINITY);
        // a CPU that was measured is known better than the family of its kernels
        let measured = device.is_tuned();
        if engine == EngineKind::Llamacpp && !measured {
            let flash = deployment.engine.flash_attention();
            let ggml =
                Ggml::of(accelerator, Setting { flash, split: p.accelerators() > 1 }).map_err(broken)?;
            trust = if ggml.measured { Trust::FamilyDefault } else { Trust::Default };
            kernel_source.clone_from(&ggml.source);
            let dequantised = formats.main(model).weights.bytes() < 2.0;
            in_flight = ggml.steps_in_flight(f64::from(model.layer_count()) / f64::from(p.pp), dequantised);
            spread = Some([ggml.prefill, ggml.decode]);
            device = device.ggml(ggml);
        }
        let defaults = EngineDefaults::resolve(model, accelerator, deployment);
        Ok(Self {
            timer: StepTimer::new(plan, device, terms, deployment.enforce_eager, layers, f64::from(p.tp))
                .with_decode_scale(points.map_or(1.0, |p| p.decode))
                .with_captured_tokens(defaults.captured_prefill_tokens(deployment.engine)),
            engine_warning: choice.warning,
            engine_fit: choice.fit,
            own_terms: choice.own,
            pipeline: f64::from(p.pp),
            in_flight,
            data_parallel: f64::from(p.dp),
            token_budget: defaults.max_num_batched_tokens.max(1),
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
        if self.spread.is_some() || self.own_terms { Default::default() } else { shares }
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
        let prefill = self.prefill_time(&self.packing(workload), scratch).seconds;
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
        // all but the core takes as long at every context
        let [kernels, launches] = self.timer.device_part(
            &Step { prefill: &[], decode: &[DecodeRows { rows, context: 1.0 }] },
            Parts { core: false, ..Parts::ALL },
            scratch,
        );
        let mut at = |context: f64| {
            let decode = [DecodeRows { rows, context: context.max(1.0) }];
            let step = Step { prefill: &[], decode: &decode };
            let [core, started] = self.timer.device_part(&step, Parts { core: true, ..Parts::NONE }, scratch);
            self.timer.wall(&step, [kernels + core, launches + started])
        };
        if last <= first {
            return at(first);
        }
        (at(first) + 4.0 * at(f64::midpoint(first, last)) + at(last)) / 6.0
    }
}
