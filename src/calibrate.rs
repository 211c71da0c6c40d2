//! From measurements to coefficients. Nothing here is needed to predict.

pub mod fit;
pub mod gemm;
pub mod heldout;
pub mod samples;
pub mod statistics;
