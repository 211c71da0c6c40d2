//! How long it takes: an operator on an accelerator with coefficients becomes seconds, with what
//! bounds it and where the coefficients came from. Nothing here knows a model's name or an
//! engine's scheduler.

pub mod calibration;
mod coefficients;
mod configurations;
pub mod engine;
pub mod forms;
pub mod ggml;
mod hardware;
mod kernel;
mod line;
pub mod measured;
pub mod points;
mod soft_roofline;
mod step;
mod trust;
mod tuned;

pub use coefficients::{CoefficientError, Coefficients, OperatorClass};
pub use engine::{EngineFile, EngineRange, EngineTerms};
pub use hardware::Hardware;
pub use kernel::{Device, Launch};
pub use line::{Bound, Line};
pub use soft_roofline::{SoftRoofline, TwoRegime};
pub use step::{Layers, StepTime, StepTimer};
pub use trust::{Trust, kinship};
pub use tuned::{Tuned, is_looked_for};
