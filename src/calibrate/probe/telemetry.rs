//! State of a device while a sample was taken.

/// Readings; none where the device does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Telemetry {
    /// Clock of the multiprocessors or cores in MHz.
    pub clock_mhz: Option<f64>,
    /// Memory clock in MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Temperature in °C.
    pub temperature_c: Option<f64>,
    /// Power drawn in watts.
    pub power_w: Option<f64>,
    /// CPU seconds of this process over wall seconds and threads used; below 1 others took the cores.
    pub cpu_busy: Option<f64>,
    /// Why clocks were held down.
    pub throttle: Throttle,
}

/// Reasons for which clocks are held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Too hot (software or hardware thermal slowdown).
    pub thermal: bool,
    /// Hardware slowdown: power brake, failing supply.
    pub hardware: bool,
    /// Power cap: normal at full load, kept and reported.
    pub power_cap: bool,
}

/// Share of the cores that a sample must have had to count.
const LEAST_BUSY: f64 = 0.97;

impl Telemetry {
    /// Slowed by heat or hardware: the sample says nothing of the healthy device.
    #[must_use]
    pub fn slowed(&self) -> bool {
        self.throttle.thermal || self.throttle.hardware
    }

    /// Other processes took the cores away while it ran.
    #[must_use]
    pub fn contended(&self) -> bool {
        self.cpu_busy.is_some_and(|share| share < LEAST_BUSY)
    }

    /// Mean of readings; flags that any had.
    #[must_use]
    pub fn mean(all: &[Self]) -> Self {
        let of = |read: fn(&Self) -> Option<f64>| {
            let known: Vec<f64> = all.iter().filter_map(read).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        let any = |read: fn(&Throttle) -> bool| all.iter().any(|t| read(&t.throttle));
        Self {
            clock_mhz: of(|t| t.clock_mhz),
            memory_clock_mhz: of(|t| t.memory_clock_mhz),
            temperature_c: of(|t| t.temperature_c),
            power_w: of(|t| t.power_w),
            cpu_busy: of(|t| t.cpu_busy),
            throttle: Throttle {
                thermal: any(|t| t.thermal),
                hardware: any(|t| t.hardware),
                power_cap: any(|t| t.power_cap),
            },
        }
    }
}
