//! A day's load: what the first candidate needs hour by hour.

use rayon::prelude::*;
use serde::Serialize;

use super::search::Found;
use super::{SizeLoad, SizeQuestion};
use crate::spec::SpecError;

/// Replicas over a day, of the first candidate whose replicas do both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayProfile {
    /// Fewest replicas that hold the limits in each hour, one at least.
    pub replicas_by_hour: Vec<u32>,
    /// Replica-hours if they come and go with the load, over those of the busiest hour all day.
    pub share_of_replica_hours: f64,
    /// Dollars for the profile with the busiest hour's replicas all the time.
    pub usd_fixed: Option<f64>,
    /// And with those that each hour needs, paid by the hour. Starting a replica takes time, which is not counted.
    pub usd_scaled: Option<f64>,
}

/// The profile of an hourly load; none of another.
pub(super) fn profile(
    question: &SizeQuestion<'_>,
    found: &Found<'_>,
) -> Result<Option<DayProfile>, SpecError> {
    let SizeLoad::Hourly(rates) = question.load else { return Ok(None) };
    let mut different = rates.clone();
    different.sort_by(f64::total_cmp);
    different.dedup();
    let sized: Result<Vec<(f64, u32)>, SpecError> = different
        .into_par_iter()
        .map(|rate| {
            if rate <= 0.0 {
                return Ok((rate, 1));
            }
            let site = found.site.at_rate(question, rate / (1.0 - question.headroom))?;
            let fitted = site.fitted(question);
            // less load may need as much at most
            Ok((rate, fitted.map_or(found.fitted.replicas, |f| f.replicas).min(found.fitted.replicas)))
        })
        .collect();
    let sized = sized?;
    let replicas_by_hour: Vec<u32> = rates
        .iter()
        .map(|rate| sized.iter().find(|(r, _)| r == rate).map_or(found.fitted.replicas, |(_, n)| *n))
        .collect();
    let hours: u32 = replicas_by_hour.iter().sum();
    let fixed = found.fitted.replicas * replicas_by_hour.len() as u32;
    let price = found.site.rates.price.as_ref();
    let usd = |replica_hours: u32| {
        let gpu_hours = f64::from(replica_hours * found.site.accelerators());
        price.map(|p| p.usd_per_gpu_hour * gpu_hours)
    };
    Ok(Some(DayProfile {
        share_of_replica_hours: f64::from(hours) / f64::from(fixed.max(1)),
        usd_fixed: usd(fixed),
        usd_scaled: usd(hours),
        replicas_by_hour,
    }))
}
