//! Collectives between the GPUs of this machine by NCCL, all in one process. cudarc does not ask for `libnccl.so.2`, the
//! only name that wheels have, so that the functions are looked up here.
#![allow(unsafe_code, reason = "NCCL's interface is C")]

use cudarc::driver::sys::CUstream;
use std::ffi::{c_int, c_void};
use std::ptr;

use super::device::Device;
use super::memory::Arena;
use super::monitor::Monitor;
use super::{CudaError, visible_devices};
use crate::calibrate::probe::{Prepared, ProbeError, Sample};
use crate::machine::Library;
use crate::machine::library::{Handle, Surroundings, preload};

/// `ncclFloat16` and `ncclSum` of nccl.h.
const HALF: c_int = 6;
const SUM: c_int = 0;

/// Bytes of the largest message that is asked for: 2^27 elements of 16 bit.
const LARGEST: u64 = 1 << 28;

type Communicator = *mut c_void;

/// The functions that are called, with the types of nccl.h.
#[derive(Clone, Copy)]
struct Functions {
    init_all: unsafe extern "C" fn(*mut Communicator, c_int, *const c_int) -> c_int,
    destroy: unsafe extern "C" fn(Communicator) -> c_int,
    group_start: unsafe extern "C" fn() -> c_int,
    group_end: unsafe extern "C" fn() -> c_int,
    all_reduce: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Communicator,
        CUstream,
    ) -> c_int,
    all_gather:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Communicator, CUstream) -> c_int,
    send: unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Communicator, CUstream) -> c_int,
    receive: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Communicator, CUstream) -> c_int,
}

/// Whether NCCL opens.
pub(super) fn is_there(surroundings: &Surroundings) -> bool {
    preload(Library::Nccl, surroundings, u32::MAX).is_ok()
}

/// A rank: a GPU with its communicator and buffers.
struct Rank {
    communicator: Communicator,
    send: u64,
    receive: u64,
    _memory: Arena,
    device: Device,
}

/// All ranks.
pub(super) struct Collectives {
    functions: Functions,
    ranks: Vec<Rank>,
}

fn check(call: &'static str, status: c_int) -> Result<(), CudaError> {
    // ncclResult_t of nccl.h
    let code = match status {
        0 => return Ok(()),
        1 => "ncclUnhandledCudaError".into(),
        2 => "ncclSystemError".into(),
        3 => "ncclInternalError".into(),
        4 => "ncclInvalidArgument".into(),
        5 => "ncclInvalidUsage".into(),
        6 => "ncclRemoteError".into(),
        other => format!("NCCL result {other}"),
    };
    Err(CudaError::Call { call, code })
}

impl Collectives {
    /// Opens all visible GPUs and connects them.
    ///
    /// # Errors
    /// When NCCL is missing, a GPU cannot be opened, or they cannot be connected.
    pub fn open(surroundings: &Surroundings, gpus: u64) -> Result<Self, CudaError> {
        let error = |problem| CudaError::Library { library: Library::Nccl, problem };
        let (_, library) = preload(Library::Nccl, surroundings, u32::MAX).map_err(error)?;
        let functions = Functions::of(library)?;
        let wanted = usize::try_from(gpus).unwrap_or(usize::MAX);
        let devices = visible_devices()?.into_iter().take(wanted).map(|d| Device::open(d.ordinal));
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        let numbers: Vec<c_int> =
            devices.iter().map(|d| c_int::try_from(d.info.ordinal).unwrap_or(0)).collect();
        let count = c_int::try_from(numbers.len()).unwrap_or(0);
        let mut communicators: Vec<Communicator> = vec![ptr::null_mut(); numbers.len()];
        // SAFETY: ncclResult_t ncclCommInitAll(ncclComm_t *, int, const int *); both arrays have `count` elements
        let status = unsafe { (functions.init_all)(communicators.as_mut_ptr(), count, numbers.as_ptr()) };
        check("ncclCommInitAll", status)?;
        let mut all = Self { functions, ranks: vec![] };
        for (device, communicator) in devices.into_iter().zip(communicators) {
            device.bind()?;
            // an all-gather receives as many messages as there are ranks; both then stay below 1 GiB
            let mut memory = device.allocate(LARGEST * 2, "the messages")?;
            let (send, receive) = (memory.take(LARGEST, "a message")?, memory.take(LARGEST, "a message")?);
            all.ranks.push(Rank { communicator, send, receive, _memory: memory, device });
        }
        Ok(all)
    }

    /// A collective of so many elements a rank.
    ///
    /// # Errors
    /// When the messages do not fit.
    pub fn ready<'a>(
        &'a mut self,
        op: &'static str,
        elements: u64,
        label: String,
        monitor: &'a mut Monitor,
    ) -> Result<Exchange<'a>, CudaError> {
        let ranks = self.ranks.len() as u64;
        // what a rank receives: of an all-gather all messages, which the tables count as one of `elements`
        if elements * 2 > LARGEST || elements < ranks {
            return Err(CudaError::unsupported(&label));
        }
        Ok(Exchange { all: self, op, elements, label, monitor })
    }

    /// Enqueues it once on every rank.
    fn enqueue(&self, op: &str, elements: u64) -> Result<(), CudaError> {
        let f = &self.functions;
        let count = usize::try_from(elements).unwrap_or(0);
        let share = count / self.ranks.len().max(1);
        let peers = 0..c_int::try_from(self.ranks.len()).unwrap_or(0);
        // SAFETY: a group holds the calls of all ranks of one process; buffers have LARGEST bytes, no less than
        // `count` elements of two bytes; ranks and streams are alive
        unsafe {
            check("ncclGroupStart", (f.group_start)())?;
            let enqueued = self.ranks.iter().try_for_each(|rank| {
                let (from, to) = (rank.send as *const c_void, rank.receive as *mut c_void);
                let (communicator, stream) = (rank.communicator, rank.device.stream);
                match op {
                    "all_reduce" => check(
                        "ncclAllReduce",
                        (f.all_reduce)(from, to, count, HALF, SUM, communicator, stream),
                    ),
                    "all_gather" => {
                        check("ncclAllGather", (f.all_gather)(from, to, share, HALF, communicator, stream))
                    }
                    _ => peers.clone().try_for_each(|peer| {
                        let offset = share * 2 * usize::try_from(peer).unwrap_or(0);
                        let (from, to) = (from.byte_add(offset), to.byte_add(offset));
                        check("ncclSend", (f.send)(from, share, HALF, peer, communicator, stream))?;
                        check("ncclRecv", (f.receive)(to, share, HALF, peer, communicator, stream))
                    }),
                }
            });
            // a group that was begun is ended, whatever happened in it
            let ended = check("ncclGroupEnd", (f.group_end)());
            enqueued.and(ended)
        }
    }
}

impl Drop for Collectives {
    fn drop(&mut self) {
        for rank in &self.ranks {
            let _ = rank.device.bind();
            // SAFETY: made by ncclCommInitAll and given back once
            let _ = unsafe { (self.functions.destroy)(rank.communicator) };
        }
    }
}

/// A collective made ready.
pub(super) struct Exchange<'a> {
    all: &'a mut Collectives,
    op: &'static str,
    elements: u64,
    label: String,
    monitor: &'a mut Monitor,
}

impl Exchange<'_> {
    fn run(&mut self, iterations: u64) -> Result<Sample, CudaError> {
        let Some(first) = self.all.ranks.first() else {
            return Err(CudaError::unsupported(&self.label));
        };
        for rank in &self.all.ranks {
            rank.device.bind()?;
            rank.device.synchronize()?;
        }
        first.device.bind()?;
        let mut telemetry = None;
        let monitor = &mut *self.monitor;
        let seconds = first.device.time(
            || {
                (0..iterations.max(1)).try_for_each(|_| self.all.enqueue(self.op, self.elements))?;
                // NCCL leaves the device of its last rank current
                first.device.bind()
            },
            || telemetry = Some(monitor.read()),
        )?;
        Ok(Sample { seconds, iterations: iterations.max(1), telemetry: telemetry.unwrap_or_default() })
    }
}

impl Prepared for Exchange<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        self.run(iterations).map_err(|e| e.in_benchmark(&self.label))
    }
}

impl Functions {
    fn of(library: &Handle) -> Result<Self, CudaError> {
        /// A function of a library under its name in the C header.
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is the field's, which is the declaration in nccl.h
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }.map_err(|_| CudaError::Library {
                    library: Library::Nccl,
                    problem: concat!("it lacks the function ", $name).into(),
                })?
            };
        }
        Ok(Self {
            init_all: function!("ncclCommInitAll"),
            destroy: function!("ncclCommDestroy"),
            group_start: function!("ncclGroupStart"),
            group_end: function!("ncclGroupEnd"),
            all_reduce: function!("ncclAllReduce"),
            all_gather: function!("ncclAllGather"),
            send: function!("ncclSend"),
            receive: function!("ncclRecv"),
        })
    }
}
