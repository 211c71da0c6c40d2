//! Which requests are sent, and when.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::args::{WorkloadArgs, duration, rate};
use crate::answer::traffic;
use crate::serving::{Arrivals, Length, Lengths, Preset, Rate, Trace, Traffic, Turns};
use crate::spec::{Load, OPEN_LOOP_REQUESTS, SpecError, Workload};
use crate::units::Seconds;

/// Lengths and arrivals beyond those that `estimate` knows.
#[derive(Debug, Args)]
pub(in crate::cli) struct TrafficArgs {
    /// Lengths of a known kind of traffic, and the limits of a benchmark where none are given.
    #[arg(long, value_parser = presets(), value_name = "NAME", conflicts_with_all = ["trace", "lengths", "input_dist", "output_dist", "input_len", "output_len", "length_ratio_min"], help_heading = "Workload")]
    preset: Option<String>,
    /// Lengths from a file, row by row and from the start again: CSV or JSON lines with columns like input_len and output_len.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "input_dist", "output_dist", "input_len", "output_len", "length_ratio_min"], help_heading = "Workload")]
    lengths: Option<PathBuf>,
    /// Requests as recorded: Azure's CSV, Mooncake's JSON lines with block hashes, or any CSV or JSON lines
    /// with a time and both lengths. Gzipped or not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request_rate", "concurrency", "batch_size", "input_dist", "output_dist"], help_heading = "Workload")]
    trace: Option<PathBuf>,
    /// How many times as fast the trace is replayed.
    #[arg(long, value_parser = rate, default_value = "1", value_name = "FACTOR", requires = "trace", help_heading = "Workload")]
    trace_speed: f64,
    /// Equal gaps instead of random ones, with --request-rate.
    #[arg(long, conflicts_with = "burstiness", help_heading = "Workload")]
    constant: bool,
    /// The rate grows from --request-rate to this one, then stays.
    #[arg(long, value_parser = rate, value_name = "PER_S", requires = "request_rate", help_heading = "Workload")]
    ramp_to: Option<f64>,
    /// Time in which it does.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME", help_heading = "Workload")]
    ramp_time: Seconds,
    /// Requests per second hour by hour, over and over.
    #[arg(long, value_delimiter = ',', value_name = "PER_S,…", conflicts_with_all = ["trace", "request_rate", "concurrency", "batch_size"], help_heading = "Workload")]
    hourly_rates: Vec<f64>,
    /// Prompt tokens: fixed:N, uniform:LOW,HIGH, normal:MEAN,DEVIATION or lognormal:MEAN,DEVIATION.
    #[arg(long, value_parser = distribution, value_name = "DIST", help_heading = "Workload")]
    input_dist: Option<Length>,
    /// Generated tokens, likewise.
    #[arg(long, value_parser = distribution, value_name = "DIST", help_heading = "Workload")]
    output_dist: Option<Length>,
    /// Every request begins a session of so many calls (a conversation, an agent's loop): --input-len is the first prompt, and
    /// --num-prompts and the load count sessions. A number or a distribution.
    #[arg(long, value_parser = distribution, value_name = "DIST", requires = "turn_input_len", conflicts_with_all = ["trace", "preset", "lengths", "batch_size", "length_ratio_min"], help_heading = "Sessions")]
    turns: Option<Length>,
    /// Tokens that every later call adds to the context: a user's message, a tool's result.
    #[arg(long, value_parser = distribution, value_name = "DIST", requires = "turns", help_heading = "Sessions")]
    turn_input_len: Option<Length>,
    /// Mean time between an answer and the next call, exponentially distributed: thinking, or running a tool.
    #[arg(long, value_parser = duration, default_value = "0ms", value_name = "TIME", requires = "turns", help_heading = "Sessions")]
    turn_pause: Seconds,
    /// Tokens generated before each answer and dropped from the context after it.
    #[arg(long, value_parser = distribution, value_name = "DIST", requires = "turns", help_heading = "Sessions")]
    thinking_len: Option<Length>,
    /// They stay in the context.
    #[arg(long, requires = "thinking_len", help_heading = "Sessions")]
    keep_thinking: bool,
}

fn presets() -> PossibleValuesParser {
    let all = Preset::all().unwrap_or_default();
    PossibleValuesParser::new(all.iter().map(|p| PossibleValue::new(&p.id).help(&p.about)))
}

/// Reads a distribution.
fn distribution(text: &str) -> Result<Length, String> {
    text.parse().map_err(|e: SpecError| e.to_string())
}

impl TrafficArgs {
    /// The preset named.
    pub(in crate::cli) fn preset(&self) -> Result<Option<&'static Preset>, SpecError> {
        self.preset.as_deref().map(Preset::named).transpose()
    }

    /// Requests per second hour by hour; empty where none are given.
    pub(in crate::cli) fn hourly_rates(&self) -> &[f64] {
        &self.hourly_rates
    }

    /// The flag that gives requests their times in another way than a steady rate, if one does.
    pub(in crate::cli) fn other_than_lengths(&self) -> Option<&'static str> {
        [
            (self.trace.is_some(), "--trace"),
            (self.constant, "--constant"),
            (self.ramp_to.is_some(), "--ramp-to"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Puts mean lengths into the echo of the workload, where they are not its own.
    pub(in crate::cli) fn put_means(&self, workload: &mut Workload, [input, output]: [f64; 2]) {
        let whole = |mean: f64| (mean.round() as u64).max(1);
        let all =
            self.trace.is_some() || self.lengths.is_some() || self.preset.is_some() || self.turns.is_some();
        if all || self.input_dist.is_some() {
            workload.input_len = whole(input);
        }
        if all || self.output_dist.is_some() {
            workload.output_len = whole(output);
        }
    }

    /// The requests.
    pub(in crate::cli) fn resolve(&self, workload: &WorkloadArgs) -> Result<Traffic, SpecError> {
        let (asked, burstiness) = (workload.load_is_given(), workload.burstiness);
        let mut workload = workload.resolve();
        if let Some(path) = &self.trace {
            let trace = Arc::new(Trace::read(path)?);
            let all = trace.rows().len() as u64;
            return Ok(Traffic {
                lengths: Lengths::Pairs(trace.lengths()),
                arrivals: Arrivals::Trace(trace, self.trace_speed),
                requests: workload.requests.unwrap_or(all).min(all),
                seed: workload.seed,
            });
        }
        if !self.hourly_rates.is_empty() {
            workload.load = Load::Rate { per_s: 1.0, burstiness };
        }
        let mut traffic = traffic(&workload)?;
        if let Some(lengths) = self.own_lengths(&workload)? {
            traffic.lengths = lengths;
        }
        if self.preset()?.is_some_and(|p| p.burst) && !asked && self.hourly_rates.is_empty() {
            traffic.arrivals = Arrivals::Burst;
            traffic.requests = workload.requests.unwrap_or(OPEN_LOOP_REQUESTS);
        }
        if let Arrivals::Open(rate, shape) = &traffic.arrivals {
            let mut rate = rate.clone();
            if !self.hourly_rates.is_empty() {
                rate = Rate::hourly(&self.hourly_rates)?;
            } else if let Some(to) = self.ramp_to {
                rate = Rate::ramp(rate.mean(), to, self.ramp_time.0)?;
            }
            traffic.arrivals =
                if self.constant { Arrivals::Constant(rate) } else { Arrivals::Open(rate, *shape) };
        }
        Ok(traffic)
    }

    /// Lengths other than nominal ones.
    fn own_lengths(&self, workload: &Workload) -> Result<Option<Lengths>, SpecError> {
        if let Some(preset) = self.preset()? {
            return Ok(Some(preset.lengths.clone()));
        }
        if let Some(path) = &self.lengths {
            return Lengths::read(path).map(Some);
        }
        let fixed = |n: u64| Length::Fixed(u32::try_from(n).unwrap_or(u32::MAX));
        if let (Some(calls), Some(later)) = (self.turns, self.turn_input_len) {
            return Ok(Some(Lengths::Sessions(Arc::new(Turns {
                calls,
                first: self.input_dist.unwrap_or(fixed(workload.input_len)),
                later,
                answer: self.output_dist.unwrap_or(fixed(workload.output_len)),
                thinking: self.thinking_len,
                keeps_thinking: self.keep_thinking,
                pause_s: self.turn_pause.0,
            }))));
        }
        Ok((self.input_dist.is_some() || self.output_dist.is_some()).then(|| Lengths::Independent {
            input: self.input_dist.unwrap_or(fixed(workload.input_len)),
            output: self.output_dist.unwrap_or(fixed(workload.output_len)),
        }))
    }
}
