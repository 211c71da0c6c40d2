//! Sequences of kernels that are recorded as graphs and replayed, as engines replay a decode step.

use super::CudaError;
use super::device::{Argument, Device, Graph, Kernel};
use super::monitor::Monitor;
use crate::calibrate::probe::{Prepared, ProbeError, Sample};

/// Most kernels of one graph, when the buffers ask for no more.
const NODES: u64 = 128;

/// Most sets of buffers: so many kernels a graph may have.
pub(super) const MOST_SETS: u64 = 2048;

/// Puts an iteration into the stream; its number says which set of buffers is its.
pub(super) type Enqueue<'a> = Box<dyn Fn(u64) -> Result<(), CudaError> + 'a>;

/// Memory that is read before every sample: it evicts what the cache holds, and while the device reads it the host
/// enqueues the sample, so that no gap is timed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flush {
    pub kernel: Kernel,
    pub address: u64,
    pub vectors: u64,
    pub sink: u64,
}

impl Flush {
    /// Keeps the device at work for so many seconds.
    pub fn warm_up(&self, device: &Device, seconds: f64) -> Result<(), CudaError> {
        let mut worked = 0.0;
        while worked < seconds {
            // never less than what was timed, lest a clock that stands still keep us here
            worked += device.time(|| self.enqueue(device, 100), || {})?.max(1e-3);
        }
        Ok(())
    }

    /// Enqueues it so many times.
    #[allow(unsafe_code, reason = "a kernel is launched")]
    fn enqueue(&self, device: &Device, times: u64) -> Result<(), CudaError> {
        let arguments: [Argument; 3] = [self.address.into(), self.vectors.into(), self.sink.into()];
        for _ in 0..times {
            // SAFETY: the arguments are those of `read_all`; the memory has `vectors` vectors, the sink 256 words
            unsafe { device.launch(self.kernel, device.grid(self.vectors), 256, &arguments) }?;
        }
        Ok(())
    }
}

/// A benchmark whose iterations are replayed from a graph over sets of buffers in turn.
pub(super) struct Replay<'a> {
    device: &'a Device,
    monitor: &'a mut Monitor,
    flush: Flush,
    label: String,
    enqueue: Enqueue<'a>,
    /// Sets of buffers that together exceed the cache three times over.
    sets: u64,
    /// Fewest iterations of a sample.
    least: u64,
    /// Recorded graph and its number of kernels.
    graph: Option<(u64, Graph)>,
}

impl<'a> Replay<'a> {
    pub fn new(
        device: &'a Device,
        monitor: &'a mut Monitor,
        flush: Flush,
        label: String,
        sets: u64,
        enqueue: Enqueue<'a>,
    ) -> Self {
        // what the benchmark before drew says nothing of this one
        monitor.forget();
        Self { device, monitor, flush, label, enqueue, sets: sets.clamp(1, MOST_SETS), least: 1, graph: None }
    }

    /// The same with at least so many iterations a sample, that the device is at work without a break.
    pub fn at_least(mut self, iterations: u64) -> Self {
        self.least = iterations;
        self
    }

    /// Kernels of the graph for a sample of so many iterations: no set twice where the sample has fewer iterations
    /// than there are sets, else whole rounds through all sets.
    fn nodes(&self, iterations: u64) -> u64 {
        if iterations <= self.sets {
            iterations.max(1)
        } else {
            iterations.min(NODES).next_multiple_of(self.sets)
        }
    }

    fn run(&mut self, iterations: u64) -> Result<Sample, CudaError> {
        self.device.bind()?;
        let iterations = iterations.max(self.least);
        let nodes = self.nodes(iterations);
        if self.graph.as_ref().is_none_or(|(n, _)| *n != nodes) {
            self.graph = None;
            let recorded =
                self.device.record(|| (0..nodes).try_for_each(|i| (self.enqueue)(i % self.sets)))?;
            self.graph = Some((nodes, recorded));
        }
        let Some((_, graph)) = &self.graph else { return Err(CudaError::Panic("no graph".into())) };
        let replays = iterations.div_ceil(nodes);
        // the first launch of a graph takes the host longer the more kernels it has
        self.flush.enqueue(self.device, 2 + nodes / NODES)?;
        let mut telemetry = None;
        let monitor = &mut *self.monitor;
        let seconds = self.device.time(
            || (0..replays).try_for_each(|_| self.device.replay(graph)),
            || telemetry = Some(monitor.read()),
        )?;
        Ok(Sample { seconds, iterations: replays * nodes, telemetry: telemetry.unwrap_or_default() })
    }
}

impl Prepared for Replay<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        self.run(iterations).map_err(|e| e.in_benchmark(&self.label))
    }
}

/// Kernels started one by one from the host, as without graphs: what limits is the host, and that is what is timed.
pub(super) struct OneByOne<'a> {
    pub device: &'a Device,
    pub monitor: &'a mut Monitor,
    pub label: String,
    pub enqueue: Enqueue<'a>,
}

impl Prepared for OneByOne<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        let run = |this: &mut Self| {
            this.device.bind()?;
            let mut telemetry = None;
            let monitor = &mut *this.monitor;
            let seconds = this.device.time(
                || (0..iterations.max(1)).try_for_each(|i| (this.enqueue)(i)),
                || telemetry = Some(monitor.read()),
            )?;
            Ok(Sample { seconds, iterations: iterations.max(1), telemetry: telemetry.unwrap_or_default() })
        };
        run(self).map_err(|e: CudaError| e.in_benchmark(&self.label))
    }
}
