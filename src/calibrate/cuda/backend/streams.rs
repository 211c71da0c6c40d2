//! Launches and plain passes over memory.

use super::Cuda;
use crate::calibrate::cuda::CudaError;
use crate::calibrate::cuda::device::{Argument, Device, Kernel};
use crate::calibrate::cuda::memory::Fill;
use crate::calibrate::cuda::replay::{Enqueue, OneByOne, Replay};
use crate::calibrate::probe::{Benchmark, Prepared, Stream};

/// Kernels of a graph that times launches.
const LAUNCHES: u64 = 200;

impl Cuda {
    #[allow(unsafe_code, reason = "kernels are launched")]
    pub(super) fn launch<'a>(&'a mut self, benchmark: &Benchmark, graph: bool) -> Box<dyn Prepared + 'a> {
        let Self { device, monitor, flush, kernels, .. } = self;
        let (device, empty): (&'a Device, Kernel) = (device, kernels.empty);
        let enqueue: Enqueue<'a> = Box::new(move |_| {
            // SAFETY: the kernel takes nothing
            unsafe { device.launch(empty, 1, 32, &[]) }
        });
        if graph {
            return Box::new(
                Replay::new(device, monitor, *flush, benchmark.label(), LAUNCHES, enqueue).at_least(LAUNCHES),
            );
        }
        Box::new(OneByOne { device, monitor, label: benchmark.label(), enqueue })
    }

    #[allow(unsafe_code, reason = "kernels are launched")]
    pub(super) fn stream<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        kind: Stream,
        bytes: u64,
        least: u64,
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        let arrays = match kind {
            Stream::Read => 1,
            Stream::Copy => 2,
            Stream::Triad => 3,
        };
        // whole vectors of 16 bytes; `bytes` counts all arrays
        let each = bytes / arrays / 16 * 16;
        let sets = self.sets(each * arrays);
        let base = self.filled(each * arrays * sets, Fill::Fp32, "the arrays")?;
        let Self { device, monitor, flush, kernels, .. } = self;
        let (device, sink) = (&*device, flush.sink);
        let (read, copy, triad) = (kernels.read, kernels.copy, kernels.triad);
        let enqueue: Enqueue<'a> = Box::new(move |set| {
            let a = base + set * each * arrays;
            let (b, c, vectors) = (a + each, a + 2 * each, each / 16);
            let (kernel, arguments): (Kernel, Vec<Argument>) = match kind {
                Stream::Read => (read, vec![a.into(), vectors.into(), sink.into()]),
                Stream::Copy => (copy, vec![a.into(), b.into(), vectors.into()]),
                Stream::Triad => (triad, vec![a.into(), b.into(), c.into(), 3.0_f32.into(), vectors.into()]),
            };
            // SAFETY: the arguments are those of the kernel; set `set` has `arrays` arrays of `each` bytes
            unsafe { device.launch(kernel, device.grid(vectors), 256, &arguments) }
        });
        let label = benchmark.label();
        Ok(Box::new(Replay::new(device, monitor, *flush, label, sets, enqueue).at_least(least)))
    }
}
