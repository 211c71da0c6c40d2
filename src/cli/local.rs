//! `--gpu local`: the accelerator of this machine.

use crate::machine::{Cpu, Driver};
use crate::spec::catalog::{self, Directories, accelerator_of_driver};
use crate::spec::{Accelerator, SpecError};
use crate::units::Bytes;

/// The accelerator that `--gpu` means: by name or file as the catalog has it, or this machine's. `local` is the first
/// GPU that NVML shows, else the CPU; `local:1` the second GPU; `local:cpu` the CPU.
pub(super) fn accelerator(name: &str, directories: &Directories) -> Result<Accelerator, SpecError> {
    match name.trim().split_once(':') {
        None if name.trim() == "local" => match Driver::read() {
            Ok(driver) => gpu(&driver, 0, directories),
            Err(_) => cpu(directories),
        },
        Some(("local", "cpu")) => cpu(directories),
        Some(("local", number)) => {
            let index = number.parse().map_err(|_| {
                SpecError::Usage(format!("`{name}`: write local, local:0, local:1 … or local:cpu"))
            })?;
            let driver = Driver::read()
                .map_err(|e| SpecError::Usage(format!("`{name}`: {e}; or name an accelerator with --gpu")))?;
            gpu(&driver, index, directories)
        }
        _ => catalog::accelerator(name, directories),
    }
}

fn gpu(driver: &Driver, index: usize, directories: &Directories) -> Result<Accelerator, SpecError> {
    let gpu = driver.gpus.get(index).ok_or_else(|| {
        let last = driver.gpus.len().saturating_sub(1);
        SpecError::Usage(format!("`local:{index}`: NVML shows no such GPU; give local:0 to local:{last}"))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
    let memory = gpu.memory_total_bytes.map(|b| Bytes(b as f64));
    accelerator_of_driver(&gpu.name, memory, directories)
}

/// The CPU as `calibrate --device cpu` has described it, else the catalog's entry of its name.
fn cpu(directories: &Directories) -> Result<Accelerator, SpecError> {
    match catalog::accelerator("local-cpu", directories) {
        Err(SpecError::Unknown { .. }) => {}
        found => return found,
    }
    let model = Cpu::read().model;
    catalog::accelerator(&model, directories).map_err(|_| {
        SpecError::Usage(format!(
            "no GPU is found here, and the CPU (`{model}`) is not in the catalog; measure it with `foretoken calibrate \
             --device cpu`, or name an accelerator with --gpu"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Gpu;

    #[test]
    fn gpus_by_number() {
        let h200 =
            Gpu { name: "NVIDIA H200".into(), memory_total_bytes: Some(143_771 << 20), ..Gpu::default() };
        let driver = Driver { version: "580".into(), cuda_version: "13.0".into(), gpus: vec![h200] };
        let none = Directories::default();
        assert_eq!(gpu(&driver, 0, &none).unwrap().id, "h200-sxm");
        let error = gpu(&driver, 3, &none).unwrap_err().to_string();
        assert!(error.contains("local:3") && error.contains("local:0"), "{error}");
        let error = accelerator("local:x", &none).unwrap_err().to_string();
        assert!(error.contains("local:cpu"), "{error}");
        assert_eq!(accelerator("h100-sxm", &none).unwrap().id, "h100-sxm");
    }
}
