//! An interval on every predicted time.

use serde::{Serialize, Serializer};

use super::estimate::Latency;
use super::transfer::{ANY, spread};
use crate::spec::EngineKind;
use crate::time::{OperatorClass, Trust};

/// Low and high end of an 80 % interval, in the unit of the value it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// One in ten true values lies below.
    pub low: f64,
    /// One in ten true values lies above.
    pub high: f64,
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.low, self.high].serialize(serializer)
    }
}

impl Interval {
    /// What either holds.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// A value with multiplicative uncertainty.
    #[must_use]
    fn around(value: f64, [low, high]: [f64; 2]) -> Self {
        Self { low: value * low, high: value * high }
    }
}

/// Intervals of the main latencies in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    /// Time to first token.
    pub ttft_s: Interval,
    /// Time per output token.
    pub tpot_s: Interval,
    /// End to end.
    pub e2e_s: Interval,
}

/// Share of a time that kernels of one class take, with what their coefficients rest on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub class: OperatorClass,
    pub trust: Trust,
    /// Of the whole time, in [0, 1].
    pub share: f64,
}

/// Shares of TTFT, TPOT and E2E by class of kernels, from those of prefill and decode. What lies outside both (waiting,
/// images, network) has none.
pub(super) fn shares([prefill, decode]: &[Vec<Share>; 2], latency: &Latency) -> [Vec<Share>; 3] {
    let scaled = |list: &[Share], by: f64| -> Vec<Share> {
        list.iter().map(|s| Share { share: s.share * by, ..*s }).collect()
    };
    let of = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
    let computing = latency.prefill_s + latency.queue_s;
    let mut all = scaled(prefill, of(computing, latency.e2e_s));
    for s in scaled(decode, of(latency.e2e_s - latency.ttft_s, latency.e2e_s)) {
        match all.iter_mut().find(|known| (known.class, known.trust) == (s.class, s.trust)) {
            Some(known) => known.share += s.share,
            None => all.push(s),
        }
    }
    [scaled(prefill, of(computing, latency.ttft_s)), decode.clone(), all]
}

/// How far the answer is from anything measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Regime {
    pub engine: EngineKind,
    /// Accelerator.
    pub gpu: String,
    /// Shares of TTFT, TPOT and E2E by class of operator.
    pub shares: [Vec<Share>; 3],
    /// 10 % and 90 % quantiles of ln(measured / predicted) on rows left out of the fit of the engine's terms, where
    /// there were enough.
    pub measured: [Option<[f64; 2]>; 3],
    /// Quantiles that the defaults in force name for themselves.
    pub judged: Option<[f64; 2]>,
    /// Requests over time instead of one static batch.
    pub closed_loop: bool,
    /// They filled the KV pool.
    pub kv_limited: bool,
}

/// 10 % and 90 % quantiles of ln(measured / predicted) of TTFT where the KV pool does not hold all requests of a loop to their
/// end: 16 runs of InferenceX (SGLang, TensorRT-LLM, vLLM), by `validate serving.csv --by room,id`. Whether requests wait for
/// room hangs on the pool's exact size, and TTFT with it; E2E of those runs is met as well as others'.
const KV_LIMITED_TTFT: [f64; 2] = [-1.18, 1.09];

impl Regime {
    /// 10 % and 90 % quantiles of ln(measured / predicted): TTFT, TPOT, E2E.
    ///
    /// Two errors that know nothing of each other add in squares, each end for itself:
    /// z² = z_e² + z_k², z_e the engine's on accelerators with a calibration of their own, z_k what kernels of a
    /// transferred or default calibration are known worse than those ([`kernel_excess`]).
    fn log_ends(&self) -> [[f64; 2]; 3] {
        if self.engine == EngineKind::Ideal {
            return [[0.0; 2]; 3];
        }
        let mut ends: [[f64; 2]; 3] = match self.engine {
            EngineKind::Ideal => [[0.0; 2]; 3],
            // TTFT: quantiles of the first form of the terms on static rows, rounded outwards. TPOT and E2E: quantiles
            // ±0.16 of models left out of a fit to closed loops (SERVING section 7), and 12 to 25 % that a version
            // moved against the one before (0.22 in ln), in squares.
            EngineKind::Vllm | EngineKind::Sglang | EngineKind::Trtllm => {
                [[-0.51, 0.53], [-0.27, 0.27], [-0.27, 0.27]]
            }
            // judged; llama.cpp's kernels have quantiles of their own (`measured`)
            EngineKind::Llamacpp
            | EngineKind::Transformers
            | EngineKind::TransformersCompiled
            | EngineKind::Lmdeploy
            | EngineKind::Fastllm => [[-0.69, 1.1], [-0.51, 1.1], [-0.51, 1.1]],
        };
        for (end, measured) in ends.iter_mut().zip(self.measured) {
            *end = measured.unwrap_or(*end);
        }
        for (end, _) in ends.iter_mut().zip(self.measured).filter(|(_, m)| self.closed_loop && m.is_none()) {
            // queueing, judged where no measured loop was left out of a fit
            *end = [end[0] - 0.1, end[1] + 0.18];
        }
        if self.kv_limited {
            ends[0] = [ends[0][0].min(KV_LIMITED_TTFT[0]), ends[0][1].max(KV_LIMITED_TTFT[1])];
        }
        for (ends, shares) in ends.iter_mut().zip(&self.shares) {
            let [low, high] = kernel_excess(shares, &self.gpu, self.judged);
            // an end on the other side of the prediction stays there unless the kernels move it
            *ends = [-ends[0].min(0.0).hypot(low), ends[1].max(0.0).hypot(high)];
        }
        ends
    }

    pub(super) fn intervals(&self, ttft: f64, tpot: f64, e2e: f64) -> Intervals {
        let [first, each, all] = self.log_ends().map(|ends| ends.map(f64::exp));
        Intervals {
            ttft_s: Interval::around(ttft, first),
            tpot_s: Interval::around(tpot, each),
            e2e_s: Interval::around(e2e, all),
        }
    }
}

/// How far, in ln, 10 % and 90 % quantiles of a time lie below and above the prediction because its kernels' calibration
/// is not the accelerator's own.
///
/// Within one step a class errs as one: its operators come from one fit, so their errors add linearly,
/// z_c = w_c·q_c with w_c the class's share of the time and q_c its quantile. Classes come from fits of their own and
/// add in squares. Errors of an accelerator's own fit are in the engine's spread already, which was found on such:
/// z_k² = Σ_c w_c²·(q_c² − q_c,own²), never below 0. Classes that few of those runs had ([`is_common`]) are not in it:
/// their own error counts whole. Quantiles: `calibration/defaults/transfer.csv`.
///
/// Defaults that name quantiles of their own (`judged`: of whole runs, because nothing is known of their single kernels)
/// have those, whatever their classes.
fn kernel_excess(shares: &[Share], gpu: &str, judged: Option<[f64; 2]>) -> [f64; 2] {
    let mut squares = [0.0; 2];
    let is_judged = |s: &&Share| s.trust == Trust::Default && judged.is_some();
    for s in shares.iter().filter(|s| !is_judged(s)) {
        let here = quantiles(s.trust, gpu, s.class);
        let own = if is_common(s.class) { quantiles(Trust::Fitted, ANY, s.class) } else { [0.0; 2] };
        for ((square, q), own) in squares.iter_mut().zip(here).zip(own) {
            *square += s.share.powi(2) * (q.powi(2) - own.powi(2)).max(0.0);
        }
    }
    let whole = judged.filter(|_| shares.iter().any(|s| is_judged(&s))).map_or([0.0; 2], distances);
    for (square, q) in squares.iter_mut().zip(whole) {
        *square += q.powi(2);
    }
    squares.map(f64::sqrt)
}

/// Classes in every run that the spreads of engines were found on: nearly all were dense models in 16 bit.
fn is_common(class: OperatorClass) -> bool {
    matches!(
        class,
        OperatorClass::Gemm16
            | OperatorClass::PrefillAttention
            | OperatorClass::DecodeAttention
            | OperatorClass::Link
            | OperatorClass::Recurrent
            | OperatorClass::Elementwise
    )
}

/// Distances of a class's quantiles from the prediction, 0 where they lie on its other side.
///
/// Of bandwidth-only and recurrent kernels there are no tables; they count as decode attention, which waits for memory
/// as they do. They always run on defaults, also where the engine's spread was found, so that defaults fitted for the
/// family add nothing.
fn quantiles(trust: Trust, gpu: &str, class: OperatorClass) -> [f64; 2] {
    let unmeasured = matches!(class, OperatorClass::Recurrent | OperatorClass::Elementwise);
    let class = if unmeasured { OperatorClass::DecodeAttention } else { class };
    let trust = if unmeasured && trust == Trust::FamilyDefault { Trust::Fitted } else { trust };
    let [low, high] = distances(spread(trust, gpu, class).unwrap_or_default());
    // to which side a judged value is off on the accelerators with tables says nothing about others
    if trust == Trust::Default { [low.max(high); 2] } else { [low, high] }
}

fn distances([low, high]: [f64; 2]) -> [f64; 2] {
    [(-low).max(0.0), high.max(0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regime(trust: Trust, share: f64) -> Regime {
        let shares = vec![Share { class: OperatorClass::Gemm16, trust, share }];
        Regime {
            engine: EngineKind::Vllm,
            gpu: "none".into(),
            shares: [shares.clone(), shares.clone(), shares],
            measured: [None; 3],
            judged: None,
            closed_loop: false,
            kv_limited: false,
        }
    }

    #[test]
    fn a_full_pool_widens_the_first_token_alone() {
        let free = regime(Trust::Fitted, 0.5);
        let full = Regime { kv_limited: true, ..free.clone() };
        let [a, b] = [free.intervals(1.0, 1.0, 1.0), full.intervals(1.0, 1.0, 1.0)];
        assert!(b.ttft_s.low < 0.4 && b.ttft_s.high > 2.9 && b.ttft_s.low < a.ttft_s.low);
        assert_eq!((a.tpot_s, a.e2e_s), (b.tpot_s, b.e2e_s));
    }

    #[test]
    fn one_class_by_hand() {
        let [low, high] = spread(Trust::SameFamily, ANY, OperatorClass::Gemm16).unwrap();
        let [own_low, own_high] = spread(Trust::Fitted, ANY, OperatorClass::Gemm16).unwrap();
        let [got_low, got_high] = kernel_excess(&regime(Trust::SameFamily, 0.5).shares[0], ANY, None);
        assert!((got_low - 0.5 * (low * low - own_low * own_low).sqrt()).abs() < 1e-12);
        assert!((got_high - 0.5 * (high * high - own_high * own_high).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn defaults_of_whole_runs_have_their_quantiles() {
        let share = |class| Share { class, trust: Trust::Default, share: 0.3 };
        let shares = [share(OperatorClass::Gemm16), share(OperatorClass::Experts)];
        let [low, high] = kernel_excess(&shares, ANY, Some([-0.1, 1.0]));
        assert!((low - 0.1).abs() < 1e-12 && (high - 1.0).abs() < 1e-12);
        let [low, high] = kernel_excess(&shares, ANY, None);
        assert!((low - high).abs() < 0.1 && low > 0.1);
    }

    #[test]
    fn the_farther_the_fit_and_the_larger_its_share_the_wider() {
        let width = |trust, share| {
            let i = regime(trust, share).intervals(1.0, 1.0, 1.0).tpot_s;
            assert!(i.low < 1.0 && i.high > 1.0);
            i.high / i.low
        };
        let own = width(Trust::Fitted, 1.0);
        assert!((own / width(Trust::Given, 1.0) - 1.0).abs() < 1e-12);
        assert!(own < width(Trust::SameChip, 1.0));
        assert!(width(Trust::SameChip, 1.0) < width(Trust::SameFamily, 1.0));
        assert!(width(Trust::SameFamily, 0.5) < width(Trust::SameFamily, 1.0));
    }
}
