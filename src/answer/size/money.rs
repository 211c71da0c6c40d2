//! What a fleet costs in the terms of the objective.

use super::{Objective, SizeQuestion};
use crate::answer::{Candidate, HourlyPrice};

/// Price of one accelerator-hour and watts of one accelerator, where they are known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    pub price: Option<HourlyPrice>,
    pub watts: Option<f64>,
}

impl Rates {
    pub(super) fn of(question: &SizeQuestion<'_>, candidate: &Candidate<'_>) -> Self {
        let accelerator = candidate.accelerator;
        Self { price: question.options.cost.hourly(accelerator), watts: accelerator.tdp().map(|w| w.0) }
    }

    /// Dollars of one accelerator-hour.
    pub(super) fn usd_per_gpu_hour(&self) -> Option<f64> {
        self.price.as_ref().map(|p| p.usd_per_gpu_hour)
    }

    /// What the objective counts of so many accelerators; none where it is not known. `e2e_s` is the end-to-end time.
    pub(super) fn value(&self, objective: Objective, gpus: u32, e2e_s: f64) -> Option<f64> {
        let gpus = f64::from(gpus);
        match objective {
            Objective::Cost => self.usd_per_gpu_hour().map(|usd| usd * gpus),
            Objective::Power => self.watts.map(|w| w * gpus),
            Objective::Gpus => Some(gpus),
            Objective::Latency => Some(e2e_s),
        }
    }
}
