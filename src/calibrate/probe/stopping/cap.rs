use super::{History, StoppingRule, Verdict};

/// Gives up after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cap {
    /// Most seconds.
    pub seconds: f64,
}

impl StoppingRule for Cap {
    fn name(&self) -> &'static str {
        "cap"
    }

    fn decide(&self, history: &History) -> Verdict {
        if history.spent >= self.seconds { Verdict::GiveUp } else { Verdict::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_out() {
        let at = |spent| Cap { seconds: 2.0 }.decide(&History { spent, ..History::default() });
        assert_eq!(at(1.9), Verdict::More);
        assert_eq!(at(2.0), Verdict::GiveUp);
    }
}
