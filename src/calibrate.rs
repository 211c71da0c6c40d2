//! From measurements to coefficients. Nothing here is needed to predict.

pub mod collective;
pub mod fit;
pub mod gemm;
pub mod heldout;
pub mod quantise;
pub mod samples;
pub mod statistics;
