//! The same demand at other loads.

use super::measures::{per_second, saturation};
use super::{Demand, Fleet, SplitQuestion};
use crate::answer::curves::{CAPACITY_SHARES, LoadKind, ascending, three_digits};
use crate::answer::estimate::Question;
use crate::memory::MemoryError;
use crate::serving::{Arrivals, Outcome, Rate, Summary, Traffic};
use crate::spec::SpecError;

/// A demand at several loads.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadCurve {
    /// Requests in flight, or requests per second.
    pub kind: LoadKind,
    /// Along the load, ascending.
    pub points: Vec<LoadCurvePoint>,
    /// Requests per second that the deployment reached where more arrived; none of a closed loop.
    pub capacity_per_s: Option<f64>,
}

/// A demand at one load: what `simulate` says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadCurvePoint {
    /// The load.
    pub at: f64,
    /// Time to first token in seconds.
    pub ttft_s: Summary,
    /// Time per output token.
    pub tpot_s: Summary,
    /// End to end.
    pub e2e_s: Summary,
    /// Share of the requests within all limits; all where there are none.
    pub share_within_limits: f64,
    /// This is the load that was asked for.
    pub asked: bool,
}

/// Longer simulations are not run a dozen times for a picture.
const MOST_REQUESTS: u64 = 50_000;

/// Most steps up from a load that the deployment carries; each is half as much again.
const STEPS_UP: usize = 16;

/// Most requests in flight that are drawn.
const MOST_IN_FLIGHT: u32 = 2048;

/// The demand at other rates or requests in flight. None of traces, bursts, loads that change over time, and simulations of more
/// than 50,000 requests.
///
/// # Errors
/// As [`super::simulate`].
pub fn load_curve(
    question: &Question<'_>,
    demand: &Demand,
    split: Option<&SplitQuestion<'_>>,
) -> Result<Option<LoadCurve>, MemoryError> {
    if demand.traffic.requests > MOST_REQUESTS {
        return Ok(None);
    }
    let mut fleet = Fleet::new(question, demand, split)?;
    let mut run = |arrivals: Arrivals| -> Result<Outcome, SpecError> {
        let traffic = Traffic { arrivals, ..demand.traffic.clone() };
        Ok(fleet.serve(&traffic, &demand.options())?.outcome)
    };
    match &demand.traffic.arrivals {
        Arrivals::Closed(asked) => {
            let asked = *asked;
            let most = asked.saturating_mul(8).clamp(64, MOST_IN_FLIGHT).max(asked);
            let doubled = (0..31).map(|i| 1_u32 << i).take_while(|n| *n <= most);
            let mut points = vec![];
            for n in ascending(doubled.chain([asked]).map(f64::from).collect()) {
                let outcome = run(Arrivals::Closed(n as u32))?;
                points.push(LoadCurvePoint::of(n, &outcome, n == f64::from(asked)));
            }
            Ok(Some(LoadCurve { kind: LoadKind::Concurrency, points, capacity_per_s: None }))
        }
        Arrivals::Open(rate, shape) if *rate == Rate::constant(rate.mean())? => {
            let shape = *shape;
            let asked = rate.mean();
            let mut at = |rate: f64| run(Arrivals::Open(Rate::constant(rate)?, shape));
            let capacity = capacity(asked, &mut at)?;
            let mut rates: Vec<f64> =
                CAPACITY_SHARES.iter().map(|share| three_digits(share * capacity)).collect();
            rates.push(asked);
            rates.retain(|r| r.is_finite() && *r > 0.0);
            let mut points = vec![];
            for rate in ascending(rates) {
                points.push(LoadCurvePoint::of(rate, &at(rate)?, rate == asked));
            }
            Ok(Some(LoadCurve { kind: LoadKind::Rate, points, capacity_per_s: Some(capacity) }))
        }
        _ => Ok(None),
    }
}

/// Requests per second that end where more arrive: at the rate asked for if that is too much, else at the first that is, by steps
/// of half as much again.
fn capacity(asked: f64, at: &mut impl FnMut(f64) -> Result<Outcome, SpecError>) -> Result<f64, SpecError> {
    let mut rate = asked;
    for _ in 0..STEPS_UP {
        let outcome = at(rate)?;
        let reached = per_second(outcome.metrics.completed(), &outcome);
        if saturation(&outcome).saturated {
            return Ok(reached);
        }
        rate *= 1.5;
    }
    Ok(rate)
}

impl LoadCurvePoint {
    fn of(at: f64, outcome: &Outcome, asked: bool) -> Self {
        let m = &outcome.metrics;
        Self {
            at,
            ttft_s: m.ttft.summary(),
            tpot_s: m.tpot.summary(),
            e2e_s: m.e2e.summary(),
            share_within_limits: m.good as f64 / outcome.sent.max(1) as f64,
            asked,
        }
    }
}
