//! How long prompts and outputs are.

use rand_distr::{Distribution, LogNormal, Normal};
use rand_mt::Mt;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::str::FromStr;
use std::sync::Arc;

use super::sessions::Turns;
use crate::spec::SpecError;

/// Longest prompt or output, in tokens.
const LONGEST: u32 = 1 << 30;

/// A distribution of lengths in tokens; every draw is at least 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// Always the same.
    Fixed(u32),
    /// Every whole number from the first to the second alike.
    Uniform(u32, u32),
    /// Normal with mean and standard deviation, cut at 1.
    Normal(f64, f64),
    /// Log-normal with the mean and standard deviation of the length itself.
    LogNormal(f64, f64),
}

impl Length {
    /// The mean, before cutting.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::Fixed(n) => f64::from(n),
            Self::Uniform(low, high) => f64::midpoint(f64::from(low), f64::from(high)),
            Self::Normal(mean, _) | Self::LogNormal(mean, _) => mean,
        }
    }

    pub(super) fn sampler(self) -> Result<Sampler, SpecError> {
        let refused = |why: &str| Err(SpecError::Usage(format!("length distribution {self:?}: {why}")));
        let sound = |mean: f64, deviation: f64| {
            mean.is_finite()
                && (1.0..=f64::from(LONGEST)).contains(&mean)
                && deviation.is_finite()
                && deviation >= 0.0
        };
        match self {
            Self::Fixed(0) => refused("a length must be at least 1"),
            Self::Fixed(n) => Ok(Sampler::Fixed(n)),
            Self::Uniform(low, high) if low == 0 || high < low => refused("needs 1 ≤ low ≤ high"),
            Self::Uniform(low, high) => Ok(Sampler::Uniform(low, high - low)),
            Self::Normal(mean, deviation) | Self::LogNormal(mean, deviation) if !sound(mean, deviation) => {
                refused("needs a mean of at least 1 and a standard deviation of at least 0")
            }
            Self::Normal(mean, deviation) => match Normal::new(mean, deviation) {
                Ok(normal) => Ok(Sampler::Normal(normal)),
                Err(e) => refused(&e.to_string()),
            },
            Self::LogNormal(mean, deviation) => {
                // σ² = ln(1 + s²/m²), μ = ln m − σ²/2
                let variance = (deviation / mean).powi(2).ln_1p();
                match LogNormal::new(mean.ln() - variance / 2.0, variance.sqrt()) {
                    Ok(log) => Ok(Sampler::LogNormal(log)),
                    Err(e) => refused(&e.to_string()),
                }
            }
        }
    }
}

impl FromStr for Length {
    type Err = SpecError;

    /// Reads `500`, `fixed:500`, `uniform:100,900`, `normal:500,100` or `lognormal:1020,900`.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refused = |why: &str| SpecError::Usage(format!("`{text}` is no distribution of lengths: {why}"));
        let form = "write it like 500, uniform:100,900, normal:500,100 or lognormal:1020,900 (mean, standard deviation)";
        let (kind, numbers) = text.split_once(':').unwrap_or(("fixed", text));
        let numbers: Result<Vec<f64>, _> = numbers.split(',').map(|n| n.trim().parse()).collect();
        let numbers = numbers.map_err(|_| refused(form))?;
        let whole = |x: f64| {
            let fits = x.fract() == 0.0 && (1.0..=f64::from(LONGEST)).contains(&x);
            fits.then_some(x as u32)
                .ok_or_else(|| refused("lengths must be whole numbers from 1 to 1,073,741,824"))
        };
        let length = match (kind.trim(), numbers.as_slice()) {
            ("fixed", [n]) => Self::Fixed(whole(*n)?),
            ("uniform", [low, high]) => Self::Uniform(whole(*low)?, whole(*high)?),
            ("normal", [mean, deviation]) => Self::Normal(*mean, *deviation),
            ("lognormal", [mean, deviation]) => Self::LogNormal(*mean, *deviation),
            _ => return Err(refused(form)),
        };
        length.sampler().map(|_| length)
    }
}

/// Lengths of prompts and outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Lengths {
    /// Drawn independently.
    Independent {
        /// Prompt tokens.
        input: Length,
        /// Generated tokens.
        output: Length,
    },
    /// The exact lists of the usual benchmark harness: `numpy.random.seed(seed)`, then
    /// `numpy.random.randint(int(L·r), L + 1)` for all prompts and then for all outputs.
    Harness {
        /// Nominal prompt tokens.
        input: u32,
        /// Nominal generated tokens.
        output: u32,
        /// Shortest length over the nominal one.
        ratio: f64,
    },
    /// Pairs of prompt and output tokens, in turn and from the start again.
    Pairs(Arc<[(u32, u32)]>),
    /// One of the pairs at random each time.
    Sample(Arc<[(u32, u32)]>),
    /// Every request begins a session of several calls.
    Sessions(Arc<Turns>),
}

impl Lengths {
    /// Mean prompt and output tokens.
    #[must_use]
    pub fn means(&self) -> [f64; 2] {
        match self {
            Self::Independent { input, output } => [input.mean(), output.mean()],
            Self::Harness { input, output, ratio } => {
                [input, output].map(|n| f64::midpoint(lowest(*n, *ratio), f64::from(*n)))
            }
            Self::Sessions(turns) => turns.means(),
            Self::Pairs(pairs) | Self::Sample(pairs) => {
                let count = pairs.len().max(1) as f64;
                let mean =
                    |of: fn(&(u32, u32)) -> u32| pairs.iter().map(|p| f64::from(of(p))).sum::<f64>() / count;
                [mean(|p| p.0), mean(|p| p.1)]
            }
        }
    }

    /// Draws for `requests` requests.
    ///
    /// # Errors
    /// When a distribution makes no sense.
    pub(super) fn draws(&self, requests: u64, seed: u64) -> Result<Draws, SpecError> {
        Ok(match self {
            Self::Independent { input, output } => Draws::Independent([input.sampler()?, output.sampler()?]),
            Self::Harness { input, output, ratio } => {
                if *input == 0 || *output == 0 || !(0.0..=1.0).contains(ratio) {
                    return Err(SpecError::Usage(format!(
                        "lengths {input} and {output} with a smallest ratio of {ratio}: lengths must be at least 1 and \
                         the ratio in 0..=1"
                    )));
                }
                let mut inputs = RandInt::new(seed, *input, *ratio);
                let first = inputs.clone();
                for _ in 0..requests {
                    inputs.next();
                }
                Draws::Harness(Box::new([first, inputs.of(*output, *ratio)]))
            }
            Self::Pairs(pairs) | Self::Sample(pairs) if pairs.is_empty() => {
                return Err(SpecError::Usage("the list of lengths is empty".into()));
            }
            Self::Pairs(pairs) => Draws::Pairs(Arc::clone(pairs), 0),
            Self::Sample(pairs) => Draws::Sample(Arc::clone(pairs)),
            // the output is drawn with the rest of its session
            Self::Sessions(turns) => Draws::Independent([turns.samplers()?.first, Sampler::Fixed(1)]),
        })
    }
}

fn lowest(nominal: u32, ratio: f64) -> f64 {
    (f64::from(nominal) * ratio).trunc()
}

#[derive(Debug, Clone)]
pub(super) enum Sampler {
    Fixed(u32),
    Uniform(u32, u32),
    Normal(Normal<f64>),
    LogNormal(LogNormal<f64>),
}

impl Sampler {
    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> u32 {
        let whole = |x: f64| x.round().clamp(1.0, f64::from(LONGEST)) as u32;
        match self {
            Self::Fixed(n) => *n,
            Self::Uniform(low, span) => {
                let unit: f64 = rand_distr::StandardUniform.sample(random);
                low + (unit * (f64::from(*span) + 1.0)) as u32
            }
            Self::Normal(normal) => whole(normal.sample(random)),
            Self::LogNormal(log) => whole(log.sample(random)),
        }
    }
}

/// Lengths one after another.
#[derive(Debug, Clone)]
pub(super) enum Draws {
    Independent([Sampler; 2]),
    Harness(Box<[RandInt; 2]>),
    Pairs(Arc<[(u32, u32)]>, usize),
    Sample(Arc<[(u32, u32)]>),
}

impl Draws {
    /// The next prompt and output.
    pub(super) fn draw(&mut self, random: &mut Xoshiro256PlusPlus) -> (u32, u32) {
        match self {
            Self::Independent([input, output]) => (input.draw(random), output.draw(random)),
            Self::Harness(pair) => {
                let [input, output] = pair.as_mut();
                (input.next(), output.next())
            }
            Self::Pairs(pairs, at) => {
                let pair = pairs[*at % pairs.len()];
                *at += 1;
                pair
            }
            Self::Sample(pairs) => {
                let unit: f64 = rand_distr::StandardUniform.sample(random);
                pairs[((unit * pairs.len() as f64) as usize).min(pairs.len() - 1)]
            }
        }
    }
}

/// `numpy.random.RandomState(seed).randint(low, high + 1)`: 32-bit outputs of MT19937, masked to the bits of
/// the span, those above it rejected (NumPy, `_bounded_integers.pyx`, legacy masked rejection).
#[derive(Debug, Clone)]
pub(super) struct RandInt {
    generator: Mt,
    low: u32,
    span: u32,
}

impl RandInt {
    fn new(seed: u64, nominal: u32, ratio: f64) -> Self {
        // NumPy takes the lower 32 bits of a seed
        Self { generator: Mt::new(seed as u32), low: 0, span: 0 }.of(nominal, ratio)
    }

    /// The same stream of random numbers for another range.
    fn of(self, nominal: u32, ratio: f64) -> Self {
        let low = lowest(nominal, ratio) as u32;
        Self { low, span: nominal - low, ..self }
    }

    fn next(&mut self) -> u32 {
        if self.span == 0 {
            return self.low.max(1);
        }
        let mask = u32::MAX >> self.span.leading_zeros();
        loop {
            let value = self.generator.next_u32() & mask;
            if value <= self.span {
                return (self.low + value).max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::rand_core::SeedableRng;

    #[test]
    fn numpy_seed_zero() {
        // numpy.random.seed(0); numpy.random.randint(0, 10, 10)
        let mut draws = RandInt { generator: Mt::new(0), low: 1, span: 9 };
        let list: Vec<u32> = (0..10).map(|_| draws.next() - 1).collect();
        assert_eq!(list, [5, 0, 3, 3, 7, 9, 3, 5, 2, 4]);
    }

    /// The first prompts and outputs, and weighted sums of whole lists, as NumPy 2.4.6 prints them for
    /// `numpy.random.seed(seed); randint(int(L·r), L + 1, n)`, prompts before outputs.
    #[test]
    fn lists_are_those_of_numpy() {
        let draw = |seed, input, output, ratio, n| -> [Vec<u64>; 2] {
            let random = &mut Xoshiro256PlusPlus::seed_from_u64(0);
            let mut draws = Lengths::Harness { input, output, ratio }.draws(n, seed).unwrap();
            let pairs: Vec<(u32, u32)> = (0..n).map(|_| draws.draw(random)).collect();
            [pairs.iter().map(|p| p.0.into()).collect(), pairs.iter().map(|p| p.1.into()).collect()]
        };
        for (seed, input, output, ratio, lists) in [
            (
                0,
                8192,
                1024,
                0.8,
                [[7237, 7112, 7769, 7388, 7316, 7936, 7586, 6830], [855, 906, 889, 907, 959, 877, 1012, 858]],
            ),
            (
                1,
                1024,
                8192,
                0.8,
                [
                    [856, 959, 891, 956, 1022, 952, 898, 1011],
                    [6697, 6682, 8160, 7302, 7061, 7967, 7858, 7755],
                ],
            ),
            (
                42,
                1000,
                200,
                0.5,
                [[602, 935, 848, 770, 606, 571, 688, 520], [182, 186, 174, 174, 187, 199, 123, 102]],
            ),
        ] {
            assert_eq!(draw(seed, input, output, ratio, 8), lists.map(|l| l.to_vec()), "seed {seed}");
        }
        let [inputs, outputs] = draw(0, 1024, 1024, 0.8, 1280);
        let weighted = |list: &[u64]| list.iter().zip(0..).map(|(n, i)| n * i).sum::<u64>();
        assert_eq!([inputs.iter().sum::<u64>(), weighted(&inputs)], [1_180_188, 754_270_052]);
        assert_eq!([outputs.iter().sum::<u64>(), weighted(&outputs)], [1_177_601, 752_117_248]);
    }

    #[test]
    fn distributions_are_read_and_rubbish_is_told() {
        assert_eq!("500".parse::<Length>().unwrap(), Length::Fixed(500));
        assert_eq!("uniform:1, 9".parse::<Length>().unwrap(), Length::Uniform(1, 9));
        assert_eq!("lognormal:1020,900".parse::<Length>().unwrap(), Length::LogNormal(1020.0, 900.0));
        for bad in [
            "",
            "x",
            "0",
            "-5",
            "1.5",
            "nan",
            "1e99",
            "uniform:5",
            "uniform:9,1",
            "normal:1,2,3",
            "normal:0,1",
            "lognormal:10,-1",
            "lognormal:inf,1",
            "zipf:1,2",
            "fixed:",
        ] {
            let error = bad.parse::<Length>().unwrap_err().to_string();
            assert!(error.contains("distribution"), "{bad}: {error}");
        }
    }

    #[test]
    fn outputs_follow_all_inputs() {
        let lengths = Lengths::Harness { input: 1024, output: 1024, ratio: 0.8 };
        let random = &mut Xoshiro256PlusPlus::seed_from_u64(0);
        let mut draws = lengths.draws(100, 0).unwrap();
        let pairs: Vec<(u32, u32)> = (0..100).map(|_| draws.draw(random)).collect();
        let mut stream = RandInt::new(0, 1024, 0.8);
        let all: Vec<u32> = (0..200).map(|_| stream.next()).collect();
        assert!(pairs.iter().map(|p| p.0).eq(all[..100].iter().copied()));
        assert!(pairs.iter().map(|p| p.1).eq(all[100..].iter().copied()));
        assert!(all.iter().all(|n| (819..=1024).contains(n)));
    }

    #[test]
    fn means_are_those_drawn() {
        let random = &mut Xoshiro256PlusPlus::seed_from_u64(1);
        for length in [
            Length::Fixed(7),
            Length::Uniform(100, 300),
            Length::Normal(500.0, 50.0),
            Length::LogNormal(800.0, 900.0),
        ] {
            let sampler = length.sampler().unwrap();
            let n = 200_000;
            let mean = (0..n).map(|_| f64::from(sampler.draw(random))).sum::<f64>() / f64::from(n);
            assert!((mean / length.mean() - 1.0).abs() < 0.01, "{length:?} {mean}");
        }
        for bad in [
            Length::Fixed(0),
            Length::Uniform(5, 4),
            Length::Normal(f64::NAN, 1.0),
            Length::LogNormal(10.0, -1.0),
        ] {
            assert!(bad.sampler().is_err());
        }
    }
}
