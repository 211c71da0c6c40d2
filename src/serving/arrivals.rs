//! When requests are sent.

use rand_distr::{Distribution, Exp1, Gamma};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use std::sync::Arc;

use super::lengths::{Draws, Lengths};
use super::request::Request;
use super::trace::Trace;
use crate::spec::SpecError;

/// Requests per second over time: linear between points, the last one's from there on, or all again.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// (seconds, requests per second), times rising from 0; two points of one time are a jump.
    points: Vec<(f64, f64)>,
    repeats: bool,
}

impl Rate {
    /// The same all the time.
    ///
    /// # Errors
    /// When it is not a positive number.
    pub fn constant(per_s: f64) -> Result<Self, SpecError> {
        Self::through(vec![(0.0, per_s)], false)
    }

    /// From one rate to another within `seconds`, and on at that.
    ///
    /// # Errors
    /// When a rate or the time is no number of at least 0, or no requests would come at the end.
    pub fn ramp(from: f64, to: f64, seconds: f64) -> Result<Self, SpecError> {
        Self::through(vec![(0.0, from), (seconds, to)], false)
    }

    /// Rates hour by hour, then from the first again.
    ///
    /// # Errors
    /// When there are none, one is no number of at least 0, or all are 0.
    pub fn hourly(rates: &[f64]) -> Result<Self, SpecError> {
        let hours = rates.iter().enumerate();
        let points =
            hours.flat_map(|(h, r)| [(h as f64 * 3600.0, *r), ((h + 1) as f64 * 3600.0, *r)]).collect();
        Self::through(points, true)
    }

    fn through(points: Vec<(f64, f64)>, repeats: bool) -> Result<Self, SpecError> {
        let refuse = |why: String| Err(SpecError::Usage(why));
        if let Some((_, bad)) = points.iter().find(|(_, r)| !(r.is_finite() && (0.0..=1e9).contains(r))) {
            return refuse(format!("a request rate of {bad} per second: rates must be from 0 to 1e9"));
        }
        if points.iter().any(|(t, _)| !t.is_finite()) || points.windows(2).any(|w| w[1].0 < w[0].0) {
            return refuse("the times of a load profile must rise".into());
        }
        let last = points.last().map_or(0.0, |p| p.1);
        let some = points.iter().any(|(_, r)| *r > 0.0);
        if !(if repeats { some } else { last > 0.0 }) {
            return refuse(
                "the request rate must be above 0 at the end: requests would never all be sent".into(),
            );
        }
        Ok(Self { points, repeats })
    }

    /// Mean over the profile (of the last point where it does not repeat).
    #[must_use]
    pub fn mean(&self) -> f64 {
        let area: f64 =
            self.points.windows(2).map(|w| (w[1].0 - w[0].0) * f64::midpoint(w[0].1, w[1].1)).sum();
        let (end, last) = self.points.last().copied().unwrap_or_default();
        if self.repeats { area / end } else { last }
    }
}

/// Where a rate has got to: the time at which so many requests are expected.
#[derive(Debug, Clone)]
struct Walk {
    rate: Rate,
    /// Point that the present stretch starts from, how often all were passed, and requests before it.
    at: usize,
    offset: f64,
    expected: f64,
}

impl Walk {
    fn new(rate: Rate) -> Self {
        Self { rate, at: 0, offset: 0.0, expected: 0.0 }
    }

    /// Time by which `expected` requests have come: ∫ rate = expected, in rising order of calls.
    fn time(&mut self, expected: f64) -> f64 {
        loop {
            let points = &self.rate.points;
            let (start, rate) = points[self.at];
            let left = expected - self.expected;
            let Some((end, next)) = points.get(self.at + 1).copied() else {
                if !self.rate.repeats {
                    return self.offset + start + left / rate;
                }
                self.offset += start;
                self.at = 0;
                continue;
            };
            let width = end - start;
            let area = width * f64::midpoint(rate, next);
            if left <= area && area > 0.0 {
                // r·x + g·x²/2 = left
                let growth = (next - rate) / width;
                let root = (rate * rate + 2.0 * growth * left).max(0.0).sqrt();
                let x = 2.0 * left / (rate + root);
                return self.offset + start + if x.is_finite() { x.clamp(0.0, width) } else { 0.0 };
            }
            self.expected += area;
            self.at += 1;
        }
    }
}

/// How requests arrive.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrivals {
    /// All at once.
    Burst,
    /// So many in flight: all at once at first, then one for every one that ends.
    Closed(u32),
    /// Gaps of a gamma distribution with this shape, stretched to the rate: 1 is a Poisson process, below 1 is
    /// burstier (vLLM's `--burstiness`).
    Open(Rate, f64),
    /// Equal gaps.
    Constant(Rate),
    /// As recorded, this many times as fast.
    Trace(Arc<Trace>, f64),
}

/// Requests to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// When.
    pub arrivals: Arrivals,
    /// How long. A trace has its own.
    pub lengths: Lengths,
    /// How many.
    pub requests: u64,
    /// The same seed, the same requests.
    pub seed: u64,
}

impl Traffic {
    /// Requests in flight of a closed loop.
    #[must_use]
    pub fn in_flight(&self) -> Option<u64> {
        match self.arrivals {
            Arrivals::Closed(n) => Some(u64::from(n)),
            _ => None,
        }
    }

    /// Requests in the order of their sending; those of a closed loop are sent at 0, which the loop mends.
    ///
    /// # Errors
    /// When lengths or burstiness make no sense.
    pub fn stream(&self) -> Result<Stream, SpecError> {
        let gaps = match &self.arrivals {
            Arrivals::Burst | Arrivals::Closed(_) => Gaps::None,
            Arrivals::Constant(rate) => Gaps::Even(Walk::new(rate.clone())),
            Arrivals::Open(rate, shape) if *shape == 1.0 => Gaps::Exponential(Walk::new(rate.clone())),
            Arrivals::Open(rate, shape) => match Gamma::new(*shape, 1.0 / *shape) {
                Ok(gamma) if (1e-3..=1e6).contains(shape) => Gaps::Gamma(Walk::new(rate.clone()), gamma),
                _ => {
                    return Err(SpecError::Usage(format!(
                        "a burstiness of {shape}: it must lie in 0.001..=1e6"
                    )));
                }
            },
            Arrivals::Trace(_, speed) if !(speed.is_finite() && *speed > 0.0) => {
                return Err(SpecError::Usage(format!("a trace speed of {speed}: it must be above 0")));
            }
            Arrivals::Trace(trace, speed) => Gaps::Recorded(Arc::clone(trace), *speed),
        };
        Ok(Stream {
            gaps,
            draws: self.lengths.draws(self.requests, self.seed)?,
            random: Xoshiro256PlusPlus::seed_from_u64(self.seed),
            left: self.requests,
            next: 0,
            expected: 0.0,
        })
    }
}

#[derive(Debug, Clone)]
enum Gaps {
    None,
    Even(Walk),
    Exponential(Walk),
    Gamma(Walk, Gamma<f64>),
    Recorded(Arc<Trace>, f64),
}

/// Requests one after another.
#[derive(Debug, Clone)]
pub struct Stream {
    gaps: Gaps,
    draws: Draws,
    random: Xoshiro256PlusPlus,
    left: u64,
    next: usize,
    expected: f64,
}

impl Iterator for Stream {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let sent = match &mut self.gaps {
            Gaps::None => 0.0,
            Gaps::Even(walk) => {
                let now = walk.time(self.expected);
                self.expected += 1.0;
                now
            }
            Gaps::Exponential(walk) => {
                let gap: f64 = Exp1.sample(&mut self.random);
                self.expected += gap;
                walk.time(self.expected)
            }
            Gaps::Gamma(walk, gamma) => {
                self.expected += gamma.sample(&mut self.random);
                walk.time(self.expected)
            }
            Gaps::Recorded(trace, speed) => {
                let row = trace.rows().get(self.next)?;
                self.next += 1;
                return Some(Request {
                    sent: row.time_s / *speed,
                    input: row.input,
                    output: row.output,
                    blocks: row.blocks,
                    ..Request::default()
                });
            }
        };
        let (input, output) = self.draws.draw(&mut self.random);
        Some(Request { sent, input, output, ..Request::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::Length;

    fn traffic(arrivals: Arrivals, requests: u64) -> Traffic {
        let lengths = Lengths::Independent { input: Length::Fixed(100), output: Length::Fixed(10) };
        Traffic { arrivals, lengths, requests, seed: 7 }
    }

    fn times(arrivals: Arrivals, requests: u64) -> Vec<f64> {
        traffic(arrivals, requests).stream().unwrap().map(|r| r.sent).collect()
    }

    #[test]
    fn gaps_have_their_mean_and_deviation() {
        for shape in [0.25, 1.0, 4.0] {
            let times = times(Arrivals::Open(Rate::constant(20.0).unwrap(), shape), 100_000);
            let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean * 20.0 - 1.0).abs() < 0.03, "{shape}: {mean}");
            // coefficient of variation 1/√shape
            assert!((variance.sqrt() / mean * shape.sqrt() - 1.0).abs() < 0.03, "{shape}");
        }
        assert_eq!(times(Arrivals::Constant(Rate::constant(2.0).unwrap()), 4), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(times(Arrivals::Closed(3), 2), [0.0, 0.0]);
    }

    #[test]
    fn a_ramp_and_hours_by_hand() {
        // 0 → 10 in 10 s: x²/2 requests by x; then 10 a second
        let ramp = times(Arrivals::Constant(Rate::ramp(0.0, 10.0, 10.0).unwrap()), 61);
        assert!(
            (ramp[2] - 2.0).abs() < 1e-9 && (ramp[50] - 10.0).abs() < 1e-9 && (ramp[60] - 11.0).abs() < 1e-9
        );
        // 1 an hour at 1/3600 per second, none in the second hour
        let hours = times(Arrivals::Constant(Rate::hourly(&[2.0 / 3600.0, 0.0]).unwrap()), 6);
        let hour = |h: f64| h * 3600.0;
        for (found, right) in
            hours.iter().zip([hour(0.0), hour(0.5), hour(1.0), hour(2.5), hour(3.0), hour(4.5)])
        {
            assert!((found - right).abs() < 1e-6, "{hours:?}");
        }
    }

    #[test]
    fn rubbish_rates_are_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Rate::constant(bad).is_err(), "{bad}");
        }
        assert!(Rate::ramp(1.0, 0.0, 5.0).is_err() && Rate::ramp(1.0, 2.0, -5.0).is_err());
        assert!(Rate::hourly(&[]).is_err() && Rate::hourly(&[0.0, 0.0]).is_err());
        let rate = Rate::constant(1.0).unwrap();
        for shape in [0.0, -1.0, f64::NAN] {
            assert!(traffic(Arrivals::Open(rate.clone(), shape), 1).stream().is_err());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let all = |seed| -> Vec<Request> {
            Traffic { seed, ..traffic(Arrivals::Open(Rate::constant(1.0).unwrap(), 0.5), 50) }
                .stream()
                .unwrap()
                .collect()
        };
        assert_eq!(all(3), all(3));
        assert_ne!(all(3), all(4));
    }
}
