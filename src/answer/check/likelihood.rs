//! How well a prediction explains what was measured.
//!
//! ln(measured / predicted) is taken as normal with a spread of its own on either side, s = |ln(end / predicted)| / z, z the
//! 90 % quantile of the normal distribution, because the ends of the 80 % interval are its 10 % and 90 % quantiles:
//! p(x) = 2/(√2π·(s₁ + s₂))·exp(−x²/2s²), s = s₁ below the prediction and s₂ above (split normal; Wallis, Statistical
//! Science 29(1), 2014).

use super::{Estimate, Figures, Measure};

/// 90 % quantile of the normal distribution.
const Z: f64 = 1.281_552;

/// Least spread: what the same run repeated differs by, about 3 %. Judged.
const REPEATABLE: f64 = 0.03;

/// How common it is that something is otherwise than thought, as prior odds. Judged: nobody has counted. They decide between
/// causes that explain the numbers equally well, and nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prior {
    /// Load, lengths, definitions: what the person who measured may have meant otherwise.
    Common,
    /// Settings that are easily overlooked: eager mode, links, clocks, formats.
    Occasional,
    /// What takes a fault or a special set-up.
    Rare,
    /// What people mostly know of.
    Known,
}

impl Prior {
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Common => 0.05,
            Self::Occasional => 0.025,
            Self::Rare => 0.01,
            Self::Known => 0.002,
        }
    }
}

/// Prior odds that nothing is wrong and the prediction errs. Judged.
pub(super) const NOTHING_WRONG: f64 = 0.5;

/// Prior odds of what nobody thought of, and the spread in ln of the factor by which it changes a number. Judged.
const UNKNOWN: f64 = 0.05;
const UNKNOWN_SPREAD: f64 = 1.2;

/// ln of the density of a split normal at x.
fn split_normal(x: f64, [below, above]: [f64; 2]) -> f64 {
    let s = if x < 0.0 { below } else { above };
    -(x / s).powi(2) / 2.0 + (2.0 / ((below + above) * (2.0 * std::f64::consts::PI).sqrt())).ln()
}

/// How much a number counts. TPOT, E2E and the rate of tokens mostly say the same, so that together they count as one.
fn share(metric: Measure, measured: &Figures) -> f64 {
    let alike = |m: &Measure| *m != Measure::Ttft;
    if metric == Measure::Ttft {
        return 1.0;
    }
    1.0 / measured.given().filter(|(m, _)| alike(m)).count().max(1) as f64
}

/// Figures with the ends of their intervals: ln(predicted / low) and ln(high / predicted).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answered {
    pub figures: Figures,
    ends: [[f64; 2]; Measure::ALL.len()],
}

impl Answered {
    /// Figures read off an answer, which has the intervals.
    pub(super) fn new(figures: Figures, answer: &Estimate) -> Self {
        let own = Figures::of(answer);
        let ends = Measure::ALL.map(|measure| {
            let Some(value) = own.get(measure) else { return [0.0; 2] };
            let interval = measure.interval(answer);
            [(value / interval.low).ln(), (interval.high / value).ln()]
        });
        Self { figures, ends }
    }

    /// Between this and another, `share` of the way in logarithms.
    pub(super) fn towards(&self, other: &Self, share: f64) -> Self {
        let mix = |a: Option<f64>, b: Option<f64>| Some((a?.ln() * (1.0 - share) + b?.ln() * share).exp());
        let (a, b) = (&self.figures, &other.figures);
        let figures = Figures {
            ttft_s: mix(a.ttft_s, b.ttft_s),
            tpot_s: mix(a.tpot_s, b.tpot_s),
            e2e_s: mix(a.e2e_s, b.e2e_s),
            output_tokens_per_s: mix(a.output_tokens_per_s, b.output_tokens_per_s),
        };
        Self { figures, ends: if share < 0.5 { self.ends } else { other.ends } }
    }

    /// ln of the density of what was measured, and whether every number lies within its interval.
    pub(super) fn log_density(&self, measured: &Figures) -> (f64, bool) {
        let mut ln = 0.0;
        let mut within = true;
        for (measure, [below, above]) in Measure::ALL.into_iter().zip(self.ends) {
            let Some(value) = measured.get(measure) else { continue };
            let x = self.figures.get(measure).map_or(f64::NAN, |predicted| (value / predicted).ln());
            if !x.is_finite() {
                return (f64::NEG_INFINITY, false);
            }
            within &= (-below..=above).contains(&x);
            let spreads = [below, above].map(|end| (end.abs() / Z).max(REPEATABLE));
            ln += share(measure, measured) * split_normal(x, spreads);
        }
        (ln, within)
    }
}

/// Weight of something that nobody thought of.
pub(super) fn unknown(measured: &Figures, base: &Figures) -> f64 {
    let ln: f64 = measured
        .given()
        .filter_map(|(metric, value)| {
            let x = (value / base.get(metric)?).ln();
            Some(share(metric, measured) * split_normal(x, [UNKNOWN_SPREAD; 2]))
        })
        .sum();
    UNKNOWN * ln.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_integrate_to_one() {
        for spreads in [[0.1, 0.1], [0.05, 0.4], [1.0, 0.2]] {
            let step = 1e-4;
            let sum: f64 =
                (-80_000..80_000).map(|i| split_normal(f64::from(i) * step, spreads).exp() * step).sum();
            assert!((sum - 1.0).abs() < 1e-3, "{spreads:?}: {sum}");
        }
        // the standard normal at 0: 1/√2π
        assert!((split_normal(0.0, [1.0, 1.0]) + 0.918_938_5).abs() < 1e-6);
    }

    #[test]
    fn numbers_that_say_the_same_count_once() {
        let measured = Figures { tpot_s: Some(1.0), e2e_s: Some(1.0), ..Figures::default() };
        assert!((share(Measure::Tpot, &measured) - 0.5).abs() < 1e-12);
        assert!((share(Measure::Ttft, &measured) - 1.0).abs() < 1e-12);
    }
}
