//! Matrix products by cuBLASLt, and quantised weights times one row by our own kernels.

use super::{Cuda, narrow};
use crate::calibrate::cuda::cublaslt::{Operands, Scales, WORKSPACE};
use crate::calibrate::cuda::device::{Argument, Device};
use crate::calibrate::cuda::memory::Fill;
use crate::calibrate::cuda::replay::{Enqueue, Replay};
use crate::calibrate::cuda::{CudaError, GemmType};
use crate::calibrate::probe::{Benchmark, Prepared};

impl Cuda {
    /// Weights differ from iteration to iteration, as from layer to layer; activations and result stay where they
    /// are, as the cache holds what the layer before just wrote.
    #[allow(unsafe_code, reason = "kernels are launched")]
    pub(super) fn gemm<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        format: GemmType,
        (m, n, k): (u64, u64, u64),
        least: u64,
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        let (kind, bits) = match format {
            GemmType::Bf16 => (Fill::Bf16, 16),
            GemmType::Fp16 => (Fill::Fp16, 16),
            GemmType::Tf32 => (Fill::Fp32, 32),
            GemmType::Fp8 => (Fill::Fp8, 8),
            GemmType::Int8 => (Fill::Int8, 8),
            GemmType::Nvfp4 => (Fill::Bits, 4),
        };
        let out = if matches!(format, GemmType::Tf32 | GemmType::Int8) { 4 } else { 2 };
        let workspace = self.arena.take(WORKSPACE, "cuBLASLt's workspace")?;
        let input = self.filled(m * k * bits / 8, kind, "the activations")?;
        let output = self.arena.take(m * n * out, "the result")?;
        let scales = match format {
            GemmType::Fp8 => Scales::Given {
                a: self.filled(4, Fill::Ones, "a scale")?,
                b: self.filled(4, Fill::Ones, "a scale")?,
            },
            // a scale every 16 elements, in tiles of 128 rows by 4 (cuBLAS library, "1D block scaling factors layout")
            GemmType::Nvfp4 => {
                let count = |rows: u64| rows.next_multiple_of(128) * (k / 16).next_multiple_of(4);
                Scales::Given {
                    a: self.filled(count(n), Fill::OnesFp8, "the weights' scales")?,
                    b: self.filled(count(m), Fill::OnesFp8, "the activations' scales")?,
                }
            }
            _ => Scales::None,
        };
        let each = (n * k * bits / 8).next_multiple_of(256);
        let sets = self.sets(each);
        let weights = self.filled(each * sets, kind, "the weights")?;
        let Self { device, monitor, flush, cublaslt, chosen, .. } = self;
        let (device, flush) = (&*device, *flush);
        let library = cublaslt.as_ref().ok_or_else(|| CudaError::unsupported("without cuBLASLt"))?;
        let product = library.product(format, m, n, k, scales)?;
        let algorithms = product.algorithms();
        let at = move |set: u64| Operands { weights: weights + set * each, input, output, workspace };
        let enqueue = move |algorithm: usize, set: u64| {
            // SAFETY: the regions have the sizes that shape and type say, and stay until the next benchmark, which
            // waits for the stream
            unsafe { product.enqueue(algorithm, at(set), device.stream) }
        };
        let label = benchmark.label();
        let best = match chosen.get(&label) {
            Some(best) => *best,
            None => {
                let best = fastest(device, sets, algorithms, &enqueue)?;
                chosen.insert(label.clone(), best);
                best
            }
        };
        let enqueue: Enqueue<'a> = Box::new(move |set| enqueue(best, set));
        Ok(Box::new(Replay::new(device, monitor, flush, label, sets, enqueue).at_least(least)))
    }

    #[allow(unsafe_code, reason = "kernels are launched")]
    pub(super) fn gemv<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        dtype: &'static str,
        (m, n, k): (u64, u64, u64),
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        let known = self.kernels.gemv.iter().find(|(name, _)| *name == dtype && m == 1 && k % 128 == 0);
        let (_, kernel) = *known.ok_or_else(|| CudaError::unsupported(&benchmark.label()))?;
        let (bits, kind, groups) = match dtype {
            "int4_wo" => (4, Fill::Bits, k / 128),
            "int8_wo" => (8, Fill::Int8, 1),
            _ => (8, Fill::Fp8, 1),
        };
        let input = self.filled(k * 2, Fill::Fp16, "the activations")?;
        let output = self.arena.take(n * 2, "the result")?;
        let (each, scales) = (n * k * bits / 8, (n * groups * 2).next_multiple_of(256));
        let sets = self.sets(each + scales);
        let weights = self.filled(each * sets, kind, "the weights")?;
        let scale = self.filled(scales * sets, Fill::Fp16, "the scales")?;
        let Self { device, monitor, flush, .. } = self;
        let device = &*device;
        let (rows, width) = (narrow(n)?, narrow(k)?);
        let enqueue: Enqueue<'a> = Box::new(move |set| {
            let (w, s) = (weights + set * each, scale + set * scales);
            let arguments: [Argument; 6] =
                [w.into(), input.into(), s.into(), output.into(), rows.into(), width.into()];
            // SAFETY: the arguments are those of the kernels `gemv_*`, the regions as large as n and k say; a block has
            // eight warps, each of which computes an output and stops at `rows`
            unsafe { device.launch(kernel, rows.div_ceil(8), 256, &arguments) }
        });
        Ok(Self::replay(device, monitor, *flush, benchmark, sets, enqueue))
    }
}

/// The fastest of a product's algorithms, each timed as a graph: one by one, small products would all take the time
/// that the host needs to start them.
fn fastest(
    device: &Device,
    sets: u64,
    algorithms: usize,
    enqueue: &impl Fn(usize, u64) -> Result<(), CudaError>,
) -> Result<usize, CudaError> {
    let rounds = sets.clamp(4, 32);
    let mut best = Err(CudaError::unsupported("a product without algorithms"));
    let mut shortest = f64::INFINITY;
    for algorithm in 0..algorithms {
        // once outside of a graph, which loads its kernels; a proposal that the library refuses is passed over
        if let Err(error) = enqueue(algorithm, 0) {
            best = best.or(Err(error));
            continue;
        }
        let graph = device.record(|| (0..rounds).try_for_each(|i| enqueue(algorithm, i % sets)))?;
        let seconds = device.time(|| (0..2).try_for_each(|_| device.replay(&graph)), || {})?;
        if seconds < shortest {
            (best, shortest) = (Ok(algorithm), seconds);
        }
    }
    best
}
