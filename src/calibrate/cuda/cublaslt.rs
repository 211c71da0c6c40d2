//! Matrix products by cuBLASLt, called through a table of functions of the file that was found: cudarc would take the
//! first `libcublasLt.so` of the loader's path, panic where a function is missing, and has no fp8 or fp4.
#![allow(unsafe_code, reason = "cuBLASLt's interface is C")]

mod product;

use product::Heuristic;
pub(super) use product::{Operands, Scales, WORKSPACE};

use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtMatrixLayout_t,
    cudaDataType as CudaType,
};
use cudarc::driver::sys::CUstream;
use std::ffi::{c_int, c_void};
use std::ptr;

use super::CudaError;
use crate::machine::Library;
use crate::machine::library::{Handle, Surroundings, preload};

/// The functions that are called. Statuses are plain numbers: a status that an enumeration lacks must not be made
/// one.
#[derive(Clone, Copy)]
struct Functions {
    version: unsafe extern "C" fn() -> usize,
    create: unsafe extern "C" fn(*mut cublasLtHandle_t) -> c_int,
    destroy: unsafe extern "C" fn(cublasLtHandle_t) -> c_int,
    desc_create: unsafe extern "C" fn(*mut cublasLtMatmulDesc_t, Compute, CudaType) -> c_int,
    desc_set: unsafe extern "C" fn(cublasLtMatmulDesc_t, DescAttribute, *const c_void, usize) -> c_int,
    desc_destroy: unsafe extern "C" fn(cublasLtMatmulDesc_t) -> c_int,
    layout_create: unsafe extern "C" fn(*mut cublasLtMatrixLayout_t, CudaType, u64, u64, i64) -> c_int,
    layout_destroy: unsafe extern "C" fn(cublasLtMatrixLayout_t) -> c_int,
    preference_create: unsafe extern "C" fn(*mut cublasLtMatmulPreference_t) -> c_int,
    preference_set:
        unsafe extern "C" fn(cublasLtMatmulPreference_t, PreferenceAttribute, *const c_void, usize) -> c_int,
    preference_destroy: unsafe extern "C" fn(cublasLtMatmulPreference_t) -> c_int,
    heuristic: unsafe extern "C" fn(
        cublasLtHandle_t,
        cublasLtMatmulDesc_t,
        cublasLtMatrixLayout_t,
        cublasLtMatrixLayout_t,
        cublasLtMatrixLayout_t,
        cublasLtMatrixLayout_t,
        cublasLtMatmulPreference_t,
        c_int,
        *mut Heuristic,
        *mut c_int,
    ) -> c_int,
    matmul: unsafe extern "C" fn(
        cublasLtHandle_t,
        cublasLtMatmulDesc_t,
        *const c_void,
        *const c_void,
        cublasLtMatrixLayout_t,
        *const c_void,
        cublasLtMatrixLayout_t,
        *const c_void,
        *const c_void,
        cublasLtMatrixLayout_t,
        *mut c_void,
        cublasLtMatrixLayout_t,
        *const cublasLtMatmulAlgo_t,
        *mut c_void,
        usize,
        CUstream,
    ) -> c_int,
}

/// An opened cuBLASLt.
pub(super) struct CublasLt {
    functions: Functions,
    handle: cublasLtHandle_t,
    /// Version as the library says it: 130100.
    pub version: u32,
}

fn library_error(problem: String) -> CudaError {
    CudaError::Library { library: Library::CublasLt, problem }
}

/// A failed call, by the names of cublasStatus_t.
fn check(call: &'static str, status: c_int) -> Result<(), CudaError> {
    let code = match status {
        0 => return Ok(()),
        1 => "CUBLAS_STATUS_NOT_INITIALIZED".into(),
        3 => "CUBLAS_STATUS_ALLOC_FAILED".into(),
        7 => "CUBLAS_STATUS_INVALID_VALUE".into(),
        8 => "CUBLAS_STATUS_ARCH_MISMATCH".into(),
        11 => "CUBLAS_STATUS_MAPPING_ERROR".into(),
        13 => "CUBLAS_STATUS_EXECUTION_FAILED".into(),
        14 => "CUBLAS_STATUS_INTERNAL_ERROR".into(),
        15 => NOT_SUPPORTED.into(),
        other => format!("cuBLAS status {other}"),
    };
    Err(CudaError::Call { call, code })
}

const NOT_SUPPORTED: &str = "CUBLAS_STATUS_NOT_SUPPORTED";

impl CublasLt {
    /// Opens the first cuBLASLt that the driver can serve. A device must be current.
    ///
    /// # Errors
    /// When none is found, or it is newer than the driver, or does not start.
    pub fn open(surroundings: &Surroundings, driver_major: u32) -> Result<Self, CudaError> {
        let (path, library) =
            preload(Library::CublasLt, surroundings, driver_major).map_err(library_error)?;
        let functions = Functions::of(library)?;
        // SAFETY: size_t cublasLtGetVersion(void)
        let version = u32::try_from(unsafe { (functions.version)() }).unwrap_or(0);
        let mut handle = ptr::null_mut();
        // SAFETY: the pointer is to a handle that lives over the call
        let status = unsafe { (functions.create)(&raw mut handle) };
        check("cublasLtCreate", status)
            .map_err(|e| library_error(format!("{} does not start: {e}", path.display())))?;
        Ok(Self { functions, handle, version })
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: created by `open` and given back once
        let _ = unsafe { (self.functions.destroy)(self.handle) };
    }
}

impl Functions {
    /// Looks up every function.
    fn of(library: &Handle) -> Result<Self, CudaError> {
        /// A function of a library under its name in the C header.
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is the field's, which is the declaration in cublasLt.h
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }
                    .map_err(|_| library_error(concat!("it lacks the function ", $name).into()))?
            };
        }
        Ok(Self {
            version: function!("cublasLtGetVersion"),
            create: function!("cublasLtCreate"),
            destroy: function!("cublasLtDestroy"),
            desc_create: function!("cublasLtMatmulDescCreate"),
            desc_set: function!("cublasLtMatmulDescSetAttribute"),
            desc_destroy: function!("cublasLtMatmulDescDestroy"),
            layout_create: function!("cublasLtMatrixLayoutCreate"),
            layout_destroy: function!("cublasLtMatrixLayoutDestroy"),
            preference_create: function!("cublasLtMatmulPreferenceCreate"),
            preference_set: function!("cublasLtMatmulPreferenceSetAttribute"),
            preference_destroy: function!("cublasLtMatmulPreferenceDestroy"),
            heuristic: function!("cublasLtMatmulAlgoGetHeuristic"),
            matmul: function!("cublasLtMatmul"),
        })
    }
}

impl CudaError {
    /// The library has no kernel for this.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Call { code, .. } if code == NOT_SUPPORTED)
    }
}
