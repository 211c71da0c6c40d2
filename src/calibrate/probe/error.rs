//! Why a device could not be measured.

/// Errors of the probes; each names the fix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProbeError {
    /// There is no such device, or no driver: exit code 4.
    #[error("{device}: {reason}; {fix}")]
    NoDevice {
        /// What was asked for: `cuda:0`.
        device: String,
        /// What is missing.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// A library that the benchmark needs is missing or too old.
    #[error("{library}: {reason}; {fix}")]
    Library {
        /// Which library.
        library: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// Somebody else uses the device.
    #[error("{device} is busy: {reason}; stop it or pass --busy to measure all the same")]
    Busy {
        /// Which device.
        device: String,
        /// Who or how much.
        reason: String,
    },
    /// This device cannot run this benchmark; it is skipped.
    #[error("{benchmark}: {reason}")]
    Unsupported {
        /// Which benchmark.
        benchmark: String,
        /// Why not.
        reason: String,
    },
    /// It does not fit; it is skipped.
    #[error("{benchmark}: needs {bytes} bytes more than are free; close what holds the memory")]
    OutOfMemory {
        /// Which benchmark.
        benchmark: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The device or its driver failed.
    #[error("{benchmark}: {reason}; {fix}")]
    Failed {
        /// Which benchmark.
        benchmark: String,
        /// What the driver said.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// Nothing was measured.
    #[error("nothing was measured: {reason}; {fix}")]
    Nothing {
        /// Why.
        reason: String,
        /// What to do.
        fix: String,
    },
}

impl ProbeError {
    /// No usable accelerator or driver: the process ends with exit code 4.
    #[must_use]
    pub fn no_device(&self) -> bool {
        matches!(self, Self::NoDevice { .. })
    }

    /// Only this benchmark is lost.
    #[must_use]
    pub fn skips(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::OutOfMemory { .. } | Self::Library { .. })
    }
}
