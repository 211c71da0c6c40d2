//! What each answer shows at a glance and draws.

mod curves;
mod estimate;
mod memory;
mod roofline;

pub use estimate::estimate_board;
pub use memory::memory_board;
pub(super) use memory::parts as memory_parts;

use super::picture::{Drawing, Picture};

/// A picture without a note.
fn picture(key: &'static str, title: impl Into<String>, drawing: Drawing) -> Picture {
    Picture { key, title: title.into(), printed: false, note: String::new(), drawing }
}
