//! What this machine is, and what could be measured on it.

use serde::Serialize;

use crate::calibrate::cuda::part::Means;
use crate::calibrate::cuda::{CudaDevice, CudaError, Part, driver::same_address, visible_devices};
use crate::machine::library::{Surroundings, Version, find_all};
use crate::machine::{Cpu, Driver, Found, Gpu, Library};
use crate::spec::catalog::{Directories, accelerator_of_driver};
use crate::units::Bytes;

/// Everything `doctor` finds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Doctor {
    /// Version of this program.
    pub version: &'static str,
    /// Operating system.
    pub system: String,
    /// The processor.
    pub cpu: Cpu,
    /// The NVIDIA driver; absent without one that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverFacts>,
    /// Why no GPU can be used at all; absent when one can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// GPUs, as NVML numbers them.
    pub gpus: Vec<GpuFacts>,
    /// Libraries of CUDA, in the order of search.
    pub libraries: Vec<Found>,
}

/// Versions of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriverFacts {
    /// Driver version: `580.95.05`.
    pub version: String,
    /// Newest CUDA version that it serves.
    pub cuda_version: String,
    /// `CUDA_VISIBLE_DEVICES`, where it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_visible_devices: Option<String>,
}

/// A GPU with what it is here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuFacts {
    /// What NVML says.
    #[serde(flatten)]
    pub gpu: Gpu,
    /// Its number for CUDA programs: 0 in `cuda:0`. Absent when it is not visible to this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_ordinal: Option<usize>,
    /// Streaming multiprocessors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<u32>,
    /// Last-level cache, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2_cache_bytes: Option<u64>,
    /// The catalog's entry of it; `--gpu local` means this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_id: Option<String>,
    /// Benchmarks of `calibrate`.
    pub benchmarks: Vec<BenchmarkFacts>,
}

/// Whether a benchmark can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BenchmarkFacts {
    /// Its name; `--only` takes the first word.
    pub name: &'static str,
    /// What it finds out.
    pub purpose: &'static str,
    /// What stands in the way; absent when it can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

impl Doctor {
    /// True when `calibrate` could measure a GPU here.
    #[must_use]
    pub fn has_usable_gpu(&self) -> bool {
        self.gpus.iter().any(|g| g.benchmarks.iter().any(|b| b.obstacle.is_none()))
    }
}

/// Looks at the machine.
#[must_use]
pub fn doctor(surroundings: &Surroundings, directories: &Directories) -> Doctor {
    let libraries = find_all(surroundings);
    let driver = Driver::read();
    let devices = match &driver {
        Ok(_) => visible_devices(),
        Err(error) => Err(CudaError::Driver(error.clone())),
    };
    let gpus = match &driver {
        Ok(driver) => driver
            .gpus
            .iter()
            .map(|gpu| gpu_facts(gpu, devices.as_deref(), &libraries, directories))
            .collect(),
        Err(_) => vec![],
    };
    Doctor {
        version: env!("CARGO_PKG_VERSION"),
        system: system(),
        cpu: Cpu::read(),
        driver: driver.ok().map(|d| DriverFacts {
            version: d.version,
            cuda_version: d.cuda_version,
            cuda_visible_devices: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
        }),
        problem: devices.err().map(|e| e.to_string()),
        gpus,
        libraries,
    }
}

/// Name and version of the operating system, with the kernel.
fn system() -> String {
    let name = sysinfo::System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into());
    let kernel = sysinfo::System::kernel_version().map_or_else(String::new, |k| format!(", kernel {k}"));
    format!("{name}{kernel}")
}

fn gpu_facts(
    gpu: &Gpu,
    devices: Result<&[CudaDevice], &CudaError>,
    libraries: &[Found],
    directories: &Directories,
) -> GpuFacts {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
    let memory = gpu.memory_total_bytes.map(|b| Bytes(b as f64));
    let address = gpu.pci_bus_id.as_deref().unwrap_or_default();
    let visible = devices.map(|d| d.iter().find(|d| same_address(&d.pci_bus_id, address)));
    let general = match (&visible, gpu.mig) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(None), _) => Some("not visible to CUDA programs; check CUDA_VISIBLE_DEVICES".into()),
        (Ok(Some(_)), Some(true)) => Some("cut into MIG instances".into()),
        (Ok(Some(_)), _) => None,
    };
    let device = visible.ok().flatten();
    let means = Means {
        capability: device.map_or(0, |d| d.capability),
        gpus: devices.map_or(0, <[CudaDevice]>::len),
        cublaslt: newest(libraries),
        nccl: libraries
            .iter()
            .any(|l| l.library == Library::Nccl && matches!(l.version, Version::Version(_))),
    };
    let benchmarks = Part::ALL.into_iter().map(|b| BenchmarkFacts {
        name: b.name(),
        purpose: b.purpose(),
        obstacle: general.clone().or_else(|| b.obstacle(&means).map(|o| o.0)),
    });
    GpuFacts {
        cuda_ordinal: device.map(|d| d.ordinal),
        multiprocessors: device.map(|d| d.multiprocessors),
        l2_cache_bytes: device.map(|d| d.l2_bytes),
        catalog_id: accelerator_of_driver(&gpu.name, memory, directories).ok().map(|a| a.id),
        benchmarks: benchmarks.collect(),
        gpu: gpu.clone(),
    }
}

/// The newest cuBLASLt among the libraries: `13.1.0` → 130100.
fn newest(libraries: &[Found]) -> Option<u32> {
    let versions = libraries.iter().filter(|l| l.library == Library::CublasLt);
    let numbers = versions.filter_map(|l| match &l.version {
        Version::Version(text) => {
            let parts: Vec<u32> = text.split('.').filter_map(|p| p.parse().ok()).collect();
            let [major, minor, patch] = parts.as_slice() else { return None };
            Some(major * 10_000 + minor * 100 + patch)
        }
        Version::Error(_) => None,
    });
    numbers.max()
}
