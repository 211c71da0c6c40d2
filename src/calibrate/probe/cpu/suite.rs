//! What is measured on a CPU.

use super::CPU_ATTENTION;
use crate::calibrate::probe::{Benchmark, Stream, Work};

/// Output and input widths of layers, from small models to 8B, for the whole suite; the first four for the short one.
const LAYERS: [[u64; 2]; 9] = [
    [2048, 768],
    [1024, 1024],
    [2048, 2048],
    [4096, 4096],
    [768, 2048],
    [5632, 2048],
    [2048, 5632],
    [512, 4096],
    [32000, 1024],
];
/// Rows.
const ROWS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Most operations of one product and thread, so that ten samples take a second.
const MOST_OPERATIONS: f64 = 4e9;
/// Bytes that a thread reads to find the levels of cache.
const LEVELS: [u64; 5] = [16 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// All benchmarks for so many threads; `beyond_cache` bytes are in no cache.
pub(super) fn benchmarks(threads: usize, beyond_cache: u64, quick: bool) -> Vec<Benchmark> {
    let mut all = vec![];
    let mut counts: Vec<usize> = (0..).map(|i| 1 << i).take_while(|n| *n < threads).collect();
    counts.push(threads);
    for n in counts {
        let levels = LEVELS.iter().map(|bytes| bytes * n as u64);
        let bytes = levels.filter(|b| *b < beyond_cache / 2 && !quick).chain([beyond_cache]);
        all.extend(bytes.map(|bytes| Work::Stream { kind: Stream::Read, bytes, threads: n }));
    }
    for kind in [Stream::Copy, Stream::Triad] {
        let levels = LEVELS.iter().map(|bytes| bytes * threads as u64);
        let bytes = levels.filter(|b| *b < beyond_cache / 2 && !quick).chain([beyond_cache]);
        all.extend(bytes.map(|bytes| Work::Stream { kind, bytes, threads }));
    }
    if threads > 1 {
        all.push(Work::Launch { graph: false });
    }
    let layers = if quick { LAYERS.get(..4).unwrap_or_default() } else { &LAYERS };
    for (i, [n, k]) in layers.iter().enumerate() {
        for (j, m) in ROWS.into_iter().enumerate() {
            // every layer with one row, and with every other number of rows in turn
            if m > 1 && j % 2 != i % 2 {
                continue;
            }
            let most = MOST_OPERATIONS * threads as f64 / if quick { 4.0 } else { 1.0 };
            if 2.0 * (m * n * k) as f64 > most {
                continue;
            }
            for dtype in ["float16", "q8_0"] {
                let kernel = if m == 1 { "row products" } else { "tiles" };
                all.push(Work::Gemm { m, n: *n, k: *k, dtype, kernel });
            }
        }
    }
    // a name that no fit reads: they are measured for the best of them alone
    for (m, n, k) in [(64, 1024, 1024), (256, 2048, 768), (512, 1024, 1024)] {
        all.push(Work::Gemm { m, n, k, dtype: "fp32", kernel: "gemm" });
    }
    let (dtype, kernel) = ("float16", CPU_ATTENTION);
    for (heads, kv_heads, head_dim) in [(16, 8, 64), (32, 8, 64), (32, 8, 128)] {
        for context in [512, 2048, 8192].into_iter().step_by(if quick { 2 } else { 1 }) {
            let kv_dtype = dtype;
            all.push(Work::DecodeAttention {
                batch: 1,
                context,
                heads,
                kv_heads,
                head_dim,
                kv_dtype,
                kernel,
            });
        }
        for tokens in [128, 512, 1024].into_iter().take(if quick { 2 } else { 3 }) {
            all.push(Work::PrefillAttention { batch: 1, tokens, heads, kv_heads, head_dim, dtype, kernel });
        }
    }
    all.into_iter().map(Benchmark::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_enough_shapes_for_a_fit() {
        for (threads, quick) in [(1, true), (1, false), (8, false)] {
            let all = benchmarks(threads, 128 << 20, quick);
            for wanted in ["float16", "q8_0"] {
                let gemm = |b: &&Benchmark| matches!(b.work, Work::Gemm { dtype, .. } if dtype == wanted);
                let n = all.iter().filter(gemm).count();
                assert!((14..=128).contains(&n), "{threads} {quick} {n}");
            }
        }
    }
}
