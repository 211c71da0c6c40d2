//! What a device offers to be measured.

use super::{Benchmark, DeviceFacts, ProbeError, Telemetry};

/// A device that runs benchmarks.
pub trait Backend {
    /// What the device is, as it stands in the calibration.
    fn facts(&self) -> &DeviceFacts;

    /// Engine under which its samples are kept and fitted: predictions of every engine take `measured…` first.
    fn engine(&self) -> &'static str {
        "measured"
    }

    /// Everything it can run, in any order; the runner chooses by class and shuffles. `quick` asks for a suite
    /// of about a third of the time.
    fn benchmarks(&self, quick: bool) -> Vec<Benchmark>;

    /// Makes one benchmark ready: memory filled (never with zeros), kernel chosen, streams created. Dropping
    /// what is returned gives everything back.
    ///
    /// # Errors
    /// [`ProbeError::Unsupported`] and [`ProbeError::OutOfMemory`] skip the benchmark; any other error ends the
    /// run, and what was measured before is kept.
    fn prepare<'a>(&'a mut self, benchmark: &Benchmark) -> Result<Box<dyn Prepared + 'a>, ProbeError>;
}

/// A benchmark ready to run.
pub trait Prepared {
    /// Runs it `iterations` times back to back, cold as serving finds it (buffers rotated beyond the caches), and
    /// times them together on the device's own clock.
    ///
    /// # Errors
    /// When the device fails; the benchmark is then skipped or the run ended as for [`Backend::prepare`].
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError>;
}

/// One timed stretch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Seconds of all iterations together.
    pub seconds: f64,
    /// How many iterations ran.
    pub iterations: u64,
    /// State of the device while they ran.
    pub telemetry: Telemetry,
}

impl Sample {
    /// Seconds of one iteration.
    #[must_use]
    pub fn each(&self) -> f64 {
        self.seconds / self.iterations.max(1) as f64
    }
}
