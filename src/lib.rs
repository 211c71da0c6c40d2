//! foretoken predicts LLM inference before the hardware is bought: TTFT, TPOT, memory,
//! throughput and cost of a model on an accelerator, each time with an interval.
//!
//! Data flows one way: [`spec`] (what the user gives) → [`work`] (operators with FLOPs and
//! bytes) → [`time`] (seconds per operator) → [`answer`] (one file a question) → [`report`].
//! `docs/DESIGN.md` draws the house.

pub mod answer;
pub mod calibrate;
pub mod cli;
pub mod machine;
pub mod memory;
pub mod report;
pub mod serving;
pub mod spec;
pub mod time;
pub mod units;
pub mod work;
