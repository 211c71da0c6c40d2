//! The numbers that people measure.

use serde::Serialize;

use crate::answer::estimate::{Estimate, Latency};
use crate::answer::interval::Interval;
use crate::spec::{Load, SpecError};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Time to first token in seconds.
    #[serde(rename = "ttft_s")]
    Ttft,
    /// Time per output token in seconds.
    #[serde(rename = "tpot_s")]
    Tpot,
    /// End-to-end time in seconds.
    #[serde(rename = "e2e_s")]
    E2e,
    /// Generated tokens per second of all users together.
    #[serde(rename = "output_tokens_per_s")]
    Throughput,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ttft, Self::Tpot, Self::E2e, Self::Throughput];

    /// The name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::E2e => "E2E",
            Self::Throughput => "output throughput",
        }
    }

    /// The flag that gives it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Ttft => "--measured-ttft",
            Self::Tpot => "--measured-tpot",
            Self::E2e => "--measured-e2e",
            Self::Throughput => "--measured-throughput",
        }
    }

    /// More of it is better.
    #[must_use]
    pub fn is_rate(self) -> bool {
        self == Self::Throughput
    }

    /// Its 80 % interval in an answer.
    pub(super) fn interval(self, answer: &Estimate) -> Interval {
        match self {
            Self::Ttft => answer.intervals.ttft_s,
            Self::Tpot => answer.intervals.tpot_s,
            Self::E2e => answer.intervals.e2e_s,
            Self::Throughput => answer.output_rate_interval(),
        }
    }
}

/// Numbers of one run; none where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Figures {
    /// Time to first token in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Time per output token in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_s: Option<f64>,
    /// End-to-end time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e_s: Option<f64>,
    /// Generated tokens per second of all users together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
}

/// TTFT + (N − 1)·TPOT may miss a measured E2E by that much: means over requests of unequal lengths. Judged.
const AGREES: f64 = 0.25;

impl Figures {
    /// Those of an estimate.
    #[must_use]
    pub fn of(answer: &Estimate) -> Self {
        let Latency { ttft_s, tpot_s, e2e_s, .. } = answer.latency;
        Self {
            ttft_s: Some(ttft_s),
            tpot_s: Some(tpot_s).filter(|t| *t > 0.0),
            e2e_s: Some(e2e_s),
            output_tokens_per_s: Some(answer.throughput.output_tokens_per_s),
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, metric: Measure) -> Option<f64> {
        match metric {
            Measure::Ttft => self.ttft_s,
            Measure::Tpot => self.tpot_s,
            Measure::E2e => self.e2e_s,
            Measure::Throughput => self.output_tokens_per_s,
        }
    }

    /// Those that are known.
    pub fn given(&self) -> impl Iterator<Item = (Measure, f64)> {
        Measure::ALL.into_iter().filter_map(|m| Some((m, self.get(m)?)))
    }

    pub(super) fn validate(&self, output_len: u64) -> Result<(), SpecError> {
        if self.given().next().is_none() {
            return Err(SpecError::Usage(
                "nothing was measured: give --measured-tpot, --measured-ttft, --measured-e2e or --measured-throughput"
                    .into(),
            ));
        }
        if let Some((metric, value)) = self.given().find(|(_, v)| !(*v > 0.0 && v.is_finite())) {
            return Err(SpecError::Usage(format!("{} {value} must be above 0", metric.flag())));
        }
        if self.tpot_s.is_some() && output_len < 2 {
            return Err(SpecError::Usage(
                "--measured-tpot needs --output-len 2 or more: one token has no gap to the next".into(),
            ));
        }
        Ok(())
    }

    /// Why the numbers cannot be of one run, where they cannot. N generated tokens of each of the requests in flight.
    pub(super) fn contradiction(&self, n: u64, load: Load) -> Option<String> {
        let apart = |a: f64, b: f64| (a / b).ln().abs() > AGREES;
        if let (Some(ttft), Some(tpot), Some(e2e)) = (self.ttft_s, self.tpot_s, self.e2e_s) {
            let sum = ttft + n.saturating_sub(1) as f64 * tpot;
            if apart(sum, e2e) {
                return Some(format!(
                    "the measured numbers are not of one run: TTFT + (N − 1)·TPOT = {sum:.3} s with N = {n}, and E2E is {e2e:.3} s; \
                     check --output-len, the definition of TPOT (`foretoken explain tpot`) and the units"
                ));
            }
        }
        if let (Some(e2e), Some(rate), Load::StaticBatch(rows) | Load::Concurrency(rows)) =
            (self.e2e_s, self.output_tokens_per_s, load)
        {
            let expected = f64::from(rows) * n as f64 / e2e;
            if apart(expected, rate) {
                return Some(format!(
                    "the measured numbers are not of one run: {rows} requests of {n} tokens in {e2e:.3} s each make {expected:.1} \
                     tokens/s, not {rate:.1}; check the concurrency and --output-len"
                ));
            }
        }
        None
    }
}
