//! Matrix products as llama.cpp makes them: row by row for one token, in tiles for several, activations brought into the
//! weights' format before each. f32 by the crate `gemm`.

use rayon::ThreadPool;
use std::hint::black_box;

use super::clock::timed;
use super::kernels::{Block, Kernels, Tile};
use super::library::multiply_floats;
use super::memory::Memory;
use crate::calibrate::probe::{Prepared, ProbeError, Sample};

/// A product of M × K activations by N rows of K weights, all in rows one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub threads: usize,
}

/// Sizes that the loops take: whole chunks of 64 along K, four rows, an even number of columns or one.
pub(super) fn shape([m, n, k]: [u64; 3], threads: usize) -> Option<Shape> {
    let fits =
        k.is_multiple_of(64) && n.is_multiple_of(4) && (m == 1 || m.is_multiple_of(2)) && m * n * k > 0;
    let size = |x: u64| usize::try_from(x).ok();
    fits.then_some(Shape { m: size(m)?, n: size(n)?, k: size(k)?, threads })
}

/// Columns of f16 that rows are multiplied with before the next ones, so that they stay in the second-level cache.
/// tinyBLAS takes 72.
const COLUMNS: usize = 64;

/// Weights in their format, all of the pool, and the activations in it.
enum Weights<'a> {
    Floats(&'a [f32]),
    Halves(&'a [u16], Vec<u16>),
    Blocks(&'a [Block], Vec<Block>),
}

/// A product with activations at hand and weights that are gone through in turn.
pub(super) struct Product<'a> {
    pool: &'a ThreadPool,
    kernels: Kernels,
    shape: Shape,
    weights: Weights<'a>,
    /// As the layer before leaves them.
    activations: Vec<f32>,
    out: Vec<f32>,
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
            "fp32" => Weights::Floats(&memory.floats),
            "float16" => Weights::Halves(&memory.halves, vec![0; inputs]),
            _ => Weights::Blocks(&memory.blocks, vec![Block { scale: 0, values: [0; 32] }; inputs / 32]),
        };
        let mut random = fastrand::Rng::with_seed(5);
        let activations = (0..inputs).map(|_| random.f32() - 0.5).collect();
        Self { pool, kernels, shape, weights, activations, out: vec![0.0; outputs], turn: 0 }
    }

    /// One product with the weights of this turn.
    fn run(&mut self) {
        let Self { pool, kernels, shape, weights, activations, out, turn } = self;
        let (kernels, shape) = (*kernels, *shape);
        let size = shape.n * shape.k;
        *turn += 1;
        match weights {
            Weights::Floats(all) => {
                multiply_floats(shape, activations, slot(all, size, *turn), out);
            }
            Weights::Halves(all, narrow) => {
                (kernels.narrow)(activations, narrow);
                let weights = slot(all, size, *turn);
                shared(pool, shape.threads, weights, shape.k, out, shape.m, |rows, out| {
                    if shape.m == 1 {
                        products(rows, narrow, out, kernels.dot_half);
                    } else {
                        tiles(rows, narrow, shape.k, COLUMNS, out, kernels.tile_half);
                    }
                });
            }
            Weights::Blocks(all, quantised) => {
                (kernels.quantise)(activations, quantised);
                let (weights, length) = (slot(all, size / 32, *turn), shape.k / 32);
                shared(pool, shape.threads, weights, length, out, shape.m, |rows, out| {
                    if shape.m == 1 {
                        products(rows, quantised, out, kernels.dot_blocks);
                    } else {
                        tiles(rows, quantised, length, usize::MAX, out, kernels.tile_blocks);
                    }
                });
            }
        }
        black_box(out.first());
    }
}

/// The weights of a turn: one matrix after another until the pool ends.
fn slot<T>(all: &[T], size: usize, turn: usize) -> &[T] {
    let places = (all.len() / size).max(1);
    let start = turn % places * size;
    black_box(all.get(start..start + size).unwrap_or(all))
}

/// Shares rows of `length` and their `outputs` each out to the threads in even parts of whole tiles.
fn shared<T: Sync>(
    pool: &ThreadPool,
    threads: usize,
    rows: &[T],
    length: usize,
    out: &mut [f32],
    outputs: usize,
    part: impl Fn(&[T], &mut [f32]) + Sync,
) {
    if threads <= 1 {
        part(rows, out);
        return;
    }
    let each = (rows.len() / length).div_ceil(threads).next_multiple_of(4);
    let part = &part;
    pool.in_place_scope(|scope| {
        for (rows, out) in rows.chunks(each * length).zip(out.chunks_mut(each * outputs)) {
            scope.spawn(move |_| part(rows, out));
        }
    });
}

/// Every row with the one column.
fn products<T>(rows: &[T], column: &[T], out: &mut [f32], dot: fn(&[T], &[T]) -> f32) {
    for (row, out) in rows.chunks_exact(column.len()).zip(out) {
        *out = dot(row, column);
    }
}

/// Every row with every column in tiles of four by four (by two at the end), so many columns at a time; a row's products
/// lie side by side.
pub(super) fn tiles<T>(
    rows: &[T],
    columns: &[T],
    length: usize,
    at_a_time: usize,
    out: &mut [f32],
    tile: fn(&[T], &[T], usize, &mut Tile),
) {
    let width = columns.len() / length;
    let part = at_a_time.min(width);
    for start in (0..width).step_by(part.max(1)) {
        let end = (start + part).min(width);
        for (four, out) in rows.chunks_exact(4 * length).zip(out.chunks_exact_mut(4 * width)) {
            for at in (start..end).step_by(4) {
                let last = (at + 4).min(end);
                let mut found = Tile::default();
                tile(four, &columns[at * length..last * length], length, &mut found);
                for (row, out) in found.iter().zip(out.chunks_exact_mut(width)) {
                    out[at..last].copy_from_slice(&row[..last - at]);
                }
            }
        }
    }
}

impl Prepared for Product<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        Ok(timed(iterations, self.shape.threads, || {
            for _ in 0..iterations {
                self.run();
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::kernels;
    use super::*;

    #[test]
    fn tiles_cover_every_product() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut halves = |n: usize| -> Vec<u16> { (0..n).map(|_| random.u16(0x2c00..0x3800)).collect() };
        let (rows, columns) = (halves(8 * 64), halves(70 * 64));
        let kernels = kernels();
        let mut out = vec![0.0; 8 * 70];
        tiles(&rows, &columns, 64, COLUMNS, &mut out, kernels.tile_half);
        for (r, row) in rows.chunks_exact(64).enumerate() {
            for (c, column) in columns.chunks_exact(64).enumerate() {
                let wanted = (kernels.dot_half)(row, column);
                assert!((out[r * 70 + c] / wanted - 1.0).abs() < 1e-3, "{r} {c}");
            }
        }
    }
}
