//! `size`: which accelerators, how many and laid out how, hold limits under a load, and at what price.
//!
//! A candidate is a deployment; what is looked for is the smallest number of its replicas at which enough of the requests keep
//! all limits, by the very run that `simulate` makes. Deployments are taken in the order of what they cost at least
//! ([`bound`]), so that most are never simulated.

mod advice;
mod bound;
mod compare;
mod drawn;
mod fewest;
mod money;
mod near;
mod profile;
mod reason;
mod search;
mod site;
mod split;

use serde::Serialize;
use std::collections::BTreeMap;

use super::interval::Intervals;
use super::layout::degrees;
use super::simulate::{Demand, Latencies, Rates, Usage};
use super::{Candidate, HourlyPrice, Options};
use crate::serving::Slo;
use crate::spec::{SpecError, Workload};
pub use advice::{Advice, EngineFlag, Mistake};
pub use compare::{Arrangement, ArrangementRate, Comparison};
pub use near::NearMiss;
pub use profile::DayProfile;

/// Who sends requests.
#[derive(Debug, Clone, PartialEq)]
pub enum SizeLoad {
    /// So many a second on average.
    Rate(f64),
    /// People who read or think between an answer and their next request. U of them with a mean pause of Z send
    /// U/(Z + E2E) requests a second (interactive response time law, Little 1961), taken with the E2E of a request alone:
    /// the most they can send.
    Users {
        /// People.
        count: f64,
        /// Mean pause in seconds.
        think_s: f64,
    },
    /// Requests per second hour by hour; the fleet is sized for the busiest hour.
    Hourly(Vec<f64>),
}

/// What the best candidate has least of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Dollars an hour.
    #[default]
    Cost,
    /// Board power of all accelerators.
    Power,
    /// Accelerators.
    Gpus,
    /// Mean end-to-end time of the smallest fleet that holds the limits.
    Latency,
}

impl Objective {
    /// Every objective with its name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Cost, "cost"), (Self::Power, "power"), (Self::Gpus, "gpus"), (Self::Latency, "latency")];
}

/// What a fleet may not exceed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Constraints {
    /// Accelerators in all.
    pub max_gpus: Option<u32>,
    /// Dollars an hour.
    pub max_usd_per_hour: Option<f64>,
    /// Accelerators at hand, by id; one that is not named has no limit of its own.
    pub available: Vec<(String, u32)>,
}

/// A question of size.
#[derive(Clone, Copy)]
pub struct SizeQuestion<'a> {
    /// Deployments to choose from.
    pub candidates: &'a [Candidate<'a>],
    /// Lengths, limits, router; its arrivals' shape is kept, their rate is the load's.
    pub demand: &'a Demand,
    /// Requests to simulate at least; none for the usual number. A fleet that takes longer to fill gets more ([`site`]).
    pub requests: Option<u64>,
    /// Who sends requests.
    pub load: &'a SizeLoad,
    /// Share of its capacity that a fleet keeps free, 0 to 1.
    pub headroom: f64,
    /// Lengths and prefix, for memory and the echo.
    pub workload: &'a Workload,
    /// Everything else.
    pub options: &'a Options,
    /// What a fleet may not exceed.
    pub constraints: &'a Constraints,
    /// What the best has least of.
    pub objective: Objective,
    /// How many candidates are listed.
    pub top: usize,
    /// List every layout that holds the limits, not only the best of each accelerator.
    pub all_layouts: bool,
    /// Arguments of `simulate` that all candidates share, the model first.
    pub arguments: &'a [String],
    /// What to call accelerators there that are not named by their id.
    pub gpu_names: &'a BTreeMap<String, String>,
    /// Called with the number of deployments settled since the last call, from several threads.
    pub done: &'a (dyn Fn(usize) + Sync),
}

/// A fleet that holds the limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SizeCandidate {
    /// Model id.
    pub model: String,
    /// Accelerator id.
    pub gpu: String,
    /// Accelerators in all.
    pub num_gpus: u32,
    /// Replicas behind the router; of two pools those that compute prompts.
    pub replicas: u32,
    /// Replicas that generate, where they have a pool of their own; 0 where all do both.
    pub decode_replicas: u32,
    /// Tensor parallel degree of one.
    pub tensor_parallel_size: u32,
    /// Pipeline parallel degree.
    pub pipeline_parallel_size: u32,
    /// Data parallel degree.
    pub data_parallel_size: u32,
    /// Expert parallel degree.
    pub expert_parallel_size: u32,
    /// Quantisation as asked; `auto` is the checkpoint's own.
    pub quantization: String,
    /// Format of the bulk of the weights.
    pub weight_dtype: String,
    /// Format of the KV cache.
    pub kv_cache_dtype: String,
    /// Engine with version.
    pub engine: String,
    /// Longest request that the engine is told to take.
    pub max_model_len: u64,
    /// Requests per second that it was sized for, headroom included.
    pub request_rate_per_s: f64,
    /// Price of one accelerator-hour with its source and date, where it is known.
    #[serde(flatten)]
    pub price: Option<HourlyPrice>,
    /// Price of all accelerators per hour.
    pub usd_per_hour: Option<f64>,
    /// Dollars per million prompt tokens at this load, by the time that prefill takes.
    pub usd_per_million_input_tokens: Option<f64>,
    /// Dollars per million generated tokens at this load, by the time that decode takes.
    pub usd_per_million_output_tokens: Option<f64>,
    /// Board power of all accelerators in watts, where it is known.
    pub power_w: Option<f64>,
    /// Latencies over the requests.
    pub latency: Latencies,
    /// 80 % intervals of their means.
    pub intervals: Intervals,
    /// Rates.
    pub throughput: Rates,
    /// Share of the requests that keep all limits.
    pub share_within_limits: f64,
    /// What the fleet did.
    pub utilization: Usage,
    /// Why one replica fewer does not hold; none where there is only one or too few could never do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_fewer: Option<String>,
    /// Arguments with which `foretoken simulate` shows the same fleet under the same load.
    pub simulate_args: Vec<String>,
}

impl SizeCandidate {
    /// Degrees of one replica as people write them: `tp2 dp2`.
    #[must_use]
    pub fn degrees(&self) -> String {
        degrees([
            self.tensor_parallel_size,
            self.pipeline_parallel_size,
            self.data_parallel_size,
            self.expert_parallel_size,
        ])
    }
}

/// What kept a deployment out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// No engine would start it.
    Refused,
    /// It does not fit into memory.
    DoesNotFit,
    /// A request alone is beyond a limit: no number of replicas helps.
    TooSlow,
    /// The limits are kept by more accelerators or dollars than allowed, or never.
    TooMany,
    /// What the objective counts is not known of this accelerator.
    Unknown,
}

/// A deployment that was left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    /// Accelerator id.
    pub gpu: String,
    /// Tensor parallel degree.
    pub tensor_parallel_size: u32,
    /// Pipeline parallel degree.
    pub pipeline_parallel_size: u32,
    /// Data parallel degree.
    pub data_parallel_size: u32,
    /// Expert parallel degree.
    pub expert_parallel_size: u32,
    /// Format of the bulk of the weights, as asked where the accelerator cannot run it.
    pub weight_dtype: String,
    /// Engine with version.
    pub engine: String,
    /// What kind of reason.
    pub kind: Obstacle,
    /// The reason in words.
    pub reason: String,
}

/// How much of the space was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Searched {
    /// Deployments asked about.
    pub deployments: usize,
    /// Of them sized by simulation.
    pub simulated: usize,
    /// Of them left alone because they could not be better than what is listed.
    pub pruned: usize,
}

/// The load as it was understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SizeInputs {
    /// Model id.
    pub model: String,
    /// Requests per second at the busiest time; of users it depends on the candidate.
    pub request_rate_per_s: Option<f64>,
    /// People, where the load is people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<f64>,
    /// Their mean pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time_s: Option<f64>,
    /// Requests per second by hour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hourly_rates_per_s: Vec<f64>,
    /// Share of capacity that stays free.
    pub headroom: f64,
    /// Mean prompt tokens.
    pub mean_input_len: f64,
    /// Mean generated tokens.
    pub mean_output_len: f64,
    /// Limits.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub required_share: f64,
    /// What the best has least of.
    pub objective: Objective,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// The load as it was understood.
    pub inputs: SizeInputs,
    /// Fleets that hold the limits, the best first.
    pub candidates: Vec<SizeCandidate>,
    /// Cheaper fleets, and why they do not hold.
    pub near_misses: Vec<NearMiss>,
    /// How to run the first candidate whose replicas do both.
    pub advice: Option<Advice>,
    /// What arranging that one's replicas otherwise would do.
    pub comparison: Option<Comparison>,
    /// What that one needs hour by hour, of an hourly load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<DayProfile>,
    /// Deployments that cannot hold them.
    pub rejected: Vec<Rejected>,
    /// How much was looked at.
    pub searched: Searched,
    /// What to know before using it.
    pub warnings: Vec<String>,
}

/// Looks for the fleets that hold the demand's limits under a load.
///
/// # Errors
/// When no limit is given, or the load makes no sense.
pub fn size(question: &SizeQuestion<'_>) -> Result<Size, SpecError> {
    if !question.demand.slo.is_given() {
        return Err(SpecError::Usage("size needs a limit: --ttft, --tpot or --e2e".into()));
    }
    let (sites, rejected) = site::ready(question);
    let mut found = search::search(question, sites, rejected);
    let mut near_misses = near::near_misses(question, &found)?;
    found.split(question)?;
    let least = found.listed().first().map_or(f64::INFINITY, |first| first.value);
    near_misses.retain(|miss| miss.value < least);
    let advice = found.first_whole().map(|first| advice::advice(question, first)).transpose()?;
    let profile = match found.first_whole() {
        Some(first) => profile::profile(question, first)?,
        None => None,
    };
    let comparison = found.first_whole().map(|first| compare::compared(question, first)).transpose()?;
    let listed: Result<Vec<SizeCandidate>, SpecError> =
        found.listed().iter().map(|f| f.described(question)).collect();
    let candidates = listed?;
    let [mean_input_len, mean_output_len] = question.demand.traffic.lengths.means();
    let (users, think_time_s, hourly) = match question.load {
        SizeLoad::Rate(_) => (None, None, vec![]),
        SizeLoad::Users { count, think_s } => (Some(*count), Some(*think_s), vec![]),
        SizeLoad::Hourly(rates) => (None, None, rates.clone()),
    };
    Ok(Size {
        inputs: SizeInputs {
            model: question.candidates.first().map(|c| c.model.id.clone()).unwrap_or_default(),
            request_rate_per_s: question.load.peak(),
            users,
            think_time_s,
            hourly_rates_per_s: hourly,
            headroom: question.headroom,
            mean_input_len,
            mean_output_len,
            slo: question.demand.slo,
            required_share: question.demand.share,
            objective: question.objective,
        },
        candidates,
        advice,
        comparison,
        profile,
        near_misses,
        searched: found.searched,
        warnings: found.warnings(),
        rejected: found.rejected,
    })
}

impl SizeLoad {
    /// Requests per second at the busiest time, where that does not depend on the deployment.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        match self {
            Self::Rate(rate) => Some(*rate),
            Self::Users { .. } => None,
            Self::Hourly(rates) => rates.iter().copied().reduce(f64::max),
        }
    }

    /// Requests per second at the busiest time, where a request alone takes `e2e_s`.
    fn rate(&self, e2e_s: f64) -> f64 {
        match self {
            Self::Users { count, think_s } => count / (think_s + e2e_s),
            _ => self.peak().unwrap_or(0.0),
        }
    }
}
