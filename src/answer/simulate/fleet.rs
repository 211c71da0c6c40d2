//! The deployment of a simulation: replicas that do both phases, or a pool for each.

use super::measures::usage;
use super::split::{Disaggregation, LinkUse, PoolUse, SplitQuestion};
use super::{Demand, KvTier};
use crate::answer::energy::{Energy, Ran};
use crate::answer::estimate::{
    Course, Described, Estimator, Inputs, Latency, Provenance, Question, described,
};
use crate::answer::interval::Intervals;
use crate::answer::service::Service;
use crate::answer::speculation::SpeculationUse;
use crate::memory::{MemoryError, occupancy};
use crate::serving::{
    Arrivals, Link, LocalPrefill, Metrics, Outcome, RunOptions, SplitOutcome, Stage, Tier, Traffic, run_split,
};
use crate::spec::{Load, SpecError, Workload};
use std::sync::Arc;

/// A deployment described and ready to serve.
struct Side {
    described: Described,
    service: Service,
    /// Accelerators of a replica.
    accelerators: u32,
    replicas: u32,
    /// Its KV pool has an end.
    limited: bool,
}

impl Side {
    fn new(question: &Question<'_>, demand: &Demand, replicas: u32) -> Result<Self, MemoryError> {
        let described = described(question)?;
        let memory = occupancy(question.model, question.accelerator, question.deployment)?;
        if !memory.fits {
            let reason = memory.reason.as_deref().unwrap_or("the KV pool is too small");
            return Err(SpecError::Usage(format!(
                "the deployment does not fit on {}: {reason}; `foretoken memory` says what makes room",
                question.accelerator.id
            ))
            .into());
        }
        let [input, output] = demand.traffic.lengths.means();
        let mut service = Service::new(question, &described.estimator, &memory, (input + output) as u64)?;
        service.scheduler.discipline = demand.discipline;
        if let Arrivals::Trace(trace, _) = &demand.traffic.arrivals {
            (service.pool.hashes, service.pool.hash_tokens) = trace.hashes();
        }
        service.pool.tiers = tiers(question, &described, &demand.tiers)?;
        let accelerators = question.deployment.parallelism.accelerators();
        Ok(Self { described, service, accelerators, replicas, limited: memory.kv_cache_tokens > 0 })
    }

    fn stage(&mut self) -> Stage<'_> {
        Stage {
            clock: &mut self.service.clock,
            scheduler: self.service.scheduler,
            pool: self.service.pool.clone(),
            ranks: self.service.ranks,
            replicas: self.replicas,
        }
    }
}

/// Tiers in tokens of one data-parallel rank, which has its share of a replica's size and bandwidth. A token takes its bytes
/// of all layers; host links work at their datasheet's rate, all accelerators of the rank at once.
fn tiers(question: &Question<'_>, described: &Described, tiers: &[KvTier]) -> Result<Arc<[Tier]>, SpecError> {
    let p = question.deployment.parallelism;
    let each = question.model.kv_bytes_per_token(described.formats.kv_cache.bytes()).max(1.0);
    let accelerator = question.accelerator;
    tiers
        .iter()
        .map(|tier| {
            let host =
                accelerator.pcie_gb_per_s.as_ref().map(|s| 1e9 * s.value * f64::from(p.accelerators()));
            let rate = tier.bytes_per_s.or(host).ok_or_else(|| SpecError::Missing {
                file: accelerator.id.clone(),
                key: "pcie_gb_per_s".into(),
                fix: "give the tier's bandwidth, like --kv-tier 64GiB@25GB/s".into(),
            })?;
            let share = f64::from(p.dp.max(1));
            Ok(Tier { tokens: (tier.bytes / share / each) as u64, seconds_per_token: each * share / rate })
        })
        .collect()
}

/// All replicas.
pub(in crate::answer) struct Fleet {
    first: Side,
    /// The decode pool and the way to it.
    second: Option<(Side, Link, &'static str)>,
    /// Prompts that it computes itself.
    local: LocalPrefill,
}

/// What came of a run.
pub(in crate::answer) struct Served {
    pub outcome: Outcome,
    /// Of two pools: prompts, the largest share of the first pool in use, seconds of sending.
    prefill: Option<(Metrics, f64, f64)>,
}

impl Fleet {
    pub fn new(
        question: &Question<'_>,
        demand: &Demand,
        split: Option<&SplitQuestion<'_>>,
    ) -> Result<Self, MemoryError> {
        let first = Side::new(question, demand, demand.replicas)?;
        let second = match split {
            Some(split) => {
                let side = Side::new(&split.decode, demand, split.replicas)?;
                Some((side, Link::of(question, split)?, split.link.name()))
            }
            None => None,
        };
        let local = split.map_or_else(LocalPrefill::default, |s| s.local);
        Ok(Self { first, second, local })
    }

    pub fn serve(&mut self, traffic: &Traffic, options: &RunOptions) -> Result<Served, SpecError> {
        let replicas = self.first.replicas;
        let options = RunOptions { local: self.local, ..*options };
        let first = &mut self.first;
        match &mut self.second {
            Some((second, link, _)) if second.replicas > 0 => {
                let SplitOutcome { outcome, prefill, prefill_peak_occupancy, sending_s } =
                    run_split(first.stage(), second.stage(), link, traffic, &options)?;
                Ok(Served { outcome, prefill: Some((prefill, prefill_peak_occupancy, sending_s)) })
            }
            _ => {
                let outcome = first.service.serve(traffic, &RunOptions { replicas, ..options })?;
                Ok(Served { outcome, prefill: None })
            }
        }
    }

    /// Replicas of the first and the second pool.
    pub fn replicas(&self) -> [u32; 2] {
        [self.first.replicas, self.second.as_ref().map_or(0, |s| s.0.replicas)]
    }

    pub fn set_replicas(&mut self, [first, second]: [u32; 2]) {
        self.first.replicas = first;
        if let Some((side, ..)) = &mut self.second {
            side.replicas = second;
        }
    }

    /// The pool that generates.
    fn last(&self) -> &Side {
        self.second.as_ref().map_or(&self.first, |s| &s.0)
    }

    pub fn last_replicas(&self) -> u32 {
        self.last().replicas
    }

    pub fn is_limited(&self) -> bool {
        self.last().limited
    }

    /// Accelerators in all.
    pub fn accelerators(&self) -> u32 {
        let second = self.second.as_ref().map_or(0, |(s, ..)| s.accelerators * s.replicas);
        self.first.accelerators * self.first.replicas + second
    }

    /// What is said of the drafts of the pool that generates.
    pub fn speculation(&mut self, question: &Question<'_>) -> Option<SpeculationUse> {
        let workload = question.workload.at_mean();
        let context = (workload.input_len + workload.output_len / 2) as f64;
        let last = self.second.as_mut().map_or(&mut self.first, |s| &mut s.0);
        last.service.speculation(question.options, context)
    }

    /// Step times of the first pool, in closed form.
    pub fn estimator(&self) -> &Estimator {
        &self.first.described.estimator
    }

    pub fn inputs(&self) -> &Inputs {
        &self.first.described.inputs
    }

    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.first.described.warnings.clone();
        for warning in self.second.iter().flat_map(|s| &s.0.described.warnings) {
            if !all.contains(warning) {
                all.push(warning.clone());
            }
        }
        all
    }

    /// Energy of a run of replicas that do both phases, at a mean number of decode rows.
    pub fn energy(&self, question: &Question<'_>, outcome: &Outcome, rows: f64) -> Option<Energy> {
        let side = &self.first;
        let load = Load::Concurrency(rows.round().max(1.0) as u32);
        let shown = Workload { load, ..question.workload.at_mean() };
        let ran = Ran::of(&outcome.metrics, side.replicas);
        let phases = ran.phases(side.described.estimator.phases(&shown, 1.0));
        let measured = question.kernels.and_then(|k| k.calibration.measured.as_ref());
        let measured = measured.and_then(|m| m.energy.as_ref());
        let price = question.options.cost.electricity_usd_per_kwh;
        Energy::of(question.accelerator, measured, side.accelerators, phases, ran.idle_s, price)
    }

    /// Intervals of the means of TTFT, TPOT and E2E, and where the numbers come from. Of two pools TTFT has the interval of
    /// the first, TPOT that of the second and E2E the wider one.
    pub fn intervals(
        &self,
        question: &Question<'_>,
        split: Option<&SplitQuestion<'_>>,
        latency: &Latency,
        rows: f64,
        outcome: &Outcome,
        [ttft, tpot, e2e]: [f64; 3],
    ) -> (Intervals, Provenance) {
        let (regime, provenance) = self.first.described.regime(question, latency, rows, Course::of(outcome));
        let first = regime.intervals(ttft, tpot, e2e);
        let (Some((second, ..)), Some(split)) = (&self.second, split) else { return (first, provenance) };
        let (regime, _) = second.described.regime(&split.decode, latency, rows, Course::of(outcome));
        let second = regime.intervals(ttft, tpot, e2e);
        (
            Intervals { ttft_s: first.ttft_s, tpot_s: second.tpot_s, e2e_s: first.e2e_s.or(second.e2e_s) },
            provenance,
        )
    }

    /// What is said of two pools.
    pub fn disaggregation(&self, served: &Served) -> Option<Disaggregation> {
        let (second, link, name) = self.second.as_ref()?;
        let (prefill, peak, sending) = served.prefill.as_ref()?;
        let metrics = &served.outcome.metrics;
        let used = usage(prefill, *peak, self.first.replicas, self.first.limited);
        let mean = metrics.input_tokens as f64 / metrics.completed().max(1) as f64;
        let time = prefill.last * f64::from(self.first.replicas);
        Some(Disaggregation {
            decode: second.described.inputs.clone(),
            prefill_replicas: self.first.replicas,
            decode_replicas: second.replicas,
            link: LinkUse {
                name,
                bytes_per_s: link.bytes_per_s,
                latency_s: link.latency_s,
                overlapped: link.overlapped_layers > 0,
                bytes_per_request: link.cache.of(mean),
                busy: if time > 0.0 { sending / time } else { 0.0 },
                added_s: metrics.transfer.summary(),
            },
            prefill: PoolUse {
                busy: used.busy,
                kv_cache_mean: used.kv_cache_mean,
                kv_cache_peak: used.kv_cache_peak,
                preemptions: used.preemptions,
                iterations: used.iterations,
            },
        })
    }
}
