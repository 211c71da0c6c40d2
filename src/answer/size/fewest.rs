//! The smallest number of replicas of a deployment that holds the limits.

use std::collections::BTreeMap;

use super::reason::reason;
use super::site::{Refusal, Site};
use super::{Obstacle, SizeQuestion};
use crate::answer::simulate::Fleet;
use crate::serving::{Arrivals, Outcome, Rate, Traffic};
use crate::spec::SpecError;
use crate::units::count;

/// Requests up to which the whole fleet is simulated in every step of the search.
const FEW_REQUESTS: u64 = 4000;
/// Requests a replica up to which one stands for all of them.
const LEAST_OF_ONE: u64 = 500;
/// Replicas up to which the whole fleet is simulated in every step of the search.
const FEW_REPLICAS: u32 = 64;
/// With so few requests in flight at a replica at a time it is as good as idle: more replicas do not help.
const IDLE: f64 = 0.05;

/// The smallest fleet that holds the limits.
pub(super) struct Fitted {
    /// Replicas that do both, or compute prompts.
    pub replicas: u32,
    /// Replicas that generate, where those have a pool of their own.
    pub decode_replicas: u32,
    pub outcome: Outcome,
    /// Why one fewer does not.
    pub one_fewer: Option<String>,
}

/// The number of replicas near which the fewest that hold lie, and what was run on the way there.
pub(super) struct Approach {
    fleet: Fleet,
    seen: Seen,
    /// Replicas that hold, as far as one that stands for all can tell.
    pub replicas: u32,
}

/// Runs of whole fleets by replicas: what came out where it holds, else why not.
type Seen = BTreeMap<u32, Result<Outcome, String>>;

impl Site<'_> {
    /// Runs the whole fleet.
    pub(super) fn run(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        fleet.set_replicas([replicas, 0]);
        Ok(fleet.serve(&self.demand.traffic, &self.demand.options())?.outcome)
    }

    /// Runs the whole fleet, or one replica for all of a large one ([`Site::approach`]).
    pub(super) fn glance(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        if self.demand.traffic.requests <= FEW_REQUESTS {
            self.run(fleet, replicas)
        } else {
            self.of_one(fleet, replicas)
        }
    }

    /// The smallest fleet.
    pub(super) fn fitted(&self, question: &SizeQuestion<'_>) -> Result<Fitted, Refusal> {
        self.settled(self.approach(question)?)
    }

    /// Doubles the replicas until they hold, then halves between one that fails and one that holds.
    ///
    /// Of large fleets one replica stands for all: a router that goes round sends each every rth request of a gamma process of
    /// shape k, which is one of shape k·r and an rth of the rate.
    pub(super) fn approach(&self, question: &SizeQuestion<'_>) -> Result<Approach, Refusal> {
        let mut fleet = self.fleet(question).map_err(refused)?;
        let mut seen = Seen::new();
        let most = self.useful();
        let mut holds = |replicas: u32| {
            let few =
                replicas == 1 || (self.demand.traffic.requests <= FEW_REQUESTS && replicas <= FEW_REPLICAS);
            if few {
                return self.exact(replicas, &mut fleet, &mut seen);
            }
            self.of_one(&mut fleet, replicas).map(|outcome| self.demand.is_held(&outcome)).map_err(refused)
        };
        let (mut low, mut high) = (self.least - 1, self.least);
        while !holds(high)? {
            if high >= most {
                return Err(self.never(high, &mut fleet));
            }
            (low, high) = (high, high.saturating_mul(2).min(most));
        }
        let replicas = fewest_between(low, high, holds)?;
        Ok(Approach { fleet, seen, replicas })
    }

    /// The last steps are runs of the whole fleet, so that what is found holds and one fewer does not.
    pub(super) fn settled(&self, approach: Approach) -> Result<Fitted, Refusal> {
        let Approach { mut fleet, mut seen, replicas: mut high } = approach;
        // up in steps that double until the whole fleet holds; one replica that stood for all was not far off
        let (mut step, limit) = (1, high.saturating_mul(2).saturating_add(8).min(self.useful()));
        while !self.exact(high, &mut fleet, &mut seen)? {
            if high >= limit {
                return Err(self.never(high, &mut fleet));
            }
            (high, step) = (high.saturating_add(step).min(limit), step * 2);
        }
        let high = fewest_below(high, self.least, |fewer| self.exact(fewer, &mut fleet, &mut seen))?;
        if high > 1 {
            self.exact(high - 1, &mut fleet, &mut seen)?;
        }
        let one_fewer = seen.remove(&(high - 1)).and_then(Result::err);
        let outcome = seen.remove(&high).and_then(Result::ok).unwrap_or_default();
        Ok(Fitted { replicas: high, decode_replicas: 0, outcome, one_fewer })
    }

    /// Whether the whole fleet holds.
    fn exact(&self, replicas: u32, fleet: &mut Fleet, seen: &mut Seen) -> Result<bool, Refusal> {
        if let Some(known) = seen.get(&replicas) {
            return Ok(known.is_ok());
        }
        let outcome = self.run(fleet, replicas).map_err(refused)?;
        let result = self.failure(&outcome).map_or(Ok(outcome), Err);
        let holds = result.is_ok();
        seen.insert(replicas, result);
        Ok(holds)
    }

    /// Replicas beyond which more do not help, or are not allowed.
    fn useful(&self) -> u32 {
        let idle = (self.requests_per_s * self.alone.e2e_s / IDLE).ceil().min(1e6) as u32;
        self.most.min(idle.max(self.least))
    }

    /// One replica under its share of the load of so many.
    fn of_one(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        let Arrivals::Open(_, shape) = &self.demand.traffic.arrivals else { return Ok(Outcome::default()) };
        let n = f64::from(replicas);
        let traffic = Traffic {
            arrivals: Arrivals::Open(Rate::constant(self.requests_per_s / n)?, (shape * n).min(1e6)),
            requests: (self.demand.traffic.requests / u64::from(replicas)).max(LEAST_OF_ONE),
            ..self.demand.traffic.clone()
        };
        fleet.set_replicas([1, 0]);
        Ok(fleet.serve(&traffic, &self.demand.options())?.outcome)
    }

    /// Why so many replicas, the most that are allowed or that could help, do not hold: as one of them shows it.
    fn never(&self, replicas: u32, fleet: &mut Fleet) -> Refusal {
        let gpus = u64::from(replicas) * u64::from(self.accelerators());
        let reason = match self.of_one(fleet, replicas) {
            Ok(outcome) => reason(&self.demand, &outcome, self.requests_per_s),
            Err(error) => error.to_string(),
        };
        let kind = if replicas == self.most { Obstacle::TooMany } else { Obstacle::TooSlow };
        (kind, format!("{} accelerators do not hold the limits: {reason}", count(gpus as f64)))
    }
}

fn refused(error: SpecError) -> Refusal {
    (Obstacle::Refused, error.to_string())
}

/// The fewest from `least` on that hold, where `high` does: down in steps that double while they hold, then between
/// the last that holds and the first that fails.
pub(super) fn fewest_below<E>(
    mut high: u32,
    least: u32,
    mut holds: impl FnMut(u32) -> Result<bool, E>,
) -> Result<u32, E> {
    let mut step = 1;
    while high > least {
        let fewer = high.saturating_sub(step).max(least);
        if !holds(fewer)? {
            return fewest_between(fewer, high, holds);
        }
        (high, step) = (fewer, step * 2);
    }
    Ok(high)
}

/// The fewest that hold, where `low` does not and `high` does.
fn fewest_between<E>(
    mut low: u32,
    mut high: u32,
    mut holds: impl FnMut(u32) -> Result<bool, E>,
) -> Result<u32, E> {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}
