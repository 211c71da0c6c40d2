//! What each answer shows at a glance and draws.

mod cost;
mod curves;
mod estimate;
mod memory;
mod roofline;
mod simulate;
mod size;
mod sweep;

pub use cost::cost_board;
pub use estimate::estimate_board;
pub use memory::memory_board;
pub(super) use memory::parts as memory_parts;
pub use simulate::simulation_board;
pub use size::size_board;
pub use sweep::sweep_board;

use super::duration;
use super::picture::{Headline, Point};
use crate::answer::Interval;

/// A time with its 80 % interval.
fn time(name: &str, seconds: f64, interval: &Interval) -> Headline {
    let (low, high) = (duration(interval.low), duration(interval.high));
    // one unit for both ends where it is the same
    let low = match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number.to_owned(),
        _ => low,
    };
    Headline::new(name, duration(seconds), format!("80 %: {low} – {high}"))
}

/// A point with a name.
fn named(name: String, x: f64, y: f64) -> Point {
    Point { name, ..Point::at(x, y) }
}
