//! What tokens cost, input and output apart by the time that each phase takes.

use serde::Serialize;

use super::estimate::Latency;
use crate::spec::Accelerator;

/// What the user says of money.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CostInputs {
    /// Price of one accelerator-hour in US dollars, overriding the accelerator's file.
    pub gpu_hour_usd: Option<f64>,
    /// Share of paid time that is used, 0 to 1.
    pub utilization: Option<f64>,
    /// Price of electricity in US dollars per kilowatt-hour.
    pub electricity_usd_per_kwh: Option<f64>,
}

/// Cost of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Price of one accelerator-hour.
    pub usd_per_gpu_hour: f64,
    /// Price of the deployment per hour.
    pub usd_per_hour: f64,
    /// Where the price came from and its date.
    pub price_source: String,
    /// Share of paid time that is used.
    pub utilization: f64,
    /// Prefill time share of the cost, per million prompt tokens.
    pub usd_per_million_input_tokens: f64,
    /// Decode time share of the cost, per million generated tokens.
    pub usd_per_million_output_tokens: f64,
    /// One request.
    pub usd_per_request: f64,
}

impl Cost {
    /// Cost of `requests` requests that occupy `accelerators` accelerators for one E2E.
    /// $/Mtok = 10⁶ · $/s · t_phase / tokens_phase ÷ utilization. None without a price.
    ///
    /// A continuous stream is priced as the static batch it keeps in flight.
    pub(super) fn of(
        accelerator: &Accelerator,
        inputs: CostInputs,
        accelerators: u32,
        requests: f64,
        [input_len, output_len]: [f64; 2],
        latency: &Latency,
    ) -> Option<Self> {
        let (hour, price_source) = match (inputs.gpu_hour_usd, &accelerator.hourly_price) {
            (Some(usd), _) => (usd, "--gpu-hour-usd".to_owned()),
            (None, Some(p)) => (p.usd, format!("{}, {}, {}", p.kind, p.source, p.date)),
            (None, None) => return None,
        };
        let utilization = inputs.utilization.unwrap_or(1.0);
        let usd_per_hour = hour * f64::from(accelerators);
        let per_second = usd_per_hour / 3600.0 / utilization;
        // Host, queue and network time of a request does not occupy the accelerator.
        let prefill = latency.prefill_s + latency.image_s + latency.kv_load_s;
        let decode = latency.tpot_s * (output_len - 1.0).max(0.0);
        Some(Self {
            usd_per_gpu_hour: hour,
            usd_per_hour,
            price_source,
            utilization,
            usd_per_million_input_tokens: 1e6 * per_second * prefill / (requests * input_len),
            usd_per_million_output_tokens: 1e6 * per_second * decode / (requests * output_len),
            usd_per_request: per_second * (prefill + decode) / requests,
        })
    }
}
