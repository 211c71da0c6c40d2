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

impl Site<'_> {
    /// Runs the whole fleet.
    pub(super) fn run(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        fleet.set_replicas([replicas, 0]);
        Ok(fleet.serve(&self.demand.traffic, &self.demand.options())?.outcome)
    }

    /// Runs the whole fleet, or one replica for all of a large one ([`Site::fitted`]).
    pub(super) fn glance(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        if self.demand.traffic.requests <= FEW_REQUESTS {
            self.run(fleet, replicas)
        } else {
            self.of_one(fleet, replicas)
        }
    }

    /// The smallest fleet.
    ///
    /// Replicas are doubled and then halved between one that fails and one that holds, and the last steps are runs of the whole
    /// fleet, so that what is found holds and one fewer does not. Of large fleets one replica stands for all
    /// while they are far from the end: a router that goes round sends each every rth request of a gamma process of shape k, which
    /// is one of shape k·r and an rth of the rate.
    pub(super) fn fitted(&self, question: &SizeQuestion<'_>) -> Result<Fitted, Refusal> {
        let failed = |e: SpecError| (Obstacle::Refused, e.to_string());
        let mut fleet = self.fleet(question).map_err(failed)?;
        let idle = (self.requests_per_s * self.alone.e2e_s / IDLE).ceil().min(1e6) as u32;
        let most = self.most.min(idle.max(self.least));
        let mut seen: BTreeMap<u32, Result<Outcome, String>> = BTreeMap::new();
        let mut exact = |replicas: u32, fleet: &mut Fleet| -> Result<bool, Refusal> {
            if let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(replicas) {
                let outcome = self.run(fleet, replicas).map_err(failed)?;
                entry.insert(match self.failure(&outcome) {
                    None => Ok(outcome),
                    Some(reason) => Err(reason),
                });
            }
            Ok(seen[&replicas].is_ok())
        };
        let holds = |replicas: u32,
                     fleet: &mut Fleet,
                     exact: &mut dyn FnMut(u32, &mut Fleet) -> Result<bool, Refusal>| {
            let few =
                replicas == 1 || (self.demand.traffic.requests <= FEW_REQUESTS && replicas <= FEW_REPLICAS);
            if few {
                return exact(replicas, fleet);
            }
            self.of_one(fleet, replicas).map(|outcome| self.demand.is_held(&outcome)).map_err(failed)
        };
        let (mut low, mut high) = (self.least - 1, self.least);
        while !holds(high, &mut fleet, &mut exact)? {
            if high >= most {
                return Err(self.never(high, &mut fleet));
            }
            (low, high) = (high, high.saturating_mul(2).min(most));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle, &mut fleet, &mut exact)? { high = middle } else { low = middle }
        }
        // up in steps that double until the whole fleet holds; one replica that stood for all was not far off
        let (mut step, limit) = (1, high.saturating_mul(2).saturating_add(8).min(most));
        while !exact(high, &mut fleet)? {
            if high >= limit {
                return Err(self.never(high, &mut fleet));
            }
            (high, step) = (high.saturating_add(step).min(limit), step * 2);
        }
        // down again, in steps that double while they hold, then between the last that holds and the first that fails
        let mut step = 1;
        let mut low = high;
        while low > self.least {
            low = high.saturating_sub(step).max(self.least);
            if !exact(low, &mut fleet)? {
                break;
            }
            (high, step) = (low, step * 2);
        }
        while high.saturating_sub(low) > 1 {
            let middle = low + (high - low) / 2;
            if exact(middle, &mut fleet)? { high = middle } else { low = middle }
        }
        if high > 1 {
            exact(high - 1, &mut fleet)?;
        }
        let one_fewer = seen.remove(&(high - 1)).and_then(Result::err);
        let outcome = seen.remove(&high).and_then(Result::ok).unwrap_or_default();
        Ok(Fitted { replicas: high, decode_replicas: 0, outcome, one_fewer })
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
