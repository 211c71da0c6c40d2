//! The operators of an estimate under the limits of the accelerator.

use super::estimate::Stand;
use crate::spec::DataType;
use crate::time::Line;
use crate::work::Operator;

/// Operators under the limits of one accelerator: arithmetic by format, and memory.
///
/// An operator of F operations and Q bytes through device memory that takes t seconds lies at intensity I = F/Q and
/// rate F/t; no rate is above min(P, I·B), P the peak of its format, B the memory bandwidth. Source: Williams et al.,
/// CACM 2009.
#[derive(Debug, Clone, PartialEq)]
pub struct Roofline {
    /// B in bytes per second.
    pub bytes_per_s: f64,
    /// P in operations per second of the formats that the operators multiply in, the highest first.
    pub peaks: Vec<(DataType, f64)>,
    /// Operators of the whole prefill, those that take longest first.
    pub prefill: Vec<RooflinePoint>,
    /// Of one decode step at the mean context; empty without decode.
    pub decode: Vec<RooflinePoint>,
}

/// All executions of an operator of one name in one format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RooflinePoint {
    /// Name in the breakdown.
    pub label: &'static str,
    /// Format in which it multiplies.
    pub math: DataType,
    /// Operations.
    pub flops: f64,
    /// Bytes through device memory.
    pub bytes: f64,
    /// Seconds of its kernels.
    pub seconds: f64,
    /// Of the seconds of all kernels of the phase.
    pub share: f64,
}

impl RooflinePoint {
    /// I in operations per byte.
    #[must_use]
    pub fn intensity(&self) -> f64 {
        self.flops / self.bytes
    }

    /// F/t in operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.flops / self.seconds
    }
}

/// Puts the kernels of an estimate under the limits. Those that compute nothing (copies, collectives) have no place.
pub(super) fn roofline(stand: &Stand) -> Roofline {
    let [prefill, decode] = stand.estimator.kernels(&stand.shown, stand.waves).map(|k| points(&k));
    let hardware = stand.estimator.timer().device().hardware();
    let mut peaks: Vec<(DataType, f64)> = vec![];
    for math in prefill.iter().chain(&decode).map(|p| p.math) {
        let peak = hardware.peak(math);
        if peak > 0.0 && !peaks.iter().any(|(known, p)| *known == math || *p == peak) {
            peaks.push((math, peak));
        }
    }
    peaks.sort_by(|a, b| b.1.total_cmp(&a.1));
    Roofline { bytes_per_s: hardware.bandwidth, peaks, prefill, decode }
}

fn points(kernels: &[(f64, Operator, Line)]) -> Vec<RooflinePoint> {
    let total: f64 = kernels.iter().map(|(times, _, line)| times * line.seconds.0).sum();
    let mut points: Vec<RooflinePoint> = vec![];
    for (times, operator, line) in kernels {
        let flops = times * line.flops.0;
        let bytes = times * operator.repeat * operator.traffic.memory().0;
        let seconds = times * line.seconds.0;
        if flops <= 0.0 || bytes <= 0.0 || seconds <= 0.0 {
            continue;
        }
        let share = seconds / total;
        match points.iter_mut().find(|p| p.label == operator.label && p.math == operator.math) {
            Some(same) => {
                same.flops += flops;
                same.bytes += bytes;
                same.seconds += seconds;
                same.share += share;
            }
            None => points.push(RooflinePoint {
                label: operator.label,
                math: operator.math,
                flops,
                bytes,
                seconds,
                share,
            }),
        }
    }
    points.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    points
}
