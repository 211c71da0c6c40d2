//! One step of all ranks, put together from its parts.

use super::load::{Chunk, compact};
use super::tables::{Table, knot, knot_below};
use super::{RankLoad, StepClock};
use crate::work::{DecodeRows, Parts, PrefillChunk, Step};

/// Cores of chunks kept, by a hash of the chunks.
const KEPT: usize = 512;

const TOKENS: Parts = Parts { tokens: true, ..Parts::NONE };
const EXPERTS: Parts = Parts { experts: true, ..Parts::NONE };
const HEAD: Parts = Parts { head: true, ..Parts::NONE };
const CORE: Parts = Parts { core: true, ..Parts::NONE };

fn rows_at(rows: f64, context: f64) -> [DecodeRows; 1] {
    [DecodeRows { rows, context }]
}

impl StepClock {
    /// Time of a step in which every row has `width` tokens.
    pub(super) fn verify(&mut self, ranks: &[RankLoad], ahead: f64, width: u32) -> f64 {
        let stages = self.stages;
        let (mut most, mut sum, mut core, mut context) = (0.0_f64, 0.0, 0.0_f64, 1.0);
        for rank in ranks.iter().filter(|r| r.rows > 0) {
            let rows = (f64::from(rank.rows) / stages).ceil();
            let mean = rank.context as f64 / f64::from(rank.rows) + ahead;
            let mut seconds = self.core(rows as usize, mean);
            if width > 1 {
                seconds = seconds.max(self.core_peak(rows * f64::from(width), mean));
            }
            if seconds > core {
                (core, context) = (seconds, mean);
            }
            most = most.max(rows);
            sum += rows;
        }
        let width = f64::from(width);
        let mean = (sum * width / ranks.len() as f64).max(1.0);
        let Self { timer, decode_tokens, experts, head, scratch, .. } = self;
        let mut part = |table: &mut Table, n: f64, parts: Parts| {
            let of = &mut |n: f64| {
                timer.device_part(&Step { prefill: &[], decode: &rows_at(n, 1.0) }, parts, scratch)
            };
            (table.at(n as usize, of), table.launches)
        };
        let (tokens, a) = part(decode_tokens, most * width, TOKENS);
        let (routed, b) = part(experts, mean.round(), EXPERTS);
        let (sampled, c) = part(head, most * width, HEAD);
        let device = tokens + routed + sampled + core;
        let launches = a + b + c + self.core_launches;
        self.timer.wall(&Step { prefill: &[], decode: &rows_at(most, context) }, [device, launches])
    }

    /// The same with prefill in it.
    pub(super) fn mixed_verify(&mut self, ranks: &[RankLoad], width: u32) -> f64 {
        let width = f64::from(width);
        let stages = self.stages;
        let (mut most, mut sum, mut sampled, mut core) = (0.0_f64, 0.0, 0.0_f64, 0.0_f64);
        let (mut busiest, mut core_launches) = (None, 0.0_f64);
        for rank in ranks {
            let rows = (f64::from(rank.rows) / stages).ceil();
            let mean = if rank.rows > 0 { rank.context as f64 / f64::from(rank.rows) } else { 1.0 };
            let decode = rows_at(rows, mean);
            let decode = if rank.rows > 0 { &decode[..] } else { &[] };
            let (list, count) = self.chunks(rank.ending, rank.partial);
            let step = Step { prefill: &list[..count], decode };
            let more = (width - 1.0) * if rank.rows > 0 { rows } else { 0.0 };
            let tokens = step.tokens() + more;
            if tokens <= 0.0 {
                continue;
            }
            let [seconds, launches] = if self.additive {
                let [seconds, launches] = self.chunk_core(rank.ending, rank.partial);
                let rows = if rank.rows > 0 { self.core(rows as usize, mean) } else { 0.0 };
                [seconds + rows, launches + if rank.rows > 0 { self.core_launches } else { 0.0 }]
            } else {
                self.timer.device_part(&step, CORE, &mut self.scratch)
            };
            core = core.max(seconds);
            core_launches = core_launches.max(launches);
            sampled = sampled.max(step.sampled() + more);
            sum += tokens;
            if busiest.is_none() || tokens > most {
                most = tokens;
                busiest = Some((list, count, rows, mean, rank.rows > 0));
            }
        }
        let Some((list, count, rows, mean, decoding)) = busiest else { return 0.0 };
        let average = (sum / ranks.len() as f64).ceil();
        let Self { timer, mixed_tokens, experts, head, scratch, .. } = self;
        let prompt = |tokens: f64| PrefillChunk {
            requests: 1.0,
            new_tokens: tokens,
            past_tokens: 0.0,
            ending: 0.0,
            mean_with: None,
        };
        let (tokens, a) = {
            let of = &mut |n: f64| {
                timer.device_part(&Step { prefill: &[prompt(n)], decode: &[] }, TOKENS, scratch)
            };
            (mixed_tokens.at(most.ceil() as usize, of), mixed_tokens.launches)
        };
        let (routed, b) = {
            let of = &mut |n: f64| {
                timer.device_part(&Step { prefill: &[prompt(n)], decode: &[] }, EXPERTS, scratch)
            };
            (experts.at(average as usize, of), experts.launches)
        };
        let (output, c) = if sampled > 0.0 {
            let of = &mut |n: f64| {
                timer.device_part(&Step { prefill: &[], decode: &rows_at(n, 1.0) }, HEAD, scratch)
            };
            (head.at(sampled.ceil() as usize, of), head.launches)
        } else {
            (0.0, 0.0)
        };
        let decode = rows_at(rows, mean);
        let step = Step { prefill: &list[..count], decode: if decoding { &decode } else { &[] } };
        self.timer.wall(&step, [tokens + routed + output + core, a + b + c + core_launches])
    }

    /// Seconds that the arithmetic of a core takes at the device's peak.
    fn core_peak(&mut self, rows: f64, context: f64) -> f64 {
        let step = Step { prefill: &[], decode: &rows_at(rows, context) };
        self.scratch.clear();
        self.timer.plan().lower_parts(&step, CORE, &mut self.scratch);
        let device = self.timer.device();
        self.scratch
            .iter()
            .map(|o| (o, device.peak(o.math)))
            .filter(|(_, peak)| *peak > 0.0)
            .map(|(o, peak)| o.flops.0 * o.repeat / peak)
            .sum()
    }

    /// Core of `rows` rows with a mean context.
    fn core(&mut self, rows: usize, context: f64) -> f64 {
        let index = knot_below(context);
        let (low, high) = (self.knot(rows, index), self.knot(rows, index + 1));
        let (from, to) = (knot(index), knot(index + 1));
        low + (high - low) * (context.max(1.0) - from) / (to - from)
    }

    /// Seconds and launches of the core of some chunks.
    fn chunk_core(&mut self, ending: Chunk, partial: Chunk) -> [f64; 2] {
        if self.kept.is_empty() {
            self.kept = vec![([Chunk::default(); 2], [0.0; 2]); KEPT];
        }
        let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let parts = [ending, partial];
        let hash = parts.iter().fold(0, |h, c| mix(mix(h, c.tokens), c.pairs.to_bits()));
        let place = (hash >> 20) as usize % KEPT;
        if self.kept[place].0 != parts {
            let (list, count) = self.chunks(ending, partial);
            let step = Step { prefill: &list[..count], decode: &[] };
            self.kept[place] = (parts, self.timer.device_part(&step, CORE, &mut self.scratch));
        }
        self.kept[place].1
    }

    /// Chunks of a micro-batch.
    fn chunks(&self, ending: Chunk, partial: Chunk) -> ([PrefillChunk; 2], usize) {
        let share = 1.0 / self.stages;
        compact([ending.merged(true, share), partial.merged(false, share)])
    }

    /// Seconds of the core of decode rows at a knot of the context.
    fn knot(&mut self, rows: usize, index: usize) -> f64 {
        if rows >= self.cores.len() {
            self.cores.resize((rows + 1).next_power_of_two(), vec![]);
        }
        let knots = &mut self.cores[rows];
        if index >= knots.len() {
            knots.resize(index + 8, f64::NAN);
        }
        if knots[index].is_nan() {
            let decode = rows_at(rows as f64, knot(index));
            let step = Step { prefill: &[], decode: &decode };
            let [seconds, launches] = self.timer.device_part(&step, CORE, &mut self.scratch);
            knots[index] = seconds;
            self.core_launches = self.core_launches.max(launches);
        }
        self.cores[rows][index]
    }
}
