//! Collectives over the scale-up link.

use super::{Coefficient, Form, Hardware};
use crate::work::Collective;

/// A message between ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Message {
    /// X: bytes that one rank's link carries.
    pub bytes: f64,
}

impl Message {
    /// X of a collective over S message bytes and n ranks: all-reduce 2(n−1)/n·S, gathers, scatters and
    /// all-to-all (n−1)/n·S, a send S. S is the whole tensor, not one rank's share.
    #[must_use]
    pub fn of(kind: Collective, ranks: f64, message: f64) -> Self {
        let share = (1.0 - 1.0 / ranks.max(1.0)).max(0.0);
        let bytes = match kind {
            Collective::AllReduce => 2.0 * share * message,
            Collective::AllGather | Collective::AllToAll => share * message,
            Collective::SendReceive => message,
        };
        Self { bytes }
    }
}

/// t = a₁ + min(X/(e₀·L), d₁ + X/(e₁·L), d₁ + d₂ + X/(e₂·L)).
///
/// L bytes per second and direction of the link (of PCIe where there is no other), e₀ < e₁ < e₂ what the
/// protocols reach: flags within the data, one shot, and full pipelines; d₁ and d₂ what each costs to start.
/// Never falls with X. Source: KERNELS section 4, with the low-latency protocol of NCCL as a third regime.
#[derive(Debug, Clone, Copy)]
pub struct ThreeRegimes;

impl Form for ThreeRegimes {
    type Input = Message;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("latency_us", 0.5, 400.0, 8.0),
        Coefficient::new("low_latency", 1e-4, 1.0, 0.02),
        Coefficient::new("second_us", 0.05, 400.0, 2.0),
        Coefficient::new("one_shot", 5e-4, 1.0, 0.2),
        Coefficient::new("third_us", 0.05, 2000.0, 10.0),
        Coefficient::new("pipeline", 1e-3, 1.0, 0.8),
    ];

    fn seconds(c: &[f64], x: &Message, hardware: &Hardware) -> f64 {
        let &[latency, low_latency, second, one_shot, third, pipeline] = c else { return f64::NAN };
        let transfer = |efficiency: f64| x.bytes / (efficiency * hardware.link);
        let regimes = [
            transfer(low_latency),
            second * 1e-6 + transfer(one_shot),
            (second + third) * 1e-6 + transfer(pipeline),
        ];
        latency * 1e-6 + regimes.into_iter().fold(f64::INFINITY, f64::min)
    }
}

/// Coefficients for n ranks from those fitted at other numbers of ranks (ascending).
///
/// Between two fits: geometric in log n. Below the first: the first. Above the last: its efficiencies, and the
/// latencies times (n/n₂)^g with g from the last two fits, 0 ≤ g ≤ 1 (from a tree's log n, nearly flat, to a
/// ring's n). None without fits.
#[must_use]
pub fn for_ranks(fits: &[(f64, &[f64])], ranks: f64) -> Option<Vec<f64>> {
    let above = fits.iter().position(|(n, _)| *n >= ranks);
    let (before, after) = match above {
        Some(0) => return fits.first().map(|(_, c)| c.to_vec()),
        Some(i) => (fits.get(i - 1)?, fits.get(i)?),
        None => {
            let (last, c) = fits.last()?;
            let growth = match fits.len().checked_sub(2).and_then(|i| fits.get(i)) {
                Some((n, first)) if last > n => (c.first()? / first.first()?).ln() / (last / n).ln(),
                _ => 1.0,
            };
            let scale = (ranks / last).powf(growth.clamp(0.0, 1.0));
            let is_latency =
                |i: usize| ThreeRegimes::COEFFICIENTS.get(i).is_some_and(|c| c.name.ends_with("_us"));
            return Some(
                c.iter().enumerate().map(|(i, v)| if is_latency(i) { v * scale } else { *v }).collect(),
            );
        }
    };
    let share = (ranks / before.0).ln() / (after.0 / before.0).ln();
    Some(before.1.iter().zip(after.1).map(|(a, b)| a * (b / a).powf(share)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    const C: [f64; 6] = [5.0, 0.01, 2.0, 0.25, 10.0, 0.8];

    #[test]
    fn by_hand() {
        // H100: L = 450 GB/s. 1 kB: 5 + 1e3/(0.01·450e3 B/µs) = 5.22; 1 MB: 5 + 2 + 8.89; 1 GB: 17 + 2777.8
        let hardware = Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap());
        for (bytes, us) in [(1e3, 5.2222), (1e6, 15.8889), (1e9, 2794.7778)] {
            let t = ThreeRegimes::seconds(&C, &Message { bytes }, &hardware) * 1e6;
            assert!((t - us).abs() < 1e-3, "{bytes}: {t}");
        }
    }

    #[test]
    fn bus_bytes() {
        assert_eq!(Message::of(Collective::AllReduce, 8.0, 8e6).bytes, 14e6);
        assert_eq!(Message::of(Collective::AllToAll, 4.0, 8e6).bytes, 6e6);
        assert_eq!(Message::of(Collective::AllReduce, 1.0, 8e6).bytes, 0.0);
    }

    #[test]
    fn ranks_between_and_beyond() {
        let more = C.map(|c| 2.0 * c);
        let fits = [(2.0, &C[..]), (8.0, &more[..])];
        // half way in the logarithm: √2
        assert!((for_ranks(&fits, 4.0).unwrap()[0] / (5.0 * 2f64.sqrt()) - 1.0).abs() < 1e-12);
        assert_eq!(for_ranks(&fits, 2.0).unwrap(), C);
        // latency doubled over a factor of 4: exponent ½
        let far = for_ranks(&fits, 32.0).unwrap();
        assert!((far[0] / 20.0 - 1.0).abs() < 1e-12 && far[5] == 1.6);
        assert!(for_ranks(&[], 4.0).is_none());
    }
}
