//! A device opened for measuring: context, stream, kernels, events and graphs, each given back when dropped.
#![allow(unsafe_code, reason = "the driver's interface is C")]

use cudarc::driver::CudaContext;
use cudarc::driver::sys::{self, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUresult, CUstream};
use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use super::driver::{CudaDevice, check, visible_devices};
use super::{CudaError, memory::Arena};

/// The kernels, ended as the driver wants a text.
const KERNELS: &str = concat!(include_str!("kernels/kernels.ptx"), "\0");

/// Oldest compute capability that the kernels are compiled for.
pub(super) const OLDEST: u32 = 75;

type ElapsedTime = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;

/// An open device. Everything on it runs in one stream.
pub(super) struct Device {
    /// What the driver says of it.
    pub info: CudaDevice,
    /// The stream.
    pub stream: CUstream,
    module: CUmodule,
    start: CUevent,
    end: CUevent,
    elapsed: ElapsedTime,
    context: Arc<CudaContext>,
}

impl Device {
    /// Opens a device by its number.
    ///
    /// # Errors
    /// When there is no driver or no such device, it is too old, taken, or out of memory.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        let devices = visible_devices()?;
        let count = devices.len();
        let info =
            devices.into_iter().nth(ordinal).ok_or(CudaError::NoSuchDevice { index: ordinal, count })?;
        if info.capability < OLDEST {
            let capability = format!("{}.{}", info.capability / 10, info.capability % 10);
            return Err(CudaError::TooOldDevice { name: info.name, capability });
        }
        // cudarc panics where a function is missing; all that it calls here were looked for
        let context = catch_unwind(AssertUnwindSafe(|| CudaContext::new(ordinal)))
            .map_err(|_| CudaError::Panic("it could not open the device".into()))?
            .map_err(|e| CudaError::of("cuDevicePrimaryCtxRetain", e.0))?;
        Self::in_context(info, context)
    }

    fn in_context(info: CudaDevice, context: Arc<CudaContext>) -> Result<Self, CudaError> {
        // SAFETY: the function was looked for; its type is that of cuda.h: CUresult (float *, CUevent, CUevent)
        let elapsed = unsafe { sys::culib().get::<ElapsedTime>(b"cuEventElapsedTime\0") }
            .map(|symbol| *symbol)
            .map_err(|_| CudaError::TooOld("cuEventElapsedTime".into()))?;
        let mut device = Self {
            info,
            stream: ptr::null_mut(),
            module: ptr::null_mut(),
            start: ptr::null_mut(),
            end: ptr::null_mut(),
            elapsed,
            context,
        };
        // what was made before an error is given back by Drop
        // SAFETY: the context is current; every pointer is to a handle that lives over the call; KERNELS ends
        // with a zero
        unsafe {
            check("cuStreamCreate", sys::cuStreamCreate(&raw mut device.stream, NON_BLOCKING))?;
            let image = KERNELS.as_ptr().cast::<c_void>();
            check("cuModuleLoadData", sys::cuModuleLoadData(&raw mut device.module, image))?;
            check("cuEventCreate", sys::cuEventCreate(&raw mut device.start, TIMED))?;
            check("cuEventCreate", sys::cuEventCreate(&raw mut device.end, TIMED))?;
        }
        Ok(device)
    }

    /// Makes the device the current one of this thread.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn bind(&self) -> Result<(), CudaError> {
        self.context.bind_to_thread().map_err(|e| CudaError::of("cuCtxSetCurrent", e.0))
    }

    /// A kernel by its name.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn kernel(&self, name: &str) -> Result<Kernel, CudaError> {
        let name = CString::new(name).unwrap_or_default();
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded, the name ends with a zero
        check("cuModuleGetFunction", unsafe {
            sys::cuModuleGetFunction(&raw mut function, self.module, name.as_ptr())
        })?;
        Ok(Kernel(function))
    }

    /// Enqueues a kernel.
    ///
    /// # Errors
    /// When the launch fails.
    ///
    /// # Safety
    /// The arguments are those of the kernel, and memory they point to is as large as it will use.
    pub unsafe fn launch(
        &self,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        let mut pointers: Vec<*mut c_void> =
            arguments.iter().map(|a| ptr::from_ref(a).cast_mut().cast::<c_void>()).collect();
        // SAFETY: the driver copies the arguments before it returns, each as many bytes as the kernel declares, and an
        // Argument has eight; little-endian numbers of four bytes are its first four
        let code = unsafe {
            sys::cuLaunchKernel(
                kernel.0,
                blocks.max(1),
                1,
                1,
                threads,
                1,
                1,
                0,
                self.stream,
                pointers.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        check("cuLaunchKernel", code)
    }

    /// Blocks of 256 threads for a loop over `items` vectors that strides over the grid: enough to fill the device
    /// sixteen times over, and no more than there is work.
    pub fn grid(&self, items: u64) -> u32 {
        let most = u64::from(self.info.multiprocessors.max(1)) * 16;
        u32::try_from(items.div_ceil(256).clamp(1, most)).unwrap_or(u32::MAX)
    }

    /// Waits until everything enqueued is done.
    ///
    /// # Errors
    /// When a kernel failed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the stream is alive
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// Seconds between two points of the stream: before and after what `enqueue` enqueues. `meanwhile` runs on the
    /// host while the device works.
    ///
    /// # Errors
    /// When a call or kernel fails.
    pub fn time(
        &self,
        enqueue: impl FnOnce() -> Result<(), CudaError>,
        meanwhile: impl FnOnce(),
    ) -> Result<f64, CudaError> {
        // SAFETY: events and stream are alive
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.start, self.stream) })?;
        enqueue()?;
        // SAFETY: as above
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.end, self.stream) })?;
        meanwhile();
        // SAFETY: as above
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.end) })?;
        let mut milliseconds = 0.0_f32;
        // SAFETY: both events are recorded and done; the pointer is to a number that lives over the call
        check("cuEventElapsedTime", unsafe { (self.elapsed)(&raw mut milliseconds, self.start, self.end) })?;
        Ok(f64::from(milliseconds) * 1e-3)
    }

    /// Records what `enqueue` enqueues as a graph, and launches it once untimed, which uploads it.
    ///
    /// # Errors
    /// When something in it cannot be recorded.
    pub fn record(&self, enqueue: impl FnOnce() -> Result<(), CudaError>) -> Result<Graph, CudaError> {
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is alive and not being recorded: a recording ends below whatever happens
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.stream, relaxed) })?;
        let enqueued = enqueue();
        let mut graph: CUgraph = ptr::null_mut();
        // SAFETY: the stream is being recorded
        let ended = unsafe { sys::cuStreamEndCapture(self.stream, &raw mut graph) };
        let mut recorded = Graph { graph, ready: ptr::null_mut() };
        enqueued?;
        check("cuStreamEndCapture", ended)?;
        // SAFETY: the graph is the one just recorded
        check("cuGraphInstantiate", unsafe {
            sys::cuGraphInstantiateWithFlags(&raw mut recorded.ready, recorded.graph, 0)
        })?;
        self.replay(&recorded)?;
        self.synchronize()?;
        Ok(recorded)
    }

    /// Enqueues a graph.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn replay(&self, graph: &Graph) -> Result<(), CudaError> {
        // SAFETY: graph and stream are alive
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(graph.ready, self.stream) })
    }

    /// Bytes of the device's memory that are free.
    ///
    /// # Errors
    /// When the driver does not say.
    pub fn free_bytes(&self) -> Result<u64, CudaError> {
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: the context is current; both pointers are to numbers that live over the call
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) })?;
        Ok(free as u64)
    }

    /// Takes memory.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn allocate(&self, bytes: u64, what: &str) -> Result<Arena, CudaError> {
        Arena::new(bytes, what)
    }
}

const NON_BLOCKING: u32 = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
const TIMED: u32 = sys::CUevent_flags::CU_EVENT_DEFAULT as u32;

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: handles that are not null were made here and are given back once; errors of a device that
        // failed before are of no use now
        unsafe {
            let _ = sys::cuCtxSynchronize();
            for event in [self.start, self.end] {
                if !event.is_null() {
                    let _ = sys::cuEventDestroy_v2(event);
                }
            }
            if !self.module.is_null() {
                let _ = sys::cuModuleUnload(self.module);
            }
            if !self.stream.is_null() {
                let _ = sys::cuStreamDestroy_v2(self.stream);
            }
        }
    }
}

/// A kernel of a loaded module; valid as long as its device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(CUfunction);

/// An argument of a kernel: eight bytes, of which the kernel takes as many as it declares.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Argument([u8; 8]);

impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self(value.to_ne_bytes())
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        let [a, b, c, d] = value.to_ne_bytes();
        Self([a, b, c, d, 0, 0, 0, 0])
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        value.to_bits().into()
    }
}

/// A recorded sequence of kernels.
pub(super) struct Graph {
    graph: CUgraph,
    ready: CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: handles that are not null were made by `Device::record` and are given back once
        unsafe {
            if !self.ready.is_null() {
                let _ = sys::cuGraphExecDestroy(self.ready);
            }
            if !self.graph.is_null() {
                let _ = sys::cuGraphDestroy(self.graph);
            }
        }
    }
}
