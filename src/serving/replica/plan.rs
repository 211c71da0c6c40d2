//! What goes into the next iteration.

use super::Replica;
use crate::serving::metrics::Metrics;
use crate::serving::scheduler::{Admission, Order};

/// Prompt tokens of a request in the next iteration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub rank: u32,
    pub slot: u32,
    pub tokens: u32,
}

impl Replica {
    /// Fills `chunks`: prompts that go on, then waiting ones in their order while token budget, rows and KV
    /// blocks last.
    pub(super) fn plan(&mut self, metrics: &mut Metrics) {
        self.chunks.clear();
        let mut open = true;
        if self.scheduler.admission == Admission::Prompt {
            for rank in 0..self.ranks.len() {
                open &= !self.make_room(rank, metrics);
            }
        }
        self.held = false;
        if open && self.scheduler.rank_balance.is_some() {
            open = self.is_balanced();
        }
        for rank in 0..self.ranks.len() {
            let open = open && (self.scheduler.batch_wait.is_none() || self.is_full_enough(rank));
            self.plan_rank(rank, open, metrics);
        }
    }

    /// Budget of a rank in tokens.
    fn budget(&self, rank: usize) -> u64 {
        let s = &self.scheduler;
        match s.order {
            Order::DecodeFirst => u64::from(s.token_budget)
                .saturating_sub(self.ranks[rank].rows() as u64 * u64::from(self.width)),
            Order::PrefillFirst => u64::from(s.token_budget),
            Order::Static => u64::MAX,
        }
    }

    fn plan_rank(&mut self, rank: usize, open: bool, metrics: &mut Metrics) {
        if open && self.scheduler.discipline.is_preemptive() {
            self.displace(rank, metrics);
        }
        let mut budget = self.budget(rank);
        for i in 0..self.ranks[rank].prefilling.len() {
            let index = self.ranks[rank].prefilling[i];
            let slot = &self.slots[index as usize];
            let tokens = u64::from(slot.target - slot.done).min(budget);
            if tokens == 0 {
                return;
            }
            budget -= tokens;
            self.chunks.push(Planned { rank: rank as u32, slot: index, tokens: tokens as u32 });
        }
        if !open || (self.scheduler.order == Order::Static && self.ranks[rank].running() > 0) {
            return;
        }
        while self.ranks[rank].running() < self.scheduler.max_seqs as usize {
            let Some(index) = self.ranks[rank].waiting.first() else { return };
            if self.slots[index as usize].computed {
                if !self.admit_computed(rank, index) {
                    return;
                }
                continue;
            }
            if budget == 0 {
                return;
            }
            let Some(tokens) = self.admit(rank, index, budget) else { return };
            budget -= u64::from(tokens);
            self.chunks.push(Planned { rank: rank as u32, slot: index, tokens });
        }
    }

    /// Starts a waiting request, if its KV cache and its prompt have room. Returns its tokens in this step.
    fn admit(&mut self, rank: usize, index: u32, budget: u64) -> Option<u32> {
        let s = self.scheduler;
        let slot = self.slots[index as usize];
        let (cached, shared) = self.cached(rank, index);
        let left = u64::from(slot.target - cached);
        // a prompt longer than any step is cut whatever the engine says, when it is alone
        let alone = budget == self.budget(rank) && left > u64::from(s.token_budget);
        if !s.chunked && left > budget && !alone {
            return None;
        }
        let place = &mut self.ranks[rank];
        let blocks = match s.admission {
            Admission::Prompt => place.pool.blocks(slot.target - shared),
            Admission::Whole => place.pool.blocks(slot.input + slot.output - shared),
        };
        let ahead = if s.admission == Admission::Prompt { place.running() as u64 } else { 0 };
        if blocks + ahead > place.pool.free() {
            return None;
        }
        place.waiting.pop(&slot);
        place.pool.take(blocks);
        if slot.session > 0 {
            place.prefixes.take_session(slot.session);
            place.prefixes.shrink(place.pool.free().saturating_mul(u64::from(place.pool.block())));
        }
        place.prefilling.push(index);
        self.admissions += 1;
        let slot = &mut self.slots[index as usize];
        slot.done = cached;
        slot.cached = cached.min(slot.input);
        slot.shared = shared;
        slot.reserved = blocks as u32;
        slot.admitted = self.admissions;
        Some(left.min(budget) as u32)
    }

    /// Starts a request whose KV cache came from another pool: it decodes from the next step on. False when there is no
    /// room for it yet.
    fn admit_computed(&mut self, rank: usize, index: u32) -> bool {
        let slot = self.slots[index as usize];
        let place = &mut self.ranks[rank];
        let (blocks, ahead) = match self.scheduler.admission {
            Admission::Prompt => (place.pool.blocks(slot.target), place.running() as u64),
            Admission::Whole => (place.pool.blocks(slot.input + slot.output), 0),
        };
        if blocks + ahead > place.pool.free() {
            return false;
        }
        place.waiting.pop(&slot);
        place.pool.take(blocks);
        self.admissions += 1;
        let slot = &mut self.slots[index as usize];
        (slot.computed, slot.reserved, slot.admitted) = (false, blocks as u32, self.admissions);
        self.paused.push((slot.last_token, 1));
        self.start_decode(rank, index);
        true
    }

    /// Tokens of a request found in the prefix cache, and those of them in whole blocks that it shares. At
    /// least one token is computed.
    fn cached(&mut self, rank: usize, index: u32) -> (u32, u32) {
        let slot = self.slots[index as usize];
        let mut cached = self.pool.shared_prefix;
        if slot.session > 0 {
            // its blocks are the request's own again, once it is admitted
            let held = self.ranks[rank].prefixes.session(slot.session).min(slot.history);
            return (cached.max(held).min(slot.target - 1), 0);
        }
        if self.pool.hash_tokens > 0 && slot.blocks[1] > 0 {
            let [first, count] = slot.blocks.map(|n| n as usize);
            let hashes = self.pool.hashes.get(first..first + count).unwrap_or_default();
            let place = &mut self.ranks[rank];
            let matched = place.prefixes.matched(hashes) as u32 * self.pool.hash_tokens;
            let tokens = self.pool.hash_tokens.next_multiple_of(place.pool.block());
            let capacity = place.pool.free().saturating_mul(u64::from(place.pool.block()));
            place.prefixes.insert(hashes, tokens, capacity);
            cached = cached.max(matched);
        }
        let cached = cached.min(slot.target - 1);
        let block = self.ranks[rank].pool.block();
        (cached, cached / block * block)
    }

    /// Place and KV blocks of a running request: of a decode row, that ends after the step `end`, or of a prompt.
    fn held_by(&self, rank: usize, index: u32, end: Option<u64>) -> (u64, u64) {
        let slot = &self.slots[index as usize];
        let discipline = self.scheduler.discipline;
        let Some(end) = end else { return (slot.place(discipline), u64::from(slot.reserved)) };
        let generated = slot.output - (end - self.step) as u32;
        let blocks = match self.scheduler.admission {
            Admission::Prompt => self.ranks[rank].pool.blocks(slot.input + generated - 1 - slot.shared),
            Admission::Whole => u64::from(slot.reserved),
        };
        (discipline.place(0, generated, slot.output, slot.input + generated), blocks)
    }

    /// Takes a seat and blocks from running requests of a later place for the first that waits, the last ones first, where
    /// that makes enough room.
    fn displace(&mut self, rank: usize, metrics: &mut Metrics) {
        let place = &self.ranks[rank];
        let Some(index) = place.waiting.first() else { return };
        let slot = &self.slots[index as usize];
        let wanted = slot.place(self.scheduler.discipline);
        let (tokens, ahead) = match self.scheduler.admission {
            Admission::Prompt => (slot.target, place.running() as u64),
            Admission::Whole => (slot.input + slot.output, 0),
        };
        let needed = place.pool.blocks(tokens) + ahead;
        let fits = |gone: usize, freed: u64| {
            place.running() - gone < self.scheduler.max_seqs as usize && needed <= place.pool.free() + freed
        };
        if fits(0, 0) {
            return;
        }
        let rows = place.ends.iter().map(|e| (e.0.1, Some(e.0.0)));
        let running = rows.chain(place.prefilling.iter().map(|i| (*i, None)));
        let mut later: Vec<_> = running
            .map(|(i, end)| (self.held_by(rank, i, end), self.slots[i as usize].admitted, i))
            .filter(|((place, _), ..)| *place > wanted)
            .collect();
        later.sort_by_key(|((place, _), admitted, _)| std::cmp::Reverse((*place, *admitted)));
        let mut freed = 0;
        for count in 1..=later.len() {
            freed += later[count - 1].0.1;
            if fits(count, freed) {
                for (_, _, victim) in later.into_iter().take(count) {
                    self.preempt(rank, victim);
                    metrics.preempted();
                }
                return;
            }
        }
    }

    /// Frees blocks for the next decode step by taking those of the youngest. True when it had to.
    fn make_room(&mut self, rank: usize, metrics: &mut Metrics) -> bool {
        let mut preempted = false;
        let width = u64::from(self.width);
        while self.ranks[rank].pool.steps(self.step, width) < width {
            let place = &self.ranks[rank];
            let running = place.ends.iter().map(|e| e.0.1).chain(place.prefilling.iter().copied());
            let youngest = running.max_by_key(|i| self.slots[*i as usize].admitted);
            let Some(index) = youngest else { break };
            self.preempt(rank, index);
            metrics.preempted();
            preempted = true;
        }
        preempted
    }

    /// TensorRT-LLM's batch wait: prompts start when they fill a share of the budget or have waited so many
    /// iterations, or when nothing decodes.
    fn is_full_enough(&mut self, rank: usize) -> bool {
        let Some(wait) = self.scheduler.batch_wait else { return true };
        let (count, tokens) = self.candidates(rank);
        let rows = self.ranks[rank].rows();
        let full = (tokens + rows as u64) as f64 >= wait.ratio * f64::from(self.scheduler.token_budget);
        if count == 0 || rows == 0 || full || self.waited >= u64::from(wait.iterations) {
            self.waited = 0;
            return true;
        }
        self.held = true;
        false
    }

    /// TensorRT-LLM's balance of attention data parallelism: prompts start when every rank has one, when
    /// some rank has nothing to decode, or after so many iterations.
    fn is_balanced(&mut self) -> bool {
        let Some(limit) = self.scheduler.rank_balance.filter(|_| self.ranks.len() > 1) else { return true };
        let all = (0..self.ranks.len()).all(|r| self.candidates(r).0 > 0);
        let decoding = self.ranks.iter().all(|r| r.rows() > 0);
        if all || !decoding || self.unbalanced >= u64::from(limit) {
            self.unbalanced = 0;
            return true;
        }
        self.held = true;
        false
    }

    /// Prompts that could start in the next iteration, and their tokens.
    fn candidates(&self, rank: usize) -> (usize, u64) {
        let place = &self.ranks[rank];
        let budget = self.budget(rank);
        let room = (self.scheduler.max_seqs as usize).saturating_sub(place.running());
        let (mut count, mut tokens, mut blocks) = (0, 0, 0);
        for index in place.waiting.iter().take(room) {
            let slot = &self.slots[index as usize];
            let length = u64::from(slot.target);
            blocks += place.pool.blocks(slot.input + slot.output);
            if (count > 0 && tokens + length > budget) || blocks > place.pool.free() {
                break;
            }
            count += 1;
            tokens += length;
        }
        (count, tokens)
    }
}
