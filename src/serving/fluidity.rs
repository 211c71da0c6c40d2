//! The fluidity index: which share of a request's tokens comes in time for a reader (Agrawal et al., Metron, 2024, §4; the
//! reckoning is that of project-etalon's `get_request_level_deadline_miss_rate`).
//!
//! The first token is due after D_p, every other D_d after the one before. What comes early leaves slack to those after it. A
//! token that is late misses one deadline for every D_d that it is late, and deadlines start anew with it.

/// Times by which tokens are due, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deadlines {
    /// Of the first token, D_p.
    pub first_s: f64,
    /// Of every other one after the one before, D_d.
    pub token_s: f64,
}

/// Deadlines of a request so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Fluid {
    slack: f64,
    missed: f64,
    deadlines: f64,
}

impl Fluid {
    /// The first token came after `gap` seconds.
    pub fn first(&mut self, gap: f64, due: Deadlines) {
        if gap <= due.first_s {
            self.slack += due.first_s - gap;
            self.deadlines += 1.0;
        } else {
            self.miss(1.0 + ((gap - due.first_s) / due.token_s).floor());
        }
    }

    /// A token came `gap` seconds after the one before.
    pub fn token(&mut self, gap: f64, due: Deadlines) {
        if gap <= due.token_s + self.slack {
            self.slack += due.token_s - gap;
            self.deadlines += 1.0;
        } else {
            self.miss(((gap - self.slack) / due.token_s).floor());
        }
    }

    fn miss(&mut self, deadlines: f64) {
        self.missed += deadlines;
        self.deadlines += deadlines;
        self.slack = 0.0;
    }

    /// `steps` tokens came with gaps evenly spaced from `first` to `last`. While gaps grow, slack is concave in the tokens:
    /// where none is missed at the end, none is before.
    pub fn tokens(&mut self, first: f64, last: f64, steps: u64, due: Deadlines) {
        let count = steps as f64;
        let left = self.slack + count * (due.token_s - f64::midpoint(first, last));
        if last >= first && left >= 0.0 {
            self.slack = left;
            self.deadlines += count;
            return;
        }
        let growth = if steps > 1 { (last - first) / (count - 1.0) } else { 0.0 };
        for i in 0..steps {
            self.token(first + growth * i as f64, due);
        }
    }

    /// Share of deadlines met.
    pub fn index(&self) -> f64 {
        if self.deadlines > 0.0 { 1.0 - self.missed / self.deadlines } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_by_hand() {
        let due = Deadlines { first_s: 1.0, token_s: 0.1 };
        let mut fluid = Fluid::default();
        fluid.first(0.8, due);
        for gap in [0.1, 0.25, 0.05] {
            fluid.token(gap, due);
        }
        // slack 0.2, 0.2, 0.05, 0.1: all in time
        assert!((fluid.index() - 1.0).abs() < 1e-12 && (fluid.slack - 0.1).abs() < 1e-12);
        // 0.35 less the slack of 0.1 is 2.5 deadlines late
        fluid.token(0.35, due);
        assert!((fluid.index() - (1.0 - 2.0 / 6.0)).abs() < 1e-12 && fluid.slack == 0.0);
        let mut late = Fluid::default();
        late.first(1.25, due);
        assert_eq!((late.missed, late.deadlines), (3.0, 3.0));
    }

    #[test]
    fn many_tokens_are_each_of_them() {
        let due = Deadlines { first_s: 1.0, token_s: 0.02 };
        for (first, last, steps) in [(0.01, 0.019, 50), (0.015, 0.03, 80), (0.03, 0.01, 40), (0.02, 0.02, 1)]
        {
            let (mut one, mut many) = (Fluid::default(), Fluid::default());
            for fluid in [&mut one, &mut many] {
                fluid.first(0.9, due);
            }
            one.tokens(first, last, steps, due);
            for i in 0..steps {
                many.token(first + (last - first) * i as f64 / (steps as f64 - 1.0).max(1.0), due);
            }
            assert!((one.index() - many.index()).abs() < 1e-9 && (one.slack - many.slack).abs() < 1e-9);
        }
    }
}
