//! A device ready to time operators: peaks and bandwidths looked up once, coefficients chosen.

use super::coefficients::{CoefficientError, Coefficients, OperatorClass};
use super::ggml::Ggml;
use super::hardware::Hardware;
use super::line::{Bound, Line, Source};
use super::tuned::Tuned;
use crate::spec::{Accelerator, DataType};
use crate::units::{Bytes, Flops, Seconds};
use crate::work::{Collective, Operator, Shape};

/// How the host starts kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launch {
    /// Captured in a graph: no cost beyond each kernel's own latency.
    Graph,
    /// One by one; the device waits when the host is slower.
    Eager,
}

/// An accelerator with its coefficients.
#[derive(Debug, Clone)]
pub struct Device {
    coefficients: Coefficients,
    tuned: Tuned,
    ggml: Option<Ggml>,
    hardware: Hardware,
}

impl Device {
    /// Looks up what timing needs, with the default coefficients of the architecture.
    ///
    /// # Errors
    /// When the embedded defaults are broken, which a test excludes.
    pub fn new(accelerator: &Accelerator) -> Result<Self, CoefficientError> {
        Ok(Self::with(accelerator, Coefficients::default_for(&accelerator.architecture)?))
    }

    /// The same with given coefficients.
    #[must_use]
    pub fn with(accelerator: &Accelerator, coefficients: Coefficients) -> Self {
        Self { coefficients, tuned: Tuned::default(), ggml: None, hardware: Hardware::of(accelerator) }
    }

    /// The same with fitted kernel models, which win over the coefficients where they cover an operator.
    #[must_use]
    pub fn tuned(self, tuned: Tuned) -> Self {
        Self { tuned, ..self }
    }

    /// The same, quicker about the products among some operators.
    #[must_use]
    pub(super) fn ready_for(self, operators: &[Operator]) -> Self {
        Self { tuned: self.tuned.ready_for(operators, &self.hardware), ..self }
    }

    /// The same with llama.cpp's own kernels, which win over everything else.
    #[must_use]
    pub fn ggml(self, ggml: Ggml) -> Self {
        Self { ggml: Some(ggml), ..self }
    }

    /// True when fitted kernel models are in force.
    #[must_use]
    pub fn is_tuned(&self) -> bool {
        !self.tuned.is_empty()
    }

    /// Where the coefficients came from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.coefficients.source
    }

    /// Coefficients in force.
    #[must_use]
    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// Peaks and bandwidths.
    #[must_use]
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Peak operations per second of a data type; 0 where unknown.
    #[must_use]
    pub fn peak(&self, data_type: DataType) -> f64 {
        self.hardware.peak(data_type)
    }

    /// Peak memory bandwidth in bytes per second.
    #[must_use]
    pub fn bandwidth(&self) -> f64 {
        self.hardware.bandwidth
    }

    /// Time of all executions of an operator.
    #[must_use]
    pub fn line(&self, operator: &Operator) -> Line {
        let (seconds, bound) = self.seconds(operator);
        let traffic = &operator.traffic;
        let bytes = traffic.memory().0 + traffic.link.0 + traffic.host.0;
        Line {
            label: operator.label,
            count: operator.repeat,
            seconds: Seconds(seconds * operator.repeat),
            flops: Flops(operator.flops.0 * operator.repeat),
            bytes: Bytes(bytes * operator.repeat),
            bound,
            // the host link runs at a fixed share of its datasheet bandwidth
            source: if traffic.host.0 > 0.0 { Source::Datasheet } else { Source::Kernels },
        }
    }

    /// True where a fitted kernel model times the operator, false where the defaults do.
    #[must_use]
    pub fn is_fitted(&self, operator: &Operator) -> bool {
        self.ggml.as_ref().is_some_and(|g| g.seconds(operator, &self.hardware).is_some())
            || self.tuned.seconds(operator, &self.hardware, 0.0).is_some()
    }

    /// Seconds of one execution and what bounds it.
    #[must_use]
    pub fn seconds(&self, operator: &Operator) -> (f64, Bound) {
        if let Some(own) = self.ggml.as_ref().and_then(|g| g.seconds(operator, &self.hardware)) {
            return own;
        }
        if operator.concurrent {
            return self.beside(operator);
        }
        let kernel = 1e-6 * self.coefficients.form(OperatorClass::Elementwise).latency_us;
        if let Some(fitted) = self.tuned.seconds(operator, &self.hardware, kernel) {
            return fitted;
        }
        if let Shape::Collective { kind, ranks } = operator.shape {
            return self.collective(kind, f64::from(ranks), operator.traffic.link.0);
        }
        let host = operator.traffic.host.0;
        if host > 0.0 {
            return (host / (0.85 * self.hardware.host_link), Bound::Link);
        }
        let form = self.coefficients.form(OperatorClass::of(operator));
        let mut bytes = operator.traffic.memory().0;
        let mut flops = operator.flops.0;
        let mut waits = 0.0;
        match operator.shape {
            Shape::SparsePrefill { heads, .. } => flops *= self.hardware.padded_heads(heads) / heads.max(1.0),
            Shape::Recurrent { chunks, .. } => waits = 1e-6 * self.coefficients.chunk_us * chunks,
            Shape::DecodeAttention { rows, context, kv_heads, window, .. } => {
                bytes += self.idle(operator, rows, context.min(window), kv_heads);
            }
            Shape::LatentDecode { rows, context, .. } => bytes += self.idle(operator, rows, context, 1.0),
            _ => {}
        }
        let [mut fixed, compute, memory, mut total] =
            form.seconds(flops, self.peak(operator.math), bytes, self.hardware.bandwidth);
        fixed += waits;
        total += waits;
        if let Shape::SparsePrefill { window, window_flops, window_bytes, .. } = operator.shape {
            let fitted = self.tuned.expanded(&window, operator.math, &self.hardware);
            let peak = self.peak(operator.math);
            let window = fitted.unwrap_or_else(|| {
                form.seconds(window_flops.0, peak, window_bytes.0, self.hardware.bandwidth)[3]
            });
            total = total.max(window);
        }
        if operator.shape == Shape::Elementwise && operator.launches > 1.0 {
            // several small kernels, each with its own latency
            total += fixed * (operator.launches - 1.0);
            fixed *= operator.launches;
        }
        let bound = if fixed > compute.max(memory) {
            Bound::Latency
        } else if compute > memory {
            Bound::Compute
        } else {
            Bound::Memory
        };
        (total, bound)
    }

    /// What an operator on a second stream takes from the one it runs beside: its share of memory or
    /// arithmetic, whichever is larger, without its latency.
    fn beside(&self, operator: &Operator) -> (f64, Bound) {
        let form = self.coefficients.form(OperatorClass::of(operator));
        let bytes = operator.traffic.memory().0;
        let [_, compute, memory, _] =
            form.seconds(operator.flops.0, self.peak(operator.math), bytes, self.hardware.bandwidth);
        (compute.max(memory), if compute > memory { Bound::Compute } else { Bound::Memory })
    }

    /// Bytes that could be read beside a decode attention's cache in the time that it takes: Q/u − Q of Q bytes of
    /// c positions, where its blocks fill a share u of the multiprocessors. Queries, outputs and the one position
    /// that is written do not wait for them.
    fn idle(&self, operator: &Operator, rows: f64, positions: f64, kv_heads: f64) -> f64 {
        let read = operator.traffic.kv.0 * positions / (positions + 1.0);
        read / self.occupancy(rows, positions, kv_heads) - read
    }

    /// Share of the multiprocessors that a decode-attention kernel keeps busy: one block per row, KV
    /// head and split of 256 positions, two blocks filling a multiprocessor (EQUATIONS section 3, unit5).
    fn occupancy(&self, rows: f64, context: f64, kv_heads: f64) -> f64 {
        if self.hardware.multiprocessors <= 0.0 {
            return 1.0;
        }
        let blocks = rows * kv_heads * (context / 256.0).max(1.0);
        (2.0 * blocks / self.hardware.multiprocessors).clamp(1e-3, 1.0)
    }

    fn collective(&self, kind: Collective, ranks: f64, message: f64) -> (f64, Bound) {
        if ranks < 2.0 {
            return (0.0, Bound::Link);
        }
        let share = (ranks - 1.0) / ranks;
        let bytes = match kind {
            Collective::AllReduce => 2.0 * share * message,
            Collective::AllGather | Collective::AllToAll => share * message,
            Collective::SendReceive => message,
        };
        let [fixed, transfer] = self.coefficients.link.seconds(bytes, ranks, self.hardware.link);
        (fixed + transfer, if fixed > transfer { Bound::Latency } else { Bound::Link })
    }

    /// Seconds that the device waits because the host starts kernels one by one: the host's time for
    /// all launches less the device's own, where that is positive.
    #[must_use]
    pub fn host_gap(&self, launches: f64, device_seconds: f64, launch: Launch, slowdown: f64) -> f64 {
        match launch {
            Launch::Graph => 0.0,
            Launch::Eager => {
                (launches * self.coefficients.host_launch_us * 1e-6 * slowdown - device_seconds).max(0.0)
            }
        }
    }
}
