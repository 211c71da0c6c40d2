//! Descriptions of products, the algorithms proposed for them, and their enqueueing.
#![allow(unsafe_code, reason = "cuBLASLt's interface is C")]

use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatmulMatrixScale_t as ScaleMode,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtMatrixLayout_t,
    cudaDataType as CudaType,
};
use cudarc::driver::sys::CUstream;
use std::ffi::{c_int, c_void};
use std::ptr;

use super::{CublasLt, NOT_SUPPORTED, check};
use crate::calibrate::cuda::{CudaError, GemmType};

/// Workspace offered to the library: what PyTorch and vLLM give on Hopper and newer.
pub(in crate::calibrate::cuda) const WORKSPACE: u64 = 32 << 20;

/// Algorithms asked of the heuristic.
const CANDIDATES: usize = 4;

/// `cublasLtMatmulHeuristicResult_t` of cublasLt.h, its status as a number.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Heuristic {
    algorithm: cublasLtMatmulAlgo_t,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

impl CublasLt {
    /// Makes a product ready: Y (M × N) = X (M × K) · Wᵀ (N × K), as a linear layer has it. In the library's words, where
    /// matrices go down their columns, A is W transposed, B is X, and D is Y transposed.
    ///
    /// # Errors
    /// [`CudaError::Call`] with `CUBLAS_STATUS_NOT_SUPPORTED` where no kernel does this shape in this type.
    pub fn product(
        &self,
        format: GemmType,
        m: u64,
        n: u64,
        k: u64,
        scales: Scales,
    ) -> Result<Product<'_>, CudaError> {
        let f = &self.functions;
        let types = Types::of(format);
        let mut product = Product {
            library: self,
            desc: ptr::null_mut(),
            layouts: [ptr::null_mut(); 3],
            integer: format == GemmType::Int8,
            candidates: vec![],
        };
        let (rows_k, m64, n64) = (k, m, n);
        // what was made before an error is given back by Drop
        // SAFETY: handles and values live over the calls; every attribute has the size that cublasLt.h gives it
        unsafe {
            check(
                "cublasLtMatmulDescCreate",
                (f.desc_create)(&raw mut product.desc, types.compute, types.scale),
            )?;
            let set = |attribute, value: *const c_void, size: usize| {
                check("cublasLtMatmulDescSetAttribute", (f.desc_set)(product.desc, attribute, value, size))
            };
            // cublasOperation_t of cublas_api.h: CUBLAS_OP_T is 1, CUBLAS_OP_N 0
            let (yes, no) = (1_i32, 0_i32);
            set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, ptr::from_ref(&yes).cast(), 4)?;
            set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, ptr::from_ref(&no).cast(), 4)?;
            if let Scales::Given { a, b } = scales {
                set(DescAttribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, ptr::from_ref(&a).cast(), 8)?;
                set(DescAttribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, ptr::from_ref(&b).cast(), 8)?;
            }
            if format == GemmType::Fp8 {
                // sums in the tensor core's own registers, as every engine does
                let fast = 1_i8;
                set(DescAttribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, ptr::from_ref(&fast).cast(), 1)?;
            }
            if format == GemmType::Nvfp4 {
                let mode = ScaleMode::CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3;
                set(DescAttribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, ptr::from_ref(&mode).cast(), 4)?;
                set(DescAttribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, ptr::from_ref(&mode).cast(), 4)?;
            }
            let shapes = [(types.input, rows_k, n64), (types.input, rows_k, m64), (types.output, n64, m64)];
            for (layout, (kind, rows, columns)) in product.layouts.iter_mut().zip(shapes) {
                let leading = i64::try_from(rows).unwrap_or(i64::MAX);
                check("cublasLtMatrixLayoutCreate", (f.layout_create)(layout, kind, rows, columns, leading))?;
            }
        }
        product.candidates = product.heuristic()?;
        Ok(product)
    }
}

/// Addresses of scales on the device.
#[derive(Debug, Clone, Copy)]
pub(in crate::calibrate::cuda) enum Scales {
    /// The type has none.
    None,
    /// One fp32 a tensor (fp8), or one E4M3 every 16 elements (nvfp4).
    Given {
        /// Of the weights.
        a: u64,
        /// Of the activations.
        b: u64,
    },
}

/// How a format is multiplied.
struct Types {
    compute: Compute,
    scale: CudaType,
    input: CudaType,
    output: CudaType,
}

impl Types {
    /// The combinations that the library's documentation lists under cublasLtMatmul().
    fn of(format: GemmType) -> Self {
        let float = |input, output| Self {
            compute: Compute::CUBLAS_COMPUTE_32F,
            scale: CudaType::CUDA_R_32F,
            input,
            output,
        };
        match format {
            GemmType::Bf16 => float(CudaType::CUDA_R_16BF, CudaType::CUDA_R_16BF),
            GemmType::Fp16 => float(CudaType::CUDA_R_16F, CudaType::CUDA_R_16F),
            GemmType::Tf32 => Self {
                compute: Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
                ..float(CudaType::CUDA_R_32F, CudaType::CUDA_R_32F)
            },
            GemmType::Fp8 => float(CudaType::CUDA_R_8F_E4M3, CudaType::CUDA_R_16BF),
            GemmType::Int8 => Self {
                compute: Compute::CUBLAS_COMPUTE_32I,
                scale: CudaType::CUDA_R_32I,
                input: CudaType::CUDA_R_8I,
                output: CudaType::CUDA_R_32I,
            },
            GemmType::Nvfp4 => float(CudaType::CUDA_R_4F_E2M1, CudaType::CUDA_R_16BF),
        }
    }
}

/// A product made ready, with the algorithms that the library proposes, its favourite first.
pub(in crate::calibrate::cuda) struct Product<'a> {
    library: &'a CublasLt,
    desc: cublasLtMatmulDesc_t,
    layouts: [cublasLtMatrixLayout_t; 3],
    integer: bool,
    candidates: Vec<Heuristic>,
}

/// Where operands, result and workspace lie on the device.
#[derive(Debug, Clone, Copy)]
pub(in crate::calibrate::cuda) struct Operands {
    /// Weights, N × K.
    pub weights: u64,
    /// Activations, M × K.
    pub input: u64,
    /// Result, M × N.
    pub output: u64,
    /// [`WORKSPACE`] bytes.
    pub workspace: u64,
}

impl Product<'_> {
    /// How many algorithms there are, at least one.
    pub fn algorithms(&self) -> usize {
        self.candidates.len()
    }

    fn heuristic(&self) -> Result<Vec<Heuristic>, CudaError> {
        let f = &self.library.functions;
        let mut preference = ptr::null_mut();
        // SAFETY: the pointer is to a handle that lives over the call
        check("cublasLtMatmulPreferenceCreate", unsafe { (f.preference_create)(&raw mut preference) })?;
        let nothing = Heuristic {
            algorithm: cublasLtMatmulAlgo_t { data: [0; 8] },
            workspace: 0,
            state: -1,
            waves: 0.0,
            reserved: [0; 4],
        };
        let mut results = [nothing; CANDIDATES];
        let mut found: c_int = 0;
        let [a, b, d] = self.layouts;
        // SAFETY: all handles are alive; `results` has room for as many as are asked for; the attribute is a number
        // of eight bytes
        let status = unsafe {
            let workspace = WORKSPACE;
            let attribute = PreferenceAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let set = (f.preference_set)(preference, attribute, ptr::from_ref(&workspace).cast(), 8);
            let status = if set == 0 {
                (f.heuristic)(
                    self.library.handle,
                    self.desc,
                    a,
                    b,
                    d,
                    d,
                    preference,
                    c_int::try_from(CANDIDATES).unwrap_or(1),
                    results.as_mut_ptr(),
                    &raw mut found,
                )
            } else {
                set
            };
            let _ = (f.preference_destroy)(preference);
            status
        };
        check("cublasLtMatmulAlgoGetHeuristic", status)?;
        let found = usize::try_from(found).unwrap_or(0).min(CANDIDATES);
        let usable: Vec<Heuristic> = results.into_iter().take(found).filter(|r| r.state == 0).collect();
        if usable.is_empty() {
            return Err(CudaError::Call {
                call: "cublasLtMatmulAlgoGetHeuristic",
                code: NOT_SUPPORTED.into(),
            });
        }
        Ok(usable)
    }

    /// Enqueues the product by one of its algorithms.
    ///
    /// # Errors
    /// When the library refuses.
    ///
    /// # Safety
    /// The operands are as large as shape and type say, and live until the stream is done.
    pub unsafe fn enqueue(&self, algorithm: usize, at: Operands, stream: CUstream) -> Result<(), CudaError> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one_i, zero_i) = (1_i32, 0_i32);
        let (alpha, beta): (*const c_void, *const c_void) = if self.integer {
            (ptr::from_ref(&one_i).cast(), ptr::from_ref(&zero_i).cast())
        } else {
            (ptr::from_ref(&one).cast(), ptr::from_ref(&zero).cast())
        };
        let Some(chosen) = self.candidates.get(algorithm) else {
            return Err(CudaError::Panic("an algorithm that was not proposed".into()));
        };
        let [a, b, d] = self.layouts;
        let on_device = |address: u64| address as *mut c_void;
        // SAFETY: all handles are alive; alpha and beta are on the host, as is the default; C is D, which beta = 0
        // leaves unread
        let status = unsafe {
            (self.library.functions.matmul)(
                self.library.handle,
                self.desc,
                alpha,
                on_device(at.weights),
                a,
                on_device(at.input),
                b,
                beta,
                on_device(at.output),
                d,
                on_device(at.output),
                d,
                ptr::from_ref(&chosen.algorithm),
                on_device(at.workspace),
                WORKSPACE as usize,
                stream,
            )
        };
        check("cublasLtMatmul", status)
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        let f = &self.library.functions;
        // SAFETY: handles that are not null were made by `CublasLt::product` and are given back once
        unsafe {
            for layout in self.layouts.into_iter().filter(|l| !l.is_null()) {
                let _ = (f.layout_destroy)(layout);
            }
            if !self.desc.is_null() {
                let _ = (f.desc_destroy)(self.desc);
            }
        }
    }
}
