//! Clocks, temperature and power while a device works, by NVML.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};
use std::time::{Duration, Instant};

use super::CudaError;
use super::driver::same_address;
use crate::calibrate::probe::{Telemetry, Throttle};
use crate::machine::{DriverError, Gpu};

/// A reading serves for this long: each takes up to a millisecond.
const KEPT: Duration = Duration::from_millis(20);

/// Share of the time a GPU may be busy with others' work and still be called idle.
const IDLE: f64 = 0.05;

/// Looks at a busy device before it is refused, a quarter of a second apart.
const LOOKS: usize = 8;

/// NVML on one device.
pub(super) struct Monitor {
    device: Device<'static>,
    last: Option<(Instant, Telemetry)>,
    /// What NVML says of it, before anything ran.
    pub gpu: Gpu,
    /// Driver version.
    pub driver: String,
}

impl Monitor {
    /// Finds the device with a PCI address.
    ///
    /// # Errors
    /// When NVML does not answer or knows no such device.
    pub fn open(address: &str) -> Result<Self, CudaError> {
        let failed = |e: nvml_wrapper::error::NvmlError| CudaError::Driver(DriverError::from(e));
        // lives as long as the process, like the library that it holds
        let nvml: &'static Nvml = Box::leak(Box::new(Nvml::init().map_err(failed)?));
        for index in 0..nvml.device_count().map_err(failed)? {
            let device = nvml.device_by_index(index).map_err(failed)?;
            let gpu = Gpu::of(index, &device);
            if gpu.pci_bus_id.as_deref().is_some_and(|a| same_address(a, address)) {
                let driver = nvml.sys_driver_version().map_err(failed)?;
                return Ok(Self { device, last: None, gpu, driver });
            }
        }
        Err(CudaError::Driver(DriverError::Other(format!("NVML shows no GPU at {address}"))))
    }

    /// Refuses a card that is cut up, or, unless `force`, one that others work on.
    ///
    /// # Errors
    /// When it is.
    pub fn refuse_unfit(&self, force: bool) -> Result<(), CudaError> {
        let (index, name) = (self.gpu.index, self.gpu.name.clone());
        if self.gpu.mig == Some(true) {
            return Err(CudaError::Mig { index, name });
        }
        let mut what = vec![];
        match self.gpu.processes.len() {
            0 => {}
            1 => what.push("another program runs on it".to_owned()),
            n => what.push(format!("{n} other programs run on it")),
        }
        // the figure is a mean of up to a second: what just ended still shows, so it is looked at again
        let mut share = self.gpu.now.utilization.unwrap_or(0.0);
        for _ in 0..LOOKS {
            if share <= IDLE || force || !what.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(250));
            share = self.device.utilization_rates().map_or(0.0, |u| f64::from(u.gpu) / 100.0);
        }
        if share > IDLE {
            what.push(format!("{:.0} % utilisation", share * 100.0));
        }
        if what.is_empty() || force {
            return Ok(());
        }
        Err(CudaError::Busy { index, name, what: what.join(", ") })
    }

    /// Reads anew next time.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// What the device does now; at most every 20 ms anew.
    pub fn read(&mut self) -> Telemetry {
        if let Some((at, telemetry)) = self.last
            && at.elapsed() < KEPT
        {
            return telemetry;
        }
        let clock = |which| self.device.clock_info(which).ok().map(f64::from);
        let reasons = self.device.current_throttle_reasons().unwrap_or(ThrottleReasons::empty());
        let telemetry = Telemetry {
            clock_mhz: clock(Clock::SM),
            memory_clock_mhz: clock(Clock::Memory),
            temperature_c: self.device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            power_w: self.device.power_usage().ok().map(|mw| f64::from(mw) / 1e3),
            throttle: throttle(reasons),
            ..Telemetry::default()
        };
        self.last = Some((Instant::now(), telemetry));
        telemetry
    }
}

/// `HW_SLOWDOWN` is set together with its cause: with heat it is thermal, else the supply's.
fn throttle(reasons: ThrottleReasons) -> Throttle {
    let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let hardware = ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    Throttle {
        thermal: reasons.intersects(thermal),
        hardware: reasons.intersects(hardware) && !reasons.intersects(thermal),
        power_cap: reasons.contains(ThrottleReasons::SW_POWER_CAP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart() {
        let hot = throttle(ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN);
        assert!(hot.thermal && !hot.hardware);
        assert!(throttle(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN).hardware);
        let full = throttle(ThrottleReasons::SW_POWER_CAP);
        assert!(full.power_cap && !full.thermal && !full.hardware);
        assert_eq!(throttle(ThrottleReasons::GPU_IDLE), Throttle::default());
    }
}
