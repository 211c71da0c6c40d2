//! Why a GPU cannot be measured, each with what to do about it.

use cudarc::driver::sys::CUresult;

use crate::calibrate::probe::ProbeError;
use crate::machine::{DriverError, Library};

/// Why a GPU cannot be measured. All but [`CudaError::OutOfMemory`] and [`CudaError::Call`] are found
/// before a kernel runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// NVML answers nothing.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The driver's programming interface is not there.
    #[error(
        "no CUDA driver: libcuda.so.1 is not found; install the NVIDIA driver (in a container, start it with --gpus all)"
    )]
    NoDriver,
    /// The library to link against, not the one to run with.
    #[error(
        "the libcuda that the loader finds is the toolkit's stub; take the `stubs` directory out of LD_LIBRARY_PATH"
    )]
    Stub,
    /// A driver before CUDA 12.
    #[error("the CUDA driver is too old: it lacks {0}; update the NVIDIA driver to 525 or newer")]
    TooOld(String),
    /// No device, or none visible.
    #[error("the CUDA driver sees no device; check CUDA_VISIBLE_DEVICES and, in a container, --gpus all")]
    NoDevice,
    /// A number that no device has.
    #[error("there is no device cuda:{index}; this process sees {count}: give cuda:0{}", range(*.count))]
    NoSuchDevice {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// User space and kernel module of different versions.
    #[error("the CUDA driver's library and kernel module are of different versions; restart the machine")]
    Mismatch,
    /// A card cut into instances.
    #[error(
        "GPU {index} ({name}) is cut into MIG instances, whose share of the memory bandwidth no calibration describes; switch MIG off with `sudo nvidia-smi -i {index} -mig 0`, or measure another GPU"
    )]
    Mig {
        /// NVML's index.
        index: u32,
        /// Name of the card.
        name: String,
    },
    /// Somebody else works on the card.
    #[error(
        "GPU {index} ({name}) is busy: {what}; stop that, choose another GPU, or measure all the same with --busy"
    )]
    Busy {
        /// NVML's index.
        index: u32,
        /// Name of the card.
        name: String,
        /// Programs, utilisation, memory in use.
        what: String,
    },
    /// Compute mode or another program keeps the device.
    #[error(
        "the device is not available: another program holds it alone; stop it, or see `nvidia-smi -q -d COMPUTE`"
    )]
    Unavailable,
    /// Older than the kernels here.
    #[error(
        "{name} has compute capability {capability}, and the kernels here need 7.5 or newer; nothing can be measured on it"
    )]
    TooOldDevice {
        /// Name of the card.
        name: String,
        /// Its compute capability.
        capability: String,
    },
    /// The memory does not suffice.
    #[error(
        "out of GPU memory: {what} needs {mib} MiB; free memory on the GPU, or measure less with --only or --quick"
    )]
    OutOfMemory {
        /// What was allocated.
        what: String,
        /// How much, in MiB.
        mib: u64,
    },
    /// A library of CUDA that a benchmark needs.
    #[error("{library}: {problem}; {}", library_fix(*.library))]
    Library {
        /// Which.
        library: Library,
        /// What the loader said.
        problem: String,
    },
    /// Something that this device or a library does not do.
    #[error("{0} is not done on this device; leave it out")]
    Unsupported(String),
    /// A call that failed.
    #[error("{call} failed: {code}; {}", call_fix(.code))]
    Call {
        /// The function.
        call: &'static str,
        /// What it answered.
        code: String,
    },
    /// A binding panicked: a function that was not looked for.
    #[error("the CUDA binding gave up: {0}; update the NVIDIA driver")]
    Panic(String),
}

impl CudaError {
    /// What a failed call of the driver means.
    #[must_use]
    pub(super) fn of(call: &'static str, code: CUresult) -> Self {
        match code {
            CUresult::CUDA_ERROR_STUB_LIBRARY => Self::Stub,
            CUresult::CUDA_ERROR_NO_DEVICE => Self::NoDevice,
            CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
            | CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => Self::Mismatch,
            CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => Self::Unavailable,
            other => Self::Call { call, code: format!("{other:?}") },
        }
    }
}

impl CudaError {
    /// This device or library does not do that.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::Unsupported(what.to_owned())
    }

    /// As the probes see it while they measure a benchmark: what the device cannot do is skipped.
    pub(super) fn in_benchmark(self, label: &str) -> ProbeError {
        let benchmark = label.to_owned();
        match self {
            Self::OutOfMemory { mib, .. } => ProbeError::OutOfMemory { benchmark, bytes: mib << 20 },
            Self::Unsupported(reason) => ProbeError::Unsupported { benchmark, reason },
            error if error.is_unsupported() => ProbeError::Unsupported {
                benchmark,
                reason: "cuBLASLt has no kernel for this shape and type on this device".into(),
            },
            Self::Library { library, problem } => ProbeError::Library {
                library: library.to_string(),
                reason: problem,
                fix: library_fix(library).into(),
            },
            Self::Call { call, code } => {
                let fix = call_fix(&code).into();
                ProbeError::Failed { benchmark, reason: format!("{call} failed: {code}"), fix }
            }
            other => ProbeError::Failed {
                benchmark,
                reason: other.to_string(),
                fix: "see `foretoken doctor`".into(),
            },
        }
    }

    /// As the probes see it when a device is opened.
    #[must_use]
    pub fn at_open(self, device: &str) -> ProbeError {
        let text = self.to_string();
        let (reason, fix) = text.split_once("; ").unwrap_or((&text, "see `foretoken doctor`"));
        let (device, reason, fix) = (device.to_owned(), reason.to_owned(), fix.to_owned());
        match self {
            Self::Busy { what, .. } => ProbeError::Busy { device, reason: what },
            Self::Library { library, .. } => {
                ProbeError::Library { library: library.to_string(), reason, fix }
            }
            _ => ProbeError::NoDevice { device, reason, fix },
        }
    }
}

fn range(count: usize) -> String {
    if count > 1 { format!(" to cuda:{}", count - 1) } else { String::new() }
}

/// Where to get a library.
#[must_use]
pub fn library_fix(library: Library) -> &'static str {
    match library {
        Library::Driver => "install the NVIDIA driver",
        Library::CublasLt => {
            "install the CUDA toolkit or `pip install nvidia-cublas-cu12`, or name its directory with --cuda-libraries"
        }
        Library::Nvrtc => {
            "install the CUDA toolkit or `pip install nvidia-cuda-nvrtc-cu12`, or name its directory with --cuda-libraries"
        }
        Library::Nccl => {
            "install NCCL or `pip install nvidia-nccl-cu12`, or name its directory with --cuda-libraries"
        }
    }
}

/// What to do about a failed call.
fn call_fix(code: &str) -> &'static str {
    match code {
        c if c.contains("ECC") => {
            "the memory has an error that cannot be corrected: see `nvidia-smi -q -d ECC`"
        }
        c if c.contains("ILLEGAL_ADDRESS") || c.contains("LAUNCH_FAILED") => {
            "the device is in an undefined state: run again, and report it if it stays"
        }
        c if c.contains("NOT_INITIALIZED") || c.contains("SYSTEM_NOT_READY") => {
            "see that nvidia-persistenced and, with NVSwitch, nvidia-fabricmanager run"
        }
        c if c.contains("UNSUPPORTED_PTX") || c.contains("INVALID_PTX") => {
            "update the NVIDIA driver to 525 or newer"
        }
        _ => "run `nvidia-smi` to see the state of the device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_errors_with_a_fix() {
        let of = |code| CudaError::of("cuInit", code);
        assert_eq!(of(CUresult::CUDA_ERROR_STUB_LIBRARY), CudaError::Stub);
        assert_eq!(of(CUresult::CUDA_ERROR_NO_DEVICE), CudaError::NoDevice);
        assert_eq!(of(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH), CudaError::Mismatch);
        assert_eq!(of(CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE), CudaError::Unavailable);
        let other = of(CUresult::CUDA_ERROR_SYSTEM_NOT_READY).to_string();
        assert!(other.contains("cuInit") && other.contains("fabricmanager"), "{other}");
        let none = CudaError::NoSuchDevice { index: 4, count: 2 }.to_string();
        assert!(none.contains("cuda:4") && none.contains("cuda:0 to cuda:1"), "{none}");
    }
}
