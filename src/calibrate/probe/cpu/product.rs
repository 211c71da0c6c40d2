//! Matrix products: by the crate `gemm` where it has the format, row by row as llama.cpp does for one token, and in
//! tiles of four rows and two columns for Q8_0.

use rayon::ThreadPool;
use std::hint::black_box;

use super::clock::timed;
use super::kernels::{Block, Kernels, Shape, multiply_floats, multiply_halves};
use super::memory::Memory;
use crate::calibrate::probe::{Prepared, ProbeError, Sample};

/// Sizes that the loops take: whole chunks of 64 along K, four rows, an even number of columns or one.
pub(super) fn shape([m, n, k]: [u64; 3], threads: usize) -> Option<Shape> {
    let fits =
        k.is_multiple_of(64) && n.is_multiple_of(4) && (m == 1 || m.is_multiple_of(2)) && m * n * k > 0;
    let size = |x: u64| usize::try_from(x).ok();
    fits.then_some(Shape { m: size(m)?, n: size(n)?, k: size(k)?, threads })
}

/// Weights in their format, all of the pool.
enum Weights<'a> {
    Floats(&'a [f32], Vec<f32>, Vec<f32>),
    Halves(&'a [u16], Vec<u16>, Vec<u16>),
    Blocks(&'a [Block], Vec<Block>),
}

/// A product with activations at hand and weights that are gone through in turn.
pub(super) struct Product<'a> {
    pool: &'a ThreadPool,
    kernels: Kernels,
    shape: Shape,
    weights: Weights<'a>,
    turn: usize,
}

impl<'a> Product<'a> {
    pub fn new(
        memory: &'a Memory,
        pool: &'a ThreadPool,
        kernels: Kernels,
        dtype: &str,
        shape: Shape,
    ) -> Self {
        let (inputs, outputs) = (shape.m * shape.k, shape.m * shape.n);
        let weights = match dtype {
            "float32" => Weights::Floats(&memory.floats, repeat(&memory.floats, inputs), vec![0.0; outputs]),
            "float16" => Weights::Halves(&memory.halves, repeat(&memory.halves, inputs), vec![0; outputs]),
            _ => Weights::Blocks(&memory.blocks, repeat(&memory.blocks, inputs / 32)),
        };
        Self { pool, kernels, shape, weights, turn: 0 }
    }

    /// One product with the weights of this turn.
    fn run(&mut self) {
        let (shape, kernels, turn) = (self.shape, self.kernels, self.turn);
        let size = shape.n * shape.k;
        self.turn += 1;
        match &mut self.weights {
            Weights::Floats(all, activations, out) => {
                multiply_floats(shape, activations, slot(all, size, turn), out);
                black_box(out.first());
            }
            Weights::Halves(all, activations, _) if shape.m == 1 => {
                let dot = |row: &[u16]| (kernels.dot_half)(row, activations);
                rows(self.pool, shape, slot(all, size, turn), shape.k, dot);
            }
            Weights::Halves(all, activations, out) => {
                multiply_halves(shape, activations, slot(all, size, turn), out);
                black_box(out.first());
            }
            Weights::Blocks(all, activations) if shape.m == 1 => {
                let dot = |row: &[Block]| (kernels.dot_blocks)(row, activations);
                rows(self.pool, shape, slot(all, size / 32, turn), shape.k / 32, dot);
            }
            Weights::Blocks(all, activations) => {
                let blocks = shape.k / 32;
                let four = |four: &[Block]| {
                    let mut out = [[0.0; 2]; 4];
                    let mut sum = 0.0;
                    for two in activations.chunks_exact(2 * blocks) {
                        (kernels.tile)(four, two, blocks, &mut out);
                        sum += out[0][0];
                    }
                    sum
                };
                rows(self.pool, shape, slot(all, size / 32, turn), 4 * blocks, four);
            }
        }
    }
}

/// The weights of a turn: one matrix after another until the pool ends.
fn slot<T>(all: &[T], size: usize, turn: usize) -> &[T] {
    let places = (all.len() / size).max(1);
    let start = turn % places * size;
    black_box(all.get(start..start + size).unwrap_or(all))
}

/// Goes through rows of `length`, each by `dot`, in even parts on all threads.
fn rows<T: Sync>(
    pool: &ThreadPool,
    shape: Shape,
    all: &[T],
    length: usize,
    dot: impl Fn(&[T]) -> f32 + Sync,
) {
    let part = |rows: &[T]| black_box(rows.chunks_exact(length).map(&dot).sum::<f32>());
    if shape.threads <= 1 {
        part(all);
        return;
    }
    let each = (all.len() / length).div_ceil(shape.threads) * length;
    pool.broadcast(|context| {
        let start = (context.index() * each).min(all.len());
        let end = (start + each).min(all.len());
        part(all.get(start..end).unwrap_or_default())
    });
}

fn repeat<T: Copy>(values: &[T], length: usize) -> Vec<T> {
    values.iter().copied().cycle().take(length).collect()
}

impl Prepared for Product<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        let (pool, threads) = (self.pool, self.shape.threads);
        Ok(timed(iterations, threads, || {
            for _ in 0..iterations {
                if threads > 1 { pool.install(|| self.run()) } else { self.run() }
            }
        }))
    }
}
