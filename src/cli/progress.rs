//! A progress bar on a terminal's standard error; nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar that is seen only by people.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `length` steps of `what`.
    pub(super) fn new(length: usize, what: &'static str) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    /// So many steps are done; called from several threads, the largest count wins.
    pub(super) fn at(&self, done: usize) {
        if done as u64 > self.0.position() {
            self.0.set_position(done as u64);
        }
    }

    /// So many steps more are done.
    pub(super) fn add(&self, steps: usize) {
        self.0.inc(steps as u64);
    }

    /// Wipes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
