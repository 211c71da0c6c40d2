//! Wall time with the share of it that the process was given.

use std::time::Instant;

use crate::calibrate::probe::{Sample, Telemetry};

/// Runs `work`, which is so many iterations on so many threads, once and times it.
pub(super) fn timed(iterations: u64, threads: usize, work: impl FnOnce()) -> Sample {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    work();
    let (seconds, after) = (wall.elapsed().as_secs_f64(), cpu_seconds());
    let cpu_busy = cpu.zip(after).map(|(before, after)| (after - before) / (seconds * threads as f64));
    // the CPU clock has the resolution of a tick on some systems: short samples say nothing
    let cpu_busy = cpu_busy.filter(|_| seconds > 1e-4);
    Sample { seconds, iterations, telemetry: Telemetry { cpu_busy, ..Telemetry::default() } }
}

/// CPU time of this process, all its threads.
#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Some(t.tv_sec as f64 + 1e-9 * t.tv_nsec as f64)
}

#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}
