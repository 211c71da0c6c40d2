//! The host's CPU: bandwidth by level of cache and number of threads, matrix products, quantised rows as llama.cpp
//! multiplies them, and what sharing work out costs.

mod attention;
mod clock;
mod kernels;
mod library;
mod memory;
mod product;
mod suite;

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::hint::black_box;

use self::attention::{Attention, Heads};
use self::clock::timed;
use self::kernels::{Kernels, kernels};
use self::memory::Memory;
use super::{Backend, Benchmark, DeviceFacts, Prepared, ProbeError, Sample, Work};
use crate::machine::Cpu;

/// Catalog id under which the host's CPU is calibrated; `--gpu local:cpu` finds it.
pub const LOCAL_CPU: &str = "local-cpu";
/// Engine of its samples: kernels that stand in for those of llama.cpp.
pub const ENGINE: &str = "measured-cpu";
/// Kernel of its attention samples. Forms of GPU kernels do not hold it: its rates stand in the calibration as figures.
pub const CPU_ATTENTION: &str = "rows and softmax";

/// The host's CPU as a backend.
pub struct CpuBackend {
    facts: DeviceFacts,
    threads: usize,
    pool: ThreadPool,
    kernels: Kernels,
    memory: Memory,
}

impl CpuBackend {
    /// The CPU with so many threads; all that this process may use when none is given.
    ///
    /// # Errors
    /// When the threads cannot be started, or more are asked for than there are.
    pub fn open(threads: Option<usize>) -> Result<Self, ProbeError> {
        let cpu = Cpu::read();
        let threads = threads.unwrap_or(cpu.usable_threads).max(1);
        let no_device = |reason: String, fix: &str| ProbeError::NoDevice {
            device: "cpu".into(),
            reason,
            fix: fix.into(),
        };
        if threads > cpu.usable_threads {
            return Err(no_device(
                format!("{threads} threads asked for where this process may use {}", cpu.usable_threads),
                "give a smaller --threads",
            ));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            no_device(format!("its threads cannot be started: {e}"), "raise the limit on processes")
        })?;
        let kernels = kernels();
        let cache = cpu.caches.iter().max_by_key(|c| c.level).map_or(32 << 20, |c| c.bytes * c.count as u64);
        Ok(Self {
            facts: facts(&cpu, threads, cache, kernels.name),
            threads,
            pool,
            kernels,
            memory: Memory::new(cache, cpu.available_memory_bytes),
        })
    }
}

/// Attention of so many requests, queries, keys, heads, KV heads and width; none for sizes that the loops do not take.
fn attention<'a>(
    sizes: [u64; 6],
    memory: &'a mut Memory,
    pool: &'a ThreadPool,
    (kernels, threads): (Kernels, usize),
) -> Option<Box<dyn Prepared + 'a>> {
    let mut numbers = [0; 6];
    for (number, size) in numbers.iter_mut().zip(sizes) {
        *number = usize::try_from(size).ok()?;
    }
    let [batch, queries, keys, heads, kv_heads, width] = numbers;
    let shape = Heads { batch, queries, keys, heads, kv_heads, width }.fit()?;
    memory.fill("float16", 2 * shape.cache())?;
    Some(Box::new(Attention::new(&memory.halves, pool, kernels, shape, threads)))
}

fn facts(cpu: &Cpu, threads: usize, cache: u64, kernels: &str) -> DeviceFacts {
    let mut notes = vec![format!("row products: {kernels}")];
    if !cpu.simd.is_empty() {
        notes.push(format!("instructions: {}", cpu.simd.join(" ")));
    }
    if cfg!(debug_assertions) {
        notes.push("measured by an unoptimised build: times mean nothing".into());
    }
    DeviceFacts {
        gpu: LOCAL_CPU.into(),
        name: cpu.model.clone(),
        system: Some(format!("{} {}", std::env::consts::OS, cpu.architecture)),
        libraries: BTreeMap::from([("gemm".to_owned(), "0.19".to_owned())]),
        multiprocessors: Some(threads as f64),
        threads: Some(threads),
        memory_bytes: Some(cpu.memory_bytes as f64),
        cache_bytes: Some(cache as f64),
        notes,
        ..DeviceFacts::default()
    }
}

impl Backend for CpuBackend {
    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn benchmarks(&self, quick: bool) -> Vec<Benchmark> {
        suite::benchmarks(self.threads, self.memory.beyond_cache(), quick)
    }

    fn prepare<'a>(&'a mut self, benchmark: &Benchmark) -> Result<Box<dyn Prepared + 'a>, ProbeError> {
        let unsupported =
            |reason: &str| ProbeError::Unsupported { benchmark: benchmark.label(), reason: reason.into() };
        let (pool, kernels, threads) = (&self.pool, self.kernels, self.threads);
        Ok(match benchmark.work {
            Work::Launch { .. } => Box::new(ForkJoin { pool, threads }),
            Work::Stream { kind, bytes, threads } if threads <= self.threads => {
                Box::new(memory::Streaming::new(&self.pool, kernels, kind, bytes, threads))
            }
            Work::Gemm { m, n, k, dtype, .. } => {
                let shape = product::shape([m, n, k], threads)
                    .ok_or_else(|| unsupported("sizes must divide by 64"))?;
                self.memory
                    .fill(dtype, shape.n * shape.k)
                    .ok_or_else(|| unsupported("no such data type on a CPU here"))?;
                Box::new(product::Product::new(&self.memory, pool, kernels, dtype, shape))
            }
            Work::DecodeAttention { batch, context, heads, kv_heads, head_dim, .. } => {
                let shape = [batch, 1, context, heads, kv_heads, head_dim];
                attention(shape, &mut self.memory, pool, (kernels, threads))
                    .ok_or_else(|| unsupported("sizes must divide by 64"))?
            }
            Work::PrefillAttention { batch, tokens, heads, kv_heads, head_dim, .. } => {
                let shape = [batch, tokens, tokens, heads, kv_heads, head_dim];
                attention(shape, &mut self.memory, pool, (kernels, threads))
                    .ok_or_else(|| unsupported("sizes must divide by 64"))?
            }
            _ => return Err(unsupported("not on a CPU")),
        })
    }
}

/// Work shared out to all threads and waited for, with nothing to do.
struct ForkJoin<'a> {
    pool: &'a ThreadPool,
    threads: usize,
}

impl Prepared for ForkJoin<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        let pool = self.pool;
        Ok(timed(iterations, self.threads, || {
            for i in 0..iterations {
                pool.broadcast(|context| black_box(context.index() as u64 + i));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::probe::Stream;

    #[test]
    fn every_kind_of_benchmark_runs() {
        let mut backend = CpuBackend::open(Some(1)).unwrap();
        let gemm = |m, dtype| Work::Gemm { m, n: 128, k: 128, dtype, kernel: "x" };
        let (heads, kv_heads, head_dim, kernel) = (4, 2, 64, "x");
        let dtype = "float16";
        let decode = |context| Work::DecodeAttention {
            batch: 1,
            context,
            heads,
            kv_heads,
            head_dim,
            kv_dtype: dtype,
            kernel,
        };
        let prefill =
            |tokens| Work::PrefillAttention { batch: 1, tokens, heads, kv_heads, head_dim, dtype, kernel };
        let all = [
            Work::Launch { graph: false },
            Work::Stream { kind: Stream::Read, bytes: 1 << 16, threads: 1 },
            Work::Stream { kind: Stream::Copy, bytes: 1 << 16, threads: 1 },
            Work::Stream { kind: Stream::Triad, bytes: 3 << 14, threads: 1 },
            gemm(1, "fp32"),
            gemm(1, "float16"),
            gemm(8, "float16"),
            gemm(1, "q8_0"),
            gemm(8, "q8_0"),
            decode(128),
            prefill(64),
        ];
        for work in all {
            let benchmark = Benchmark::from(work);
            let sample = backend.prepare(&benchmark).unwrap().sample(3).unwrap();
            assert!(sample.seconds > 0.0 && sample.iterations == 3, "{}", benchmark.label());
        }
        let odd = Benchmark::from(Work::Gemm { m: 1, n: 100, k: 100, dtype: "float16", kernel: "x" });
        assert!(backend.prepare(&odd).is_err_and(|e| e.skips()));
        assert!(CpuBackend::open(Some(100_000)).is_err_and(|e| e.no_device()));
    }
}
