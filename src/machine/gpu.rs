//! GPUs as NVML, the driver's management library, shows them.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::Serialize;

/// Most links that any GPU has (`NVML_NVLINK_MAX_LINKS`).
const NVLINKS: u32 = 18;

/// Why the driver's management library answers nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// No NVIDIA driver is installed, or a container was started without it.
    #[error(
        "no NVIDIA driver: libnvidia-ml.so.1 is not found; install the driver (in a container, start it with --gpus all)"
    )]
    NotInstalled,
    /// The library is there and the kernel module is not.
    #[error(
        "the NVIDIA driver is installed but not loaded; `sudo modprobe nvidia`, or start the container with --gpus all"
    )]
    NotLoaded,
    /// User space and kernel module are of different versions, as after an update without a restart.
    #[error("the NVIDIA driver's library and kernel module are of different versions; restart the machine")]
    VersionMismatch,
    /// The devices may not be opened.
    #[error(
        "no permission to use the NVIDIA devices; check the permissions of /dev/nvidia* and the container's cgroup"
    )]
    NoPermission,
    /// The driver is there and shows no GPU.
    #[error(
        "the NVIDIA driver shows no GPU; check `lspci` and CUDA_VISIBLE_DEVICES, or the container's --gpus"
    )]
    NoDevice,
    /// A library that lacks a function: older than the oldest driver that works.
    #[error(
        "libnvidia-ml.so.1 lacks a function that is needed ({0}); update the NVIDIA driver to 525 or newer"
    )]
    TooOld(String),
    /// Anything else, as NVML says it.
    #[error("the NVIDIA driver does not answer: {0}; try `nvidia-smi`")]
    Other(String),
}

impl From<NvmlError> for DriverError {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Self::NotInstalled,
            NvmlError::DriverNotLoaded => Self::NotLoaded,
            NvmlError::LibRmVersionMismatch => Self::VersionMismatch,
            NvmlError::NoPermission | NvmlError::OperatingSystem => Self::NoPermission,
            NvmlError::FailedToLoadSymbol(name) => Self::TooOld(name),
            NvmlError::FunctionNotFound => Self::TooOld("function not found".into()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The driver and its GPUs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Driver {
    /// Driver version: `580.95.05`.
    pub version: String,
    /// Newest CUDA version that it serves: `13.0`.
    pub cuda_version: String,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
}

/// A GPU as NVML shows it; what it does not tell of a device is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Gpu {
    /// NVML's index: by PCI address, which `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` do not change.
    pub index: u32,
    /// Name as the driver gives it.
    pub name: String,
    /// FNV-1a hash of the UUID: tells cards apart without naming one.
    pub uuid_hash: String,
    /// PCI address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Architecture family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Compute capability: `9.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// CUDA cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory installed, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Memory in use, without what the driver reserves, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Memory bandwidth from the clock and the bus width, in bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth_bytes_per_s: Option<f64>,
    /// Highest clock of the multiprocessors, in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sm_clock_hz: Option<f64>,
    /// Highest clock of the memory, in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_clock_hz: Option<f64>,
    /// Power limit in force, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Power limit as delivered, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_default_w: Option<f64>,
    /// PCI Express generation and lanes that card and slot can reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie: Option<String>,
    /// Active NVLink links.
    pub nvlinks: u32,
    /// Error-correcting memory is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<bool>,
    /// The card is cut into instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// What it does now.
    pub now: Reading,
    /// Programs on the card other than this one.
    pub processes: Vec<Process>,
}

/// What NVML reads at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Reading {
    /// Clock of the multiprocessors, in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_clock_hz: Option<f64>,
    /// Clock of the memory, in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_clock_hz: Option<f64>,
    /// Temperature of the chip, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Power drawn, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Energy drawn since the driver was loaded, in joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// Share of the last second in which a kernel ran, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Why the clocks are not at their highest.
    pub throttle_reasons: Vec<&'static str>,
}

/// A program on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Process id as the driver sees it.
    pub pid: u32,
    /// Memory it holds, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Driver {
    /// Reads everything.
    ///
    /// # Errors
    /// When there is no driver, it does not answer, or it shows no GPU.
    pub fn read() -> Result<Self, DriverError> {
        let nvml = Nvml::init()?;
        let count = nvml.device_count()?;
        if count == 0 {
            return Err(DriverError::NoDevice);
        }
        let cuda = nvml.sys_cuda_driver_version().unwrap_or(0);
        let gpus = (0..count).map(|i| Ok(Gpu::of(i, &nvml.device_by_index(i)?)));
        Ok(Self {
            version: nvml.sys_driver_version()?,
            cuda_version: cuda_version(cuda),
            gpus: gpus.collect::<Result<_, DriverError>>()?,
        })
    }
}

/// 13020 → `13.2`.
#[must_use]
pub fn cuda_version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl Gpu {
    /// Everything NVML tells of a device.
    #[must_use]
    pub fn of(index: u32, device: &Device<'_>) -> Self {
        let mhz = |clock: Result<u32, NvmlError>| clock.ok().map(|mhz| f64::from(mhz) * 1e6);
        let max_memory_clock_hz = mhz(device.max_clock_info(Clock::Memory));
        let bus_bits = device.memory_bus_width().ok().map(f64::from);
        let memory = memory(device);
        let pcie = (device.max_pcie_link_gen(), device.max_pcie_link_width());
        Self {
            index,
            name: device.name().unwrap_or_else(|_| "unknown".into()),
            uuid_hash: device.uuid().map(|u| uuid_hash(&u)).unwrap_or_default(),
            pci_bus_id: device.pci_info().ok().map(|p| p.bus_id),
            architecture: device.architecture().ok().map(|a| a.to_string()),
            compute_capability: device
                .cuda_compute_capability()
                .ok()
                .map(|c| format!("{}.{}", c.major, c.minor)),
            cores: device.num_cores().ok(),
            memory_total_bytes: memory.map(|(total, _)| total),
            memory_used_bytes: memory.map(|(_, used)| used),
            memory_bandwidth_bytes_per_s: max_memory_clock_hz
                .zip(bus_bits)
                .map(|(clock, bits)| theoretical_bandwidth(clock, bits)),
            max_sm_clock_hz: mhz(device.max_clock_info(Clock::SM)),
            max_memory_clock_hz,
            power_limit_w: device.enforced_power_limit().ok().map(milli),
            power_limit_default_w: device.power_management_limit_default().ok().map(milli),
            pcie: match pcie {
                (Ok(generation), Ok(lanes)) => Some(format!("{generation}.0 x{lanes}")),
                _ => None,
            },
            nvlinks: nvlinks(device),
            ecc: device.is_ecc_enabled().ok().map(|e| e.currently_enabled),
            mig: device.mig_mode().ok().map(|m| m.current == 1),
            now: Reading::of(device),
            processes: processes(device),
        }
    }
}

impl Reading {
    /// Reads clocks, temperature and power.
    #[must_use]
    pub fn of(device: &Device<'_>) -> Self {
        let mhz = |clock: Result<u32, NvmlError>| clock.ok().map(|mhz| f64::from(mhz) * 1e6);
        Self {
            sm_clock_hz: mhz(device.clock_info(Clock::SM)),
            memory_clock_hz: mhz(device.clock_info(Clock::Memory)),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            power_w: device.power_usage().ok().map(milli),
            #[expect(clippy::cast_precision_loss, reason = "millijoules of years fit in 53 bits")]
            energy_j: device.total_energy_consumption().ok().map(|mj| mj as f64 / 1e3),
            utilization: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
            throttle_reasons: device.current_throttle_reasons().map_or_else(|_| vec![], reasons),
        }
    }
}

/// Peak of a double-data-rate memory (HBM and GDDR as NVML gives their clocks), in bytes a second:
/// 2 × clock (Hz) × bus width (bits) ÷ 8. Source: CUDA C++ Best Practices Guide, "Theoretical Bandwidth
/// Calculation".
#[must_use]
pub fn theoretical_bandwidth(clock_hz: f64, bus_bits: f64) -> f64 {
    2.0 * clock_hz * bus_bits / 8.0
}

/// Total and used bytes; drivers before 510 know only the structure without the reserved part.
fn memory(device: &Device<'_>) -> Option<(u64, u64)> {
    device.memory_info().ok().map(|m| (m.total, m.used))
}

fn milli(value: u32) -> f64 {
    f64::from(value) / 1e3
}

fn nvlinks(device: &Device<'_>) -> u32 {
    let active = (0..NVLINKS).filter(|link| device.link_wrapper_for(*link).is_active().unwrap_or(false));
    u32::try_from(active.count()).unwrap_or(0)
}

/// Programs that hold a context, computing or drawing, this one left out.
fn processes(device: &Device<'_>) -> Vec<Process> {
    let compute = device.running_compute_processes().unwrap_or_default();
    let graphics = device.running_graphics_processes().unwrap_or_default();
    let mut all: Vec<Process> = compute
        .into_iter()
        .chain(graphics)
        .filter(|p| p.pid != std::process::id())
        .map(|p| Process {
            pid: p.pid,
            memory_bytes: match p.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
        })
        .collect();
    all.sort_by_key(|p| p.pid);
    all.dedup_by_key(|p| p.pid);
    all
}

/// The reasons in words, as `nvidia-smi` has them; an idle GPU is no throttled one.
fn reasons(reasons: ThrottleReasons) -> Vec<&'static str> {
    let words = [
        (ThrottleReasons::GPU_IDLE, "idle"),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications clocks setting"),
        (ThrottleReasons::SW_POWER_CAP, "power cap"),
        (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
        (ThrottleReasons::SYNC_BOOST, "sync boost"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "software thermal slowdown"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hardware thermal slowdown"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display clock setting"),
    ];
    words.into_iter().filter(|(bit, _)| reasons.contains(*bit)).map(|(_, word)| word).collect()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo), as 16 hexadecimal digits.
fn uuid_hash(uuid: &str) -> String {
    let hash = uuid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_of_known_cards() {
        // H200: 3,201 MHz on 6,144 bits; sold as 4.8 TB/s (rounded down), computed 4.917 TB/s
        assert!((theoretical_bandwidth(3201e6, 6144.0) - 4.9167e12).abs() < 1e9);
        // RTX 4090: 10,501 MHz on 384 bits; sold as 1,008 GB/s
        assert!((theoretical_bandwidth(10_501e6, 384.0) - 1008e9).abs() < 1e9);
    }

    #[test]
    fn hashes_are_stable() {
        // published test vectors of FNV-1a 64: "" and "a"
        assert_eq!(uuid_hash(""), "cbf29ce484222325");
        assert_eq!(uuid_hash("a"), "af63dc4c8601ec8c");
    }

    #[test]
    fn versions_and_reasons_read_well() {
        assert_eq!(cuda_version(13_020), "13.2");
        assert_eq!(cuda_version(12_000), "12.0");
        assert_eq!(reasons(ThrottleReasons::SW_POWER_CAP | ThrottleReasons::GPU_IDLE), ["idle", "power cap"]);
        assert!(reasons(ThrottleReasons::empty()).is_empty());
    }

    #[test]
    fn errors_name_the_fix() {
        assert_eq!(DriverError::from(NvmlError::DriverNotLoaded), DriverError::NotLoaded);
        assert_eq!(DriverError::from(NvmlError::LibRmVersionMismatch), DriverError::VersionMismatch);
        let old = DriverError::from(NvmlError::FailedToLoadSymbol("nvmlInit_v2".into()));
        assert!(old.to_string().contains("nvmlInit_v2") && old.to_string().contains("525"));
    }
}
