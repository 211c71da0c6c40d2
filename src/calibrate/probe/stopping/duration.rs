use super::{History, StoppingRule, Verdict};

/// Enough after so many seconds, however noisy: for long loads, where the course of time is what is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration {
    /// Seconds.
    pub seconds: f64,
}

impl StoppingRule for Duration {
    fn name(&self) -> &'static str {
        "duration"
    }

    fn decide(&self, history: &History) -> Verdict {
        if history.spent >= self.seconds { Verdict::Enough } else { Verdict::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_long_as_asked() {
        let at = |spent| Duration { seconds: 10.0 }.decide(&History { spent, ..History::default() });
        assert_eq!(at(9.9), Verdict::More);
        assert_eq!(at(10.0), Verdict::Enough);
    }
}
