//! Memory of a device: one allocation, handed out anew for every benchmark and filled with random data.
#![allow(unsafe_code, reason = "the driver's interface is C")]

use cudarc::driver::sys::{self, CUresult};

use super::CudaError;
use super::device::{Argument, Device, Kernel};
use super::driver::check;

/// Regions begin at multiples of this, as large allocations do.
const ALIGNMENT: u64 = 4096;

/// What a region is filled with; the numbers are those of `fill` in kernels.cu. Zeros are not among them: a chip that
/// multiplies zeros draws less power and clocks higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Every pattern of bits: integers and floats of 4 bit.
    Bits = 0,
    /// Normal with deviation 1.
    Bf16 = 1,
    /// Normal with deviation 1.
    Fp16 = 2,
    /// Normal with deviation 1.
    Fp32 = 3,
    /// E4M3, normal with deviation 1.
    Fp8 = 4,
    /// Normal with deviation 32.
    Int8 = 5,
    /// 1.0 in fp32: scales.
    Ones = 6,
    /// 1.0 in E4M3 (the byte 0x38): block scales.
    OnesFp8 = 7,
}

/// An allocation, handed out from the front.
pub(super) struct Arena {
    base: u64,
    bytes: u64,
    used: u64,
    kept: u64,
}

impl Arena {
    /// Takes memory of the current device.
    ///
    /// # Errors
    /// When there is not so much.
    pub(super) fn new(bytes: u64, what: &str) -> Result<Self, CudaError> {
        let short = || CudaError::OutOfMemory { what: what.to_owned(), mib: bytes >> 20 };
        let size = usize::try_from(bytes).map_err(|_| short())?;
        let mut base = 0;
        // SAFETY: a context is current; the pointer is to a number that lives over the call
        match unsafe { sys::cuMemAlloc_v2(&raw mut base, size) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(short()),
            code => check("cuMemAlloc", code).map(|()| Self { base, bytes, used: 0, kept: 0 }),
        }
    }

    /// What was handed out until now stays.
    pub fn keep(&mut self) {
        self.kept = self.used;
    }

    /// Forgets what was handed out since.
    pub fn clear(&mut self) {
        self.used = self.kept;
    }

    /// Hands out a region and gives its address.
    ///
    /// # Errors
    /// When what is left does not suffice.
    pub fn take(&mut self, bytes: u64, what: &str) -> Result<u64, CudaError> {
        let padded = bytes.max(1).next_multiple_of(ALIGNMENT);
        if padded > self.bytes - self.used {
            return Err(CudaError::OutOfMemory { what: what.to_owned(), mib: bytes.div_ceil(1 << 20) });
        }
        let address = self.base + self.used;
        self.used += padded;
        Ok(address)
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.bytes - self.used
    }

    /// Hands out a region filled with data. Whole words are filled, which the padding has room for.
    ///
    /// # Errors
    /// When what is left does not suffice, or a launch fails.
    pub fn filled(
        &mut self,
        device: &Device,
        fill: Kernel,
        bytes: u64,
        kind: Fill,
        what: &str,
    ) -> Result<u64, CudaError> {
        let address = self.take(bytes, what)?;
        let words = bytes.div_ceil(4);
        // the seed is the place, so that no two regions are alike; for bytes it is the byte
        let seed = if kind == Fill::OnesFp8 { 0x38 } else { (address >> 12) as u32 };
        let arguments: [Argument; 4] = [address.into(), words.into(), (kind as u32).into(), seed.into()];
        // SAFETY: the arguments are those of `fill`; the region has `words` words
        unsafe { device.launch(fill, device.grid(words), 256, &arguments) }?;
        Ok(address)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` and given back once
        let _ = unsafe { sys::cuMemFree_v2(self.base) };
    }
}
