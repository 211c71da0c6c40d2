//! A deployment at work in four situations, and what tokens cost in each.

mod limits;
mod load;

use serde::Serialize;

use super::question::CostQuestion;
use super::runs::Runs;
use super::{Basis, Cost, HourlyPrice, Paid};
use crate::answer::simulate::Simulation;
use crate::answer::{Energy, Estimate, Interval, Question, estimate};
use crate::memory::MemoryError;
use crate::spec::{Load, SpecError, Workload};

/// Hours of a mean month: a twelfth of 365.25 days.
pub const HOURS_PER_MONTH: f64 = 730.5;

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SituationKind {
    /// The load of the question.
    AsAsked,
    /// The highest rate that keeps the limits.
    AtSlo,
    /// Never short of requests.
    Saturated,
    /// The load that there is.
    AtYourLoad,
}

/// The deployment in a situation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Situation {
    /// Which.
    pub situation: SituationKind,
    /// Replicas.
    pub replicas: u32,
    /// Replicas at the fast and the slow end of the 80 % interval, where the load says how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_interval: Option<[u32; 2]>,
    /// Accelerators of all of them.
    pub num_gpus: u32,
    /// Requests in flight of all replicas, of a closed loop or a static batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Requests that end per second.
    pub requests_per_s: f64,
    /// Requests in flight of all replicas on average: their rate times the time that each stays (Little's law).
    pub mean_in_flight: f64,
    /// Prompt and generated tokens in a month of its used hours.
    pub tokens_per_month: f64,
    /// Generated tokens per second.
    pub output_tokens_per_s: f64,
    /// Share of what the replicas can do without limits.
    pub load: f64,
    /// Mean time to first token.
    pub ttft_s: f64,
    /// Mean time per output token.
    pub tpot_s: f64,
    /// 90th percentile of the time to first token, of a load over time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_p90_s: Option<f64>,
    /// 90th percentile of the time per output token, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_p90_s: Option<f64>,
    /// Enough requests keep the limits, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// 80 % interval of the costs over the predicted ones: that of the times; at the limits, that of the rate which keeps them;
    /// at a load, that of the replicas. None where the load alone says how many requests share an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_factors: Option<Interval>,
    /// Energy of the accelerators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// What a request takes.
    #[serde(skip)]
    pub(super) paid: Paid,
    /// Mean watts of an accelerator, where power was measured.
    #[serde(skip)]
    pub(super) mean_w: Option<f64>,
}

/// Costs in one situation at one kind of price.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SituationCost {
    /// Which situation.
    pub situation: SituationKind,
    /// What hours are paid for.
    pub basis: Basis,
    /// Price of an accelerator-hour at work.
    pub usd_per_gpu_hour: f64,
    /// Price of an hour at work of all accelerators.
    pub usd_per_hour: f64,
    /// A month, unused hours included.
    pub usd_per_month: f64,
    /// Prefill's share, per million prompt tokens.
    pub usd_per_million_input_tokens: f64,
    /// Decode's share, per million generated tokens.
    pub usd_per_million_output_tokens: f64,
    /// One request.
    pub usd_per_request: f64,
}

/// All of it.
pub(super) struct Situations {
    pub asked: Estimate,
    pub all: Vec<Situation>,
    /// Requests per second that a replica can take: within the limits where there are some that it can hold.
    pub capacity_per_s: f64,
    pub warnings: Vec<String>,
}

impl CostQuestion<'_> {
    /// What an hour costs: rented (unless they are one's own), owned, electricity alone, where known. Power is the mean where it was measured.
    pub(super) fn prices(&self, mean_w: Option<f64>) -> Vec<HourlyPrice> {
        let (inputs, gpu) = (&self.question.options.cost, self.question.accelerator);
        let rented = if inputs.own { None } else { inputs.rented(gpu) };
        let all = [rented, inputs.owned(gpu, mean_w), inputs.electricity(gpu, mean_w)];
        all.into_iter().flatten().collect()
    }

    /// Costs of a situation at every price.
    pub(super) fn costs(&self, s: &Situation) -> Vec<SituationCost> {
        let duty = self.question.options.cost.duty();
        let each = self.prices(s.mean_w).into_iter().map(|price| {
            let cost = Cost::of(&price, duty, s.num_gpus, s.paid);
            SituationCost {
                situation: s.situation,
                basis: price.basis,
                usd_per_gpu_hour: price.usd_per_gpu_hour,
                usd_per_hour: cost.usd_per_hour,
                usd_per_month: price.per_month(duty) * f64::from(s.num_gpus),
                usd_per_million_input_tokens: cost.usd_per_million_input_tokens,
                usd_per_million_output_tokens: cost.usd_per_million_output_tokens,
                usd_per_request: cost.usd_per_request,
            }
        });
        each.collect()
    }
}

/// The deployment in all situations that the question names.
pub(super) fn situations(asked: &CostQuestion<'_>, runs: &Runs<'_>) -> Result<Situations, MemoryError> {
    let replicas = asked.replicas;
    let workload = shared(asked.question.workload, replicas);
    let first = estimate(&Question { workload: &workload, ..asked.question })?;
    if !first.memory.fits {
        let why = first.memory.reason.clone().unwrap_or_else(|| "the KV pool is too small".into());
        return Err(SpecError::Usage(format!(
            "the deployment does not fit on {}: {why}; `foretoken memory` says what makes room",
            asked.question.accelerator.id
        ))
        .into());
    }
    let mut warnings = vec![];
    let full = runs.saturated()?;
    let limits = if asked.slo.is_given() { limits::found(asked, runs, &full)? } else { None };
    // what it kept up for a whole run it can do
    let most = limits.as_ref().map_or(0.0, |l| l.per_s).max(full.requests_per_s);
    let mut all = vec![as_asked(asked, &first, most)];
    let times = times(&full.run);
    let mut capacity = Capacity { per_s: most, slow_fast: [most / times.high, most / times.low] };
    match limits {
        Some(found) => {
            let mut at = asked.simulated(SituationKind::AtSlo, &found.run, replicas, found.per_s, most);
            let [slow, fast] = found.slow_fast;
            if slow > 0.0 {
                at.interval_factors = Some(Interval { low: found.per_s / fast, high: found.per_s / slow });
            } else {
                warnings.push(
                    "at the slow end of the 80 % interval no rate keeps the limits: costs at them may not be had"
                        .into(),
                );
            }
            capacity = Capacity { per_s: found.per_s, slow_fast: found.slow_fast };
            all.push(at);
        }
        None if asked.slo.is_given() => {
            warnings.push("the limits are not kept at any rate: costs at them are left out".into());
        }
        None => {}
    }
    let mut saturated = asked.simulated(SituationKind::Saturated, &full.run, replicas, most, most);
    saturated.concurrency = Some(u64::from(full.concurrency) * u64::from(replicas));
    saturated.mean_in_flight = f64::from(full.concurrency) * f64::from(replicas);
    saturated.interval_factors = Some(times);
    all.push(saturated);
    if runs.seats() == 1 {
        warnings.push(
            "the engine serves one request at a time: --max-num-seqs says how many it should take".into(),
        );
    }
    if let Some(volume) = asked.volume {
        let at = load::at_your_load(asked, runs, volume, most, capacity)?;
        if asked.slo.is_given() && at.held == Some(false) {
            warnings.push("your load does not keep the limits on these replicas".into());
        } else if !asked.slo.is_given() && at.load > 0.9 {
            warnings.push(format!(
                "your load is {:.0} % of what {} replicas can do: requests wait the longer the nearer it is; limits \
                 (--ttft, --tpot) say how many replicas keep them",
                100.0 * at.load,
                at.replicas
            ));
        }
        all.push(at);
    }
    Ok(Situations { asked: first, all, capacity_per_s: capacity.per_s, warnings })
}

/// A replica's share of a load.
fn shared(workload: &Workload, replicas: u32) -> Workload {
    let load = match workload.load {
        Load::StaticBatch(n) => Load::StaticBatch(n.div_ceil(replicas)),
        Load::Concurrency(n) => Load::Concurrency(n.div_ceil(replicas)),
        Load::Rate { per_s, burstiness } => Load::Rate { per_s: per_s / f64::from(replicas), burstiness },
    };
    Workload { load, ..*workload }
}

/// An interval over the mean that it belongs to.
fn factors(interval: Interval, mean: f64) -> Interval {
    Interval { low: interval.low / mean, high: interval.high / mean }
}

/// 80 % interval of a run's times over the predicted ones.
pub(super) fn times(run: &Simulation) -> Interval {
    factors(run.intervals.e2e_s, run.latency.e2e_s.mean)
}

/// What a replica can take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// Requests per second.
    pub per_s: f64,
    /// The same at the slow and the fast end of the 80 % interval.
    pub slow_fast: [f64; 2],
}

/// What `estimate` answers, on all replicas.
fn as_asked(asked: &CostQuestion<'_>, answer: &Estimate, most: f64) -> Situation {
    let spent = answer.paid.spent;
    let requests_per_s = 1.0 / (spent.prefill_s + spent.decode_s);
    let (replicas, gpus) = (f64::from(asked.replicas), asked.accelerators());
    let in_flight = answer.inputs.batch_size.or(answer.inputs.concurrency);
    let measured = answer.energy.as_ref();
    let cached = answer.inputs.prefix_len as f64 / answer.inputs.input_len.max(1) as f64;
    let open = answer.inputs.request_rate_per_s.is_some();
    Situation {
        situation: SituationKind::AsAsked,
        replicas: asked.replicas,
        replicas_interval: None,
        num_gpus: gpus * asked.replicas,
        concurrency: in_flight.map(|n| u64::from(n) * u64::from(asked.replicas)),
        requests_per_s: replicas * requests_per_s,
        mean_in_flight: replicas * in_flight.map_or(requests_per_s * answer.latency.e2e_s, f64::from),
        tokens_per_month: asked.tokens_per_month(answer.paid.lengths, replicas * requests_per_s),
        output_tokens_per_s: replicas * requests_per_s * answer.paid.lengths[1],
        load: requests_per_s / most,
        ttft_s: answer.latency.ttft_s,
        tpot_s: answer.latency.tpot_s,
        ttft_p90_s: answer.latency.tails.map(|t| t.ttft_s[0]),
        tpot_p90_s: None,
        held: None,
        interval_factors: (!open).then(|| factors(answer.intervals.e2e_s, answer.latency.e2e_s)),
        energy: answer.energy.clone(),
        mean_w: answer.paid.watts(measured, gpus, cached),
        paid: answer.paid.at_rate(replicas * requests_per_s),
    }
}

impl CostQuestion<'_> {
    fn burstiness(&self) -> f64 {
        match self.question.workload.load {
            Load::Rate { burstiness, .. } => burstiness,
            Load::StaticBatch(_) | Load::Concurrency(_) => 1.0,
        }
    }

    /// Requests of an open loop, where the question says how many.
    fn requests(&self) -> Option<u64> {
        match self.question.workload.load {
            Load::Rate { .. } => self.question.workload.requests,
            Load::StaticBatch(_) | Load::Concurrency(_) => None,
        }
    }

    fn tokens_per_month(&self, [input, output]: [f64; 2], requests_per_s: f64) -> f64 {
        let used_s = 3600.0 * HOURS_PER_MONTH * self.question.options.cost.duty();
        (input + output) * requests_per_s * used_s
    }

    /// Replicas that each run like this one, at a lasting rate each.
    fn simulated(
        &self,
        situation: SituationKind,
        run: &Simulation,
        replicas: u32,
        each_per_s: f64,
        most: f64,
    ) -> Situation {
        let (n, gpus) = (f64::from(replicas), self.accelerators());
        Situation {
            situation,
            replicas,
            replicas_interval: None,
            num_gpus: gpus * replicas,
            concurrency: None,
            requests_per_s: n * each_per_s,
            mean_in_flight: n * each_per_s * run.latency.e2e_s.mean,
            tokens_per_month: self.tokens_per_month(run.paid.lengths, n * each_per_s),
            output_tokens_per_s: n * each_per_s * run.paid.lengths[1],
            load: each_per_s / most,
            ttft_s: run.latency.ttft_s.mean,
            tpot_s: run.latency.tpot_s.mean,
            ttft_p90_s: Some(run.latency.ttft_s.p90),
            tpot_p90_s: Some(run.latency.tpot_s.p90),
            held: run.goodput.as_ref().filter(|_| situation != SituationKind::Saturated).map(|g| g.held),
            interval_factors: None,
            energy: run.energy.clone(),
            mean_w: run.paid.watts(run.energy.as_ref(), gpus, run.utilization.prefix_hit_share),
            paid: run.paid.at_rate(n * each_per_s),
        }
    }
}
