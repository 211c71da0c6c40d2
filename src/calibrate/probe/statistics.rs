//! From times to one figure with its uncertainty.

/// Median of samples with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Median of the samples kept.
    pub median: f64,
    /// Shortest of them.
    pub shortest: f64,
    /// 95 % interval of the median by order statistics.
    pub interval: [f64; 2],
    /// Samples kept.
    pub kept: usize,
    /// Outliers removed.
    pub outliers: usize,
}

impl Summary {
    /// Half the interval over the median: the noise that stopping rules hold to their bound.
    #[must_use]
    pub fn noise(&self) -> f64 {
        if self.kept < 2 { f64::INFINITY } else { 0.5 * (self.interval[1] - self.interval[0]) / self.median }
    }
}

/// Distance from the median, in scaled median absolute deviations, from which a sample is an outlier.
const FAR: f64 = 5.0;
/// MAD of a normal distribution with σ = 1 is 1/1.4826.
const MAD_SCALE: f64 = 1.4826;
/// Deviations below this share of the median are resolution of the clock, not outliers.
const RESOLUTION: f64 = 0.002;

/// Summarises times; none without any.
///
/// Outliers lie farther than 5 × 1.4826 × MAD from the median (the Hampel identifier; Davies, Gather, "The
/// identification of multiple outliers", JASA 1993). The interval of the median is that of order statistics ⌊(n −
/// 1.96·√n)/2⌋ and ⌈1 + (n + 1.96·√n)/2⌉, free of any distribution (Le Boudec, "Performance Evaluation of Computer and
/// Communication Systems", §2.2; Hoefler, Belli, "Scientific Benchmarking of Parallel Computing Systems", SC 2015, rule 6).
#[must_use]
pub fn summarise(times: &[f64]) -> Option<Summary> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = median(&sorted)?;
    let mut deviations: Vec<f64> = sorted.iter().map(|t| (t - middle).abs()).collect();
    deviations.sort_by(f64::total_cmp);
    let far = FAR * (MAD_SCALE * median(&deviations)?).max(RESOLUTION * middle);
    let kept: Vec<f64> = sorted.iter().copied().filter(|t| (t - middle).abs() <= far).collect();
    let n = kept.len() as f64;
    let spread = 1.96 * n.sqrt();
    let at = |rank: f64| -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to the ranks there are
        let index = rank.clamp(1.0, n) as usize - 1;
        kept.get(index).copied().unwrap_or(middle)
    };
    Some(Summary {
        median: median(&kept)?,
        shortest: *kept.first()?,
        interval: [at(((n - spread) / 2.0).floor()), at((1.0 + f64::midpoint(n, spread)).ceil())],
        kept: kept.len(),
        outliers: sorted.len() - kept.len(),
    })
}

/// Median of sorted values.
fn median(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    let upper = *sorted.get(n / 2)?;
    Some(if n % 2 == 1 { upper } else { f64::midpoint(*sorted.get(n / 2 - 1)?, upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // n = 9: ranks ⌊(9 − 5.88)/2⌋ = 1 and ⌈1 + (9 + 5.88)/2⌉ = 9
        let times: Vec<f64> = (1..=9).map(|i| 1.0 + 0.01 * f64::from(i)).collect();
        let s = summarise(&times).unwrap();
        assert!((s.median - 1.05).abs() < 1e-12 && s.kept == 9 && s.outliers == 0);
        assert!((s.interval[0] - 1.01).abs() < 1e-12 && (s.interval[1] - 1.09).abs() < 1e-12);
        assert!((s.noise() - 0.04 / 1.05).abs() < 1e-12);
        assert!(summarise(&[]).is_none());
    }

    #[test]
    fn outliers_go_and_the_clock_resolution_stays() {
        let mut times = vec![1.0; 20];
        times.extend([1.0005, 3.0]);
        let s = summarise(&times).unwrap();
        assert_eq!((s.outliers, s.kept), (1, 21));
        assert!((s.median - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_interval_of_the_median_covers_it() {
        // 95 % nominal: 400 draws of 40 log-normal samples with median 1
        let mut random = fastrand::Rng::with_seed(7);
        let mut normal = move || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let hits = (0..400)
            .filter(|_| {
                let times: Vec<f64> = (0..40).map(|_| (0.05 * normal()).exp()).collect();
                let [low, high] = summarise(&times).unwrap().interval;
                (low..=high).contains(&1.0)
            })
            .count();
        assert!(hits >= 370, "{hits} of 400");
    }
}
