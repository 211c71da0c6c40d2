//! Measuring on NVIDIA GPUs through the driver, without a toolkit: what is missing is found out before
//! anything is called, and said as a [`CudaError`].

pub mod benchmark;
pub mod driver;
mod error;

pub use benchmark::{Benchmark, Obstacle};
pub use driver::{CudaDevice, visible_devices};
pub use error::CudaError;
