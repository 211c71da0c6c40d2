//! The catalogs: accelerators, models and calibrations, embedded in the binary and overridden by
//! the user's directories. Names are found in a table of headers; only the file asked for is parsed.

mod accelerators;
mod directories;
mod files;
mod header;
mod local;
mod models;
mod published;
mod resolve;

pub use accelerators::{accelerator, accelerator_of_driver, accelerators, parse_gpu_count};
pub use directories::Directories;
pub use files::{CatalogFile, Kind, files, read_text};
pub use header::Header;
pub use local::accelerator_of_calibration;
pub use models::{model, models, read_model, short_id};
pub use published::{gguf_file_type, model_or_base, name_elsewhere};
