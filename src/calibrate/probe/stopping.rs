//! When a benchmark has been measured well enough: named strategies, the first that is content decides.
//!
//! After nvbench's criteria `stdrel` and its noise tracker, with the interval of the median in place of the standard
//! deviation, which one outlier can double.

mod cap;
mod duration;
mod precise;
mod stable;

pub use cap::Cap;
pub use duration::Duration;
pub use precise::Precise;
pub use stable::StableNoise;

/// What was measured of one benchmark so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Seconds of one iteration, by sample, those that count only.
    pub times: Vec<f64>,
    /// Noise after each sample: half the interval of the median over the median.
    pub noise: Vec<f64>,
    /// Seconds measured, those of samples that do not count included.
    pub spent: f64,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    More,
    /// Enough: the figure is good.
    Enough,
    /// Stop, but the figure has not converged; this is said aloud.
    GiveUp,
}

/// A stopping rule.
pub trait StoppingRule {
    /// Its name in samples: `precise`, `stable_noise`, `cap`.
    fn name(&self) -> &'static str;
    /// What it says of a history.
    fn decide(&self, history: &History) -> Verdict;
}
