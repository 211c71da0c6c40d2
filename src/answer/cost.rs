//! What tokens cost, input and output apart by the time that each phase takes.

mod answer;
mod break_even;
mod date;
mod hourly;
mod job;
mod ownership;
mod question;
mod runs;
mod situations;

use serde::Serialize;

use super::energy::Ran;
use super::estimate::Latency;

pub use answer::{CostAnswer, cost};
pub use break_even::{BreakEven, Compared, Crossing};
pub use date::{Day, OLD_DAYS};
pub use hourly::{Basis, CostInputs, HourlyPrice, PricePart};
pub use job::{JobCost, JobDone};
pub use ownership::{Assumption, Ownership};
pub use question::{ApiPrice, CostQuestion, Job, Volume};
pub use situations::{HOURS_PER_MONTH, Situation, SituationCost, SituationKind};

/// Seconds of the whole deployment that one request takes: prefill and decode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::answer) struct Spent {
    /// For its prompt.
    pub prefill_s: f64,
    /// For its generated tokens.
    pub decode_s: f64,
}

impl Spent {
    /// Of `requests` requests of a static batch, in one wave or several: queue_s is then the decode steps of the waves before.
    /// The accelerator is paid for while the host handles requests, which phases share by their times as in a loop
    /// ([`Self::of_loop`]); not for the network nor for a cold start.
    pub fn of_batch(latency: &Latency, requests: f64, output_len: f64) -> Self {
        let prefill = latency.prefill_s + latency.image_s + latency.kv_load_s;
        let decode = latency.queue_s + latency.tpot_s * (output_len - 1.0).max(0.0);
        let with_host = 1.0 + latency.first_token_overhead_s / (prefill + decode);
        Self { prefill_s: with_host * prefill / requests, decode_s: with_host * decode / requests }
    }

    /// Of requests that end at a rate of X per second: 1/X, of which prefill's share is what prompts add to the time in
    /// iterations; waiting for requests is shared out alike. What is fetched or encoded before a prompt comes on top.
    pub fn of_loop(ran: &Ran, requests_per_s: f64, latency: &Latency) -> Self {
        let share = ran.prefill_share();
        let each = 1.0 / requests_per_s;
        Self { prefill_s: each * share + latency.image_s + latency.kv_load_s, decode_s: each * (1.0 - share) }
    }
}

/// A request as it is paid for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::answer) struct Paid {
    /// Mean prompt and generated tokens.
    pub lengths: [f64; 2],
    /// What it takes of the deployment.
    pub spent: Spent,
}

/// Cost of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Price of one accelerator-hour.
    #[serde(flatten)]
    pub price: HourlyPrice,
    /// Price of the deployment per hour, used or not.
    pub usd_per_hour: f64,
    /// Hours used over hours paid.
    pub duty: f64,
    /// Prefill time share of the cost, per million prompt tokens.
    pub usd_per_million_input_tokens: f64,
    /// Decode time share of the cost, per million generated tokens.
    pub usd_per_million_output_tokens: f64,
    /// One request.
    pub usd_per_request: f64,
}

impl Cost {
    /// Cost of requests of these lengths that take so much of the deployment ([`usd_per_million_tokens`]).
    pub(super) fn of(price: &HourlyPrice, duty: f64, accelerators: u32, paid: Paid) -> Self {
        let [input, output] = usd_per_million_tokens(price, duty, accelerators, paid);
        let [input_len, output_len] = paid.lengths;
        Self {
            usd_per_hour: f64::from(accelerators) * price.usd_per_gpu_hour,
            price: price.clone(),
            duty,
            usd_per_million_input_tokens: input,
            usd_per_million_output_tokens: output,
            usd_per_request: 1e-6 * (input * input_len + output * output_len),
        }
    }
}

/// $/Mtok = 10⁶·$/s·t_phase/tokens_phase of prompt and generated tokens, with t_phase the seconds of the whole deployment that
/// a request's phase takes and $/s = n·p/3600, p the price of an hour of one of its n accelerators at this duty
/// ([`HourlyPrice::per_used_hour`]).
pub(super) fn usd_per_million_tokens(
    price: &HourlyPrice,
    duty: f64,
    accelerators: u32,
    paid: Paid,
) -> [f64; 2] {
    let Paid { lengths: [input_len, output_len], spent } = paid;
    let per_second = f64::from(accelerators) * price.per_used_hour(duty) / 3600.0;
    [spent.prefill_s / input_len, spent.decode_s / output_len].map(|seconds| 1e6 * per_second * seconds)
}
