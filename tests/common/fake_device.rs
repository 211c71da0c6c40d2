//! A device that is computed: known coefficients, noise, outliers, heat.

use foretoken::calibrate::probe::{
    Backend, Benchmark, DeviceFacts, Prepared, ProbeError, Sample, Stream, Telemetry, Throttle, Work,
};
use foretoken::spec::DataType;
use foretoken::spec::catalog::{self, Directories};
use foretoken::time::Hardware;
use foretoken::time::forms::Form;
use foretoken::time::forms::gemm::{Gemm, SoftGemm};

/// What the device is made of.
#[derive(Clone)]
pub struct Truth {
    /// Coefficients of matrix products: compute, memory, latency, blend, quantise, wave, small tile loss.
    pub gemm: [f64; 7],
    /// Cost of a launch in seconds.
    pub launch: f64,
    /// Bandwidth reached by copying, as a share of the datasheet's.
    pub copy: f64,
    /// Standard deviation of the logarithm of a sample.
    pub noise: f64,
    /// Share of samples that take three times as long.
    pub outliers: f64,
    /// Share of the time in which it is too hot and runs at half its clock.
    pub hot: f64,
    /// The heat is reported by the device.
    pub says_so: bool,
    /// Ten seconds of load are part of the suite.
    pub long_load: bool,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            gemm: [0.75, 0.85, 4.0, 2.5, 100.0, 0.4, 0.2],
            launch: 3e-6,
            copy: 0.9,
            noise: 0.05,
            outliers: 0.02,
            hot: 0.1,
            says_so: true,
            long_load: false,
        }
    }
}

/// A computed H100.
pub struct FakeDevice {
    pub truth: Truth,
    facts: DeviceFacts,
    hardware: Hardware,
    random: fastrand::Rng,
    /// Device seconds so far: heat comes in episodes of 50 ms.
    clock: f64,
}

/// Length of an episode of heat in seconds.
const EPISODE: f64 = 0.05;

impl FakeDevice {
    pub fn new(truth: Truth, seed: u64) -> Self {
        let accelerator = catalog::accelerator("h100-sxm", &Directories::default()).unwrap();
        let facts = DeviceFacts {
            gpu: "h100-sxm".into(),
            name: "computed".into(),
            cache_bytes: Some(50e6),
            ..DeviceFacts::default()
        };
        let random = fastrand::Rng::with_seed(seed);
        Self { truth, facts, hardware: Hardware::of(&accelerator), random, clock: 0.0 }
    }

    /// Seconds of one iteration without noise.
    fn seconds(&self, work: &Work) -> f64 {
        match work {
            Work::Launch { .. } => self.truth.launch,
            Work::Stream { bytes, .. } => {
                self.truth.launch + *bytes as f64 / (self.truth.copy * self.hardware.bandwidth)
            }
            Work::Gemm { m, n, k, .. } => {
                let (m, n, k) = (*m as f64, *n as f64, *k as f64);
                let input = Gemm { m, n, k, weights: DataType::Bf16, math: DataType::Bf16 };
                SoftGemm::seconds(&self.truth.gemm, &input, &self.hardware)
            }
            _ => 1e-3,
        }
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.f64()).sum::<f64>() - 6.0
    }
}

impl Backend for FakeDevice {
    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn benchmarks(&self, _quick: bool) -> Vec<Benchmark> {
        let mut all = vec![
            Work::Launch { graph: false },
            Work::Stream { kind: Stream::Copy, bytes: 1 << 30, threads: 0 },
        ];
        for m in [1, 16, 64, 192, 256, 640, 1024, 4096] {
            for (n, k) in
                [(1024, 1024), (4096, 1024), (4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)]
            {
                all.push(Work::Gemm { m, n, k, dtype: "bfloat16", kernel: "fake" });
            }
        }
        if self.truth.long_load {
            all.push(Work::Sustained { size: 8192, dtype: "bfloat16", seconds: 10 });
        }
        all.into_iter().map(Benchmark::from).collect()
    }

    fn prepare<'a>(&'a mut self, benchmark: &Benchmark) -> Result<Box<dyn Prepared + 'a>, ProbeError> {
        let each = self.seconds(&benchmark.work);
        Ok(Box::new(Running { device: self, each }))
    }
}

struct Running<'a> {
    device: &'a mut FakeDevice,
    each: f64,
}

impl Prepared for Running<'_> {
    fn sample(&mut self, iterations: u64) -> Result<Sample, ProbeError> {
        let device = &mut *self.device;
        let episodes = 1.0 / device.truth.hot.max(1e-9);
        let hot = device.truth.hot > 0.0 && (device.clock / EPISODE) % episodes < 1.0;
        let mut seconds = self.each * iterations as f64 * (device.truth.noise * device.normal()).exp();
        if device.random.f64() < device.truth.outliers {
            seconds *= 3.0;
        }
        if hot {
            seconds *= 2.0;
        }
        device.clock += seconds;
        let throttle = Throttle { thermal: hot && device.truth.says_so, ..Throttle::default() };
        let telemetry =
            Telemetry { clock_mhz: Some(if hot { 900.0 } else { 1800.0 }), throttle, ..Telemetry::default() };
        Ok(Sample { seconds, iterations, telemetry })
    }
}
