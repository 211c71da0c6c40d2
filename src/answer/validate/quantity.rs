//! What a run reports and what the answer says to it.

use super::row::Asked;
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
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 6] =
        [Self::Ttft, Self::Tpot, Self::E2e, Self::PrefillRate, Self::DecodeRate, Self::OutputRate];

    /// The column of a result file.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Ttft => "ttft_ms",
            Self::Tpot => "tpot_ms",
            Self::E2e => "e2e_ms",
            Self::PrefillRate => "prefill_tok_s",
            Self::DecodeRate => "decode_tok_s",
            Self::OutputRate => "output_tok_s",
        }
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
        }
    }

    /// SI units in one unit of the column.
    pub(super) fn scale(self) -> f64 {
        match self {
            Self::Ttft | Self::Tpot | Self::E2e => 1e-3,
            Self::PrefillRate | Self::DecodeRate | Self::OutputRate => 1.0,
        }
    }

    /// The predicted value in SI units with its 80 % interval. A rate's interval is that of the time
    /// it is the inverse of, turned around.
    pub(super) fn predicted(self, answer: &Estimate, asked: &Asked) -> (f64, Interval) {
        let (l, t, i) = (&answer.latency, &answer.throughput, &answer.intervals);
        let inverse = |value: f64, time: f64, of: &Interval| {
            (value, Interval { low: value * time / of.high, high: value * time / of.low })
        };
        match self {
            Self::Ttft => (l.ttft_s, i.ttft_s),
            Self::Tpot => (l.tpot_s, i.tpot_s),
            Self::E2e => (l.e2e_s, i.e2e_s),
            Self::PrefillRate => inverse(t.prefill_tokens_per_s, l.ttft_s, &i.ttft_s),
            Self::DecodeRate => inverse(f64::from(asked.batch) / l.tpot_s, l.tpot_s, &i.tpot_s),
            Self::OutputRate => inverse(t.output_tokens_per_s, l.e2e_s, &i.e2e_s),
        }
    }
}
