//! Many decode steps at once: between two knots their times are affine in the step and add up in closed form.

use super::tables::{knot, knot_below};
use super::{RankLoad, StepClock};

/// Some decode steps in a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Run {
    /// How many.
    pub steps: u64,
    /// Their time in seconds.
    pub seconds: f64,
    /// The last one's.
    pub last: f64,
}

/// A stretch of a run in which step times grow by the same amount: first, last, steps.
pub type Piece = (f64, f64, u64);

impl StepClock {
    /// Adds decode steps to a run while it has fewer than `most` and the next one starts before `seconds` from
    /// the beginning of the run: the smallest number k ≤ `most` whose times add up to at least `seconds`.
    /// Appends the stretches of equal growth to `pieces`.
    pub fn extend(
        &mut self,
        ranks: &[RankLoad],
        mut run: Run,
        most: u64,
        seconds: f64,
        pieces: &mut Vec<Piece>,
    ) -> Run {
        while run.steps < most && run.seconds < seconds {
            let mut steps = (most - run.steps).min(self.to_next_knot(ranks, run.steps as f64));
            let first = self.decode(ranks, run.steps as f64);
            let mut last = first;
            while steps > 1 {
                last = self.decode(ranks, (run.steps + steps - 1) as f64);
                if steps == 2 || self.is_affine(ranks, run.steps, steps, first, last) {
                    break;
                }
                steps /= 2;
                last = first;
            }
            let growth = if steps > 1 { (last - first) / (steps - 1) as f64 } else { 0.0 };
            let needed = steps_for(first, growth, seconds - run.seconds, steps);
            last = first + growth * (needed - 1) as f64;
            run.steps += needed;
            run.seconds += needed as f64 * f64::midpoint(first, last);
            run.last = last;
            pieces.push((first, last, needed));
        }
        run
    }

    /// Times between two knots are affine in the step but where another rank becomes the slowest, or the
    /// host: both show in the middle, since a maximum of affine functions is convex.
    fn is_affine(&mut self, ranks: &[RankLoad], from: u64, steps: u64, first: f64, last: f64) -> bool {
        if ranks.len() == 1 && self.timer.terms().decode_graphs && self.speculation.is_none() {
            return true;
        }
        let middle = (steps - 1) / 2;
        let expected = first + (last - first) * middle as f64 / (steps - 1) as f64;
        (self.decode(ranks, (from + middle) as f64) - expected).abs() <= 1e-9 * expected
    }

    /// Steps until some rank's mean context passes the next knot.
    fn to_next_knot(&self, ranks: &[RankLoad], ahead: f64) -> u64 {
        let mut steps = u64::MAX;
        for rank in ranks.iter().filter(|r| r.rows > 0) {
            let mean = (rank.context as f64 / f64::from(rank.rows) + ahead).max(1.0);
            let next = knot(knot_below(mean) + 1);
            steps = steps.min((next - mean) as u64 + 1);
        }
        steps
    }
}

/// The smallest m in 1..=most with m·first + growth·m(m − 1)/2 ≥ seconds, else `most`.
fn steps_for(first: f64, growth: f64, seconds: f64, most: u64) -> u64 {
    let sum = |m: u64| m as f64 * (first + growth * (m as f64 - 1.0) / 2.0);
    if !seconds.is_finite() || sum(most) < seconds {
        return most;
    }
    // m²·g/2 + m·(f − g/2) − s = 0, in the form that holds for g → 0
    let half = first - growth / 2.0;
    let root = 2.0 * seconds / (half + (half * half + 2.0 * growth * seconds).max(0.0).sqrt());
    let mut m = (root.ceil() as u64).clamp(1, most);
    while m > 1 && sum(m - 1) >= seconds {
        m -= 1;
    }
    while m < most && sum(m) < seconds {
        m += 1;
    }
    m
}
