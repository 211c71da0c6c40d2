//! Operators under the limits of the accelerator.

use crate::answer::{Roofline, RooflinePoint};
use crate::report::number;
use crate::report::picture::{Axis, Chart, Draw, Drawing, Picture, Point, Series, Spacing, Unit};

/// Operations in a teraflop.
const TERA: f64 = 1e12;

/// The roofline with the operators of both phases.
pub(super) fn picture(roofline: &Roofline) -> Picture {
    let all = || roofline.prefill.iter().chain(&roofline.decode);
    let least = all().map(RooflinePoint::intensity).fold(f64::INFINITY, f64::min);
    let most = all().map(RooflinePoint::intensity).fold(0.0, f64::max);
    let highest = roofline.peaks.first().map_or(0.0, |p| p.1);
    let bandwidth = roofline.bytes_per_s;
    let mut series = vec![points("prefill", &roofline.prefill), points("decode, one step", &roofline.decode)];
    let (left, right) = (least / 2.0, (2.0 * most).max(3.0 * highest / bandwidth));
    if highest > 0.0 && left.is_finite() {
        let ridge = highest / bandwidth;
        series.push(Series {
            name: format!("memory {} GB/s", number(bandwidth / 1e9)),
            draw: Draw::Limit,
            points: vec![
                Point::at(left.min(ridge), left.min(ridge) * bandwidth / TERA),
                Point::at(ridge, highest / TERA),
            ],
        });
        series.extend(roofline.peaks.iter().map(|(format, peak)| Series {
            name: format!("{} {} Tflop/s", format.name(), number(peak / TERA)),
            draw: Draw::Limit,
            points: vec![Point::at(peak / bandwidth, peak / TERA), Point::at(right, peak / TERA)],
        }));
    }
    let chart = Chart {
        x: Axis::new("operations per byte of device memory", Spacing::Log, Unit::Number),
        y: Axis::new("Tflop/s", Spacing::Log, Unit::Number),
        series,
        marks: vec![],
    };
    Picture {
        wide: true,
        note: "Each operator by what it computes for a byte and how fast its kernels do; nothing lasts above the lines. \
               Copies and collectives compute nothing and have no place."
            .into(),
        ..Picture::new("roofline", "Roofline of one accelerator", Drawing::Chart(chart))
    }
}

fn points(name: &str, points: &[RooflinePoint]) -> Series {
    let points = points.iter().map(|p| Point {
        share: p.share,
        name: p.label.replace('_', " "),
        ..Point::at(p.intensity(), p.rate() / TERA)
    });
    Series { name: name.into(), draw: Draw::Named, points: points.collect() }
}
