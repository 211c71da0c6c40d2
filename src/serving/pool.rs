//! The KV pool of one rank, counted in blocks.

/// Blocks of a rank and who holds them. Decode rows are counted by their phase (tokens stored less decode
/// steps done, modulo the block), so that the blocks that k steps allocate are known without visiting rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KvPool {
    block: u32,
    total: u64,
    used: u64,
    most_used: u64,
    rows: u64,
    phases: Vec<u32>,
}

impl KvPool {
    /// A pool of `tokens` tokens in blocks of `block`; none for unlimited.
    pub fn new(tokens: Option<u64>, block: u32) -> Self {
        let block = block.max(1);
        Self {
            block,
            total: tokens.map_or(u64::MAX / 4, |t| t / u64::from(block)),
            used: 0,
            most_used: 0,
            rows: 0,
            phases: vec![0; block as usize],
        }
    }

    pub fn blocks(&self, tokens: u32) -> u64 {
        u64::from(tokens.div_ceil(self.block))
    }

    pub fn block(&self) -> u32 {
        self.block
    }

    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// Share of the pool in use.
    pub fn occupancy(&self) -> f64 {
        self.used as f64 / self.total.max(1) as f64
    }

    /// Largest share in use so far.
    pub fn peak(&self) -> f64 {
        self.most_used as f64 / self.total.max(1) as f64
    }

    pub fn take(&mut self, blocks: u64) {
        self.used += blocks;
        self.most_used = self.most_used.max(self.used);
    }

    pub fn release(&mut self, blocks: u64) {
        self.used = self.used.saturating_sub(blocks);
    }

    fn phase(&self, stored: u32, step: u64) -> usize {
        let block = u64::from(self.block);
        ((u64::from(stored) + block - step % block) % block) as usize
    }

    /// A row with `stored` tokens starts to decode after `step` steps.
    pub fn join(&mut self, stored: u32, step: u64) {
        let phase = self.phase(stored, step);
        self.phases[phase] += 1;
        self.rows += 1;
    }

    /// It leaves after `step` steps with `stored` tokens.
    pub fn leave(&mut self, stored: u32, step: u64) {
        let phase = self.phase(stored, step);
        self.phases[phase] = self.phases[phase].saturating_sub(1);
        self.rows = self.rows.saturating_sub(1);
    }

    /// Blocks that the decode step after `step` steps allocates: rows whose blocks are full.
    fn allocated_at(&self, step: u64) -> u64 {
        let block = u64::from(self.block);
        u64::from(self.phases[((block - step % block) % block) as usize])
    }

    /// Decode steps, at most `most`, for which the free blocks suffice.
    pub fn steps(&self, step: u64, most: u64) -> u64 {
        if self.rows == 0 {
            return most;
        }
        let cycles = self.free() / self.rows;
        let sure = cycles.saturating_mul(u64::from(self.block));
        if most <= sure {
            return most;
        }
        // every block-long cycle allocates one block a row
        let mut free = self.free() - cycles * self.rows;
        let mut steps = sure;
        while steps < most {
            let needed = self.allocated_at(step + steps);
            if needed > free {
                break;
            }
            free -= needed;
            steps += 1;
        }
        steps
    }

    /// Allocates for `steps` decode steps.
    pub fn advance(&mut self, step: u64, steps: u64) {
        let block = u64::from(self.block);
        let mut blocks = steps / block * self.rows;
        for s in 0..steps % block {
            blocks += self.allocated_at(step + s);
        }
        self.take(blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_phase_are_blocks_by_row() {
        let mut pool = KvPool::new(Some(1000 * 16), 16);
        let mut stored = [5_u32, 16, 17, 31, 32, 100];
        for s in stored {
            pool.take(pool.blocks(s));
            pool.join(s, 3);
        }
        let mut step = 3;
        for k in [1_u64, 5, 16, 40, 7] {
            pool.advance(step, k);
            step += k;
            for s in &mut stored {
                *s += k as u32;
            }
            assert_eq!(pool.used, stored.iter().map(|s| u64::from(s.div_ceil(16))).sum::<u64>());
        }
        for s in stored {
            pool.leave(s, step);
        }
        assert!(pool.phases.iter().all(|p| *p == 0));
    }

    #[test]
    fn steps_until_full_are_exact() {
        let mut pool = KvPool::new(Some(20 * 16), 16);
        for s in [10_u32, 20, 30] {
            pool.take(pool.blocks(s));
            pool.join(s, 0);
        }
        let steps = pool.steps(0, 10_000);
        pool.advance(0, steps);
        assert!(pool.used <= 20);
        assert_eq!(pool.steps(steps, 1), 0, "one more would not have fitted");
        assert!(pool.used + pool.allocated_at(steps) > 20);
    }
}
