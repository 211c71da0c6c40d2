//! Step times made fast: what a step costs is split into parts that depend on little, and each part is
//! asked of the step timer once.
//!
//! device(step) = tokens(M) + experts(M̄) + head(sampled) + core(chunks, rows, contexts)
//!
//! with M tokens of the busiest data-parallel rank, M̄ their mean over the ranks, and the slowest core of the
//! ranks: they run in lock step. The first three are tables over whole numbers. The core of decode rows is
//! a table over rows and mean context with four knots to a doubling, linear between them (a test holds the
//! error); that of chunks is computed and kept for the next time. Engine terms are added by the timer itself.
//!
//! A pipeline of p stages holds p micro-batches: rows and prompt tokens of a step are divided by p, and the
//! step lasts as long as one micro-batch needs through all stages.

use super::speculation::Speculation;
use crate::time::{EngineTerms, StepTimer};
use crate::work::{DecodeRows, Operator, Parts, PrefillChunk, Step};

/// Prompt tokens of some requests in one step, merged into requests of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Chunk {
    /// Requests.
    pub requests: u32,
    /// Their tokens in this step.
    pub tokens: u64,
    /// Query–key pairs of these tokens: Σ n·p + n²/2 for n tokens after p.
    pub pairs: f64,
}

impl Chunk {
    /// Adds a request with `tokens` tokens on `past` cached ones.
    pub fn add(&mut self, tokens: u32, past: u32) {
        let (n, p) = (f64::from(tokens), f64::from(past));
        self.requests += 1;
        self.tokens += u64::from(tokens);
        self.pairs += n * p + n * n / 2.0;
    }

    /// Equal requests with the same tokens and pairs: the past p̄ = (pairs − R·n̄²/2)/(R·n̄), which also
    /// carries what unequal lengths add to the pairs.
    fn merged(&self, last: bool, share: f64) -> Option<PrefillChunk> {
        if self.tokens == 0 {
            return None;
        }
        let requests = f64::from(self.requests);
        let tokens = self.tokens as f64;
        let mean = tokens / requests;
        let past = (self.pairs / tokens - mean / 2.0).max(0.0);
        // a share of a pipeline's step has fewer requests, or less of the only one
        let (requests, new_tokens) =
            if requests * share >= 1.0 { (requests * share, mean) } else { (1.0, tokens * share) };
        Some(PrefillChunk { requests, new_tokens, past_tokens: past, last })
    }
}

/// What one data-parallel rank does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RankLoad {
    /// Decode rows.
    pub rows: u32,
    /// Sum of their contexts, the new tokens included.
    pub context: u64,
    /// Chunks that end their prompts.
    pub ending: Chunk,
    /// Chunks that do not.
    pub partial: Chunk,
}

impl RankLoad {
    /// Prompt tokens.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.ending.tokens + self.partial.tokens
    }
}

/// Some decode steps in a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Run {
    /// How many.
    pub steps: u64,
    /// Their time in seconds.
    pub seconds: f64,
    /// The last one's.
    pub last: f64,
}

/// A stretch of a run in which step times grow by the same amount: first, last, steps.
pub type Piece = (f64, f64, u64);

/// Whole numbers up to here have their own entry; above, every [`STRIDE`]th.
const EXACT: usize = 1024;
const STRIDE: usize = 32;

/// Seconds of a part by a whole number, filled when asked.
#[derive(Debug, Clone, Default)]
struct Table {
    seconds: Vec<f64>,
    launches: f64,
}

impl Table {
    fn entry(&mut self, index: usize, of: &mut dyn FnMut(f64) -> [f64; 2]) -> f64 {
        if index >= self.seconds.len() {
            self.seconds.resize((index + 1).next_power_of_two(), f64::NAN);
        }
        if self.seconds[index].is_nan() {
            let at = if index <= EXACT { index } else { EXACT + (index - EXACT) * STRIDE };
            let [seconds, launches] = of(at as f64);
            self.seconds[index] = seconds;
            self.launches = self.launches.max(launches);
        }
        self.seconds[index]
    }

    fn at(&mut self, n: usize, of: &mut dyn FnMut(f64) -> [f64; 2]) -> f64 {
        if n <= EXACT {
            return self.entry(n, of);
        }
        let (whole, rest) = ((n - EXACT) / STRIDE, (n - EXACT) % STRIDE);
        let low = self.entry(EXACT + whole, of);
        if rest == 0 {
            return low;
        }
        let high = self.entry(EXACT + whole + 1, of);
        low + (high - low) * rest as f64 / STRIDE as f64
    }
}

/// Knots of the context: (1 + q/4)·2^e for q in 0..4, numbered from 0 at 1. Number and place are read off the
/// bits of the floating-point form.
fn knot_below(context: f64) -> usize {
    ((context.max(1.0).to_bits() >> 50) - (1023 << 2)) as usize
}

fn knot(index: usize) -> f64 {
    f64::from_bits((index as u64 + (1023 << 2)) << 50)
}

/// Cores of chunks kept, by a hash of the chunks.
const KEPT: usize = 512;

/// The step timer of a deployment behind tables.
#[derive(Debug, Clone)]
pub struct StepClock {
    timer: StepTimer,
    stages: f64,
    decode_tokens: Table,
    mixed_tokens: Table,
    experts: Table,
    head: Table,
    /// By rows: seconds of the core at the knots of the context.
    cores: Vec<Vec<f64>>,
    core_launches: f64,
    /// Core of a step = that of its chunks and that of its rows.
    additive: bool,
    /// Chunks with the seconds and launches of their core.
    kept: Vec<([Chunk; 2], [f64; 2])>,
    scratch: Vec<Operator>,
    speculation: Option<Box<Speculation>>,
}

const TOKENS: Parts = Parts { tokens: true, ..Parts::NONE };
const EXPERTS: Parts = Parts { experts: true, ..Parts::NONE };
const HEAD: Parts = Parts { head: true, ..Parts::NONE };
const CORE: Parts = Parts { core: true, ..Parts::NONE };

fn rows_at(rows: f64, context: f64) -> [DecodeRows; 1] {
    [DecodeRows { rows, context }]
}

impl StepClock {
    /// Puts tables before a timer. `stages` is the pipeline's depth.
    #[must_use]
    pub fn new(timer: StepTimer, stages: u32) -> Self {
        Self {
            additive: timer.core_is_additive(),
            kept: vec![],
            timer,
            stages: f64::from(stages.max(1)),
            decode_tokens: Table::default(),
            mixed_tokens: Table::default(),
            experts: Table::default(),
            head: Table::default(),
            cores: vec![],
            core_launches: 0.0,
            scratch: vec![],
            speculation: None,
        }
    }

    /// The same with drafts verified.
    #[must_use]
    pub fn speculating(self, speculation: Speculation) -> Self {
        Self { speculation: Some(Box::new(speculation)), ..self }
    }

    /// How drafts are made and verified, where they are.
    #[must_use]
    pub fn speculation(&self) -> Option<&Speculation> {
        self.speculation.as_deref()
    }

    /// Tokens that every row of a step gains on average.
    #[must_use]
    pub fn gain(&self, ranks: &[RankLoad]) -> f64 {
        self.speculation.as_ref().filter(|s| s.is_on(ranks)).map_or(1.0, |s| s.tokens_per_step())
    }

    /// The same under other engine terms. What the tables hold is kept where the terms leave kernels alone.
    #[must_use]
    pub fn with_terms(&self, terms: EngineTerms) -> Self {
        let timer = self.timer.with_terms(terms);
        if self.timer.terms().has_kernels_of(timer.terms()) {
            Self { timer, ..self.clone() }
        } else {
            Self { speculation: self.speculation.clone(), ..Self::new(timer, self.stages()) }
        }
    }

    /// The timer behind it.
    #[must_use]
    pub fn timer(&self) -> &StepTimer {
        &self.timer
    }

    /// Micro-batches in flight.
    #[must_use]
    pub fn stages(&self) -> u32 {
        self.stages as u32
    }

    /// Time of one decode step of all ranks, `ahead` steps from now. Of a step that verifies drafts its share of one token.
    pub fn decode(&mut self, ranks: &[RankLoad], ahead: f64) -> f64 {
        match self.speculation.take() {
            None => self.verify(ranks, ahead, 1),
            Some(mut speculation) => {
                let seconds = if speculation.is_on(ranks) {
                    let step = self.verify(ranks, ahead, speculation.width());
                    (step + speculation.draft_seconds(ranks, ahead)) / speculation.tokens_per_step()
                } else {
                    self.verify(ranks, ahead, 1)
                };
                self.speculation = Some(speculation);
                seconds
            }
        }
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

    /// Time of a step in which every row has `width` tokens.
    fn verify(&mut self, ranks: &[RankLoad], ahead: f64, width: u32) -> f64 {
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

    /// Adds decode steps to a run while it has fewer than `most` and the next one starts before `seconds` from
    /// the beginning of the run: the smallest number k ≤ `most` whose times add up to at least `seconds`.
    /// Appends the stretches of equal growth to `pieces`.
    pub fn extend(
        &mut self,
        ranks: &[RankLoad],
        mut run: Run,
        most: u64,
        seconds: f64,
        pieces: &mut Vec<Piece>,
    ) -> Run {
        while run.steps < most && run.seconds < seconds {
            let mut steps = (most - run.steps).min(self.to_next_knot(ranks, run.steps as f64));
            let first = self.decode(ranks, run.steps as f64);
            let mut last = first;
            while steps > 1 {
                last = self.decode(ranks, (run.steps + steps - 1) as f64);
                if steps == 2 || self.is_affine(ranks, run.steps, steps, first, last) {
                    break;
                }
                steps /= 2;
                last = first;
            }
            let growth = if steps > 1 { (last - first) / (steps - 1) as f64 } else { 0.0 };
            let needed = steps_for(first, growth, seconds - run.seconds, steps);
            last = first + growth * (needed - 1) as f64;
            run.steps += needed;
            run.seconds += needed as f64 * f64::midpoint(first, last);
            run.last = last;
            pieces.push((first, last, needed));
        }
        run
    }

    /// Times between two knots are affine in the step but where another rank becomes the slowest, or the
    /// host: both show in the middle, since a maximum of affine functions is convex.
    fn is_affine(&mut self, ranks: &[RankLoad], from: u64, steps: u64, first: f64, last: f64) -> bool {
        if ranks.len() == 1 && self.timer.terms().decode_graphs && self.speculation.is_none() {
            return true;
        }
        let middle = (steps - 1) / 2;
        let expected = first + (last - first) * middle as f64 / (steps - 1) as f64;
        (self.decode(ranks, (from + middle) as f64) - expected).abs() <= 1e-9 * expected
    }

    /// Steps until some rank's mean context passes the next knot.
    fn to_next_knot(&self, ranks: &[RankLoad], ahead: f64) -> u64 {
        let mut steps = u64::MAX;
        for rank in ranks.iter().filter(|r| r.rows > 0) {
            let mean = (rank.context as f64 / f64::from(rank.rows) + ahead).max(1.0);
            let next = knot(knot_below(mean) + 1);
            steps = steps.min((next - mean) as u64 + 1);
        }
        steps
    }

    /// Time of one step of all ranks with prefill in it, in which every row gains [`StepClock::gain`] tokens.
    pub fn mixed(&mut self, ranks: &[RankLoad]) -> f64 {
        match self.speculation.take() {
            None => self.mixed_verify(ranks, 1),
            Some(mut speculation) => {
                let on = speculation.is_on(ranks);
                let step = self.mixed_verify(ranks, if on { speculation.width() } else { 1 });
                let drafts = if on { speculation.draft_seconds(ranks, 0.0) } else { 0.0 };
                let seconds = step + drafts + speculation.prompt_seconds(ranks);
                self.speculation = Some(speculation);
                seconds
            }
        }
    }

    fn mixed_verify(&mut self, ranks: &[RankLoad], width: u32) -> f64 {
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
        let prompt =
            |tokens: f64| PrefillChunk { requests: 1.0, new_tokens: tokens, past_tokens: 0.0, last: false };
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
}

/// The chunks that there are, first.
fn compact([ending, partial]: [Option<PrefillChunk>; 2]) -> ([PrefillChunk; 2], usize) {
    let none = PrefillChunk { requests: 0.0, new_tokens: 0.0, past_tokens: 0.0, last: false };
    match (ending, partial) {
        (Some(a), Some(b)) => ([a, b], 2),
        (Some(a), None) | (None, Some(a)) => ([a, none], 1),
        (None, None) => ([none, none], 0),
    }
}

/// The smallest m in 1..=most with m·first + growth·m(m − 1)/2 ≥ seconds, else `most`.
fn steps_for(first: f64, growth: f64, seconds: f64, most: u64) -> u64 {
    let sum = |m: u64| m as f64 * (first + growth * (m as f64 - 1.0) / 2.0);
    if !seconds.is_finite() || sum(most) < seconds {
        return most;
    }
    // m²·g/2 + m·(f − g/2) − s = 0, in the form that holds for g → 0
    let half = first - growth / 2.0;
    let root = 2.0 * seconds / (half + (half * half + 2.0 * growth * seconds).max(0.0).sqrt());
    let mut m = (root.ceil() as u64).clamp(1, most);
    while m > 1 && sum(m - 1) >= seconds {
        m -= 1;
    }
    while m < most && sum(m) < seconds {
        m += 1;
    }
    m
}
