//! Random routing in closed form.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Router, Routing};

/// Random routing on one rank, with what does not depend on the tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    local: f64,
    experts: f64,
    top_k: f64,
    /// Shape κ of the popularity; none where it is equal.
    shape: Option<f64>,
    /// Standard deviations z by which the largest of R normal values lies above their mean:
    /// Φ⁻¹((R − 3/8)/(R + 1/4)), Blom, Statistical Estimates and Transformed Beta-Variables, 1958.
    deviations: f64,
}

impl Spread {
    pub(super) fn new(router: Router, shape: Option<f64>) -> Self {
        let ranks = f64::from(router.ranks.max(1));
        Self {
            local: router.local(),
            experts: f64::from(router.experts.max(1)),
            top_k: f64::from(router.top_k),
            shape,
            deviations: Normal::standard().inverse_cdf((ranks - 0.375) / (ranks + 0.25)).max(0.0),
        }
    }

    /// That of a routing; none where a routing is counted out instead.
    pub(super) fn of(router: Router, routing: Routing) -> Option<Self> {
        match routing {
            Routing::Uniform => Some(Self::new(router, None)),
            Routing::Gamma(shape) => Some(Self::new(router, Some(shape))),
            Routing::Balanced | Routing::PowerLaw(_) => None,
        }
    }

    /// Copies on a rank: T·k/R, and on the busiest of ranks with unequally popular experts
    /// z·√(E_l·(m + m²/κ)) more.
    pub(super) fn copies(&self, tokens: f64) -> f64 {
        let Self { local, top_k: k, .. } = *self;
        let mean = tokens * k / self.experts;
        let spread = self.shape.map_or(0.0, |shape| (local * mean * (1.0 + mean / shape)).sqrt());
        (local * mean + self.deviations * spread).min(tokens * k.min(local).max(local * mean / tokens))
    }

    /// Experts of a rank that at least one of T tokens picks: (1 − (1 − k/E)^T) of them where all are equally
    /// popular, else p = 1 − (1 + T·k/(E·κ))^−κ, on the busiest rank z·√(E_l·p·(1 − p)) more; one token picks k.
    pub(super) fn active(&self, tokens: f64) -> f64 {
        let Self { local, top_k: k, .. } = *self;
        let share = k / self.experts;
        let missed = match self.shape {
            Some(shape) if share < 1.0 => (1.0 + tokens * share / shape).powf(-shape),
            _ => (1.0 - share).max(0.0).powf(tokens),
        };
        let more = self.shape.map_or(0.0, |_| self.deviations * (local * missed * (1.0 - missed)).sqrt());
        (local * (1.0 - missed) + more).min(local).max(local.min(k.min(tokens * k) * local / self.experts))
    }
}
