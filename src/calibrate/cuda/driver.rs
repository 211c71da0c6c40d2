//! The way to the driver without a panic: the library is looked for, then every function that will be
//! called, then the driver is started, and only then a device is opened.
#![allow(unsafe_code, reason = "the driver's interface is C")]

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use serde::Serialize;
use std::ffi::{CStr, c_char, c_int};

use super::CudaError;

/// Functions of libcuda.so.1 that are called here or by cudarc on our behalf. All are in drivers from
/// 525 (CUDA 12.0) on; `cuEventElapsedTime` is called by that name because its second version, which
/// cudarc would call, came with 570.
const NEEDED: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuCtxGetCurrent",
    "cuCtxSynchronize",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuEventDestroy_v2",
];

/// A device as CUDA numbers them: `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// The number in `cuda:0`.
    pub ordinal: usize,
    /// Name.
    pub name: String,
    /// PCI address, by which NVML knows it too.
    pub pci_bus_id: String,
    /// Compute capability as ten times the major number plus the minor: 90.
    pub capability: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Last-level cache in bytes.
    pub l2_bytes: u64,
}

/// Opens the driver's library, sees that it has all functions, and starts it.
///
/// # Errors
/// Without the library, with a stub, with a driver that lacks functions or does not start.
pub fn start() -> Result<(), CudaError> {
    // SAFETY: only opens and closes the driver's library, which is made for that
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    // SAFETY: the library is there, so this does not panic; it stays open
    let library = unsafe { sys::culib() };
    for name in NEEDED {
        // SAFETY: the symbol is looked for and not called
        if unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err() {
            return Err(CudaError::TooOld((*name).to_owned()));
        }
    }
    // SAFETY: the function is there; it may be called any number of times
    check("cuInit", unsafe { sys::cuInit(0) })
}

/// An error where a call answers anything but success.
///
/// # Errors
/// As the code says.
pub(super) fn check(call: &'static str, code: CUresult) -> Result<(), CudaError> {
    if code == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(CudaError::of(call, code)) }
}

/// The devices that CUDA shows to this process.
///
/// # Errors
/// As [`start`], and when there is none.
pub fn visible_devices() -> Result<Vec<CudaDevice>, CudaError> {
    start()?;
    let mut count: c_int = 0;
    // SAFETY: the driver is started and the pointer is to an integer that lives over the call
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(CudaError::NoDevice);
    }
    (0..count).map(device).collect()
}

/// The major version of CUDA that the driver serves; it must be started.
///
/// # Errors
/// When it does not say.
pub(super) fn cuda_major() -> Result<u32, CudaError> {
    let mut version: c_int = 0;
    // SAFETY: the pointer is to an integer that lives over the call
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    Ok(u32::try_from(version / 1000).unwrap_or(0))
}

fn device(ordinal: usize) -> Result<CudaDevice, CudaError> {
    let mut device = 0;
    let number = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
    // SAFETY: the driver is started; a number out of range is answered with an error
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, number) })?;
    let attribute = |which: CUdevice_attribute| -> Result<u32, CudaError> {
        let mut value: c_int = 0;
        // SAFETY: the device is one that the driver gave
        check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, device) })?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(CudaDevice {
        ordinal,
        name: text("cuDeviceGetName", |buffer, length| {
            // SAFETY: the buffer has `length` bytes; the driver ends the text within it
            unsafe { sys::cuDeviceGetName(buffer, length, device) }
        })?,
        pci_bus_id: text("cuDeviceGetPCIBusId", |buffer, length| {
            // SAFETY: as above
            unsafe { sys::cuDeviceGetPCIBusId(buffer, length, device) }
        })?,
        capability: major * 10 + minor,
        multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        l2_bytes: u64::from(attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
    })
}

/// The text that a call writes.
fn text(call: &'static str, write: impl FnOnce(*mut c_char, c_int) -> CUresult) -> Result<String, CudaError> {
    let mut buffer = [0_u8; 256];
    // one byte is kept back, so that the text ends whatever the driver does
    check(call, write(buffer.as_mut_ptr().cast(), 255))?;
    Ok(CStr::from_bytes_until_nul(&buffer).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default())
}

/// PCI addresses agree whatever the width of the domain: `00000000:06:00.0` and `0000:06:00.0`.
#[must_use]
pub fn same_address(a: &str, b: &str) -> bool {
    let parts = |address: &str| -> Option<(u32, String)> {
        let (domain, rest) = address.split_once(':')?;
        Some((u32::from_str_radix(domain, 16).ok()?, rest.to_ascii_lowercase()))
    };
    parts(a).is_some() && parts(a) == parts(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nvml_and_cuda_agree() {
        assert!(same_address("00000000:0A:00.0", "0000:0a:00.0"));
        assert!(!same_address("00000000:0A:00.0", "0000:0b:00.0"));
        assert!(!same_address("", ""));
    }
}
