//! A deployment made ready to be sized, and the smallest number of its replicas that holds the limits.

use rayon::prelude::*;
use std::collections::BTreeMap;

use super::bound;
use super::money::Rates;
use super::reason::{percentile, reason};
use super::{Obstacle, Rejected, SizeQuestion};
use crate::answer::estimate::{Estimator, Latency, Question};
use crate::answer::simulate::{Demand, Fleet};
use crate::answer::{Candidate, Layout};
use crate::serving::{Arrivals, Lengths, Outcome, Rate, Slo, Traffic};
use crate::spec::{Deployment, SpecError, Workload};
use crate::units::{count, duration, number};

/// Most requests of one simulation: it takes a tenth of a second.
const MOST_REQUESTS: u64 = 100_000;
/// Fewest requests of a simulation.
pub(super) const FEWEST_REQUESTS: u64 = 1000;
/// Requests up to which the whole fleet is simulated in every step of the search.
const FEW_REQUESTS: u64 = 4000;
/// Requests a replica up to which one stands for all of them.
const LEAST_OF_ONE: u64 = 500;
/// Replicas up to which the whole fleet is simulated in every step of the search.
const FEW_REPLICAS: u32 = 64;
/// With so few requests in flight at a replica at a time it is as good as idle: more replicas do not help.
const IDLE: f64 = 0.05;

/// A deployment ready to be sized.
pub(super) struct Site<'a> {
    pub index: usize,
    pub candidate: &'a Candidate<'a>,
    /// With the longest request that the engine is told to take.
    pub deployment: Deployment,
    pub layout: Layout,
    pub rates: Rates,
    /// Under the load that this deployment gets.
    pub demand: Demand,
    pub requests_per_s: f64,
    /// A request alone.
    pub alone: Latency,
    /// Fewest replicas that could hold the limits.
    pub least: u32,
    /// Most replicas that the constraints allow.
    pub most: u32,
    pub warnings: Vec<String>,
}

/// The smallest fleet that holds the limits.
pub(super) struct Fitted {
    /// Replicas that do both, or compute prompts.
    pub replicas: u32,
    /// Replicas that generate, where those have a pool of their own.
    pub decode_replicas: u32,
    pub outcome: Outcome,
    /// Why one fewer does not.
    pub one_fewer: Option<String>,
}

type Refusal = (Obstacle, String);

/// Deployments that may hold the limits, and those that cannot.
pub(super) fn ready<'a>(question: &SizeQuestion<'a>) -> (Vec<Site<'a>>, Vec<Rejected>) {
    let longest = longest(&question.demand.traffic);
    let all: Vec<Result<Site<'a>, Rejected>> = question
        .candidates
        .par_iter()
        .enumerate()
        .map(|(index, candidate)| {
            Site::new(question, index, candidate, longest).map_err(|(kind, reason)| {
                (question.done)(1);
                rejected(
                    &Layout::of(candidate.model, candidate.accelerator, &candidate.deployment, None),
                    kind,
                    reason,
                )
            })
        })
        .collect();
    let (mut sites, mut refused) = (vec![], vec![]);
    for one in all {
        match one {
            Ok(site) => sites.push(site),
            Err(rejection) => refused.push(rejection),
        }
    }
    (sites, refused)
}

pub(super) fn rejected(layout: &Layout, kind: Obstacle, reason: String) -> Rejected {
    Rejected {
        gpu: layout.gpu.clone(),
        tensor_parallel_size: layout.tensor_parallel_size,
        pipeline_parallel_size: layout.pipeline_parallel_size,
        data_parallel_size: layout.data_parallel_size,
        expert_parallel_size: layout.expert_parallel_size,
        weight_dtype: layout.weight_dtype.clone(),
        engine: layout.engine.clone(),
        kind,
        reason,
    }
}

/// Longest prompt and output together of the first requests; none of sessions, whose contexts grow.
fn longest(traffic: &Traffic) -> Option<u64> {
    if matches!(traffic.lengths, Lengths::Sessions(_)) {
        return None;
    }
    let all = Traffic { requests: MOST_REQUESTS, arrivals: Arrivals::Burst, ..traffic.clone() };
    let stream = all.stream().ok()?;
    stream.map(|r| u64::from(r.input) + u64::from(r.output)).max()
}

impl<'a> Site<'a> {
    fn new(
        question: &SizeQuestion<'a>,
        index: usize,
        candidate: &'a Candidate<'a>,
        longest: Option<u64>,
    ) -> Result<Self, Refusal> {
        let refused = |reason: String| (Obstacle::Refused, reason);
        if let Some(reason) = &candidate.refused {
            return Err(refused(reason.clone()));
        }
        let mut deployment = candidate.deployment.clone();
        let positions = candidate.model.max_position_embeddings.unwrap_or(u64::MAX);
        deployment.max_model_len = deployment.max_model_len.or(longest).map(|l| l.min(positions));
        let workload = *question.workload;
        let asked = Question {
            model: candidate.model,
            accelerator: candidate.accelerator,
            deployment: &deployment,
            workload: &workload,
            kernels: candidate.kernels,
            options: question.options,
        };
        let memory = crate::memory::occupancy(candidate.model, candidate.accelerator, &deployment)
            .map_err(|e| refused(e.to_string()))?;
        if !memory.fits {
            return Err((
                Obstacle::DoesNotFit,
                memory.reason.unwrap_or_else(|| "the KV pool is too small".into()),
            ));
        }
        let fleet = Fleet::new(&asked, question.demand, None).map_err(|e| refused(e.to_string()))?;
        let layout = fleet.inputs().layout.clone();
        let warnings = fleet.warnings();
        let estimator = fleet.estimator();
        let mean = workload.at_mean();
        let alone = bound::alone(estimator, &mean);
        let bounded = question.options.speculation.is_none()
            && !matches!(question.demand.traffic.lengths, Lengths::Sessions(_));
        if bounded {
            fast_enough(question, estimator, &mean)?;
        }
        let requests_per_s = question.load.rate(alone.e2e_s) / (1.0 - question.headroom);
        let demand = demand(question, requests_per_s, &alone).map_err(|e| refused(e.to_string()))?;
        let ranks = deployment.parallelism.dp.max(1);
        let length = (mean.input_len + mean.output_len).max(1);
        let seats = (memory.kv_cache_tokens / length).min(u64::from(memory.settings.max_num_seqs)).max(1);
        let seats = u32::try_from(seats).unwrap_or(u32::MAX).saturating_mul(ranks);
        let least = if bounded { bound::replicas(estimator, &mean, seats, requests_per_s) } else { 1 };
        let rates = Rates::of(question, candidate);
        let site = Self {
            index,
            candidate,
            layout,
            rates,
            demand,
            requests_per_s,
            alone,
            least,
            most: 0,
            warnings,
            deployment: deployment.clone(),
        };
        let most = site.allowed(question)?;
        Ok(Self { most, ..site })
    }

    /// The same under the same load, deployed otherwise.
    pub(super) fn with(&self, deployment: Deployment) -> Self {
        Self {
            deployment,
            demand: self.demand.clone(),
            layout: self.layout.clone(),
            rates: self.rates.clone(),
            warnings: vec![],
            ..*self
        }
    }

    /// The same under another load.
    pub(super) fn at_rate(&self, question: &SizeQuestion<'_>, rate: f64) -> Result<Self, SpecError> {
        let demand = demand(question, rate, &self.alone)?;
        Ok(Self { demand, requests_per_s: rate, least: 1, ..self.with(self.deployment.clone()) })
    }

    /// Accelerators of one replica.
    pub(super) fn accelerators(&self) -> u32 {
        self.deployment.parallelism.accelerators()
    }

    /// Replicas that the constraints allow: at least as many as are needed.
    fn allowed(&self, question: &SizeQuestion<'_>) -> Result<u32, Refusal> {
        let each = self.accelerators();
        let limits = question.constraints;
        let mut most: u32 = 1_000_000 / each;
        let mut what = String::new();
        let mut at_most = |gpus: u32, name: String| {
            if gpus / each < most {
                (most, what) = (gpus / each, name);
            }
        };
        if let Some(gpus) = limits.max_gpus {
            at_most(gpus, format!("--max-gpus {gpus}"));
        }
        if let Some((id, gpus)) = limits.available.iter().find(|(id, _)| *id == self.layout.gpu) {
            at_most(*gpus, format!("the {gpus} × {id} at hand"));
        }
        if let (Some(budget), Some(usd)) = (limits.max_usd_per_hour, self.rates.usd_per_gpu_hour())
            && usd > 0.0
        {
            at_most((budget / usd).min(1e9) as u32, format!("--max-usd-per-hour {budget}"));
        }
        if self.rates.value(question.objective, 1, 0.0).is_none() {
            let missing = match question.objective {
                super::Objective::Power => "its board power is not known; rank by another objective",
                _ => {
                    "its price is not known; give --gpu-hour-usd (or --purchase-usd with --own), or rank by another objective"
                }
            };
            return Err((Obstacle::Unknown, missing.into()));
        }
        if limits.max_usd_per_hour.is_some() && self.rates.price.is_none() {
            return Err((Obstacle::Unknown, "its hourly price is not known; give --gpu-hour-usd".into()));
        }
        if self.least > most {
            let needed = u64::from(self.least) * u64::from(each);
            return Err((
                Obstacle::TooMany,
                format!("needs at least {} accelerators, more than {what} allows", count(needed as f64)),
            ));
        }
        Ok(most)
    }

    /// What the objective counts of so many replicas.
    pub(super) fn value(&self, question: &SizeQuestion<'_>, replicas: u32, e2e_s: f64) -> f64 {
        let gpus = self.accelerators().saturating_mul(replicas);
        self.rates.value(question.objective, gpus, e2e_s).unwrap_or(f64::INFINITY)
    }

    /// The least that it could be.
    pub(super) fn bound(&self, question: &SizeQuestion<'_>) -> f64 {
        self.value(question, self.least, self.alone.e2e_s / bound::ALONE)
    }

    pub(super) fn fleet(&self, question: &SizeQuestion<'_>) -> Result<Fleet, SpecError> {
        let asked = self.question(question);
        Fleet::new(&asked, &self.demand, None).map_err(|e| SpecError::Usage(e.to_string()))
    }

    pub(super) fn question<'q>(&'q self, question: &'q SizeQuestion<'_>) -> Question<'q> {
        Question {
            model: self.candidate.model,
            accelerator: self.candidate.accelerator,
            deployment: &self.deployment,
            workload: question.workload,
            kernels: self.candidate.kernels,
            options: question.options,
        }
    }

    /// Arguments of `simulate` for so many replicas of the first and the second pool.
    pub(super) fn simulate_args(
        &self,
        question: &SizeQuestion<'_>,
        [replicas, decode_replicas]: [u32; 2],
    ) -> Vec<String> {
        let p = self.deployment.parallelism;
        let gpu = question.gpu_names.get(&self.layout.gpu).unwrap_or(&self.layout.gpu);
        let mut all = question.arguments.to_vec();
        let mut add = |flag: &str, value: String| all.extend([flag.to_owned(), value]);
        add("--gpu", gpu.clone());
        for (flag, degree) in [
            ("--tensor-parallel-size", p.tp),
            ("--pipeline-parallel-size", p.pp),
            ("--data-parallel-size", p.dp),
            ("--expert-parallel-size", p.ep),
        ] {
            if degree > 1 || flag == "--tensor-parallel-size" {
                add(flag, degree.to_string());
            }
        }
        add("--engine", self.deployment.engine.to_string());
        for (flag, format) in [
            ("--dtype", self.deployment.data_type),
            ("--quantization", self.deployment.quantization),
            ("--kv-cache-dtype", self.deployment.kv_cache_data_type),
        ] {
            if let Some(format) = format {
                add(flag, format.name().into());
            }
        }
        if let Some(length) = self.deployment.max_model_len {
            add("--max-model-len", length.to_string());
        }
        add("--replicas", replicas.to_string());
        if decode_replicas > 0 {
            add("--decode-replicas", decode_replicas.to_string());
        }
        add("--request-rate", self.requests_per_s.to_string());
        add("--num-prompts", self.demand.traffic.requests.to_string());
        all
    }

    /// Runs the whole fleet.
    pub(super) fn run(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        fleet.set_replicas([replicas, 0]);
        Ok(fleet.serve(&self.demand.traffic, &self.demand.options())?.outcome)
    }

    /// Runs the whole fleet, or one replica for all of a large one ([`Site::fitted`]).
    pub(super) fn glance(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        if self.demand.traffic.requests <= FEW_REQUESTS {
            self.run(fleet, replicas)
        } else {
            self.of_one(fleet, replicas)
        }
    }

    /// Why a fleet does not hold, if it does not.
    pub(super) fn failure(&self, outcome: &Outcome) -> Option<String> {
        (!self.demand.is_held(outcome)).then(|| reason(&self.demand, outcome, self.requests_per_s))
    }

    /// The smallest fleet.
    ///
    /// Replicas are doubled and then halved between one that fails and one that holds, and the last steps are runs of the whole
    /// fleet, so that what is found holds and one fewer does not. Of large fleets one replica stands for all
    /// while they are far from the end: a router that goes round sends each every rth request of a gamma process of shape k, which
    /// is one of shape k·r and an rth of the rate.
    pub(super) fn fitted(&self, question: &SizeQuestion<'_>) -> Result<Fitted, Refusal> {
        let failed = |e: SpecError| (Obstacle::Refused, e.to_string());
        let mut fleet = self.fleet(question).map_err(failed)?;
        let idle = (self.requests_per_s * self.alone.e2e_s / IDLE).ceil().min(1e6) as u32;
        let most = self.most.min(idle.max(self.least));
        let mut seen: BTreeMap<u32, Result<Outcome, String>> = BTreeMap::new();
        let mut exact = |replicas: u32, fleet: &mut Fleet| -> Result<bool, Refusal> {
            if let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(replicas) {
                let outcome = self.run(fleet, replicas).map_err(failed)?;
                entry.insert(match self.failure(&outcome) {
                    None => Ok(outcome),
                    Some(reason) => Err(reason),
                });
            }
            Ok(seen[&replicas].is_ok())
        };
        let holds = |replicas: u32,
                     fleet: &mut Fleet,
                     exact: &mut dyn FnMut(u32, &mut Fleet) -> Result<bool, Refusal>| {
            let few =
                replicas == 1 || (self.demand.traffic.requests <= FEW_REQUESTS && replicas <= FEW_REPLICAS);
            if few {
                return exact(replicas, fleet);
            }
            self.of_one(fleet, replicas).map(|outcome| self.demand.is_held(&outcome)).map_err(failed)
        };
        let (mut low, mut high) = (self.least - 1, self.least);
        while !holds(high, &mut fleet, &mut exact)? {
            if high >= most {
                return Err(self.never(high, &mut fleet));
            }
            (low, high) = (high, high.saturating_mul(2).min(most));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle, &mut fleet, &mut exact)? { high = middle } else { low = middle }
        }
        // up in steps that double until the whole fleet holds; one replica that stood for all was not far off
        let (mut step, limit) = (1, high.saturating_mul(2).saturating_add(8).min(most));
        while !exact(high, &mut fleet)? {
            if high >= limit {
                return Err(self.never(high, &mut fleet));
            }
            (high, step) = (high.saturating_add(step).min(limit), step * 2);
        }
        // down again, in steps that double while they hold, then between the last that holds and the first that fails
        let mut step = 1;
        let mut low = high;
        while low > self.least {
            low = high.saturating_sub(step).max(self.least);
            if !exact(low, &mut fleet)? {
                break;
            }
            (high, step) = (low, step * 2);
        }
        while high.saturating_sub(low) > 1 {
            let middle = low + (high - low) / 2;
            if exact(middle, &mut fleet)? { high = middle } else { low = middle }
        }
        if high > 1 {
            exact(high - 1, &mut fleet)?;
        }
        let one_fewer = seen.remove(&(high - 1)).and_then(Result::err);
        let outcome = seen.remove(&high).and_then(Result::ok).unwrap_or_default();
        Ok(Fitted { replicas: high, decode_replicas: 0, outcome, one_fewer })
    }

    /// One replica under its share of the load of so many.
    fn of_one(&self, fleet: &mut Fleet, replicas: u32) -> Result<Outcome, SpecError> {
        let Arrivals::Open(_, shape) = &self.demand.traffic.arrivals else { return Ok(Outcome::default()) };
        let n = f64::from(replicas);
        let traffic = Traffic {
            arrivals: Arrivals::Open(Rate::constant(self.requests_per_s / n)?, (shape * n).min(1e6)),
            requests: (self.demand.traffic.requests / u64::from(replicas)).max(LEAST_OF_ONE),
            ..self.demand.traffic.clone()
        };
        fleet.set_replicas([1, 0]);
        Ok(fleet.serve(&traffic, &self.demand.options())?.outcome)
    }

    /// Why so many replicas, the most that are allowed or that could help, do not hold: as one of them shows it.
    fn never(&self, replicas: u32, fleet: &mut Fleet) -> Refusal {
        let gpus = u64::from(replicas) * u64::from(self.accelerators());
        let reason = match self.of_one(fleet, replicas) {
            Ok(outcome) => reason(&self.demand, &outcome, self.requests_per_s),
            Err(error) => error.to_string(),
        };
        let kind = if replicas == self.most { Obstacle::TooMany } else { Obstacle::TooSlow };
        (kind, format!("{} accelerators do not hold the limits: {reason}", count(gpus as f64)))
    }
}

/// A request alone keeps the limits. Of mixed lengths the one with the required share of prompts below it has to, which generates
/// from its prompt on.
fn fast_enough(question: &SizeQuestion<'_>, estimator: &Estimator, mean: &Workload) -> Result<(), Refusal> {
    let Slo { ttft_s, tpot_s, e2e_s } = question.demand.slo;
    let share = question.demand.share;
    let mut prompts = vec![];
    let mut least = u32::MAX;
    if let Ok(stream) =
        (Traffic { requests: FEWEST_REQUESTS, arrivals: Arrivals::Burst, ..question.demand.traffic.clone() })
            .stream()
    {
        for request in stream {
            prompts.push(request.input);
            least = least.min(request.output);
        }
    }
    prompts.sort_unstable();
    // with some to spare: as many requests may be drawn otherwise
    let place = (prompts.len() as f64 * (share - 0.05).max(0.0)) as usize;
    let (Some(longest), Some(shortest)) = (prompts.get(place), prompts.first()) else { return Ok(()) };
    let prompt = |tokens: u32, output: u64| Workload {
        input_len: u64::from(tokens),
        output_len: output.max(2),
        ..*mean
    };
    let of_long = bound::alone(estimator, &prompt(*longest, u64::from(least)));
    let of_short = bound::alone(estimator, &prompt(*shortest, u64::from(least)));
    for (name, time, limit) in
        [("TTFT", of_long.ttft_s, ttft_s), ("TPOT", of_short.itl_s, tpot_s), ("E2E", of_short.e2e_s, e2e_s)]
    {
        if let Some(limit) = limit.filter(|l| time > l * bound::ALONE) {
            let reason = format!(
                "a request alone has a {name} of {} > {} ({})",
                duration(time),
                duration(limit),
                percentile(share)
            );
            return Err((Obstacle::TooSlow, reason));
        }
    }
    Ok(())
}

/// The demand at a rate, with so many requests that the fleet fills and stays full: ten times those in flight (Little's law with the
/// limits of TTFT and TPOT), as closed loops have it.
fn demand(question: &SizeQuestion<'_>, rate: f64, alone: &Latency) -> Result<Demand, SpecError> {
    let Demand { traffic, slo, .. } = question.demand;
    let [_, output] = traffic.lengths.means();
    let ttft = slo.ttft_s.unwrap_or(3.0 * alone.ttft_s);
    let tpot = slo.tpot_s.unwrap_or(3.0 * alone.itl_s);
    let e2e = slo.e2e_s.unwrap_or(ttft + tpot * (output - 1.0).max(0.0));
    let in_flight = rate * e2e;
    let enough = (10.0 * in_flight).min(MOST_REQUESTS as f64).ceil() as u64;
    let shape = match &traffic.arrivals {
        Arrivals::Open(_, shape) => *shape,
        _ => 1.0,
    };
    let arrivals = Arrivals::Open(
        Rate::constant(rate).map_err(|_| {
            SpecError::Usage(format!(
                "a load of {} requests/s: it must be above 0 and at most 1e9",
                number(rate)
            ))
        })?,
        shape,
    );
    // fewer than that end while the fleet still fills, and any fleet would look overloaded or idle
    let requests = enough.max(question.requests.unwrap_or(FEWEST_REQUESTS));
    Ok(Demand { traffic: Traffic { arrivals, requests, ..traffic.clone() }, ..question.demand.clone() })
}
