//! What is measured on a GPU: the list of benchmarks.

use super::GemmType;
use super::part::Means;
use crate::calibrate::probe::{Benchmark, KV_READ, Stream, Work};

/// Rows of the matrix products: tokens of a decode or prefill step, evenly over the logarithm.
const ROWS: [u64; 14] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// Widths (N, K) of linear layers: projections of attention and feed-forward of models from 1 to 120 billion
/// parameters, whole and split over ranks, and vocabularies. All of them, with all of [`ROWS`], are in the operator tables
/// from which the embedded calibrations are fitted, so that a card can be compared with those shape by shape.
const WIDTHS: [(u64, u64); 21] = [
    (4096, 4096),
    (6144, 4096),
    (1024, 4096),
    (12288, 4096),
    (4096, 12288),
    (8192, 8192),
    (10240, 8192),
    (1024, 8192),
    (8192, 1024),
    (3072, 3072),
    (2048, 2048),
    (5120, 5120),
    (7168, 2048),
    (2048, 7168),
    (16384, 5120),
    (5120, 16384),
    (1536, 7168),
    (512, 5120),
    (65536, 4096),
    (65536, 7168),
    (256, 2560),
];

/// Requests and cached tokens of the KV cache reads.
const CACHES: [(u64, u64); 14] = [
    (1, 1024),
    (1, 8192),
    (1, 32768),
    (4, 1024),
    (4, 4096),
    (4, 16384),
    (16, 1024),
    (16, 4096),
    (16, 16384),
    (32, 2048),
    (32, 8192),
    (64, 1024),
    (64, 4096),
    (64, 8192),
];

/// M, N and K of a number of products: for every number of rows `each` widths, next to one another in turn, so
/// that the widths are spread evenly over the rows.
fn products(each: usize) -> impl Iterator<Item = (u64, u64, u64)> {
    ROWS.into_iter().enumerate().flat_map(move |(i, m)| {
        (0..each).map(move |j| {
            // 8 has no factor in common with 21
            let (n, k) = WIDTHS[(i * each + j) * 8 % WIDTHS.len()];
            (m, n, k)
        })
    })
}

/// Everything that can be measured with these means; a quick suite has about a third of it.
pub(super) fn benchmarks(means: &Means, quick: bool) -> Vec<Benchmark> {
    let mut works = vec![Work::Launch { graph: false }, Work::Launch { graph: true }];
    // 1 MiB to 4 GiB
    for power in (20..=32).step_by(if quick { 4 } else { 1 }) {
        for kind in [Stream::Read, Stream::Copy, Stream::Triad] {
            works.push(Work::Stream { kind, bytes: 1 << power, threads: 0 });
        }
    }
    for format in GemmType::ALL {
        if super::Part::Gemm(format).obstacle(means).is_some() {
            continue;
        }
        let dtype = format.name(means.capability);
        for (m, n, k) in products(share(format, means.capability, quick)) {
            works.push(Work::Gemm { m, n, k, dtype, kernel: "cublaslt" });
        }
    }
    for dtype in ["int4_wo", "int8_wo", "fp8_wo"] {
        // of one row: what more rows take depends on an engine's own kernels, and a fit takes it from elsewhere
        for (n, k) in WIDTHS.into_iter().step_by(if quick { 3 } else { 1 }) {
            works.push(Work::Gemm { m: 1, n, k, dtype, kernel: "foretoken" });
        }
    }
    for kv_dtype in ["bfloat16", "fp8"] {
        for (batch, context) in CACHES.into_iter().step_by(if quick { 3 } else { 1 }) {
            works.push(Work::DecodeAttention {
                batch,
                context,
                heads: 32,
                kv_heads: 8,
                head_dim: 128,
                kv_dtype,
                kernel: KV_READ,
            });
        }
    }
    if super::Part::Sustained.obstacle(means).is_none() {
        let dtype = if means.capability < 80 { "float16" } else { "bfloat16" };
        works.push(Work::Sustained { size: 8192, dtype, seconds: if quick { 3 } else { 10 } });
        // what memory draws, beside what arithmetic does
        works.push(Work::SustainedRead { bytes: 1 << 32, seconds: if quick { 2 } else { 4 } });
    }
    if super::Part::Collectives.obstacle(means).is_none() {
        for op in ["all_reduce", "all_gather", "all_to_all"] {
            // 1 KiB to 256 MiB of 16-bit elements
            for power in (9..=27).step_by(if quick { 6 } else { 2 }) {
                works.push(Work::Collective { op, gpus: means.gpus as u64, elements: 1 << power });
            }
        }
    }
    works.into_iter().map(Benchmark::from).collect()
}

/// Shapes for each number of rows: 10 (140 in all) where a fit with its grid of residuals will use them, 5 for int8, a
/// few for types that are measured to be compared.
fn share(format: GemmType, capability: u32, quick: bool) -> usize {
    let full = match format {
        GemmType::Bf16 | GemmType::Fp8 | GemmType::Nvfp4 => 10,
        GemmType::Fp16 if capability < 80 => 10,
        GemmType::Int8 => 5,
        GemmType::Fp16 | GemmType::Tf32 => 1,
    };
    if quick { usize::div_ceil(full, 3) } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::probe::Class;
    use std::collections::BTreeSet;

    fn h200() -> Means {
        Means { capability: 90, gpus: 1, cublaslt: Some(130_100), nccl: true }
    }

    fn gemms(all: &[Benchmark], wanted: &str) -> Vec<(u64, u64, u64)> {
        let of = |b: &Benchmark| match b.work {
            Work::Gemm { m, n, k, dtype, .. } if dtype == wanted => Some((m, n, k)),
            _ => None,
        };
        all.iter().filter_map(of).collect()
    }

    #[test]
    fn shapes_are_many_different_and_spread() {
        let all = benchmarks(&h200(), false);
        let bf16 = gemms(&all, "bfloat16");
        assert_eq!(bf16.len(), 140);
        assert_eq!(bf16.iter().collect::<BTreeSet<_>>().len(), 140);
        let widths: BTreeSet<(u64, u64)> = bf16.iter().map(|(_, n, k)| (*n, *k)).collect();
        assert_eq!(widths.len(), WIDTHS.len(), "every width occurs");
        for m in ROWS {
            assert_eq!(bf16.iter().filter(|s| s.0 == m).count(), 10);
        }
        assert!(gemms(&all, "nvfp4").is_empty(), "Hopper has no fp4");
        assert!(!all.iter().any(|b| b.class() == Class::Collective), "one GPU has nobody to talk to");
        // every shape is one that cuBLASLt does in fp8: widths are multiples of 16
        assert!(WIDTHS.iter().all(|(n, k)| n % 16 == 0 && k % 32 == 0));
        assert!(WIDTHS.iter().all(|(_, k)| k % 128 == 0), "and that the kernels of one row do");
    }

    /// The tables hold every shape, so that a card and a table can be laid side by side.
    #[test]
    fn shapes_are_those_of_the_operator_tables() {
        let text = include_str!("../../../tests/fixtures/ops/h200_sxm__vllm-0.24.0__suite.csv");
        let mut table = BTreeSet::new();
        for line in text.lines().filter(|l| l.starts_with("gemm,")) {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |i: usize| cells[i].parse::<u64>().unwrap();
            table.insert((cells[4], number(1), number(2), number(3)));
        }
        let all = benchmarks(&h200(), false);
        for dtype in ["bfloat16", "fp8"] {
            for (m, n, k) in gemms(&all, dtype) {
                assert!(table.contains(&(dtype, m, n, k)), "{dtype} {m} {n} {k}");
            }
        }
    }

    #[test]
    fn a_quick_suite_is_about_a_third() {
        let (full, quick) = (benchmarks(&h200(), false).len(), benchmarks(&h200(), true).len());
        assert!(quick * 2 < full && quick * 4 > full, "{quick} of {full}");
        let turing = Means { capability: 75, gpus: 2, cublaslt: None, nccl: false };
        assert!(benchmarks(&turing, false).iter().all(|b| b.class() != Class::Gemm));
    }
}
