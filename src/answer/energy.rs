//! What tokens cost in energy, prefill and decode apart.

use serde::Serialize;

use crate::serving::Metrics;
use crate::spec::Accelerator;
use crate::time::Hardware;
use crate::time::measured::Energy as Coefficients;

/// Shares of an accelerator's arithmetic and memory bandwidth that a phase uses, how long it takes, and its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Phase {
    /// MFU.
    pub compute: f64,
    /// MBU.
    pub memory: f64,
    /// Seconds.
    pub seconds: f64,
    /// Tokens that they make, of all requests.
    pub tokens: f64,
}

/// What a simulation did, of all replicas together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Ran {
    /// Seconds that prompts added to iterations.
    pub prefill_s: f64,
    /// Seconds of iterations beside those.
    pub decode_s: f64,
    /// Seconds without work, before the last request ended.
    pub idle_s: f64,
    /// Prompt tokens computed: those in the prefix cache are not.
    pub input_tokens: f64,
    /// Tokens generated.
    pub output_tokens: f64,
}

impl Ran {
    /// Of so many replicas.
    pub fn of(metrics: &Metrics, replicas: u32) -> Self {
        let worked = metrics.worked;
        Self {
            prefill_s: worked.prefill_seconds,
            decode_s: worked.seconds - worked.prefill_seconds,
            idle_s: (f64::from(replicas) * metrics.last - worked.seconds).max(0.0),
            input_tokens: metrics.input_tokens.saturating_sub(metrics.cached_tokens) as f64,
            output_tokens: metrics.output_tokens as f64,
        }
    }

    /// Share of prefill in the time in iterations; all of it where nothing ran.
    pub fn prefill_share(&self) -> f64 {
        let worked = self.prefill_s + self.decode_s;
        if worked > 0.0 { self.prefill_s / worked } else { 1.0 }
    }

    /// Shares of the limits as a step has them, with the times and tokens of the run.
    pub fn phases(&self, [prefill, decode]: [Phase; 2]) -> [Phase; 2] {
        [
            Phase { seconds: self.prefill_s, tokens: self.input_tokens, ..prefill },
            Phase { seconds: self.decode_s, tokens: self.output_tokens, ..decode },
        ]
    }
}

/// Energy of the accelerators; hosts, switches and cooling are not counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Energy {
    /// Joules per prompt token.
    pub joules_per_input_token: f64,
    /// Joules per generated token; 0 without decode.
    pub joules_per_output_token: f64,
    /// Mean watts of one accelerator in prefill.
    pub prefill_w_per_gpu: f64,
    /// Mean watts of one accelerator in decode; 0 without decode.
    pub decode_w_per_gpu: f64,
    /// Electricity of a million prompt tokens, where its price is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub electricity_usd_per_million_input_tokens: Option<f64>,
    /// Electricity of a million generated tokens, where its price is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub electricity_usd_per_million_output_tokens: Option<f64>,
    /// Measured on the device, or the datasheet's board power.
    pub source: String,
}

impl Energy {
    /// Power was measured on the device.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.source == MEASURED
    }
}

/// What is said of power that was.
const MEASURED: &str = "power measured on the device";

/// Joules in a kilowatt-hour.
const KWH: f64 = 3.6e6;

impl Energy {
    /// E = n·W·t over the tokens, on n accelerators that draw
    /// W = P_idle + e_f·P·MFU + e_b·B·MBU, at most the board power, where e_f, e_b and P_idle were measured on the device; P
    /// its peak in 16 bit, B its bandwidth. Products in narrower formats thereby cost the less the higher their peak is: at
    /// their limits all draw the same. `idle_s` seconds without work at P_idle are shared out by the phases' seconds. Where
    /// nothing was measured W is the datasheet's board power all the time: an upper bound. None without either.
    pub(super) fn of(
        accelerator: &Accelerator,
        measured: Option<&Coefficients>,
        accelerators: u32,
        [prefill, decode]: [Phase; 2],
        idle_s: f64,
        usd_per_kwh: Option<f64>,
    ) -> Option<Self> {
        let board = accelerator.tdp().map(|w| w.0);
        let hardware = Hardware::of(accelerator);
        let watts = |phase: Phase| match measured {
            Some(e) => {
                let computing = e.joules_per_flop * hardware.peak(hardware.half()) * phase.compute;
                let reading = e.joules_per_byte * hardware.bandwidth * phase.memory;
                Some((e.idle_w + computing + reading).min(board.unwrap_or(f64::INFINITY)))
            }
            None => board,
        };
        let idle_w = measured.map(|e| e.idle_w).or(board).unwrap_or_default();
        let idle_j = idle_w * idle_s / (prefill.seconds + decode.seconds).max(f64::MIN_POSITIVE);
        let each = |phase: Phase| -> Option<[f64; 2]> {
            let watts = if phase.seconds > 0.0 { watts(phase)? } else { 0.0 };
            let joules = (watts + idle_j) * phase.seconds;
            Some([watts, f64::from(accelerators) * joules / phase.tokens.max(1.0)])
        };
        let ([prefill_w_per_gpu, input], [decode_w_per_gpu, output]) = (each(prefill)?, each(decode)?);
        let usd = |joules: f64| usd_per_kwh.map(|price| 1e6 * joules / KWH * price);
        Some(Self {
            joules_per_input_token: input,
            joules_per_output_token: output,
            prefill_w_per_gpu,
            decode_w_per_gpu,
            electricity_usd_per_million_input_tokens: usd(input),
            electricity_usd_per_million_output_tokens: usd(output),
            source: match (measured, board) {
                (Some(_), _) => MEASURED.into(),
                (None, Some(_)) => "upper bound: the datasheet's board power all the time".into(),
                (None, None) => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn by_hand() {
        let gpu = catalog::accelerator("h200-sxm", &Directories::default()).unwrap();
        let phase = |compute, memory| Phase { compute, memory, seconds: 2.0, tokens: 100.0 };
        let measured = Coefficients { idle_w: 80.0, joules_per_flop: 0.4e-12, joules_per_byte: 40e-12 };
        // half of 989.5 Tflop/s: 197.9 W; half of 4.8 TB/s: 96 W
        let two = [phase(0.5, 0.0), phase(0.0, 0.5)];
        let found = Energy::of(&gpu, Some(&measured), 4, two, 0.0, Some(0.36)).unwrap();
        assert!((found.prefill_w_per_gpu - 277.9).abs() < 0.5, "{found:?}");
        assert!((found.decode_w_per_gpu - 176.0).abs() < 0.5, "{found:?}");
        assert!((found.joules_per_output_token - 4.0 * 176.0 * 2.0 / 100.0).abs() < 0.05);
        // 14.08 J a token: 3.911 kWh a million
        let usd = found.electricity_usd_per_million_output_tokens.unwrap();
        assert!((usd - 0.36 * 1e6 * 14.08 / 3.6e6).abs() < 0.01, "{usd}");
        let idle = Energy::of(&gpu, Some(&measured), 4, two, 1.0, None).unwrap();
        // a second of 80 W over four seconds of work: 20 W more
        let more = idle.joules_per_output_token - found.joules_per_output_token;
        assert!((more - 4.0 * 20.0 * 2.0 / 100.0).abs() < 1e-9, "{more}");
        let sheet = Energy::of(&gpu, None, 1, two, 0.0, None).unwrap();
        assert_eq!(sheet.prefill_w_per_gpu, 700.0);
        assert!(sheet.source.contains("upper bound"));
    }
}
