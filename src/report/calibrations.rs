//! `calibrate` and `calibrations` on paper.

use serde_json::{Value, json};

use super::{Report, Section, versioned};
use crate::answer::Skipped;
use crate::time::calibration::{Calibration, Fitted};
use crate::time::ggml::Families;

const HEADER: [&str; 9] =
    ["operator", "dtype", "engine", "kernel", "variant", "samples", "mean %", "median %", "p90 %"];
pub(super) const ERRORS: &str = "Errors are absolute percentage errors on shapes left out of the fit.";

/// Kernels fitted to results, family by family, with the errors on what was left out.
#[must_use]
pub fn calibrated_families(
    families: &Families,
    samples: usize,
    skipped: &[Skipped],
    output: &str,
    wall_s: f64,
) -> Report {
    let mut section =
        Section::new("", &["family", "samples", "left out", "n", "mean %", "median %", "p90 %", "bias %"]);
    let mut classes = vec![];
    for family in &families.family {
        for (left_out, e) in &family.left_out {
            section.row([
                family.name.clone(),
                family.rows.to_string(),
                left_out.replace('_', " "),
                e.n.to_string(),
                format!("{:.1}", e.mape),
                format!("{:.1}", e.median),
                format!("{:.1}", e.p90),
                format!("{:+.1}", e.bias),
            ]);
            classes.push(json!({
                "family": family.name, "samples": family.rows, "left_out": left_out, "n": e.n,
                "heldout_mape": e.mape, "heldout_median_ape": e.median, "heldout_p90_ape": e.p90,
                "heldout_bias": e.bias,
            }));
        }
    }
    Report {
        heading: vec![format!("llamacpp: {} families written to {output}", families.family.len())],
        sections: vec![section],
        footer: vec!["Errors are on accelerators, models or families left out of the fit.".into()],
        warnings: skipped.iter().map(|s| format!("{} rows not used: {}", s.count, s.reason)).collect(),
        json: versioned(&json!({
            "engine": "llamacpp", "samples": samples, "classes": classes, "skipped": skipped,
            "output": output, "wall_s": wall_s,
        })),
        ..Report::default()
    }
}

/// All calibrations, one a row, each with its file.
#[must_use]
pub fn calibration_list(all: &[(String, Calibration)]) -> Report {
    let mut section = Section::new("", &["gpu", "classes", "samples", "engines", "date", "file"]);
    let mut items = vec![];
    for (file, calibration) in all {
        let fits = || calibration.classes().into_iter().flat_map(|(_, list)| list);
        let mut engines: Vec<&str> = fits().map(|f| f.key.engine.as_str()).collect();
        engines.sort_unstable();
        engines.dedup();
        let samples: usize = fits().map(|f| f.samples).sum();
        section.row([
            calibration.gpu.clone(),
            fits().count().to_string(),
            samples.to_string(),
            engines.join(", "),
            calibration.date.clone(),
            file.clone(),
        ]);
        items.push(versioned(&json!({
            "gpu": calibration.gpu, "file": file, "classes": fits().count(), "samples": samples,
            "engines": engines, "date": calibration.date, "tool_version": calibration.tool_version,
            "source": calibration.source,
        })));
    }
    Report {
        sections: vec![section],
        footer: vec![
            "Other accelerators take those of a relative. `calibrations show` names the errors.".into(),
        ],
        json: Value::Array(items),
        ..Report::default()
    }
}

/// One calibration with every class.
#[must_use]
pub fn calibration(calibration: &Calibration, file: &str) -> Report {
    let made = [&calibration.date, &calibration.tool_version];
    let made: Vec<&str> = made.into_iter().map(String::as_str).filter(|t| !t.is_empty()).collect();
    Report {
        heading: vec![
            format!("{} ({file}, foretoken {})", calibration.gpu, made.join(", ")),
            format!("Samples: {}", calibration.source),
        ],
        sections: std::iter::once(table(calibration)).chain(points(calibration)).collect(),
        footer: vec![ERRORS.into()],
        warnings: vec![],
        json: versioned(&json!({
            "gpu": calibration.gpu, "file": file, "date": calibration.date,
            "tool_version": calibration.tool_version, "source": calibration.source,
            "classes": classes(calibration), "points": calibration.points,
        })),
        ..Report::default()
    }
}

/// Factors of a person's own points.
fn points(calibration: &Calibration) -> Option<Section> {
    let header =
        ["engine", "points", "prefill", "decode", "request", "step", "error before", "after", "date"];
    let mut section = Section::new("Scaled to points of one's own", &header);
    for p in &calibration.points {
        let factors = p.factors().map(|f| format!("{f:.3}"));
        let errors = [p.before_mape, p.after_mape].map(|e| format!("{e:.1} %"));
        let ends = [p.engine.clone(), p.points.to_string()].into_iter().chain(factors).chain(errors);
        section.row(ends.chain([p.date.clone()]));
    }
    (!section.rows.is_empty()).then_some(section)
}

pub(super) fn table(calibration: &Calibration) -> Section {
    let mut section = Section::new("", &HEADER);
    for (operator, list) in calibration.classes() {
        for Fitted { key, samples, heldout_ape: [mape, median, p90], .. } in list {
            section.row([
                operator.to_owned(),
                key.data_type.clone(),
                key.engine.clone(),
                key.kernel.clone(),
                key.variant.clone(),
                samples.to_string(),
                format!("{mape:.1}"),
                format!("{median:.1}"),
                format!("{p90:.1}"),
            ]);
        }
    }
    section
}

pub(super) fn classes(calibration: &Calibration) -> Vec<Value> {
    let class = |operator: &str, f: &Fitted| {
        let [mape, median, p90] = f.heldout_ape;
        let [shortest, longest] = f.range_us;
        json!({
            "operator": operator, "dtype": f.key.data_type, "engine": f.key.engine, "kernel": f.key.kernel,
            "variant": f.key.variant, "samples": f.samples, "heldout_mape": mape,
            "heldout_median_ape": median, "heldout_p90_ape": p90, "coefficients": f.c,
            "grid_nodes": f.grid.as_ref().map(|g| g.axes.nodes),
            "sampled_s": [shortest * 1e-6, longest * 1e-6],
            "coefficient_intervals": f.intervals,
        })
    };
    calibration.classes().into_iter().flat_map(|(o, list)| list.iter().map(move |f| class(o, f))).collect()
}
