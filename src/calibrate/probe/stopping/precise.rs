use super::{History, StoppingRule, Verdict};

/// Enough when so many samples over so many seconds hold the median within ± `noise`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precise {
    /// Fewest samples.
    pub samples: usize,
    /// Fewest seconds.
    pub seconds: f64,
    /// Bound on the noise: 0.005 is ±0.5 %.
    pub noise: f64,
}

impl StoppingRule for Precise {
    fn name(&self) -> &'static str {
        "precise"
    }

    fn decide(&self, history: &History) -> Verdict {
        let enough = history.times.len() >= self.samples
            && history.spent >= self.seconds
            && history.noise.last().is_some_and(|n| *n <= self.noise);
        if enough { Verdict::Enough } else { Verdict::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_bounds_must_hold() {
        let rule = Precise { samples: 10, seconds: 0.5, noise: 0.005 };
        let with =
            |n: usize, spent: f64, noise: f64| History { times: vec![1.0; n], noise: vec![noise; n], spent };
        assert_eq!(rule.decide(&with(10, 0.5, 0.004)), Verdict::Enough);
        for short in [with(9, 1.0, 0.004), with(10, 0.4, 0.004), with(10, 1.0, 0.006), History::default()] {
            assert_eq!(rule.decide(&short), Verdict::More);
        }
    }
}
