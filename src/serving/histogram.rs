//! Quantiles of any number of values in fixed memory.

use serde::Serialize;

/// Sub-buckets of each power of two. A quantile is at most a bucket off, 1/128 of its value, and mostly far less.
const SUB: u64 = 128;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// Smallest exponent kept: 2^−40 s ≈ 1 ps; smaller values count as it.
const LOWEST: i64 = -40;
/// Powers of two kept: up to 2^40 s.
const OCTAVES: u64 = 80;

/// Counts of values in buckets whose width grows with the value (as in HdrHistogram and DDSketch), with
/// the exact sum.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogHistogram {
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
}

/// Mean and percentiles in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Bucket of a value: exponent and the first bits of the mantissa of its IEEE 754 form.
fn bucket(value: f64) -> usize {
    let bits = value.max(0.0).to_bits() >> (52 - SUB_BITS);
    let lowest = ((LOWEST + 1023) as u64) << SUB_BITS;
    (bits.saturating_sub(lowest)).min(OCTAVES * SUB - 1) as usize
}

/// Lower edge of a bucket.
fn edge(index: usize) -> f64 {
    let (octave, sub) = (index as u64 / SUB, index as u64 % SUB);
    (LOWEST as f64 + octave as f64).exp2() * (1.0 + sub as f64 / SUB as f64)
}

impl LogHistogram {
    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        self.add_many(value, 1);
    }

    /// Counts a value so many times.
    pub fn add_many(&mut self, value: f64, times: u64) {
        if times == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.counts = vec![0; (OCTAVES * SUB) as usize];
        }
        if self.count == 0 {
            (self.least, self.most) = (value, value);
        }
        self.counts[bucket(value)] += times;
        self.count += times;
        self.sum += value * times as f64;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Counts `steps` values evenly spaced from `first` to `last`, each `times` times.
    pub fn add_ramp(&mut self, first: f64, last: f64, steps: u64, times: u64) {
        if bucket(first) == bucket(last) || steps < 2 {
            let mean = f64::midpoint(first, last);
            self.add_many(mean, steps * times);
            (self.least, self.most) = (self.least.min(first), self.most.max(last));
            return;
        }
        let middle = steps / 2;
        let gap = (last - first) / (steps - 1) as f64;
        self.add_ramp(first, first + gap * (middle - 1) as f64, middle, times);
        self.add_ramp(first + gap * middle as f64, last, steps - middle, times);
    }

    /// Values counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Arithmetic mean, exact; 0 of nothing.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The largest value.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.most
    }

    /// The value below which a share `q` of the values lies: linear between ranks (type 7 of Hyndman and
    /// Fan, as `numpy.percentile`), each rank spread evenly over its bucket.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let rank = q.clamp(0.0, 1.0) * (self.count - 1) as f64;
        let low = self.value_at(rank.floor() as u64);
        let high = self.value_at(rank.ceil() as u64);
        low + (high - low) * rank.fract()
    }

    fn value_at(&self, rank: u64) -> f64 {
        if rank == 0 {
            return self.least;
        }
        if rank + 1 >= self.count {
            return self.most;
        }
        let mut before = 0;
        for (index, count) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            if before + count > rank {
                let within = ((rank - before) as f64 + 0.5) / *count as f64;
                let value = edge(index) + (edge(index + 1) - edge(index)) * within;
                return value.clamp(self.least, self.most);
            }
            before += count;
        }
        self.most
    }

    /// Values with the share of all that is not larger, ascending, in at most about `most` steps; the last share is 1.
    #[must_use]
    pub fn distribution(&self, most: usize) -> Vec<[f64; 2]> {
        if self.count == 0 {
            return vec![];
        }
        let mut points = vec![[self.least, 0.0]];
        let (mut below, least_step) = (0, 1.0 / most.max(1) as f64);
        for (index, count) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            below += count;
            let share = below as f64 / self.count as f64;
            let last = points.last().map_or(0.0, |p| p[1]);
            if below == self.count || share - last >= least_step {
                points.push([edge(index + 1).clamp(self.least, self.most), share]);
            }
        }
        points
    }

    /// Mean and the usual percentiles.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let q = |p| self.quantile(p);
        Summary { mean: self.mean(), p50: q(0.5), p90: q(0.9), p95: q(0.95), p99: q(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_stated_error() {
        let mut histogram = LogHistogram::default();
        let mut values: Vec<f64> =
            (0..10_000_u64).map(|i| 1e-4 * 1.001_f64.powi(((i * 7919) % 10_000) as i32)).collect();
        for value in &values {
            histogram.add(*value);
        }
        values.sort_by(f64::total_cmp);
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(q * 9999.0) as usize];
            let found = histogram.quantile(q);
            assert!((found / exact - 1.0).abs() < 1.0 / 128.0, "{q}: {found} {exact}");
        }
        let mean = values.iter().sum::<f64>() / 10_000.0;
        assert!((histogram.mean() / mean - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_ramp_is_its_values() {
        let (mut one, mut many) = (LogHistogram::default(), LogHistogram::default());
        one.add_ramp(0.010, 0.020, 101, 3);
        for i in 0..101 {
            many.add_many(0.010 + 0.0001 * f64::from(i), 3);
        }
        assert_eq!(one.count(), 303);
        assert!((one.mean() - many.mean()).abs() < 1e-12);
        for q in [0.1, 0.5, 0.9] {
            assert!((one.quantile(q) / many.quantile(q) - 1.0).abs() < 0.01);
        }
    }

    #[test]
    fn nothing_and_extremes() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.summary(), Summary::default());
        histogram.add(0.0);
        histogram.add(1e20);
        assert_eq!((histogram.quantile(0.0), histogram.quantile(1.0)), (0.0, 1e20));
    }
}
