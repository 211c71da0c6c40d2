//! The step time: the one function that every answer and the simulator call.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coefficients::OperatorClass;
use super::engine::EngineTerms;
use super::kernel::{Device, Launch};
use super::line::{Bound, Line, Source};
use crate::spec::ModelSpec;
use crate::spec::model::Mixer;
use crate::units::{Bytes, Flops, Seconds};
use crate::work::{DecodeRows, Operator, Parts, Plan, PrefillChunk, Step};

/// A plan on a device under an engine. Clones share plan and device.
#[derive(Debug, Clone)]
pub struct StepTimer {
    plan: Arc<Plan>,
    device: Arc<Device>,
    terms: EngineTerms,
    enforce_eager: bool,
    layers: Layers,
    tensor_ranks: f64,
    /// Factor on the kernels of decode steps.
    decode_scale: f64,
    /// Most tokens of a step with prefill tokens whose layers run from captured graphs.
    captured_tokens: f64,
}

/// Layers as engine terms count them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Layers {
    /// By their kernels in a prefill step: see [`Layers::of`].
    pub weighted: f64,
    /// With a recurrent or sparse mixer.
    pub special: f64,
}

impl Layers {
    /// Counts the layers of a model. A dense layer weighs 1, one with routed experts 1.5, behind a latent mixer 2.5,
    /// behind a recurrent one 3.5: about the ratio of their kernel launches in a prefill step. Source: SERVING
    /// section 3, where such weights let one floor serve all models; the last from Qwen3.5's rows.
    #[must_use]
    pub fn of(model: &ModelSpec) -> Self {
        model.layers.iter().fold(Self::default(), |sum, group| {
            let count = f64::from(group.count);
            let routed = group.feed_forward.experts().0 > 0;
            let mixer = &group.mixer;
            let compressed = matches!(mixer, Mixer::Compressed { .. });
            let recurrent = mixer.state_bytes() > 0 && !compressed;
            let latent = compressed || matches!(mixer, Mixer::Latent { .. });
            let special = mixer.state_bytes() > 0
                || matches!(
                    mixer,
                    Mixer::Latent { indexer: Some(_), .. } | Mixer::GroupedQuery { indexer: Some(_), .. }
                );
            let weight = match (routed, recurrent, latent) {
                (true, true, _) => 3.5,
                (true, _, true) => 2.5,
                (true, ..) => 1.5,
                (false, ..) => 1.0,
            };
            Self {
                weighted: sum.weighted + count * weight,
                special: sum.special + if special { count } else { 0.0 },
            }
        })
    }
}

/// Totals of one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTime {
    /// Wall time of the step.
    pub seconds: Seconds,
    /// Device time in which the arithmetic ran at its peak: Σ FLOPs/peak. Over the wall time it is the MFU.
    pub compute_seconds: Seconds,
    /// Bytes through device memory; over wall time and peak bandwidth it is the MBU.
    pub memory_bytes: Bytes,
}

impl StepTimer {
    /// Puts a plan on a device. `layers` are those that engine terms count, `tensor_ranks` the tensor-parallel
    /// degree (for host time).
    #[must_use]
    pub fn new(
        plan: Plan,
        device: Device,
        terms: EngineTerms,
        enforce_eager: bool,
        layers: Layers,
        tensor_ranks: f64,
    ) -> Self {
        let prompt =
            PrefillChunk { requests: 1.0, new_tokens: 1.0, past_tokens: 0.0, ending: 1.0, mean_with: None };
        let mut operators = vec![];
        let decode = [DecodeRows { rows: 1.0, context: 1.0 }];
        plan.lower(&Step { prefill: &[prompt], decode: &decode }, &mut operators);
        let (plan, device) = (Arc::new(plan), Arc::new(device.ready_for(&operators)));
        Self {
            plan,
            device,
            terms,
            enforce_eager,
            layers,
            tensor_ranks,
            decode_scale: 1.0,
            captured_tokens: 0.0,
        }
    }

    /// The same with kernels of decode steps that take so many times as long.
    #[must_use]
    pub fn with_decode_scale(self, decode_scale: f64) -> Self {
        Self { decode_scale, ..self }
    }

    /// The same with steps of up to so many tokens in captured graphs, prefill tokens or not.
    #[must_use]
    pub fn with_captured_tokens(self, captured_tokens: u32) -> Self {
        Self { captured_tokens: f64::from(captured_tokens), ..self }
    }

    /// The same under other engine terms.
    #[must_use]
    pub fn with_terms(&self, terms: EngineTerms) -> Self {
        Self { terms, ..self.clone() }
    }

    fn decode_launch(&self) -> Launch {
        if self.terms.decode_graphs && !self.enforce_eager { Launch::Graph } else { Launch::Eager }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Engine terms in force.
    #[must_use]
    pub fn terms(&self) -> &EngineTerms {
        &self.terms
    }

    /// Time of one step. `scratch` is cleared and reused, so that millions of calls allocate nothing.
    pub fn time(&self, step: &Step<'_>, scratch: &mut Vec<Operator>) -> StepTime {
        scratch.clear();
        self.plan.lower(step, scratch);
        let mut total = StepTime::default();
        let mut launches = 0.0;
        for operator in scratch.iter() {
            let (seconds, _) = self.device.seconds(operator);
            let seconds = self.terms.kernel_seconds(operator, seconds, self.device.hardware());
            total.seconds.0 += seconds * operator.repeat;
            launches += operator.launches * operator.repeat;
            let peak = self.device.peak(operator.math);
            if peak > 0.0 {
                total.compute_seconds.0 += operator.flops.0 * operator.repeat / peak;
            }
            total.memory_bytes.0 += operator.traffic.memory().0 * operator.repeat;
        }
        total.seconds = Seconds(self.wall(step, [total.seconds.0, launches]));
        total
    }

    /// Device seconds and kernel launches of some parts of a step. Over disjoint parts that cover the step they
    /// add up to what [`StepTimer::wall`] turns into its wall time.
    pub fn device_part(&self, step: &Step<'_>, parts: Parts, scratch: &mut Vec<Operator>) -> [f64; 2] {
        scratch.clear();
        self.plan.lower_parts(step, parts, scratch);
        let mut sum = [0.0, 0.0];
        for operator in scratch.iter() {
            let (seconds, _) = self.device.seconds(operator);
            let seconds = self.terms.kernel_seconds(operator, seconds, self.device.hardware());
            sum[0] += seconds * operator.repeat;
            sum[1] += operator.launches * operator.repeat;
        }
        sum
    }

    /// True when the core of a step is that of its chunks and that of its rows.
    #[must_use]
    pub fn core_is_additive(&self) -> bool {
        self.plan.core_is_additive()
    }

    /// Wall time of a step whose kernels take `device` seconds in so many launches.
    #[must_use]
    pub fn wall(&self, step: &Step<'_>, [device, launches]: [f64; 2]) -> f64 {
        let device = device * self.scale(step);
        device + self.engine(step, device, launches).iter().sum::<f64>()
    }

    /// Factor on the kernels of a step: those of prefill have theirs among the engine's terms.
    fn scale(&self, step: &Step<'_>) -> f64 {
        if step.prefill.is_empty() { self.decode_scale } else { 1.0 }
    }

    /// Kernel seconds of a step by class of operator, and whether fitted models timed them.
    #[must_use]
    pub fn kernel_seconds(&self, step: &Step<'_>) -> BTreeMap<(OperatorClass, bool), f64> {
        let mut operators = vec![];
        self.plan.lower(step, &mut operators);
        let mut by_class = BTreeMap::new();
        for operator in operators.iter().filter(|o| o.traffic.host.0 <= 0.0) {
            let key = (OperatorClass::of(operator), self.device.is_fitted(operator));
            *by_class.entry(key).or_default() += self.device.seconds(operator).0 * operator.repeat;
        }
        by_class
    }

    /// The kernels of a step, each operator with its line, without what the engine adds between them.
    #[must_use]
    pub fn kernels(&self, step: &Step<'_>) -> Vec<(Operator, Line)> {
        let mut operators = vec![];
        self.plan.lower(step, &mut operators);
        let timed = |operator: Operator| {
            let mut line = self.device.line(&operator);
            let seconds = line.seconds.0 / operator.repeat.max(f64::MIN_POSITIVE);
            let seconds = self.terms.kernel_seconds(&operator, seconds, self.device.hardware());
            line.seconds = Seconds(seconds * operator.repeat * self.scale(step));
            (operator, line)
        };
        operators.into_iter().map(timed).collect()
    }

    /// The same as lines of a breakdown, which sum to the wall time.
    #[must_use]
    pub fn lines(&self, step: &Step<'_>) -> Vec<Line> {
        let kernels = self.kernels(step);
        let mut lines: Vec<Line> = vec![];
        for (_, line) in &kernels {
            match lines.iter_mut().find(|l| l.label == line.label) {
                Some(same) => same.merge(line),
                None => lines.push(*line),
            }
        }
        let launches = kernels.iter().map(|(o, _)| o.launches * o.repeat).sum();
        let device: f64 = lines.iter().map(|l| l.seconds.0).sum();
        let [slowdown, gap, host] = self.engine(step, device, launches);
        if slowdown < 0.0 {
            // kernels faster than the calibration's: a shorter time of each, no line of its own
            for line in &mut lines {
                line.seconds.0 *= 1.0 + slowdown / device;
            }
        }
        for (label, seconds) in
            [("engine_prefill_slowdown", slowdown), ("host_launch_gap", gap), ("engine_step", host)]
        {
            if seconds > 0.0 {
                lines.push(Line {
                    label,
                    count: 1.0,
                    seconds: Seconds(seconds),
                    flops: Flops::ZERO,
                    bytes: Bytes::ZERO,
                    bound: Bound::Host,
                    source: Source::Engine,
                });
            }
        }
        lines
    }

    /// What the engine adds to `device` seconds of kernels: slowdown of prefill, waiting for the host's
    /// launches, host time per step.
    ///
    /// step = max(s·t, κ·L, launches·t_launch) + t_step + t_row·rows + t_rank·log₂(ranks) + t_ctx·cached
    /// tokens + t_mixer·recurrent or sparse layers, with s = 1 in steps without prefill tokens and κ = 0 in those that replay
    /// captured graphs. Source: SERVING section 3.
    ///
    /// κ is the host's time to launch a layer's kernels one by one, which decode steps without graphs wait for as well: 28
    /// layers of Qwen2.5-7B took 22 to 23 ms a token on an A800 in eager mode and 13 with graphs (vLLM-Omni issue 7960), κ·L of
    /// vLLM is 21.6 ms. A step with prefill tokens that is no larger than the
    /// largest captured graph replays them instead (vLLM's piecewise graphs: all of a layer but its attention), and κ = 0:
    /// what is left, one launch of attention a layer, is shorter than a layer's kernels.
    fn engine(&self, step: &Step<'_>, device: f64, launches: f64) -> [f64; 3] {
        let t = &self.terms;
        let cached = step.decode.iter().map(|d| d.rows * d.context).sum();
        let host = t.host_seconds(step.sampled(), self.tensor_ranks, cached)
            + 1e-6 * t.mixer_us * self.layers.special;
        let layers = 1e-3 * t.prefill_floor_ms * self.layers.weighted;
        if step.prefill.is_empty() {
            let gap = match self.decode_launch() {
                Launch::Graph => 0.0,
                Launch::Eager => self
                    .device
                    .host_gap(launches, device, Launch::Eager, t.host_slowdown)
                    .max(layers - device),
            };
            return [0.0, gap, host];
        }
        let slowdown = device * (t.prefill_slowdown(self.device.hardware()) - 1.0);
        let busy = device + slowdown;
        let captured = step.tokens() <= self.captured_tokens;
        let floor = if captured { 0.0 } else { layers - busy };
        let gap = match self.decode_launch() {
            Launch::Graph => 0.0,
            Launch::Eager => self.device.host_gap(launches, busy, Launch::Eager, t.host_slowdown),
        };
        [slowdown, gap.max(floor).max(0.0), host]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn layers_weigh_as_their_kernels() {
        let of = |name| Layers::of(&catalog::model(name, &Directories::default()).unwrap());
        let dense = of("llama-3.1-70b-instruct");
        assert_eq!((dense.weighted, dense.special), (80.0, 0.0));
        // 3 dense and 58 routed layers
        let latent = of("deepseek-v3");
        assert_eq!((latent.weighted, latent.special), (3.0 + 2.5 * 58.0, 0.0));
        let hybrid = of("qwen3.5-397b-a17b");
        assert_eq!((hybrid.weighted, hybrid.special), (3.5 * 45.0 + 1.5 * 15.0, 45.0));
    }
}
