//! How to measure.

use super::{Benchmark, Cap, Class, Duration, Precise, StableNoise, StoppingRule};

/// What to measure, how long and how well.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Classes to measure; none for all.
    pub only: Vec<Class>,
    /// Seconds for everything; none for what the rules need.
    pub budget: Option<f64>,
    /// The short suite.
    pub quick: bool,
    /// Seed of the order.
    pub seed: u64,
    /// Visits over which the samples of a benchmark are spread, so that drift of the machine falls on all alike.
    pub visits: usize,
    /// Seconds of warm-up before a visit's samples.
    pub warm_up: f64,
    /// Fewest seconds of samples that may end a benchmark.
    pub least_seconds: f64,
    /// Most seconds of samples of a benchmark.
    pub most_seconds: f64,
    /// Bound on the noise of the median: 0.005 is ±0.5 %.
    pub noise: f64,
}

impl Settings {
    /// The whole suite: ±0.5 %, at most 2 s a benchmark, in two visits. nvbench measures each for 0.5 s at least; a
    /// suite of two hundred cannot, and the noise bound is what makes a figure good.
    #[must_use]
    pub fn full() -> Self {
        Self {
            only: vec![],
            budget: None,
            quick: false,
            seed: 1,
            visits: 2,
            warm_up: 0.01,
            least_seconds: 0.1,
            most_seconds: 2.0,
            noise: 0.005,
        }
    }

    /// The short suite: ±1 %, at most 0.4 s a benchmark, in one visit.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            quick: true,
            visits: 1,
            warm_up: 0.005,
            least_seconds: 0.03,
            most_seconds: 0.4,
            noise: 0.01,
            ..Self::full()
        }
    }

    /// Whether a benchmark is asked for.
    #[must_use]
    pub fn wants(&self, benchmark: &Benchmark) -> bool {
        self.only.is_empty() || self.only.contains(&benchmark.class())
    }

    /// The rules for a benchmark that may take `most` seconds, the first that decides ends it.
    #[must_use]
    pub fn rules(&self, benchmark: &Benchmark, most: f64) -> Vec<Box<dyn StoppingRule>> {
        if let Some(seconds) = benchmark.lasts() {
            return vec![Box::new(Duration { seconds: seconds.min(most) })];
        }
        let seconds = self.least_seconds.min(most);
        let (noise, window) = (5.0 * self.noise, 24);
        vec![
            Box::new(Precise { samples: 10, seconds, noise: self.noise }),
            Box::new(StableNoise { window, seconds: 2.0 * seconds, change: 0.1, noise }),
            Box::new(Cap { seconds: most }),
        ]
    }
}
