//! From values to places on an axis, and which values get a tick.

use super::{Axis, Chart, Draw, Spacing, Unit};
use crate::report::{count, number};

/// The values that an axis shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Scale {
    low: f64,
    high: f64,
    spacing: Spacing,
    unit: Unit,
}

/// Both axes of a chart; none where it has nothing to show.
pub(in crate::report) fn scales(chart: &Chart) -> Option<[Scale; 2]> {
    let (mut xs, mut ys) = (vec![], vec![]);
    for (series, point) in chart.drawable() {
        xs.push(point.x);
        // a limit may leave the picture; what lies under it may not
        if series.draw != Draw::Limit || chart.series.iter().all(|s| s.draw == Draw::Limit) {
            ys.push(point.y);
            ys.extend(point.ends.into_iter().flatten());
        } else {
            ys.extend(series.points.iter().map(|p| p.y).reduce(f64::max));
        }
    }
    let most = xs.iter().copied().fold(f64::MIN, f64::max);
    let least = xs.iter().copied().fold(f64::MAX, f64::min);
    // a mark not far outside is worth the room
    xs.extend(chart.marks.iter().map(|m| m.at).filter(|at| *at >= least / 2.0 && *at <= most * 2.0));
    Some([Scale::of(&xs, &chart.x, 0.02)?, Scale::of(&ys, &chart.y, 0.05)?])
}

impl Scale {
    /// The range of some values with so much of it as a margin at each end.
    fn of(values: &[f64], axis: &Axis, margin: f64) -> Option<Self> {
        let linear = axis.spacing == Spacing::Linear;
        let usable = values.iter().copied().filter(|v| v.is_finite() && (linear || *v > 0.0));
        let (mut low, mut high) = usable.fold(None, |range: Option<(f64, f64)>, v| {
            Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        })?;
        if linear {
            low = low.min(0.0);
            high = if high > low { high + margin * (high - low) } else { low + 1.0 };
        } else {
            // one value has a place in the middle
            if high / low < 2.0 {
                let wider = (2.0 * low / high).sqrt();
                (low, high) = (low / wider, high * wider);
            }
            let room = (high / low).powf(margin);
            (low, high) = ((low / room).max(f64::MIN_POSITIVE), (high * room).min(f64::MAX));
        }
        Some(Self { low, high, spacing: axis.spacing, unit: axis.unit })
    }

    /// Where a value lies: 0 at the low end, 1 at the high one, beyond them outside.
    pub(in crate::report) fn share(&self, value: f64) -> f64 {
        match self.spacing {
            Spacing::Linear => (value - self.low) / (self.high - self.low),
            _ => (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
        }
    }

    /// True when a value lies on it.
    pub(in crate::report) fn holds(&self, value: f64) -> bool {
        (-1e-9..=1.0 + 1e-9).contains(&self.share(value))
    }

    /// Values for ticks: as many round ones as there may be at `most`, at least two where any are.
    pub(in crate::report) fn ticks(&self, most: usize) -> Vec<f64> {
        let most = most.max(2);
        match self.spacing {
            Spacing::Linear => self.even(most),
            Spacing::Doubling => [1, 2, 3, 4, 6, 8, 12, 16]
                .iter()
                .map(|step| self.powers(2.0, *step, &[1.0]))
                .find(|ticks| ticks.len() <= most)
                .unwrap_or_default(),
            Spacing::Log => {
                let sets: [(i32, &[f64]); 8] = [
                    (1, &[1.0, 2.0, 5.0]),
                    (1, &[1.0, 3.0]),
                    (1, &[1.0]),
                    (2, &[1.0]),
                    (3, &[1.0]),
                    (4, &[1.0]),
                    (6, &[1.0]),
                    (12, &[1.0]),
                ];
                let found = sets
                    .iter()
                    .map(|(step, digits)| self.powers(10.0, *step, digits))
                    .find(|ticks| ticks.len() <= most)
                    .unwrap_or_default();
                if found.len() < 2 { self.even(most) } else { found }
            }
        }
    }

    /// base^(step·i)·digit within the range.
    fn powers(&self, base: f64, step: i32, digits: &[f64]) -> Vec<f64> {
        let exponent = |value: f64| value.ln() / base.ln();
        let first = (exponent(self.low).floor() as i32 - 1).div_euclid(step) * step;
        let last = exponent(self.high).ceil() as i32;
        let mut ticks = vec![];
        for power in (first..=last).step_by(step.unsigned_abs() as usize) {
            ticks.extend(digits.iter().map(|d| d * base.powi(power)).filter(|t| self.holds(*t)));
        }
        ticks
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn even(&self, most: usize) -> Vec<f64> {
        let raw = (self.high - self.low) / most as f64;
        if raw <= 0.0 || !raw.is_finite() {
            return vec![self.low];
        }
        let power = 10f64.powf(raw.log10().floor());
        for step in [1.0, 2.0, 5.0, 10.0, 20.0].map(|m| m * power) {
            let first = (self.low / step).ceil();
            let number = ((self.high / step).floor() - first) as i64 + 1;
            if number <= most as i64 {
                return (0..number).map(|i| (first + i as f64) * step).filter(|t| self.is_free(*t)).collect();
            }
        }
        vec![]
    }

    fn is_free(&self, tick: f64) -> bool {
        self.spacing == Spacing::Linear || tick > 0.0
    }

    /// A tick in words.
    pub(in crate::report) fn text(&self, value: f64) -> String {
        match (self.spacing, self.unit) {
            (Spacing::Doubling, Unit::Number) if (1.0..1e7).contains(&value) => count(value),
            _ => text(self.unit, value),
        }
    }
}

/// A value of an axis as short as it can be said.
pub(in crate::report) fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds => match value.abs() {
            0.0 => "0".into(),
            v if v >= 10_000.0 => format!("{} h", short(value / 3600.0)),
            v if v >= 0.9995 => format!("{} s", short(value)),
            v if v >= 0.9995e-3 => format!("{} ms", short(value * 1e3)),
            _ => format!("{} µs", short(value * 1e6)),
        },
        Unit::Dollars => format!("${}", short(value)),
        Unit::Share => format!("{} %", short(value * 100.0)),
        Unit::Number => short(value),
    }
}

/// At most four digits that matter: `0.05`, `1.5`, `1,024`, `200k`, `3M`.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    let plain = |v: f64| {
        // three places beyond the first digit
        let exponent = v.abs().log10().floor() as i32;
        let fixed = format!("{v:.*}", usize::try_from(3 - exponent).unwrap_or(0));
        match fixed.contains('.') {
            true => fixed.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => fixed,
        }
    };
    match magnitude {
        m if !m.is_finite() => number(value),
        0.0 => "0".into(),
        m if !(1e-6..1e15).contains(&m) => format!("{value:.0e}"),
        m if m >= 1e12 => format!("{}T", plain(value / 1e12)),
        m if m >= 1e9 => format!("{}G", plain(value / 1e9)),
        m if m >= 1e6 => format!("{}M", plain(value / 1e6)),
        m if m >= 1e5 => format!("{}k", plain(value / 1e3)),
        m if m >= 1e3 => count(value),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(low: f64, high: f64, spacing: Spacing) -> Scale {
        Scale::of(&[low, high], &Axis::new("", spacing, Unit::Number), 0.0).unwrap()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(scale(1.0, 1000.0, Spacing::Log).ticks(4), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(scale(2.0, 40.0, Spacing::Log).ticks(6), [2.0, 5.0, 10.0, 20.0]);
        assert_eq!(scale(1.0, 1024.0, Spacing::Doubling).ticks(6), [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]);
        assert_eq!(scale(0.0, 0.9, Spacing::Linear).ticks(5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]);
        // less than a decade, widened to a factor of two: even steps
        assert_eq!(scale(6.2, 9.9, Spacing::Log).ticks(4), [6.0, 8.0, 10.0]);
    }

    #[test]
    fn one_value_and_extremes_have_an_axis() {
        let one = scale(7.0, 7.0, Spacing::Log);
        assert!((one.share(7.0) - 0.5).abs() < 1e-9 && !one.ticks(6).is_empty());
        assert!((scale(0.0, 0.0, Spacing::Linear).share(0.0)).abs() < 1e-9);
        let wide = scale(1e-300, 1e300, Spacing::Log);
        assert!(wide.ticks(6).iter().all(|t| t.is_finite()));
        assert!(Scale::of(&[0.0, f64::NAN], &Axis::new("", Spacing::Log, Unit::Number), 0.0).is_none());
    }

    #[test]
    fn values_are_short() {
        let number = |v| text(Unit::Number, v);
        assert_eq!(
            [0.05, 1.5, 64.0, 1024.0, 16384.0, 2e5, 3e6, 0.0].map(number),
            ["0.05", "1.5", "64", "1,024", "16,384", "200k", "3M", "0"]
        );
        assert_eq!(
            [2e-4, 0.01, 1.0, 36e3].map(|v| text(Unit::Seconds, v)),
            ["200 µs", "10 ms", "1 s", "10 h"]
        );
        assert_eq!(text(Unit::Dollars, 0.05), "$0.05");
    }
}
