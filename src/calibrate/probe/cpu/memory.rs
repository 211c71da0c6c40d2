//! Memory that benchmarks go through: weights beyond the caches, filled with random values, and streams.

use rayon::ThreadPool;
use std::hint::black_box;

use super::clock::timed;
use super::kernels::{Block, Kernels, kernels};
use crate::calibrate::probe::{Prepared, ProbeError, Sample, Stream};

/// Weights in the cache are no weights of a model: this many times its size is gone through in turn.
const BEYOND_CACHE: u64 = 4;
/// Most bytes of one pool of weights.
const MOST: u64 = 2 << 30;

/// Weights of every format, made when first wanted.
pub(super) struct Memory {
    bytes: usize,
    pub floats: Vec<f32>,
    pub halves: Vec<u16>,
    pub blocks: Vec<Block>,
}

impl Memory {
    /// Pools of four times the last-level cache, at most an eighth of the memory that is free.
    pub fn new(cache: u64, free: u64) -> Self {
        let bytes = (BEYOND_CACHE * cache).clamp(64 << 20, MOST).min(free / 8);
        let bytes = usize::try_from(bytes).unwrap_or(64 << 20);
        Self { bytes, floats: vec![], halves: vec![], blocks: vec![] }
    }

    /// Bytes that no cache holds.
    pub fn beyond_cache(&self) -> u64 {
        self.bytes as u64
    }

    /// Makes the weights of a format, at least so many; none for an unknown format.
    pub fn fill(&mut self, dtype: &str, weights: usize) -> Option<()> {
        let mut random = fastrand::Rng::with_seed(11);
        match dtype {
            "fp32" => grow(&mut self.floats, weights.max(self.bytes / 4), || random.f32() - 0.5),
            // ±[2⁻⁵, 2⁻¹): f16 without subnormals
            "float16" => grow(&mut self.halves, weights.max(self.bytes / 2), || {
                random.u16(0x2800..0x3800) | random.u16(..2) << 15
            }),
            "q8_0" => {
                let quantise = kernels().quantise;
                grow(&mut self.blocks, (weights / 32).max(self.bytes / size_of::<Block>()), || {
                    // nearly normal, as weights are: their scales then differ as those of weights do
                    let weights: [f32; 32] =
                        std::array::from_fn(|_| (0..4).map(|_| random.f32()).sum::<f32>() - 2.0);
                    let mut block = [Block { scale: 0, values: [0; 32] }];
                    quantise(&weights, &mut block);
                    let [block] = block;
                    block
                });
            }
            _ => return None,
        }
        Some(())
    }
}

/// Random values that are drawn anew; beyond them they repeat.
const DRAWN: usize = 1 << 18;

fn grow<T: Copy>(pool: &mut Vec<T>, length: usize, mut draw: impl FnMut() -> T) {
    while pool.len() < length.min(DRAWN) {
        pool.push(draw());
    }
    while pool.len() < length {
        let more = pool.len().min(length - pool.len());
        pool.extend_from_within(..more);
    }
}

/// A stream of bytes from end to end, shared out to threads.
pub(super) struct Streaming<'a> {
    pool: &'a ThreadPool,
    kernels: Kernels,
    kind: Stream,
    /// Arrays of every thread.
    arrays: Vec<[Vec<f32>; 3]>,
}

impl<'a> Streaming<'a> {
    /// `bytes` are those that are read and written in one iteration by all threads together.
    pub fn new(pool: &'a ThreadPool, kernels: Kernels, kind: Stream, bytes: u64, threads: usize) -> Self {
        let arrays = match kind {
            Stream::Read => 1,
            Stream::Copy => 2,
            Stream::Triad => 3,
        };
        let length = usize::try_from(bytes).unwrap_or(usize::MAX) / (4 * arrays * threads);
        let array = |which: usize| {
            let mut array = vec![];
            if which < arrays {
                let mut random = fastrand::Rng::with_seed(which as u64);
                grow(&mut array, length, || random.f32());
            }
            array
        };
        // every thread touches its own pages first, so that they lie near it
        let arrays = if threads > 1 {
            pool.broadcast(|_| std::array::from_fn(array)).into_iter().take(threads).collect()
        } else {
            vec![std::array::from_fn(array)]
        };
        Self { pool, kernels, kind, arrays }
    }
}

impl Prepared for Streaming<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        let (kernels, kind, threads) = (self.kernels, self.kind, self.arrays.len());
        let run = |[a, b, c]: &mut [Vec<f32>; 3]| {
            for _ in 0..iterations {
                match kind {
                    Stream::Read => {
                        black_box((kernels.sum)(black_box(a)));
                    }
                    Stream::Copy => a.copy_from_slice(black_box(b)),
                    Stream::Triad => (kernels.triad)(a, black_box(b), c, 0.5),
                }
                black_box(a.first());
            }
        };
        let arrays = &mut self.arrays;
        Ok(match arrays.as_mut_slice() {
            [one] => timed(iterations, 1, || run(one)),
            several => timed(iterations, threads, || {
                self.pool.in_place_scope(|scope| {
                    for own in several {
                        scope.spawn(|_| run(own));
                    }
                });
            }),
        })
    }
}
