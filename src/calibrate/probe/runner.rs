//! Measures benchmarks: in random order, in several visits, until a stopping rule ends each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::progress::Progress;
use super::{Backend, Benchmark, Measurement, Prepared, ProbeError, Sample, Settings};

/// Shortest sample in seconds: shorter ones are of the clock's resolution and the launch.
const SHORTEST_SAMPLE: f64 = 200e-6;
/// Most iterations of one sample.
const MOST_ITERATIONS: u64 = 1 << 20;

/// Who watches.
pub trait Observer {
    /// So many of so many visits are done; about to measure this, with about so many seconds left.
    fn visit(&self, done: usize, of: usize, benchmark: &Benchmark, seconds_left: f64);
    /// A benchmark is done: it may be written away.
    fn measured(&self, measurement: &Measurement);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn visit(&self, _: usize, _: usize, _: &Benchmark, _: f64) {}
    fn measured(&self, _: &Measurement) {}
}

/// A benchmark that was not measured, with the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipped {
    /// Which.
    pub benchmark: Benchmark,
    /// Why.
    pub reason: String,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// What was not.
    pub skipped: Vec<Skipped>,
    /// It was stopped before the end (Ctrl-C, budget); what was measured counts all the same.
    pub interrupted: bool,
    /// The error that ended it, if one did.
    pub error: Option<ProbeError>,
}

/// Measures the benchmarks of a backend.
pub struct Runner<'a> {
    settings: &'a Settings,
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
}

/// Most of a budget that is kept for long loads, which come last.
const KEPT_FOR_LONG_LOADS: f64 = 0.2;

/// The seconds of a run, shared out over its visits.
struct Budget {
    seconds: f64,
    /// Seconds kept for long loads, however many visits come before them.
    kept: f64,
    /// Visits and seconds of long loads that are still to come.
    short: usize,
    long: f64,
}

impl Budget {
    fn new(seconds: f64, benchmarks: &[Benchmark], visits: usize) -> Self {
        let long: f64 = benchmarks.iter().filter_map(Benchmark::lasts).sum();
        let short = benchmarks.iter().filter(|b| b.lasts().is_none()).count() * visits;
        Self { seconds, kept: long.min(KEPT_FOR_LONG_LOADS * seconds), short, long }
    }

    /// The share of the next visit, `spent` seconds into the run; none where nothing is left for it. Short visits
    /// have even shares, long loads in proportion to their length.
    fn share(&mut self, benchmark: &Benchmark, spent: f64) -> Option<f64> {
        let (left, part) = match benchmark.lasts() {
            Some(lasts) => {
                let long = self.long;
                self.long -= lasts;
                (self.seconds - spent, lasts / long)
            }
            None => {
                let short = self.short;
                self.short -= 1;
                (self.seconds - self.kept - spent, 1.0 / short as f64)
            }
        };
        (left > 0.0).then_some(left * part)
    }
}

/// What a visit may take.
struct Allowance {
    /// Seconds of samples of the benchmark in all its visits.
    cap: f64,
    /// Seconds after which this visit leaves the rest to the next.
    until: f64,
}

impl<'a> Runner<'a> {
    /// A runner that ends early when `stop` is set.
    #[must_use]
    pub fn new(settings: &'a Settings, stop: &'a AtomicBool, observer: &'a dyn Observer) -> Self {
        Self { settings, stop, observer }
    }

    /// Measures everything that the settings ask for, except the labels in `known` from an earlier run. Errors end the
    /// run and are in the outcome, with what was measured before.
    #[must_use]
    pub fn run(&self, backend: &mut dyn Backend, known: &BTreeSet<String>) -> Outcome {
        let mut benchmarks = backend.benchmarks(self.settings.quick);
        benchmarks.retain(|b| self.settings.wants(b) && !known.contains(&b.label()));
        let order = self.order(&benchmarks);
        let mut progress: Vec<Progress> = benchmarks.iter().map(|_| Progress::default()).collect();
        let mut outcome = Outcome::default();
        let mut budget =
            self.settings.budget.map(|s| Budget::new(s, &benchmarks, self.settings.visits.max(1)));
        let mut spent = 0.0;
        for (done, index) in order.iter().enumerate() {
            let left = order.len() - done;
            if self.stopped() {
                outcome.interrupted = true;
                break;
            }
            let (Some(benchmark), Some(own)) = (benchmarks.get(*index), progress.get_mut(*index)) else {
                continue;
            };
            let share = budget.as_mut().map(|b| b.share(benchmark, spent));
            if own.ending.is_some() || own.skipped.is_some() {
                continue;
            }
            if share == Some(None) {
                outcome.interrupted = true;
                continue;
            }
            let share = share.flatten();
            let each = if done == 0 { self.settings.least_seconds } else { spent / done as f64 };
            self.observer.visit(done, order.len(), benchmark, each * left as f64);
            let last = !order.iter().skip(done + 1).any(|later| later == index);
            let started = Instant::now();
            let before = own.history.spent;
            let result = self.visit(backend, benchmark, own, &self.allowance(benchmark, own, share, last));
            // a fake device's clock runs ahead of the wall's
            spent += started.elapsed().as_secs_f64().max(own.history.spent - before);
            match result {
                Ok(()) => {
                    if let Some(measurement) = own.ending.and_then(|_| own.measurement(benchmark)) {
                        self.observer.measured(&measurement);
                    }
                }
                Err(error) if error.skips() => own.skipped = Some(error.to_string()),
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        for (benchmark, own) in benchmarks.into_iter().zip(progress) {
            match own.measurement(&benchmark) {
                Some(measurement) => outcome.measurements.push(measurement),
                None => {
                    let slowed = own.ending.map(|_| "every sample was slowed by heat or hardware".to_owned());
                    let reason = own.skipped.or(slowed);
                    outcome.skipped.extend(reason.map(|reason| Skipped { benchmark, reason }));
                }
            }
        }
        outcome
    }

    /// Indices in random order, every benchmark once a visit; long loads once and at the end, when their heat harms no
    /// other.
    fn order(&self, benchmarks: &[Benchmark]) -> Vec<usize> {
        let lasting = |i: &usize| benchmarks.get(*i).is_some_and(|b| b.lasts().is_some());
        let (long, short): (Vec<usize>, Vec<usize>) = (0..benchmarks.len()).partition(lasting);
        let mut random = fastrand::Rng::with_seed(self.settings.seed);
        let mut order = vec![];
        for _ in 0..self.settings.visits.max(1) {
            let mut round = short.clone();
            random.shuffle(&mut round);
            order.extend(round);
        }
        order.extend(long);
        order
    }

    /// The time of a visit: an even part of the benchmark's, and within its share of the budget.
    fn allowance(&self, benchmark: &Benchmark, own: &Progress, share: Option<f64>, last: bool) -> Allowance {
        let visits = self.settings.visits.max(1) as f64;
        let longest = benchmark.lasts().unwrap_or(self.settings.most_seconds);
        let spent = own.history.spent;
        let this = share.unwrap_or(f64::INFINITY).min(longest / visits).max(SHORTEST_SAMPLE);
        match (last, share) {
            (true, None) => Allowance { cap: longest, until: f64::INFINITY },
            (true, Some(share)) => Allowance { cap: longest.min(spent + share), until: f64::INFINITY },
            (false, _) => Allowance { cap: longest, until: spent + this },
        }
    }

    /// Prepares a benchmark, warms it up and takes the samples of one visit.
    fn visit(
        &self,
        backend: &mut dyn Backend,
        benchmark: &Benchmark,
        own: &mut Progress,
        allowance: &Allowance,
    ) -> Result<(), ProbeError> {
        let rules = self.settings.rules(benchmark, allowance.cap);
        let mut prepared = backend.prepare(benchmark)?;
        own.iterations = self.warm_up(benchmark, prepared.as_mut(), own.iterations)?;
        while own.ending.is_none() && own.history.spent < allowance.until && !self.stopped() {
            let started = Instant::now();
            let sample = take(benchmark, prepared.as_mut(), own.iterations)?;
            own.add(benchmark, &sample, sample.seconds.max(started.elapsed().as_secs_f64()));
            own.decide(&rules);
        }
        Ok(())
    }

    /// Runs untimed for a while and finds how many iterations make a sample long enough.
    fn warm_up(
        &self,
        benchmark: &Benchmark,
        prepared: &mut dyn Prepared,
        known: u64,
    ) -> Result<u64, ProbeError> {
        let (mut spent, mut iterations) = (0.0, known.max(1));
        loop {
            let sample = take(benchmark, prepared, iterations)?;
            spent += sample.seconds;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and clamped
            let needed =
                (1.2 * SHORTEST_SAMPLE / sample.each()).ceil().clamp(1.0, MOST_ITERATIONS as f64) as u64;
            let settled = sample.seconds >= SHORTEST_SAMPLE || needed <= iterations;
            if (settled && spent >= self.settings.warm_up) || self.stopped() {
                return Ok(needed);
            }
            iterations = needed;
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One sample, which must be a time.
fn take(benchmark: &Benchmark, prepared: &mut dyn Prepared, iterations: u64) -> Result<Sample, ProbeError> {
    let sample = prepared.sample(iterations)?;
    if sample.seconds > 0.0 && sample.seconds.is_finite() && sample.iterations > 0 {
        return Ok(sample);
    }
    Err(ProbeError::Failed {
        benchmark: benchmark.label(),
        reason: format!("{} iterations took {} s", sample.iterations, sample.seconds),
        fix: "report this with the output of `foretoken doctor`".into(),
    })
}
