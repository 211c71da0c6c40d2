//! Samples of one benchmark over its visits.

use super::{
    Benchmark, Ending, History, INTERRUPTED, Measurement, Sample, StoppingRule, Telemetry, Verdict, summarise,
};

/// Fewest undisturbed samples that make a figure.
const FEWEST: usize = 3;

/// Samples so far, those that count and those that do not.
#[derive(Default)]
pub(super) struct Progress {
    pub history: History,
    /// Iterations of a sample.
    pub iterations: u64,
    pub ending: Option<Ending>,
    /// Why it cannot be measured.
    pub skipped: Option<String>,
    telemetry: Vec<Telemetry>,
    slowed: usize,
    contended: usize,
    /// Noise when it was last computed, and the number of samples at which it is due again.
    noise: f64,
    due: usize,
    /// CPU times of samples that others disturbed, kept in case there are no others.
    disturbed: Vec<f64>,
}

impl Progress {
    /// Takes a sample in, to its history or to what does not count, with the seconds that it cost.
    ///
    /// A long load is taken as it comes: what heat and power leave of it is what was asked for.
    pub fn add(&mut self, benchmark: &Benchmark, sample: &Sample, spent: f64) {
        self.history.spent += spent;
        let sustained = benchmark.lasts().is_some();
        if sample.telemetry.slowed() {
            self.slowed += 1;
        }
        if sample.telemetry.contended() {
            self.contended += 1;
        }
        if sample.telemetry.slowed() && !sustained {
            return;
        }
        if sample.telemetry.contended() {
            // the time that it was given is what it needed, but for what others did to its caches
            self.disturbed.push(sample.each() * sample.telemetry.cpu_busy.unwrap_or(1.0));
            return;
        }
        self.history.times.push(sample.each());
        self.telemetry.push(sample.telemetry);
        // sorting all samples after each would cost more than the samples: every sixteenth of them is often enough
        let n = self.history.times.len();
        if n >= self.due {
            self.due = n + n.div_ceil(16);
            self.noise = summarise(&self.history.times).map_or(f64::INFINITY, |s| s.noise());
        }
        self.history.noise.push(self.noise);
    }

    /// Asks the rules in turn.
    pub fn decide(&mut self, rules: &[Box<dyn StoppingRule>]) {
        let verdicts = rules.iter().map(|r| (r.name(), r.decide(&self.history)));
        let found = verdicts.into_iter().find(|(_, verdict)| *verdict != Verdict::More);
        self.ending = found.map(|(rule, verdict)| Ending { rule, converged: verdict == Verdict::Enough });
    }

    /// The figure so far: of undisturbed samples, and of disturbed ones too where there are hardly any others, which
    /// then has not converged; the second half of a long load. None where every sample was slowed down.
    pub fn measurement(&self, benchmark: &Benchmark) -> Option<Measurement> {
        let half = if benchmark.lasts().is_some() { self.history.times.len() / 2 } else { 0 };
        let mut times: Vec<f64> = self.history.times.iter().skip(half).copied().collect();
        let few = times.len() < FEWEST;
        if few {
            times.extend(&self.disturbed);
        }
        let ending = self.ending.unwrap_or(Ending { rule: INTERRUPTED, converged: false });
        Some(Measurement {
            benchmark: benchmark.clone(),
            summary: summarise(&times)?,
            ending: Ending { converged: ending.converged && !few, ..ending },
            telemetry: Telemetry::mean(self.telemetry.get(half..).unwrap_or_default()),
            slowed: self.slowed,
            contended: self.contended,
        })
    }
}
