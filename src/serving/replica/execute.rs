//! Iterations carried out.

use std::cmp::Reverse;

use super::Replica;
use crate::serving::clock::{Run, StepClock};
use crate::serving::fluidity::Deadlines;
use crate::serving::metrics::Metrics;
use crate::serving::request::Finished;
use crate::serving::scheduler::{Admission, Discipline, LEVEL_TOKENS, Order};

impl Replica {
    /// One iteration with the chunks planned. Decode rows run with them, or wait where prompts go first.
    pub(super) fn prefill(&mut self, clock: &mut StepClock, metrics: &mut Metrics) {
        let together = self.scheduler.order == Order::DecodeFirst;
        let mut rows = 0;
        for (load, rank) in self.loads.iter_mut().zip(&self.ranks) {
            *load = rank.load();
            rows += u64::from(load.rows);
            if !together {
                load.rows = 0;
            }
        }
        for chunk in &self.chunks {
            let slot = &mut self.slots[chunk.slot as usize];
            if slot.scheduled.is_nan() {
                slot.scheduled = self.now;
            }
            let load = &mut self.loads[chunk.rank as usize];
            let ends = slot.done + chunk.tokens >= slot.target;
            (if ends { &mut load.ending } else { &mut load.partial }).add(chunk.tokens, slot.done);
        }
        let seconds = clock.mixed(&self.loads);
        let decoding =
            if together && rows > 0 { clock.decode(&self.loads, 0.0) * clock.gain(&self.loads) } else { 0.0 };
        let end = self.now + seconds;
        if together {
            let mut fresh = rows;
            for (since, count) in self.paused.drain(..) {
                metrics.gaps.add_many(end - since, count);
                fresh = fresh.saturating_sub(count);
            }
            metrics.gaps.add_many(seconds, fresh);
        } else {
            let older: u64 = self.paused.iter().map(|p| p.1).sum();
            if rows > older {
                self.paused.push((self.now, rows - older));
            }
        }
        self.account(metrics, [seconds, (seconds - decoding).max(0.0)], 1, rows);
        if let Some(due) = self.due.filter(|_| together) {
            for Reverse((_, index)) in self.ranks.iter().flat_map(|r| &r.ends) {
                let slot = &mut self.slots[*index as usize];
                slot.fluid.token(end - slot.last_token, due);
                slot.last_token = end;
            }
        }
        (self.decided, self.now) = (self.now, end);
        if together {
            let steps = if self.width > 1 { self.gained(clock.gain(&self.loads)) } else { 1 };
            self.advance_rows(steps, metrics);
        }
        self.since_receive = u64::from(self.scheduler.receive_interval);
        (self.waited, self.unbalanced) = (0, 0);
        let chunks = std::mem::take(&mut self.chunks);
        for chunk in &chunks {
            let slot = &mut self.slots[chunk.slot as usize];
            slot.done += chunk.tokens;
            if slot.done >= slot.target {
                self.ranks[chunk.rank as usize].prefilling.retain(|i| *i != chunk.slot);
                self.join(chunk.rank as usize, chunk.slot, metrics);
            }
        }
        self.chunks = chunks;
    }

    /// Whole tokens that every row gains in a step which brings `gain` on average.
    fn gained(&mut self, gain: f64) -> u64 {
        self.carried[0] += gain;
        let whole = self.carried[0].floor();
        self.carried[0] -= whole;
        whole as u64
    }

    /// The prompt is done and a token sampled: the request decodes from the next step on.
    fn join(&mut self, rank: usize, index: u32, metrics: &mut Metrics) {
        let slot = &mut self.slots[index as usize];
        if slot.emitted == 0 {
            slot.first_token = self.now;
            if let Some(due) = self.due {
                slot.fluid.first(self.now - slot.sent, due);
            }
        } else {
            metrics.gaps.add(self.now - slot.last_token);
            if let Some(due) = self.due {
                slot.fluid.token(self.now - slot.last_token, due);
            }
        }
        slot.last_token = self.now;
        slot.emitted += 1;
        if slot.output == slot.emitted {
            self.finish(rank, index, 0, metrics);
            return;
        }
        self.start_decode(rank, index);
    }

    /// Adds a row.
    pub(super) fn start_decode(&mut self, rank: usize, index: u32) {
        let slot = &self.slots[index as usize];
        let left = slot.output - slot.emitted;
        let place = &mut self.ranks[rank];
        place.context += u64::from(slot.target) + 1;
        place.ends.push(Reverse((self.step + u64::from(left), index)));
        if self.scheduler.admission == Admission::Prompt {
            place.pool.join(slot.target - slot.shared, self.step);
        }
    }

    /// Decode iterations until something can change.
    pub(super) fn decode(&mut self, clock: &mut StepClock, until: f64, metrics: &mut Metrics) {
        let most = self.most_steps();
        let blocked = self.is_blocked();
        let mut event = if blocked && self.alone { f64::INFINITY } else { until };
        if !blocked && let Some(next) = self.incoming.front() {
            event = event.min(self.slots[*next as usize].ready);
        }
        let mut rows = 0;
        for (load, rank) in self.loads.iter_mut().zip(&self.ranks) {
            *load = rank.load();
            rows += u64::from(load.rows);
        }
        self.pieces.clear();
        let mut run = clock.extend(&self.loads, Run::default(), most, event - self.now, &mut self.pieces);
        let mut extra = 0;
        if run.steps < most {
            // the iteration that had been decided when it came
            extra = u64::from(self.scheduler.overlapped || run.steps == 0);
            let interval = u64::from(self.scheduler.receive_interval.max(1));
            extra += (interval - (self.since_receive + run.steps + extra) % interval) % interval;
        }
        if extra > 0 {
            let all = (run.steps + extra).min(most);
            run = clock.extend(&self.loads, run, all, f64::INFINITY, &mut self.pieces);
        }
        if let Some(due) = self.due {
            self.follow(due);
        }
        if self.width > 1 {
            self.merge_bursts(clock.gain(&self.loads));
        }
        self.record_gaps(rows, metrics);
        self.account(metrics, [run.seconds, 0.0], run.steps, rows);
        self.now += run.seconds;
        self.decided = self.now - run.last;
        // looks in the middle of the run found nothing, or it would have ended there
        let interval = u64::from(self.scheduler.receive_interval.max(1));
        let since = (self.since_receive + run.steps) % interval;
        self.since_receive = if since == 0 { interval } else { since };
        if self.held {
            self.waited += run.steps;
            self.unbalanced += run.steps;
        } else if let Some(limit) = self.scheduler.rank_balance {
            // the count runs without prompts too, and starts anew when it reaches its limit
            self.unbalanced = (self.unbalanced + run.steps) % u64::from(limit.max(1));
        }
        self.advance_rows(run.steps, metrics);
    }

    /// Decode steps before a row ends, a pool runs out or a wait is over.
    fn most_steps(&self) -> u64 {
        let mut most = if self.step_by_step { 1 } else { u64::MAX };
        for rank in &self.ranks {
            if let Some(steps) = rank.first_end(self.step) {
                most = most.min(steps);
            }
            if self.scheduler.admission == Admission::Prompt {
                // room for a whole step of drafts must be left, as planning asks for it
                let ahead = u64::from(self.width - 1);
                most = rank.pool.steps(self.step, most.saturating_add(ahead)).saturating_sub(ahead);
            }
        }
        if self.scheduler.discipline == Discipline::Mlfq {
            most = most.min(self.steps_to_demotion());
        }
        if self.held {
            if let Some(wait) = self.scheduler.batch_wait {
                most = most.min(u64::from(wait.iterations).saturating_sub(self.waited));
            }
            if let Some(limit) = self.scheduler.rank_balance {
                most = most.min(u64::from(limit).saturating_sub(self.unbalanced));
            }
        }
        most.max(1)
    }

    /// Decode steps until a row falls below the level of the first that waits.
    fn steps_to_demotion(&self) -> u64 {
        let mut most = u64::MAX;
        for rank in &self.ranks {
            let Some(first) = rank.waiting.first() else { continue };
            let level = self.slots[first as usize].place(Discipline::Mlfq);
            let limit = u64::from(LEVEL_TOKENS) << level.min(32);
            for Reverse((end, index)) in &rank.ends {
                let slot = &self.slots[*index as usize];
                let served = u64::from(slot.input + slot.output) - (end - self.step);
                if served <= limit {
                    most = most.min(limit - served + 1);
                }
            }
        }
        most
    }

    /// Deadlines of a run's tokens, row by row.
    fn follow(&mut self, due: Deadlines) {
        for rank in &self.ranks {
            for Reverse((_, index)) in &rank.ends {
                let slot = &mut self.slots[*index as usize];
                let mut time = self.now;
                for (i, (first, last, steps)) in self.pieces.iter().copied().enumerate() {
                    if i == 0 {
                        slot.fluid.token(time + first - slot.last_token, due);
                        let growth = if steps > 1 { (last - first) / (steps - 1) as f64 } else { 0.0 };
                        slot.fluid.tokens(first + growth, last, steps - 1, due);
                    } else {
                        slot.fluid.tokens(first, last, steps, due);
                    }
                    time += steps as f64 * f64::midpoint(first, last);
                }
                slot.last_token = time;
            }
        }
    }

    /// Turns stretches of single tokens into those of bursts of `gain` tokens.
    fn merge_bursts(&mut self, gain: f64) {
        for (first, last, steps) in &mut self.pieces {
            self.carried[1] += *steps as f64 / gain;
            let whole = self.carried[1].floor();
            self.carried[1] -= whole;
            (*first, *last, *steps) = (*first * gain, *last * gain, whole as u64);
        }
        self.pieces.retain(|p| p.2 > 0);
    }

    /// Gaps between tokens of a run: the time of each step, but for rows that waited for prompts before it.
    fn record_gaps(&mut self, rows: u64, metrics: &mut Metrics) {
        let mut pieces = self.pieces.iter().copied();
        if !self.paused.is_empty()
            && let Some((first, last, steps)) = pieces.next()
        {
            let mut fresh = rows;
            for (since, count) in self.paused.drain(..) {
                metrics.gaps.add_many(self.now + first - since, count);
                fresh = fresh.saturating_sub(count);
            }
            metrics.gaps.add_many(first, fresh);
            if steps > 1 {
                let growth = (last - first) / (steps - 1) as f64;
                metrics.gaps.add_ramp(first + growth, last, steps - 1, rows);
            }
        }
        for (first, last, steps) in pieces {
            metrics.gaps.add_ramp(first, last, steps, rows);
        }
    }

    /// Counts iterations: their seconds, and those that prompts add.
    fn account(&self, metrics: &mut Metrics, seconds: [f64; 2], steps: u64, rows: u64) {
        let occupied = self.ranks.iter().map(|r| r.pool.occupancy()).fold(0.0, f64::max);
        metrics.worked(seconds, steps, rows, occupied);
    }

    /// Every row has `steps` tokens more.
    fn advance_rows(&mut self, steps: u64, metrics: &mut Metrics) {
        let before = self.step;
        self.step += steps;
        for rank in 0..self.ranks.len() {
            let place = &mut self.ranks[rank];
            if place.ends.is_empty() {
                continue;
            }
            place.context += place.ends.len() as u64 * steps;
            if self.scheduler.admission == Admission::Prompt {
                place.pool.advance(before, steps);
            }
            while let Some(Reverse((end, index))) = self.ranks[rank].ends.peek().copied() {
                if end > self.step {
                    break;
                }
                let place = &mut self.ranks[rank];
                place.ends.pop();
                let slot = &self.slots[index as usize];
                // tokens verified beyond its end
                let over = self.step - end;
                place.context -= u64::from(slot.input) + u64::from(slot.output) + over;
                if self.scheduler.admission == Admission::Prompt {
                    place.pool.leave(slot.input + slot.output - 1 - slot.shared, end);
                }
                self.finish(rank, index, over as u32, metrics);
            }
        }
    }

    /// Frees what a request held, blocks for `over` tokens beyond its end included.
    fn finish(&mut self, rank: usize, index: u32, over: u32, metrics: &mut Metrics) {
        let slot = self.slots[index as usize];
        let place = &mut self.ranks[rank];
        let stored = (slot.input + slot.output - 1).max(slot.target) - slot.shared + over;
        place.pool.release(match self.scheduler.admission {
            Admission::Prompt => place.pool.blocks(stored),
            Admission::Whole => u64::from(slot.reserved),
        });
        if slot.session > 0 {
            let capacity = place.pool.free().saturating_mul(u64::from(place.pool.block()));
            place.prefixes.put_session(slot.session, slot.input + slot.output - 1, capacity);
        }
        self.free.push(index);
        let finished = Finished {
            sent: slot.sent,
            scheduled: slot.scheduled,
            first_token: slot.first_token,
            finished: self.now,
            input: slot.input,
            output: slot.output,
            cached: slot.cached,
            preemptions: slot.preemptions,
            number: slot.number,
            transfer: slot.transfer,
        };
        metrics.finished(&finished);
        if self.due.is_some() {
            metrics.fluid(slot.fluid.index());
        }
        self.done.push(finished);
    }

    /// Takes the KV cache of a running request, which waits in front to be computed anew.
    pub(super) fn preempt(&mut self, rank: usize, index: u32) {
        let place = &mut self.ranks[rank];
        let slot = &mut self.slots[index as usize];
        if let Some(at) = place.prefilling.iter().position(|i| *i == index) {
            place.prefilling.remove(at);
            place.pool.release(u64::from(slot.reserved));
        } else {
            let end = place.ends.iter().find(|e| e.0.1 == index).map_or(self.step, |e| e.0.0);
            place.ends.retain(|e| e.0.1 != index);
            slot.emitted = slot.output - (end - self.step) as u32;
            slot.last_token = self.now;
            place.context -= u64::from(slot.input + slot.emitted);
            let stored = slot.input + slot.emitted - 1 - slot.shared;
            place.pool.leave(stored, self.step);
            place.pool.release(place.pool.blocks(stored));
            slot.target = slot.input + slot.emitted;
        }
        (slot.done, slot.shared) = (0, 0);
        slot.preemptions += 1;
        place.waiting.push_back_in_front(index, slot);
    }
}
