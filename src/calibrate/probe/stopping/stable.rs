use super::{History, StoppingRule, Verdict};

/// Enough when the noise itself no longer changes: more samples would find the same spread again.
///
/// The noise of the median falls with 1/√n by itself, so what must hold still is noise·√n, the spread of single
/// samples, over the last `window` samples: its range within `change` of its mean, and the noise below `noise`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StableNoise {
    /// Samples looked at.
    pub window: usize,
    /// Fewest seconds.
    pub seconds: f64,
    /// Largest range over mean.
    pub change: f64,
    /// Bound on the noise: above it the figure is not good however stable.
    pub noise: f64,
}

impl StoppingRule for StableNoise {
    fn name(&self) -> &'static str {
        "stable_noise"
    }

    fn decide(&self, history: &History) -> Verdict {
        let n = history.noise.len();
        if n < 2 * self.window || history.spent < self.seconds {
            return Verdict::More;
        }
        let spread: Vec<f64> = (n - self.window..n)
            .filter_map(|i| Some(history.noise.get(i)? * ((i + 1) as f64).sqrt()))
            .collect();
        let mean = spread.iter().sum::<f64>() / spread.len() as f64;
        let (low, high) =
            spread.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
        let still = high - low <= self.change * mean;
        let good = history.noise.last().is_some_and(|last| *last <= self.noise);
        if still && good { Verdict::Enough } else { Verdict::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn still_and_good_is_enough() {
        let rule = StableNoise { window: 16, seconds: 0.1, change: 0.1, noise: 0.02 };
        let history = |noise: &dyn Fn(usize) -> f64| History {
            times: vec![1.0; 64],
            noise: (0..64).map(noise).collect(),
            spent: 1.0,
        };
        let falling = history(&|i| 0.05 / ((i + 1) as f64).sqrt());
        assert_eq!(rule.decide(&falling), Verdict::Enough);
        // a spread that still grows, and one that is stable and bad
        assert_eq!(rule.decide(&history(&|i| 0.0001 * i as f64)), Verdict::More);
        assert_eq!(rule.decide(&history(&|i| 1.0 / ((i + 1) as f64).sqrt())), Verdict::More);
        assert_eq!(rule.decide(&History::default()), Verdict::More);
    }
}
