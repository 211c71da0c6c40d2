//! `calibrate` on paper.

use serde_json::json;

use super::calibrations::{ERRORS, classes, table};
use super::{Report, Section, duration, versioned};
use crate::answer::calibrated::{Answered, Comparison, Kept};
use crate::calibrate::operators::Refused;
use crate::spec::Accelerator;
use crate::time::calibration::Calibration;
use crate::time::measured::Measured;

/// What is said of a device that was measured beside its classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Measuring {
    /// The device, with the datasheet's peaks where it has one.
    pub peaks: Accelerator,
    /// Against the calibration that ships.
    pub compared: Vec<Comparison>,
    /// Standard questions before and after.
    pub questions: Vec<Answered>,
    /// What was not fitted on the device and stays as it was; none where nothing stands in.
    pub kept: Option<Kept>,
    /// Samples files.
    pub samples: Vec<String>,
}

/// What was fitted, with what was refused as warnings, and of a device what it reaches and what that changes.
#[must_use]
pub fn calibrated(
    calibration: &Calibration,
    refused: &[Refused],
    output: &str,
    wall_s: f64,
    measuring: Option<&Measuring>,
) -> Report {
    let name = |r: &Refused| {
        let parts = [r.operator, &r.key.engine, &r.key.data_type, &r.key.kernel, &r.key.variant];
        parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let refusal = |r: &Refused| {
        json!({ "operator": r.operator, "dtype": r.key.data_type, "engine": r.key.engine,
                "kernel": r.key.kernel, "variant": r.key.variant, "reason": r.reason.to_string() })
    };
    let mut value = json!({
        "gpu": calibration.gpu,
        "classes": classes(calibration),
        "refused": refused.iter().map(refusal).collect::<Vec<_>>(),
        "output": output,
        "wall_s": wall_s,
    });
    let mut sections = vec![table(calibration)];
    let mut footer = vec![ERRORS.into()];
    if let (Some(found), Some(all)) = (&calibration.measured, measuring) {
        sections.push(figures(found, &all.peaks));
        sections.push(questions(&all.questions));
        footer.extend(all.compared.iter().map(sentence));
        footer.extend(all.kept.iter().map(|k| {
            format!(
                "Not fitted here, so as before, from {} ({}): {}.",
                k.from,
                k.trust.words(),
                k.classes.join(", ")
            )
        }));
        footer.push(format!("Samples: {}; fit them again with --from-samples.", all.samples.join(", ")));
        if let Some(object) = value.as_object_mut() {
            object.insert("device".into(), json!(calibration.device));
            object.insert("measured".into(), json!(found));
            object.insert("compared".into(), json!(all.compared));
            object.insert("kept".into(), json!(all.kept));
            object.insert("questions".into(), json!(all.questions));
            object.insert("samples_files".into(), json!(all.samples));
        }
    }
    Report {
        heading: vec![format!("{} written to {output}", calibration.gpu)],
        sections,
        footer,
        warnings: refused.iter().map(|r| format!("{}: {}", name(r), r.reason)).collect(),
        json: versioned(&value),
        ..Report::default()
    }
}

/// `Your card reads weights in bfloat16 4 % slower than the shipped calibration (12 shapes).`
fn sentence(c: &Comparison) -> String {
    let percent = 100.0 * (c.ratio - 1.0).abs();
    let than = if percent < 0.5 {
        "as fast as".to_owned()
    } else {
        format!("{percent:.0} % {} than", if c.ratio > 1.0 { "slower" } else { "faster" })
    };
    let what = if c.regime == "reads" { "reads weights in" } else { "multiplies" };
    format!("Your device {what} {} {than} the shipped calibration says ({} shapes).", c.dtype, c.shapes)
}

/// Best figures beside the datasheet's, and what a token costs in energy.
fn figures(found: &Measured, peaks: &Accelerator) -> Section {
    let mut section = Section::new("Measured", &["what", "measured", "datasheet", "share"]);
    let mut row = |what: String, value: f64, unit: &str, sheet: Option<f64>| {
        let share = sheet.map_or(String::new(), |s| format!("{:.0} %", 100.0 * value / s));
        let sheet = sheet.map_or(String::new(), |s| format!("{s:.0} {unit}"));
        section.row([what, format!("{} {unit}", figure(value)), sheet, share]);
    };
    // the "datasheet" of a device that no catalog has is what was measured: no second column
    let sheet =
        found.matmul.is_empty() || peaks.note.as_deref().is_none_or(|n| !n.starts_with("measured on"));
    let bandwidth = sheet.then_some(peaks.memory_bandwidth_gb_per_s.value);
    for (kind, rate) in &found.bandwidth_bytes_per_s {
        row(format!("memory, {kind}"), rate * 1e-9, "GB/s", bandwidth);
    }
    for (dtype, rate) in &found.kv_read_bytes_per_s {
        row(format!("KV cache, read, {dtype}"), rate * 1e-9, "GB/s", bandwidth);
    }
    for (dtype, best) in &found.matmul {
        let [m, n, k] = best.shape;
        let peak = dtype.parse().ok().and_then(|d| peaks.peak(d)).filter(|_| sheet).map(|p| p.0 * 1e-12);
        row(format!("best product, {dtype} ({m} × {n} × {k})"), best.flops_per_s * 1e-12, "TFLOP/s", peak);
    }
    if let Some(long) = &found.sustained {
        row(format!("kept up, {}", long.dtype), long.flops_per_s * 1e-12, "TFLOP/s", None);
        if let Some(watts) = long.power_w {
            row("  power".into(), watts, "W", peaks.tdp().map(|t| t.0));
            row("  energy, idle included".into(), watts / long.flops_per_s * 1e12, "pJ/FLOP", None);
        }
    }
    if let Some(energy) = &found.energy {
        row("power, idle".into(), energy.idle_w, "W", None);
        row("energy, operations".into(), energy.joules_per_flop * 1e12, "pJ/FLOP", None);
        row("energy, memory".into(), energy.joules_per_byte * 1e12, "pJ/byte", None);
    }
    for (what, us) in [("launch", found.launch_us), ("launch in a graph", found.graph_launch_us)] {
        if let Some(us) = us {
            row(what.into(), us, "µs", None);
        }
    }
    section
}

/// Three significant digits.
fn figure(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 9.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    let digits = digits as usize;
    format!("{value:.digits$}")
}

fn questions(all: &[Answered]) -> Section {
    let mut section = Section::new("Answers", &["", "TTFT before", "now", "TPOT before", "now"]);
    let known = |seconds: Option<f64>| seconds.map_or("–".to_owned(), duration);
    for a in all {
        section.row([
            a.question.clone(),
            known(a.ttft_before_s),
            duration(a.ttft_s),
            known(a.tpot_before_s),
            duration(a.tpot_s),
        ]);
    }
    section
}
