//! What a run reports and what the answer says to it.

use super::asked::Asked;
use crate::answer::{Estimate, Interval};

/// A quantity that both a result file and an answer hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End to end.
    E2e,
    /// Prompt tokens over prefill time.
    PrefillRate,
    /// Generated tokens over decode time, all requests.
    DecodeRate,
    /// Generated tokens over the whole time, all requests.
    OutputRate,
    /// Time to first token that nine in ten requests stay below.
    TtftP90,
    /// The same of 99 in a hundred.
    TtftP99,
    /// End-to-end time that nine in ten requests stay below.
    E2eP90,
    /// The same of 99 in a hundred.
    E2eP99,
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 10] = [
        Self::Ttft,
        Self::Tpot,
        Self::E2e,
        Self::PrefillRate,
        Self::DecodeRate,
        Self::OutputRate,
        Self::TtftP90,
        Self::TtftP99,
        Self::E2eP90,
        Self::E2eP99,
    ];

    /// The column of a result file.
    #[must_use]
    pub fn column(self) -> &'static str {
        self.columns()[0]
    }

    /// Every name that the column may have, the usual one first.
    #[must_use]
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Ttft => &["ttft_ms", "ttft_mean_ms"],
            Self::Tpot => &["tpot_ms", "tpot_mean_ms"],
            Self::E2e => &["e2e_ms", "e2e_mean_ms"],
            Self::PrefillRate => &["prefill_tok_s"],
            Self::DecodeRate => &["decode_tok_s"],
            Self::OutputRate => &["output_tok_s"],
            Self::TtftP90 => &["ttft_p90_ms"],
            Self::TtftP99 => &["ttft_p99_ms"],
            Self::E2eP90 => &["e2e_p90_ms"],
            Self::E2eP99 => &["e2e_p99_ms"],
        }
    }

    /// A rate, not a time.
    #[must_use]
    pub fn is_rate(self) -> bool {
        matches!(self, Self::PrefillRate | Self::DecodeRate | Self::OutputRate)
    }

    /// A percentile over requests, not a mean.
    #[must_use]
    pub fn is_tail(self) -> bool {
        matches!(self, Self::TtftP90 | Self::TtftP99 | Self::E2eP90 | Self::E2eP99)
    }

    /// The key in answers, with its SI unit.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Ttft => "ttft_s",
            Self::Tpot => "tpot_s",
            Self::E2e => "e2e_s",
            Self::PrefillRate => "prefill_tokens_per_s",
            Self::DecodeRate => "decode_tokens_per_s",
            Self::OutputRate => "output_tokens_per_s",
            Self::TtftP90 => "ttft_p90_s",
            Self::TtftP99 => "ttft_p99_s",
            Self::E2eP90 => "e2e_p90_s",
            Self::E2eP99 => "e2e_p99_s",
        }
    }

    /// SI units in one unit of the column.
    pub(super) fn scale(self) -> f64 {
        if self.is_rate() { 1.0 } else { 1e-3 }
    }

    /// The predicted value in SI units with its 80 % interval. A rate's interval is that of the time
    /// it is the inverse of, turned around; a percentile's is that of the mean, as far below and above.
    pub(super) fn predicted(self, answer: &Estimate, asked: &Asked) -> (f64, Interval) {
        let (l, t, i) = (&answer.latency, &answer.throughput, &answer.intervals);
        let inverse = |value: f64, time: f64, of: &Interval| {
            (value, Interval { low: value * time / of.high, high: value * time / of.low })
        };
        let tails = l.tails.unwrap_or_default();
        let like = |value: f64, mean: f64, of: &Interval| {
            (value, Interval { low: value * of.low / mean, high: value * of.high / mean })
        };
        match self {
            Self::TtftP90 => like(tails.ttft_s[0], l.ttft_s, &i.ttft_s),
            Self::TtftP99 => like(tails.ttft_s[1], l.ttft_s, &i.ttft_s),
            Self::E2eP90 => like(tails.e2e_s[0], l.e2e_s, &i.e2e_s),
            Self::E2eP99 => like(tails.e2e_s[1], l.e2e_s, &i.e2e_s),
            Self::Ttft => (l.ttft_s, i.ttft_s),
            Self::Tpot => (l.tpot_s, i.tpot_s),
            Self::E2e => (l.e2e_s, i.e2e_s),
            Self::PrefillRate => inverse(t.prefill_tokens_per_s, l.ttft_s, &i.ttft_s),
            Self::DecodeRate => inverse(f64::from(asked.batch) / l.tpot_s, l.tpot_s, &i.tpot_s),
            Self::OutputRate => inverse(t.output_tokens_per_s, l.e2e_s, &i.e2e_s),
        }
    }
}
