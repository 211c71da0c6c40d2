//! What `cost` is asked.

use serde::Serialize;

use crate::answer::Question;
use crate::serving::Slo;
use crate::spec::SpecError;

/// A question of cost.
#[derive(Debug, Clone, Copy)]
pub struct CostQuestion<'a> {
    /// Model, accelerator, deployment, lengths, load and prices.
    pub question: Question<'a>,
    /// Replicas of the deployment at least; the load is shared evenly among them.
    pub replicas: u32,
    /// Limits of the latencies.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub share: f64,
    /// The load that there is.
    pub volume: Option<Volume>,
    /// What somebody else asks for the same tokens.
    pub api: Option<ApiPrice>,
    /// Documents to get through.
    pub job: Option<Job>,
}

/// Most accelerators of an answer.
const MOST_ACCELERATORS: f64 = 1e6;

impl CostQuestion<'_> {
    /// Accelerators of a replica.
    pub(super) fn accelerators(&self) -> u32 {
        self.question.deployment.parallelism.accelerators()
    }

    /// Refuses more replicas than make sense.
    pub(super) fn countable(&self, replicas: f64) -> Result<(), SpecError> {
        let each = self.accelerators();
        if replicas * f64::from(each) <= MOST_ACCELERATORS {
            return Ok(());
        }
        Err(SpecError::Usage(format!(
            "{replicas:.0} replicas of {each} accelerators are more than 1,000,000 in all; ask for less at a time"
        )))
    }
}

/// A load as people know theirs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// Prompt and generated tokens together in a month of 730.5 hours.
    TokensPerMonth(f64),
    /// Requests in a day.
    RequestsPerDay(f64),
    /// A share of what the replicas can do.
    Load(f64),
}

/// Price of an API in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ApiPrice {
    /// Of a million prompt tokens.
    pub usd_per_million_input_tokens: f64,
    /// Of a million generated tokens.
    pub usd_per_million_output_tokens: f64,
}

impl ApiPrice {
    /// Of a request of these prompt and generated tokens.
    #[must_use]
    pub fn per_request(&self, [input, output]: [f64; 2]) -> f64 {
        1e-6 * (self.usd_per_million_input_tokens * input + self.usd_per_million_output_tokens * output)
    }
}

/// An offline job: every document is a request of the workload's lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Job {
    /// How many.
    pub documents: u64,
    /// Seconds in which all must be done; none for the replicas given.
    pub deadline_s: Option<f64>,
}
