//! A deployment made ready to be sized.

use rayon::prelude::*;

use super::bound;
use super::drawn::Drawn;
use super::money::Rates;
use super::reason::reason;
use super::{Obstacle, Rejected, SizeQuestion};
use crate::answer::estimate::{Latency, Question};
use crate::answer::simulate::{Demand, Fleet};
use crate::answer::{Candidate, Layout};
use crate::serving::{Arrivals, Lengths, Outcome, Rate, Traffic};
use crate::spec::{Deployment, SpecError};
use crate::units::{count, number};

/// Most requests of one simulation: it takes a tenth of a second.
pub(super) const MOST_REQUESTS: u64 = 100_000;
/// Fewest requests of a simulation.
pub(super) const FEWEST_REQUESTS: u64 = 1000;

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

pub(super) type Refusal = (Obstacle, String);

/// Deployments that may hold the limits, and those that cannot.
pub(super) fn ready<'a>(question: &SizeQuestion<'a>) -> (Vec<Site<'a>>, Vec<Rejected>) {
    let drawn = Drawn::of(&question.demand.traffic);
    let all: Vec<Result<Site<'a>, Rejected>> = question
        .candidates
        .par_iter()
        .enumerate()
        .map(|(index, candidate)| {
            Site::new(question, index, candidate, &drawn).map_err(|(kind, reason)| {
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

impl<'a> Site<'a> {
    fn new(
        question: &SizeQuestion<'a>,
        index: usize,
        candidate: &'a Candidate<'a>,
        drawn: &Drawn,
    ) -> Result<Self, Refusal> {
        let refused = |reason: String| (Obstacle::Refused, reason);
        if let Some(reason) = &candidate.refused {
            return Err(refused(reason.clone()));
        }
        let mut deployment = candidate.deployment.clone();
        let positions = candidate.model.max_position_embeddings.unwrap_or(u64::MAX);
        deployment.max_model_len = deployment.max_model_len.or(drawn.longest).map(|l| l.min(positions));
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
            drawn.fast_enough(question, estimator, &mean)?;
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

    /// Why a fleet does not hold, if it does not.
    pub(super) fn failure(&self, outcome: &Outcome) -> Option<String> {
        (!self.demand.is_held(outcome)).then(|| reason(&self.demand, outcome, self.requests_per_s))
    }
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
