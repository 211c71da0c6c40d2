//! Products by the crate `gemm`.
//!
//! Unsafe is its interface of pointers and strides.
#![allow(unsafe_code)]

use super::product::Shape;

/// `out` = `activations` · `weights`ᵀ in f32.
#[allow(clippy::cast_possible_wrap)] // sizes of benchmarks
pub(super) fn multiply_floats(shape: Shape, activations: &[f32], weights: &[f32], out: &mut [f32]) {
    let Shape { m, n, k, threads } = shape;
    assert!(activations.len() >= m * k && weights.len() >= n * k && out.len() >= m * n);
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let (row, along, wide) = (k as isize, 1, n as isize);
    // SAFETY: the lengths were just checked; strides are those of rows one after another
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            along,
            wide,
            false,
            activations.as_ptr(),
            along,
            row,
            weights.as_ptr(),
            row,
            along,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
