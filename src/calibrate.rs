//! From measurements to coefficients. Nothing here is needed to predict.

mod attention;
pub mod bootstrap;
pub mod collective;
pub mod cuda;
pub mod decode_attention;
pub mod engine;
pub mod experts;
pub mod fit;
pub mod gemm;
pub mod grid;
pub mod heldout;
pub mod latent;
pub mod matvec;
pub mod operators;
pub mod points;
pub mod prefill_attention;
pub mod probe;
pub mod quantise;
pub mod samples;
pub mod statistics;
