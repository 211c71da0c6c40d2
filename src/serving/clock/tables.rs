//! Tables of step times: over whole numbers, and the knots over the context.

/// Whole numbers up to here have their own entry; above, every [`STRIDE`]th.
const EXACT: usize = 1024;
const STRIDE: usize = 32;

/// Seconds of a part by a whole number, filled when asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    seconds: Vec<f64>,
    /// Most launches of an entry.
    pub(super) launches: f64,
}

impl Table {
    fn entry(&mut self, index: usize, of: &mut dyn FnMut(f64) -> [f64; 2]) -> f64 {
        if index >= self.seconds.len() {
            self.seconds.resize((index + 1).next_power_of_two(), f64::NAN);
        }
        if self.seconds[index].is_nan() {
            let at = if index <= EXACT { index } else { EXACT + (index - EXACT) * STRIDE };
            let [seconds, launches] = of(at as f64);
            self.seconds[index] = seconds;
            self.launches = self.launches.max(launches);
        }
        self.seconds[index]
    }

    /// Linear between entries.
    pub(super) fn at(&mut self, n: usize, of: &mut dyn FnMut(f64) -> [f64; 2]) -> f64 {
        if n <= EXACT {
            return self.entry(n, of);
        }
        let (whole, rest) = ((n - EXACT) / STRIDE, (n - EXACT) % STRIDE);
        let low = self.entry(EXACT + whole, of);
        if rest == 0 {
            return low;
        }
        let high = self.entry(EXACT + whole + 1, of);
        low + (high - low) * rest as f64 / STRIDE as f64
    }
}

/// Knots of the context: (1 + q/4)·2^e for q in 0..4, numbered from 0 at 1. Number and place are read off the
/// bits of the floating-point form.
pub(super) fn knot_below(context: f64) -> usize {
    ((context.max(1.0).to_bits() >> 50) - (1023 << 2)) as usize
}

/// The context of a knot.
pub(super) fn knot(index: usize) -> f64 {
    f64::from_bits((index as u64 + (1023 << 2)) << 50)
}
