//! One data-parallel rank: its queue, its rows and its KV pool.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::clock::RankLoad;
use super::super::pool::KvPool;
use super::super::prefix::{PrefixCache, Tier};
use super::super::scheduler::Discipline;
use super::super::waiting::Waiting;

/// Requests of a rank. Every decode step gives each row one token, so that a row ends at a step known when
/// it joins; contexts are known by their sum.
#[derive(Debug, Clone)]
pub(super) struct Rank {
    pub waiting: Waiting,
    /// In prefill, the eldest first.
    pub prefilling: Vec<u32>,
    /// (step after which it ends, slot).
    pub ends: BinaryHeap<Reverse<(u64, u32)>>,
    /// Sum of the contexts of the next step, the new tokens included.
    pub context: u64,
    pub pool: KvPool,
    pub prefixes: PrefixCache,
}

impl Rank {
    pub fn new(discipline: Discipline, pool: KvPool, tiers: &[Tier]) -> Self {
        Self {
            waiting: Waiting::new(discipline),
            prefilling: vec![],
            ends: BinaryHeap::new(),
            context: 0,
            pool,
            prefixes: PrefixCache::new(tiers),
        }
    }

    /// Rows in decode.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Requests in prefill and decode.
    pub fn running(&self) -> usize {
        self.ends.len() + self.prefilling.len()
    }

    /// All requests it has.
    pub fn in_flight(&self) -> usize {
        self.running() + self.waiting.len()
    }

    /// Decode steps until the first row ends, when `step` are done.
    pub fn first_end(&self, step: u64) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, _))| end - step)
    }

    pub fn load(&self) -> RankLoad {
        RankLoad { rows: self.ends.len() as u32, context: self.context, ..RankLoad::default() }
    }
}
