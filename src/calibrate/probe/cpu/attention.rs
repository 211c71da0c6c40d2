//! Attention as llama.cpp computes it on a CPU without its flash kernel: scores of all keys in f16, a softmax in f32, the
//! weighted values in f16 from a cache that holds values by dimension. Prefill computes the keys that a causal mask hides,
//! too: it masks scores.

use rayon::ThreadPool;
use std::hint::black_box;

use super::clock::timed;
use super::kernels::Kernels;
use super::product::tiles;
use crate::calibrate::probe::{Prepared, ProbeError, Sample};

/// Sizes of one layer's attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Requests.
    pub batch: usize,
    /// Query tokens of each.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// KV heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
}

impl Heads {
    /// Sizes that the loops take.
    pub fn fit(self) -> Option<Self> {
        let whole = self.width.is_multiple_of(64)
            && self.keys.is_multiple_of(64)
            && (self.queries == 1 || self.queries.is_multiple_of(4))
            && self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads);
        (whole && self.batch * self.queries * self.keys * self.heads > 0).then_some(self)
    }

    /// f16 values of keys, or of values, of all requests.
    pub fn cache(&self) -> usize {
        self.batch * self.kv_heads * self.keys * self.width
    }
}

/// One layer's attention over caches that are gone through in turn.
pub(super) struct Attention<'a> {
    pool: &'a ThreadPool,
    kernels: Kernels,
    shape: Heads,
    threads: usize,
    /// The pool of caches.
    halves: &'a [u16],
    /// Queries of one head.
    queries: Vec<u16>,
    /// What a thread computes in.
    scratch: Vec<Scratch>,
    turn: usize,
}

/// Scores of one head, the same in f16, and its result.
#[derive(Clone)]
struct Scratch {
    scores: Vec<f32>,
    weights: Vec<u16>,
    out: Vec<f32>,
}

impl<'a> Attention<'a> {
    pub fn new(
        halves: &'a [u16],
        pool: &'a ThreadPool,
        kernels: Kernels,
        shape: Heads,
        threads: usize,
    ) -> Self {
        let queries = halves.iter().rev().copied().take(shape.queries * shape.width).collect();
        let scores = shape.queries * shape.keys;
        let scratch = Scratch {
            scores: vec![0.0; scores],
            weights: vec![0; scores],
            out: vec![0.0; shape.queries * shape.width],
        };
        Self { pool, kernels, shape, threads, halves, queries, scratch: vec![scratch; threads], turn: 0 }
    }

    fn run(&mut self) {
        let Heads { batch, heads, kv_heads, .. } = self.shape;
        let size = 2 * self.shape.cache();
        let start = self.turn % (self.halves.len() / size).max(1) * size;
        self.turn += 1;
        let (keys, values) = black_box(&self.halves[start..start + size]).split_at(size / 2);
        let one = size / 2 / (batch * kv_heads);
        let (kernels, shape, queries) = (self.kernels, self.shape, &self.queries);
        let head = |i: usize, scratch: &mut Scratch| {
            // query heads of one KV head follow each other
            let cache = i / heads * kv_heads + i % heads / (heads / kv_heads);
            let place = cache * one..(cache + 1) * one;
            black_box(scratch.head(kernels, shape, queries, &keys[place.clone()], &values[place]));
        };
        let (all, threads) = (batch * heads, self.threads);
        if let [scratch] = self.scratch.as_mut_slice() {
            (0..all).for_each(|i| head(i, scratch));
            return;
        }
        let (head, scratch) = (&head, &mut self.scratch);
        self.pool.in_place_scope(|scope| {
            for (thread, scratch) in scratch.iter_mut().enumerate() {
                let part = thread * all / threads..(thread + 1) * all / threads;
                scope.spawn(move |_| part.for_each(|i| head(i, scratch)));
            }
        });
    }
}

impl Scratch {
    /// One head of one request; a sum of its results.
    fn head(&mut self, kernels: Kernels, shape: Heads, queries: &[u16], keys: &[u16], values: &[u16]) -> f32 {
        let Self { scores, weights, out } = self;
        let Heads { keys: length, width, .. } = shape;
        let scale = (width as f32).sqrt().recip();
        if shape.queries == 1 {
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
                *score = (kernels.dot_half)(key, queries);
            }
        } else {
            tiles(queries, keys, width, usize::MAX, scores, kernels.tile_half);
        }
        let mut sums = 0.0;
        for scores in scores.chunks_exact_mut(length) {
            sums += (kernels.softmax)(scores, scale);
        }
        (kernels.narrow)(scores, weights);
        if shape.queries == 1 {
            for (out, value) in out.iter_mut().zip(values.chunks_exact(length)) {
                *out = (kernels.dot_half)(value, weights);
            }
        } else {
            tiles(weights, values, length, usize::MAX, out, kernels.tile_half);
        }
        out.iter().sum::<f32>() / sums
    }
}

impl Prepared for Attention<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        Ok(timed(iterations, self.threads, || {
            for _ in 0..iterations {
                self.run();
            }
        }))
    }
}
