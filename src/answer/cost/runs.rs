//! Runs of one replica that costs are read from.

use super::question::CostQuestion;
use super::{Paid, Spent};
use crate::answer::estimate::traffic;
use crate::answer::simulate::{Demand, Simulation, simulate};
use crate::answer::{Energy, Question};
use crate::memory::{MemoryError, MemoryReport, occupancy};
use crate::serving::Slo;
use crate::spec::{Load, SpecError, Workload};

/// Most requests that a run keeps in flight to saturate a replica.
const MOST_IN_FLIGHT: u64 = 8192;

/// One replica, asked for runs.
pub(super) struct Runs<'a> {
    asked: &'a CostQuestion<'a>,
    memory: MemoryReport,
}

/// A run in which a replica was never short of requests.
pub(super) struct Saturated {
    pub run: Simulation,
    /// Requests per second while it was full.
    pub requests_per_s: f64,
    /// Requests in flight.
    pub concurrency: u32,
}

impl<'a> Runs<'a> {
    pub fn new(asked: &'a CostQuestion<'a>) -> Result<Self, MemoryError> {
        let Question { model, accelerator, deployment, .. } = asked.question;
        let memory = occupancy(model, accelerator, deployment)?;
        Ok(Self { asked, memory })
    }

    /// The workload asked under another load.
    pub fn workload(&self, load: Load, requests: Option<u64>) -> Workload {
        Workload { load, requests, ..*self.asked.question.workload }
    }

    /// One replica under a workload, within the limits asked or others; `find_rate` looks for the highest rate that holds
    /// them.
    ///
    /// # Errors
    /// When it does not fit or no request ends.
    pub fn run(
        &self,
        workload: &Workload,
        slo: Option<Slo>,
        find_rate: bool,
    ) -> Result<Simulation, MemoryError> {
        let question = Question { workload, ..self.asked.question };
        let (slo, share) = (slo.unwrap_or(self.asked.slo), self.asked.share);
        let demand = Demand { slo, share, find_rate, ..Demand::new(traffic(workload)?) };
        let run = simulate(&question, &demand, None)?;
        if run.completed_requests == 0 {
            let why = run.warnings.last().cloned().unwrap_or_else(|| "no request ended".into());
            return Err(SpecError::Usage(format!("nothing to price: {why}")).into());
        }
        Ok(run)
    }

    /// Requests that the engine serves at once.
    pub fn seats(&self) -> u64 {
        let ranks = u64::from(self.asked.question.deployment.parallelism.dp.max(1));
        u64::from(self.memory.settings.max_num_seqs).saturating_mul(ranks)
    }

    /// Requests in flight that keep every seat taken: a quarter more than the engine seats or twice what the KV pool holds,
    /// whichever is less; and as many as the pool holds to their end, where that is less, because an engine that preempts may
    /// do more when it is not overfilled.
    fn in_flight(&self) -> Vec<u32> {
        let mean = self.asked.question.workload.at_mean();
        let ranks = u64::from(self.asked.question.deployment.parallelism.dp.max(1));
        let seats = self.seats();
        let new = (mean.input_len + mean.output_len - mean.prefix_len).max(1);
        let pool = (self.memory.kv_cache_tokens / new).saturating_mul(ranks).max(1);
        let full = seats.min(2 * pool).min(MOST_IN_FLIGHT);
        let mut all = vec![full + full / 4 + 1];
        if pool < seats && pool < MOST_IN_FLIGHT {
            all.push(pool);
        }
        all.into_iter().map(|n| n as u32).collect()
    }

    /// The highest throughput: closed loops that keep the replica full, by their rate between the end of 2n and of 5n requests
    /// of n in flight. Neither the first burst nor the last stragglers are in it.
    pub fn saturated(&self) -> Result<Saturated, MemoryError> {
        let mut best: Option<Saturated> = None;
        for n in self.in_flight() {
            let found = self.marginal(n, |requests| self.workload(Load::Concurrency(n), Some(requests)))?;
            if best.as_ref().is_none_or(|b| b.requests_per_s < found.requests_per_s) {
                best = Some(found);
            }
        }
        best.ok_or_else(|| SpecError::Usage("no load to saturate the deployment with".into()).into())
    }

    /// All requests sent at once: the time of `requests` of them, and how long each more takes.
    pub fn burst(&self, requests: u64) -> Result<Simulation, MemoryError> {
        self.run(&self.burst_of(requests), None, false)
    }

    /// The rate at which a burst far larger than the replica's seats is worked off.
    pub fn worked_off(&self) -> Result<(Saturated, u64), MemoryError> {
        let n = self.in_flight().first().copied().unwrap_or(1);
        Ok((self.marginal(n, |requests| self.burst_of(requests))?, 5 * u64::from(n)))
    }

    fn burst_of(&self, requests: u64) -> Workload {
        let all = u32::try_from(requests).unwrap_or(u32::MAX);
        self.workload(Load::StaticBatch(all), Some(requests))
    }

    /// (m₂ − m₁)/(T₂ − T₁) of runs of m₁ = 2n and m₂ = 5n requests.
    fn marginal(&self, n: u32, workload: impl Fn(u64) -> Workload + Sync) -> Result<Saturated, MemoryError> {
        let count = u64::from(n);
        let run = |m: u64| self.run(&workload(m), None, false);
        let (short, long) = rayon::join(|| run(2 * count), || run(5 * count));
        let (short, long) = (short?, long?);
        let more = long.completed_requests.saturating_sub(short.completed_requests) as f64;
        let time = long.duration_s - short.duration_s;
        let requests_per_s = if more > 0.0 && time > 0.0 {
            more / time
        } else {
            long.completed_requests as f64 / long.duration_s
        };
        Ok(Saturated { run: long, requests_per_s, concurrency: n })
    }
}

impl Paid {
    /// The same requests at another rate per second of the deployment.
    pub(super) fn at_rate(self, requests_per_s: f64) -> Self {
        let share = self.spent.prefill_s / (self.spent.prefill_s + self.spent.decode_s);
        let each = 1.0 / requests_per_s;
        let spent = Spent { prefill_s: each * share, decode_s: each * (1.0 - share) };
        Self { spent, ..self }
    }

    /// Mean watts of an accelerator while the deployment is there for these requests, where power was measured: joules a
    /// request over accelerators and seconds.
    pub(super) fn watts(&self, energy: Option<&Energy>, accelerators: u32, cached: f64) -> Option<f64> {
        let energy = energy.filter(|e| e.is_measured())?;
        let [input, output] = self.lengths;
        let joules =
            energy.joules_per_input_token * input * (1.0 - cached) + energy.joules_per_output_token * output;
        let seconds = self.spent.prefill_s + self.spent.decode_s;
        Some(joules / (f64::from(accelerators) * seconds)).filter(|w| w.is_finite())
    }
}
