//! What tokens cost in energy, prefill and decode apart.

use serde::Serialize;

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

/// Joules in a kilowatt-hour.
const KWH: f64 = 3.6e6;

impl Energy {
    /// E = n·W·t over the tokens, on n accelerators that draw
    /// W = P_idle + e_f·P·MFU + e_b·B·MBU, at most the board power, where e_f, e_b and P_idle were measured on the device; P
    /// its peak in 16 bit, B its bandwidth. Products in narrower formats thereby cost the less the higher their peak is: at
    /// their limits all draw the same. Where nothing was measured W is the datasheet's board power: an upper bound.
    /// None without either.
    pub(super) fn of(
        accelerator: &Accelerator,
        measured: Option<&Coefficients>,
        accelerators: u32,
        [prefill, decode]: [Phase; 2],
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
        let each = |phase: Phase| -> Option<[f64; 2]> {
            let watts = if phase.seconds > 0.0 { watts(phase)? } else { 0.0 };
            Some([watts, f64::from(accelerators) * watts * phase.seconds / phase.tokens.max(1.0)])
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
                (Some(_), _) => "power measured on the device".into(),
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
        let found = Energy::of(&gpu, Some(&measured), 4, two, Some(0.36)).unwrap();
        assert!((found.prefill_w_per_gpu - 277.9).abs() < 0.5, "{found:?}");
        assert!((found.decode_w_per_gpu - 176.0).abs() < 0.5, "{found:?}");
        assert!((found.joules_per_output_token - 4.0 * 176.0 * 2.0 / 100.0).abs() < 0.05);
        // 14.08 J a token: 3.911 kWh a million
        let usd = found.electricity_usd_per_million_output_tokens.unwrap();
        assert!((usd - 0.36 * 1e6 * 14.08 / 3.6e6).abs() < 0.01, "{usd}");
        let sheet = Energy::of(&gpu, None, 1, two, None).unwrap();
        assert_eq!(sheet.prefill_w_per_gpu, 700.0);
        assert!(sheet.source.contains("upper bound"));
    }
}
