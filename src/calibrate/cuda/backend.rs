//! The GPU as a backend of the probes: every benchmark gets its memory, its data and its kernels here, by kind in
//! the files below.

mod caches;
mod products;
mod streams;

use std::collections::HashMap;

use super::cublaslt::CublasLt;
use super::device::{Device, Kernel};
use super::memory::{Arena, Fill};
use super::monitor::Monitor;
use super::nccl::Collectives;
use super::part::Means;
use super::replay::{Enqueue, Flush, MOST_SETS, Replay};
use super::{CudaError, GemmType, suite, visible_devices};
use crate::calibrate::probe::{Backend, Benchmark, DeviceFacts, Prepared, ProbeError, Stream, Work};
use crate::machine::library::Surroundings;

/// The buffers of a benchmark together are this many times the last-level cache: a cache that keeps part of what
/// it saw last keeps nothing of use.
const CACHES: u64 = 3;

/// Memory taken at most: 4 GiB for the largest benchmark, as much as the cache needs, and some to spare.
const MOST_MEMORY: u64 = 6 << 30;

/// Seconds of work before anything is timed: an idle GPU takes some tenths of a second to raise its clocks.
const WARM_UP: f64 = 0.3;

/// Kernels by name.
struct Kernels {
    empty: Kernel,
    fill: Kernel,
    read: Kernel,
    copy: Kernel,
    triad: Kernel,
    page_table: Kernel,
    kv_read: [Kernel; 2],
    gemv: [(&'static str, Kernel); 3],
}

/// An NVIDIA GPU.
pub struct Cuda {
    // dropped in this order: what uses the context before the context
    collectives: Option<Collectives>,
    cublaslt: Option<CublasLt>,
    arena: Arena,
    kernels: Kernels,
    flush: Flush,
    monitor: Monitor,
    facts: DeviceFacts,
    means: Means,
    /// The fastest of cuBLASLt's algorithms by benchmark: a second visit need not search again.
    chosen: HashMap<String, usize>,
    surroundings: Surroundings,
    device: Device,
}

/// What to open and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// The number in `cuda:0`.
    pub ordinal: usize,
    /// Measure although others work on the card.
    pub force: bool,
    /// Where libraries may lie.
    pub surroundings: Surroundings,
    /// Catalog id of the accelerator.
    pub gpu: String,
}

impl Cuda {
    /// Opens a device, looks for the libraries, and takes memory.
    ///
    /// # Errors
    /// When there is no driver or device, it is too old, cut up, busy or taken, or has no memory free. A missing
    /// cuBLASLt or NCCL is no error: its benchmarks are left out.
    pub fn open(options: &CudaOptions) -> Result<Self, CudaError> {
        let devices = visible_devices()?;
        let count = devices.len();
        let info =
            devices.get(options.ordinal).ok_or(CudaError::NoSuchDevice { index: options.ordinal, count })?;
        let monitor = Monitor::open(&info.pci_bus_id)?;
        monitor.refuse_unfit(options.force)?;
        let device = Device::open(options.ordinal)?;
        let driver_major = super::driver::cuda_major()?;
        let cublaslt = CublasLt::open(&options.surroundings, driver_major);
        let mut notes = vec![];
        if let Err(error) = &cublaslt {
            notes.push(error.to_string());
        }
        let cublaslt = cublaslt.ok();
        let nccl = count > 1 && super::nccl::is_there(&options.surroundings);
        let means = Means {
            capability: device.info.capability,
            gpus: count,
            cublaslt: cublaslt.as_ref().map(|l| l.version),
            nccl,
        };
        let l2 = device.info.l2_bytes.max(4 << 20);
        // a tenth is left to the driver, to cuBLASLt and to a display
        let wanted = (device.free_bytes()? / 10 * 9).min(MOST_MEMORY.max(4 * CACHES * l2));
        let mut arena = device.allocate(wanted, "the buffers")?;
        let kernels = Kernels::of(&device)?;
        let flush = Self::flush(&device, &mut arena, &kernels, CACHES * l2)?;
        flush.warm_up(&device, WARM_UP)?;
        let facts = facts(&device, &monitor, cublaslt.as_ref(), &options.gpu, notes);
        Ok(Self {
            collectives: None,
            cublaslt,
            arena,
            kernels,
            flush,
            monitor,
            facts,
            means,
            chosen: HashMap::new(),
            surroundings: options.surroundings.clone(),
            device,
        })
    }

    /// Memory to read between samples, which stays for good, and the kernel that reads it.
    fn flush(device: &Device, arena: &mut Arena, kernels: &Kernels, bytes: u64) -> Result<Flush, CudaError> {
        let sink = arena.take(1024, "a sink")?;
        let address = arena.filled(device, kernels.fill, bytes, Fill::Bits, "the cache's flush")?;
        arena.keep();
        Ok(Flush { kernel: kernels.read, address, vectors: bytes / 16, sink })
    }

    /// Sets of buffers of so many bytes that together exceed the cache, as far as memory goes.
    fn sets(&self, bytes: u64) -> u64 {
        let wanted = (CACHES * self.device.info.l2_bytes.max(4 << 20)).div_ceil(bytes.max(1));
        wanted.clamp(1, MOST_SETS).min((self.arena.left() / bytes.max(1)).max(1))
    }

    fn filled(&mut self, bytes: u64, kind: Fill, what: &str) -> Result<u64, CudaError> {
        self.arena.filled(&self.device, self.kernels.fill, bytes, kind, what)
    }

    fn replay<'a>(
        device: &'a Device,
        monitor: &'a mut Monitor,
        flush: Flush,
        benchmark: &Benchmark,
        sets: u64,
        enqueue: Enqueue<'a>,
    ) -> Box<Replay<'a>> {
        Box::new(Replay::new(device, monitor, flush, benchmark.label(), sets, enqueue))
    }

    fn ready<'a>(&'a mut self, benchmark: &Benchmark) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        self.device.bind()?;
        self.device.synchronize()?;
        self.arena.clear();
        match benchmark.work {
            Work::Launch { graph } => Ok(self.launch(benchmark, graph)),
            Work::Stream { kind, bytes, .. } => self.stream(benchmark, kind, bytes, 1),
            // some tens of milliseconds, for the same reason
            Work::SustainedRead { bytes, .. } => self.stream(benchmark, Stream::Read, bytes, 64),
            Work::Gemm { m, n, k, dtype, .. } => match GemmType::of(dtype) {
                Some(format) => self.gemm(benchmark, format, (m, n, k), 1),
                None => self.gemv(benchmark, dtype, (m, n, k)),
            },
            Work::Sustained { size, dtype, .. } => {
                let format = GemmType::of(dtype).ok_or_else(|| CudaError::unsupported(dtype))?;
                // a fifth of a second at the rate of the fastest: the breaks between samples are then nothing
                self.gemm(benchmark, format, (size, size, size), 128)
            }
            Work::DecodeAttention { batch, context, kv_heads, head_dim: 128, kv_dtype, .. } => {
                self.kv_read(benchmark, (batch, context, kv_heads), kv_dtype)
            }
            Work::Collective { op, gpus, elements } => self.collective(benchmark, op, gpus, elements),
            _ => Err(CudaError::unsupported(&benchmark.label())),
        }
    }
    fn collective<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        op: &'static str,
        gpus: u64,
        elements: u64,
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        if self.collectives.is_none() {
            self.collectives = Some(Collectives::open(&self.surroundings, gpus)?);
        }
        let Self { collectives, monitor, .. } = self;
        let collectives = collectives.as_mut().ok_or_else(|| CudaError::unsupported(op))?;
        Ok(Box::new(collectives.ready(op, elements, benchmark.label(), monitor)?))
    }
}

/// A size for a kernel's 32-bit argument.
fn narrow(value: u64) -> Result<u32, CudaError> {
    u32::try_from(value).map_err(|_| CudaError::unsupported("more than 2^32 of something"))
}

impl Kernels {
    fn of(device: &Device) -> Result<Self, CudaError> {
        Ok(Self {
            empty: device.kernel("empty")?,
            fill: device.kernel("fill")?,
            read: device.kernel("read_all")?,
            copy: device.kernel("copy_all")?,
            triad: device.kernel("triad")?,
            page_table: device.kernel("page_table")?,
            kv_read: [device.kernel("kv_read_16")?, device.kernel("kv_read_8")?],
            gemv: [
                ("int4_wo", device.kernel("gemv_int4")?),
                ("int8_wo", device.kernel("gemv_int8")?),
                ("fp8_wo", device.kernel("gemv_fp8")?),
            ],
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
fn facts(
    device: &Device,
    monitor: &Monitor,
    cublaslt: Option<&CublasLt>,
    gpu: &str,
    notes: Vec<String>,
) -> DeviceFacts {
    let nvml = &monitor.gpu;
    let version = |v: u32| format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100);
    DeviceFacts {
        gpu: gpu.to_owned(),
        name: nvml.name.clone(),
        uuid_hash: Some(nvml.uuid_hash.clone()).filter(|h| !h.is_empty()),
        driver: Some(monitor.driver.clone()),
        libraries: cublaslt.iter().map(|l| ("cublaslt".to_owned(), version(l.version))).collect(),
        multiprocessors: Some(f64::from(device.info.multiprocessors)),
        memory_bytes: nvml.memory_total_bytes.map(|b| b as f64),
        cache_bytes: Some(device.info.l2_bytes as f64),
        max_clock_mhz: nvml.max_sm_clock_hz.map(|hz| hz / 1e6),
        max_memory_clock_mhz: nvml.max_memory_clock_hz.map(|hz| hz / 1e6),
        theoretical_bandwidth_bytes_per_s: nvml.memory_bandwidth_bytes_per_s,
        power_limit_w: nvml.power_limit_w,
        idle_power_w: nvml.now.power_w,
        ecc: nvml.ecc,
        mig: nvml.mig,
        notes,
        ..DeviceFacts::default()
    }
}

impl Backend for Cuda {
    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn benchmarks(&self, quick: bool) -> Vec<Benchmark> {
        suite::benchmarks(&self.means, quick)
    }

    fn prepare<'a>(&'a mut self, benchmark: &Benchmark) -> Result<Box<dyn Prepared + 'a>, ProbeError> {
        let label = benchmark.label();
        self.ready(benchmark).map_err(|e| e.in_benchmark(&label))
    }
}
