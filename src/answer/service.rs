//! A deployment made ready to serve: its step clock, its engine's scheduler and its KV pool.

use super::speculation::{SpeculationUse, described, speculate};
use super::{Estimator, Options, Question};
use crate::memory::{MemoryError, MemoryReport, kv_cache_tokens_at};
use crate::serving::{Metrics, Outcome, Pool, RunOptions, Scheduler, StepClock, Traffic, run};
use crate::time::EngineTerms;

/// A deployment ready to serve traffic.
#[derive(Debug, Clone)]
pub struct Service {
    /// Step times.
    pub clock: StepClock,
    /// The engine's scheduler.
    pub scheduler: Scheduler,
    /// The KV pool of a rank.
    pub pool: Pool,
    /// Data-parallel ranks.
    pub ranks: u32,
}

impl Service {
    /// Makes a deployment ready for requests of about `length` tokens. A deployment that does not fit is
    /// taken to have all the KV cache it needs: times are what they would be if it did.
    ///
    /// # Errors
    /// When the engine would refuse the deployment.
    pub fn new(
        question: &Question<'_>,
        estimator: &Estimator,
        memory: &MemoryReport,
        length: u64,
    ) -> Result<Self, MemoryError> {
        let Question { model, accelerator, deployment, .. } = *question;
        let p = deployment.parallelism;
        let timer = estimator.timer();
        let mut scheduler = Scheduler::of(
            deployment.engine,
            deployment.scheduling,
            &memory.settings,
            timer.terms().request_ms,
        );
        // a pipeline's step holds a micro-batch in every stage
        scheduler.token_budget = scheduler.token_budget.saturating_mul(p.pp);
        let tokens = kv_cache_tokens_at(model, accelerator, deployment, length)?;
        let block = u32::try_from(memory.block_size).unwrap_or(1);
        let mut pool = Pool {
            tokens: memory.fits.then_some(tokens),
            block: block.max(1),
            shared_prefix: u32::try_from(question.workload.prefix_len).unwrap_or(u32::MAX),
            ..Pool::default()
        };
        let mut clock = StepClock::new(timer.clone(), p.pp);
        if let Some(options) = &question.options.speculation {
            clock = speculate(question, options, clock, &mut pool)?;
        }
        Ok(Self { clock, scheduler, pool, ranks: p.dp })
    }

    /// What is said of its drafts, if it makes some, at a mean context.
    pub(super) fn speculation(&mut self, options: &Options, context: f64) -> Option<SpeculationUse> {
        described(options.speculation.as_ref()?, &mut self.clock, context, self.scheduler.max_seqs)
    }

    /// The same under other engine terms.
    #[must_use]
    pub fn with_terms(&self, terms: &EngineTerms) -> Self {
        let scheduler = Scheduler { intake_s: 1e-3 * terms.request_ms, ..self.scheduler };
        Self {
            clock: self.clock.with_terms(terms.clone()),
            scheduler,
            pool: self.pool.clone(),
            ranks: self.ranks,
        }
    }

    /// Sends traffic through one replica.
    ///
    /// # Errors
    /// When the traffic makes no sense.
    pub fn serve(
        &mut self,
        traffic: &Traffic,
        options: &RunOptions,
    ) -> Result<Outcome, crate::spec::SpecError> {
        let options = RunOptions { ranks: self.ranks, ..*options };
        run(&mut self.clock, &self.scheduler, &self.pool, traffic, &options)
    }
}

/// Mean decode rows of one rank while there was work.
pub(super) fn mean_rows(metrics: &Metrics) -> f64 {
    metrics.worked.row_seconds / metrics.worked.seconds.max(f64::MIN_POSITIVE)
}
