//! Latencies of one request and their identities.

use serde::Serialize;

use super::{Estimator, Options, TpotDefinition};
use crate::answer::tpot;
use crate::serving::Metrics;
use crate::spec::{Formats, ModelSpec, Workload};
use crate::units::Seconds;
use crate::work::lower_image;

/// Latencies of one request, in seconds. TTFT is the sum of its parts; E2E = TTFT + (N − 1)·TPOT.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latency {
    /// Time to first token.
    pub ttft_s: f64,
    /// Waiting for a place in a step.
    pub queue_s: f64,
    /// Forward passes over the prompt.
    pub prefill_s: f64,
    /// Request handling: HTTP, tokenising, scheduling, transfer of the token to the host.
    pub first_token_overhead_s: f64,
    /// Encoding of images.
    pub image_s: f64,
    /// Fetching a cached prefix from host memory.
    pub kv_load_s: f64,
    /// Network round trip.
    pub network_s: f64,
    /// Loading the weights, with a cold start only.
    pub cold_start_s: f64,
    /// Time per output token under the definition asked for.
    pub tpot_s: f64,
    /// Mean gap between two tokens; equals vLLM's TPOT when every step emits one token.
    pub itl_s: f64,
    /// End to end.
    pub e2e_s: f64,
    /// E2E over generated tokens.
    pub normalized_s: f64,
    /// Of a loop, what `validate` compares beside the means; `simulate` reports all percentiles.
    #[serde(skip)]
    pub tails: Option<Tails>,
}

/// 90th and 99th percentiles over the requests of a loop, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tails {
    /// Of time to first token.
    pub ttft_s: [f64; 2],
    /// Of end-to-end time.
    pub e2e_s: [f64; 2],
}

impl Latency {
    /// Fills the sums from the parts. `n` generated tokens.
    pub(super) fn total(mut self, n: u64) -> Self {
        self.ttft_s = self.queue_s
            + self.prefill_s
            + self.first_token_overhead_s
            + self.image_s
            + self.kv_load_s
            + self.network_s
            + self.cold_start_s;
        self.e2e_s = self.ttft_s + (n.saturating_sub(1)) as f64 * self.itl_s;
        self.tpot_s = self.itl_s;
        self.normalized_s = self.e2e_s / n as f64;
        self
    }

    /// Adds what lies outside the engine: images, a prefix in host memory, network, cold start.
    pub(super) fn add_extras(
        &mut self,
        estimator: &Estimator,
        workload: &Workload,
        options: &Options,
        model: &ModelSpec,
        formats: &Formats,
    ) {
        if let (Some(images), Some(vision)) = (options.images, &model.vision) {
            let count = f64::from(images.count) * estimator.batch_of(workload);
            let operators = lower_image(vision, count, images.width, images.height, formats.activations);
            self.image_s = operators.iter().map(|o| estimator.seconds_of(o)).sum();
        }
        if options.kv_offload {
            let bytes = workload.prefix_len as f64 * model.kv_bytes_per_token(formats.kv_cache.bytes());
            self.kv_load_s = estimator.host_transfer_seconds(bytes * estimator.batch_of(workload));
        }
        self.network_s = options.network_rtt_s;
        if let Some(rate) = options.cold_start_bytes_per_s {
            let p = model.parameters();
            let bytes: f64 =
                p.by_class.iter().map(|(class, n)| *n as f64 * formats.of(*class).bytes_per_weight).sum();
            self.cold_start_s = bytes / rate;
        }
        let extras = self.image_s + self.kv_load_s + self.network_s + self.cold_start_s;
        self.ttft_s += extras;
        self.e2e_s += extras;
        self.normalized_s += extras / workload.output_len as f64;
    }

    /// Means over the requests of a simulation.
    pub(in crate::answer) fn simulated(metrics: &Metrics) -> Self {
        Self {
            ttft_s: metrics.ttft.mean(),
            queue_s: metrics.queue.mean(),
            prefill_s: metrics.prefill.mean(),
            first_token_overhead_s: metrics.intake_s,
            tpot_s: metrics.tpot.mean(),
            itl_s: metrics.gaps.mean(),
            e2e_s: metrics.e2e.mean(),
            normalized_s: metrics.normalized.mean(),
            tails: Some(Tails {
                ttft_s: [0.9, 0.99].map(|q| metrics.ttft.quantile(q)),
                e2e_s: [0.9, 0.99].map(|q| metrics.e2e.quantile(q)),
            }),
            ..Self::default()
        }
    }

    /// TPOT under another definition; E2E and TTFT stay.
    #[must_use]
    pub(super) fn redefined(self, definition: TpotDefinition, output_len: u64) -> Self {
        if definition == TpotDefinition::Vllm {
            return self;
        }
        let (e2e, ttft) = (Seconds(self.e2e_s), Seconds(self.ttft_s));
        let tpot_s = tpot(definition, e2e, ttft, output_len).map_or(0.0, |t| t.0);
        Self { tpot_s, ..self }
    }
}
