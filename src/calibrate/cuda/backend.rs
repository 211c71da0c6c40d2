//! The GPU as a backend of the probes: every benchmark gets its memory, its data and its kernels here.

use std::collections::HashMap;

use super::cublaslt::{CublasLt, Operands, Scales, WORKSPACE};
use super::device::{Argument, Device, Kernel};
use super::memory::{Arena, Fill};
use super::monitor::Monitor;
use super::nccl::Collectives;
use super::part::Means;
use super::replay::{Enqueue, Flush, MOST_SETS, OneByOne, Replay};
use super::{CudaError, GemmType, suite, visible_devices};
use crate::calibrate::probe::{Backend, Benchmark, DeviceFacts, Prepared, ProbeError, Stream, Work};
use crate::machine::library::Surroundings;

/// The buffers of a benchmark together are this many times the last-level cache: a cache that keeps part of what
/// it saw last keeps nothing of use.
const CACHES: u64 = 3;

/// Memory taken at most: 4 GiB for the largest benchmark, as much as the cache needs, and some to spare.
const MOST_MEMORY: u64 = 6 << 30;

/// Kernels of a graph that times launches.
const LAUNCHES: u64 = 200;

/// Pages of 16 tokens.
const PAGE: u64 = 16;

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

    #[allow(unsafe_code, reason = "kernels are launched")]
    fn launch<'a>(&'a mut self, benchmark: &Benchmark, graph: bool) -> Box<dyn Prepared + 'a> {
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
    fn stream<'a>(
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

    /// Weights differ from iteration to iteration, as from layer to layer; activations and result stay where they
    /// are, as the cache holds what the layer before just wrote.
    #[allow(unsafe_code, reason = "kernels are launched")]
    fn gemm<'a>(
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
    fn gemv<'a>(
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

    #[allow(unsafe_code, reason = "kernels are launched")]
    fn kv_read<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        (batch, context, kv_heads): (u64, u64, u64),
        kv_dtype: &str,
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        let eight_bit = kv_dtype == "fp8";
        let element = if eight_bit { 1 } else { 2 };
        let page_bytes = 2 * PAGE * kv_heads * 128 * element;
        let pages = context.div_ceil(PAGE);
        let sets = self.sets(batch * pages * page_bytes);
        // the pool is a power of two of pages, as `page_table` wants it
        let entries = batch * pages * sets;
        let pool = entries.next_power_of_two();
        let table = self.arena.take(entries * 4, "the page table")?;
        let blocks_wanted = u64::from(self.device.info.multiprocessors) * 8;
        let splits = blocks_wanted.div_ceil(batch * kv_heads).clamp(1, context.div_ceil(256));
        let blocks = narrow(batch * kv_heads * splits)?;
        let out = self.arena.take(u64::from(blocks) * 16, "the result")?;
        let kind = if eight_bit { Fill::Fp8 } else { Fill::Bf16 };
        let cache = self.filled(pool * page_bytes, kind, "the KV cache")?;
        let Self { device, monitor, flush, kernels, .. } = self;
        let device = &*device;
        let arguments: [Argument; 3] = [table.into(), narrow(entries)?.into(), narrow(pool)?.into()];
        // SAFETY: the arguments are those of `page_table`; the table has `entries` words
        unsafe { device.launch(kernels.page_table, device.grid(entries), 256, &arguments) }?;
        let kernel = kernels.kv_read[usize::from(eight_bit)];
        let numbers = [narrow(pages)?, narrow(kv_heads)?, narrow(context)?, narrow(splits)?];
        let enqueue: Enqueue<'a> = Box::new(move |set| {
            let mut arguments: Vec<Argument> =
                vec![cache.into(), (table + set * batch * pages * 4).into(), out.into()];
            arguments.extend(numbers.map(Argument::from));
            // SAFETY: the arguments are those of `kv_read_*`; every page of the table lies in the pool, and the
            // result has four words a block
            unsafe { device.launch(kernel, blocks, 128, &arguments) }
        });
        Ok(Self::replay(device, monitor, *flush, benchmark, sets, enqueue))
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
