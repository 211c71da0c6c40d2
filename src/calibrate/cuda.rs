//! Measuring on NVIDIA GPUs through the driver, without a toolkit: what is missing is found out before
//! anything is called, and said as a [`CudaError`].

mod backend;
mod cublaslt;
mod device;
pub mod driver;
mod error;
mod memory;
mod monitor;
mod nccl;
pub mod part;
mod replay;
mod suite;

pub use backend::{Cuda, CudaOptions};
pub use driver::{CudaDevice, visible_devices};
pub use error::CudaError;
pub use part::{GemmType, Obstacle, Part};
