//! The machine this runs on: its processor, the GPUs that NVML shows, the CUDA libraries that lie on it.
//! Everything is read when asked for and never before; nothing here knows a model or a formula.

pub mod cpu;
pub mod gpu;
pub mod library;
pub mod places;

pub use cpu::Cpu;
pub use gpu::{Driver, DriverError, Gpu};
pub use library::{Found, Library, Origin};
