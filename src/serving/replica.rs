//! One engine instance: data-parallel ranks in lock step, from iteration to iteration.

mod execute;
mod plan;
mod rank;

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::{Piece, RankLoad, StepClock};
use super::fluidity::{Deadlines, Fluid};
use super::metrics::Metrics;
use super::pool::KvPool;
use super::prefix::Tier;
use super::request::{Finished, Rejection, Request, Slot};
use super::scheduler::{Order, Scheduler};
use rank::Rank;

/// The KV cache of one rank.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// Tokens; none for as many as are needed.
    pub tokens: Option<u64>,
    /// Tokens in a block.
    pub block: u32,
    /// Prompt tokens that every request shares and that are always cached.
    pub shared_prefix: u32,
    /// Block hashes of a trace; requests point into them.
    pub hashes: Arc<[u32]>,
    /// Tokens that one hash stands for; 0 without a prefix cache.
    pub hash_tokens: u32,
    /// Where prefixes go that have no room, the nearest first.
    pub tiers: Arc<[Tier]>,
}

/// A replica of a deployment.
#[derive(Debug, Clone)]
pub struct Replica {
    scheduler: Scheduler,
    pool: Pool,
    ranks: Vec<Rank>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Sent and not yet seen by the scheduler, in the order in which it will.
    incoming: VecDeque<u32>,
    /// Start of the next iteration.
    now: f64,
    /// Start of the one before: what had arrived then can be in the next one, if scheduling is overlapped.
    decided: f64,
    /// Decode steps done.
    step: u64,
    admissions: u64,
    since_receive: u64,
    waited: u64,
    unbalanced: u64,
    /// Prompts that could start are held back by a wait.
    held: bool,
    /// Rows whose last token is older than the last iteration: when it left, how many.
    paused: Vec<(f64, u64)>,
    chunks: Vec<plan::Planned>,
    loads: Vec<RankLoad>,
    pieces: Vec<Piece>,
    /// Every decode step by itself, to hold runs against.
    step_by_step: bool,
    /// No router looks at it: while arrivals change nothing, they need not be waited for.
    alone: bool,
    /// Most tokens that a row has in a step: more than one where drafts are verified.
    width: u32,
    /// Parts of tokens that rows have gained in steps with prompts, and of bursts in runs, kept for the next ones.
    carried: [f64; 2],
    /// When tokens are due, where that is counted.
    due: Option<Deadlines>,
    /// What ended since it was last emptied.
    pub(super) done: Vec<Finished>,
}

impl Replica {
    /// A replica of `ranks` data-parallel ranks.
    #[must_use]
    pub fn new(scheduler: Scheduler, pool: Pool, ranks: u32) -> Self {
        let rank = Rank::new(scheduler.discipline, KvPool::new(pool.tokens, pool.block), &pool.tiers);
        Self {
            scheduler,
            pool,
            ranks: vec![rank; ranks.max(1) as usize],
            slots: vec![],
            free: vec![],
            incoming: VecDeque::new(),
            now: 0.0,
            decided: 0.0,
            step: 0,
            admissions: 0,
            since_receive: 0,
            waited: 0,
            unbalanced: 0,
            held: false,
            paused: vec![],
            chunks: vec![],
            loads: vec![RankLoad::default(); ranks.max(1) as usize],
            pieces: vec![],
            step_by_step: false,
            alone: false,
            width: 1,
            due: None,
            carried: [0.0; 2],
            done: vec![],
        }
    }

    /// Carries out every decode step by itself.
    #[must_use]
    pub fn step_by_step(self) -> Self {
        Self { step_by_step: true, ..self }
    }

    /// The only one: no router looks at its state between two of its iterations.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Rows have up to so many tokens in a step.
    #[must_use]
    pub fn verifying(self, width: u32) -> Self {
        Self { width: width.max(1), ..self }
    }

    /// Counts which tokens come in time.
    #[must_use]
    pub fn due(self, due: Option<Deadlines>) -> Self {
        Self { due, ..self }
    }

    /// Start of the next iteration.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Requests that it has.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Start of its next iteration; infinite when it has nothing to do.
    #[must_use]
    pub fn horizon(&self) -> f64 {
        let first = self.incoming.front().map_or(f64::INFINITY, |i| self.slots[*i as usize].ready);
        if self.is_idle() { self.now.max(first) } else { self.now }
    }

    /// When the next iteration is decided: [`Replica::advance`] does something if that is before `until`.
    pub(super) fn next_decision(&self) -> f64 {
        if self.is_idle() { self.horizon() } else { self.decision() }
    }

    fn is_idle(&self) -> bool {
        self.ranks.iter().all(|r| r.in_flight() == 0)
    }

    /// Blocks of a prompt that the prefix cache of some rank holds.
    #[must_use]
    pub fn matched(&self, request: &Request) -> usize {
        if request.session > 0 {
            let tokens = self.ranks.iter().map(|r| r.prefixes.session(request.session)).max().unwrap_or(0);
            return (tokens / self.pool.block.max(1)) as usize;
        }
        let hashes = self.hashes(request.blocks);
        self.ranks.iter().map(|r| r.prefixes.matched(hashes)).max().unwrap_or(0)
    }

    fn hashes(&self, [first, count]: [u32; 2]) -> &[u32] {
        self.pool.hashes.get(first as usize..(first + count) as usize).unwrap_or_default()
    }

    /// Share of the largest pool in use so far.
    #[must_use]
    pub fn peak_occupancy(&self) -> f64 {
        self.ranks.iter().map(|r| r.pool.peak()).fold(0.0, f64::max)
    }

    /// Tokens brought back from tiers below the accelerators.
    #[must_use]
    pub fn loaded_tokens(&self) -> u64 {
        self.ranks.iter().map(|r| r.prefixes.loaded()).sum()
    }

    /// Prefix-cache blocks found and asked for.
    #[must_use]
    pub fn prefix_counts(&self) -> [u64; 2] {
        self.ranks.iter().fold([0, 0], |sum, rank| {
            let [hits, asked] = rank.prefixes.counts();
            [sum[0] + hits, sum[1] + asked]
        })
    }

    /// Why the engine would refuse a request, if it would.
    #[must_use]
    pub fn refusal(&self, input: u32, output: u32) -> Option<Rejection> {
        let tokens = u64::from(input) + u64::from(output);
        if tokens > self.scheduler.max_model_len {
            return Some(Rejection::ExceedsModelLength);
        }
        let pool = &self.ranks[0].pool;
        (tokens.div_ceil(u64::from(pool.block())) > pool.total()).then_some(Rejection::ExceedsPool)
    }

    /// Sends a request. Requests must be sent in the order of their times.
    ///
    /// # Errors
    /// When the engine would refuse it.
    pub fn submit(&mut self, request: &Request, number: u64) -> Result<(), Rejection> {
        if let Some(reason) = self.refusal(request.input, request.output) {
            return Err(reason);
        }
        self.enqueue(Slot::new(request, number, request.sent + self.scheduler.intake_s));
        Ok(())
    }

    /// Sends a request whose prompt another pool has computed; its KV cache and first token are here at `ready`.
    pub(super) fn submit_computed(&mut self, prompt: &Finished, output: u32, ready: f64) {
        let mut fluid = Fluid::default();
        if let Some(due) = self.due {
            fluid.first(ready - prompt.sent, due);
        }
        self.enqueue(Slot {
            fluid,
            sent: prompt.sent,
            ready,
            scheduled: prompt.scheduled,
            first_token: ready,
            last_token: ready,
            number: prompt.number,
            input: prompt.input,
            output,
            target: prompt.input,
            emitted: 1,
            cached: prompt.cached,
            preemptions: prompt.preemptions,
            computed: true,
            transfer: ready - prompt.finished,
            ..Slot::default()
        });
    }

    fn enqueue(&mut self, slot: Slot) {
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.incoming.push_back(index);
    }

    /// Advances by one iteration, or by decode iterations up to the next event, none of them decided at
    /// `until` or later. False when there is nothing to do before.
    pub fn advance(&mut self, clock: &mut StepClock, until: f64, metrics: &mut Metrics) -> bool {
        if self.is_idle() {
            let Some(first) = self.incoming.front() else { return false };
            let start = self.now.max(self.slots[*first as usize].ready);
            if start >= until {
                return false;
            }
            (self.now, self.decided) = (start, start);
            self.since_receive = u64::from(self.scheduler.receive_interval);
        } else if self.decision() >= until {
            return false;
        }
        self.receive();
        self.plan(metrics);
        if !self.chunks.is_empty() {
            self.prefill(clock, metrics);
        } else if self.ranks.iter().any(|r| r.rows() > 0) {
            self.decode(clock, until, metrics);
        }
        true
    }

    /// What has arrived by now can be in the next iteration.
    fn decision(&self) -> f64 {
        if self.scheduler.overlapped { self.decided } else { self.now }
    }

    /// Gives what the scheduler can see to the rank with the fewest requests.
    fn receive(&mut self) {
        let interval = u64::from(self.scheduler.receive_interval.max(1));
        if interval > 1 {
            if self.since_receive < interval {
                return;
            }
            self.since_receive = 0;
        }
        let decision = self.decision();
        while let Some(index) = self.incoming.front().copied() {
            let slot = &self.slots[index as usize];
            if slot.ready > decision {
                break;
            }
            self.incoming.pop_front();
            let (session, blocks) = (slot.session, slot.blocks);
            // a session goes where its context is
            let rank = (0..self.ranks.len())
                .min_by_key(|r| {
                    (session > 0 && self.ranks[*r].prefixes.session(session) == 0, self.ranks[*r].in_flight())
                })
                .unwrap_or(0);
            if !self.pool.tiers.is_empty() && !slot.loaded && self.load(index, rank, session, blocks) {
                continue;
            }
            self.ranks[rank].waiting.push(index, &self.slots[index as usize]);
        }
    }

    /// Brings back what tiers hold of a request's prompt. True when that takes time, after which it comes again.
    fn load(&mut self, index: u32, rank: usize, session: u32, [first, count]: [u32; 2]) -> bool {
        let hashes = self.pool.hashes.get(first as usize..(first + count) as usize).unwrap_or_default();
        let slot = &mut self.slots[index as usize];
        let ready = self.ranks[rank].prefixes.load(session, hashes, slot.ready);
        slot.loaded = true;
        if ready <= slot.ready {
            return false;
        }
        slot.ready = ready;
        let place = self.incoming.partition_point(|i| self.slots[*i as usize].ready <= ready);
        self.incoming.insert(place, index);
        true
    }

    /// True when arrivals change nothing before a request ends.
    fn is_blocked(&self) -> bool {
        let s = &self.scheduler;
        let full = |r: &Rank| !r.waiting.is_empty() || r.running() >= s.max_seqs as usize;
        s.discipline == super::Discipline::Fcfs
            && self.ranks.len() == 1
            && !self.held
            && (s.order == Order::Static || full(&self.ranks[0]))
    }
}
