//! `calibrate --from-points` on paper.

use serde_json::json;

use super::{Report, Section, duration, number, versioned};
use crate::answer::PointsFit;
use crate::time::points::PointScale;

/// Factors, and every point before and after.
#[must_use]
pub fn points_fitted(fit: &PointsFit, output: &str, wall_s: f64) -> Report {
    let mut factors =
        Section::new("Times as long as the calibration said", &["engine", "part", "factor", ""]);
    let mut errors = Section::new("Mean error", &["engine", "points", "before", "after", "each left out"]);
    let mut engines = vec![];
    for scale in &fit.scales {
        let told = fit.told.get(&scale.engine).map_or(&[][..], Vec::as_slice);
        for (name, factor) in PointScale::NAMES.into_iter().zip(scale.factors()) {
            let word = if told.contains(&name) {
                String::new()
            } else if matches!(name, "prefill" | "decode") {
                "no point tells".to_owned()
            } else {
                "as before: the points do not tell it apart".to_owned()
            };
            factors.row([scale.engine.clone(), part(name).to_owned(), format!("{factor:.3}"), word]);
        }
        let percent = |mape: f64| format!("{mape:.1} %");
        errors.row([
            scale.engine.clone(),
            scale.points.to_string(),
            percent(scale.before_mape),
            percent(scale.after_mape),
            scale.left_out_mape.map_or_else(|| "needs two points".into(), percent),
        ]);
        let named: serde_json::Map<_, _> = PointScale::NAMES
            .into_iter()
            .zip(scale.factors())
            .map(|(name, factor)| (name.to_owned(), json!(factor)))
            .collect();
        engines.push(json!({
            "engine": scale.engine, "points": scale.points, "factors": named, "fitted": told,
            "mape_before": scale.before_mape, "mape_after": scale.after_mape,
            "mape_left_out": scale.left_out_mape,
        }));
    }
    let mut points = Section::new("Points", &["point", "", "measured", "before", "now"]);
    for p in &fit.points {
        let value = |v: f64| if p.metric.ends_with("_per_s") { number(v) } else { duration(v) };
        points.row([
            format!("{}: {}", p.id, p.question),
            p.metric.trim_end_matches("_s").to_owned(),
            value(p.measured),
            value(p.before),
            value(p.after),
        ]);
    }
    Report {
        heading: vec![format!("{} written to {output}", fit.accelerator.id)],
        sections: vec![factors, errors, points],
        footer: vec!["Found by the accelerator's name from now on; --no-calibration ignores it.".into()],
        warnings: fit.skipped.iter().map(|s| format!("{} rows not used: {}", s.count, s.reason)).collect(),
        json: versioned(&json!({
            "gpu": fit.accelerator.id, "engines": engines, "points": fit.points, "skipped": fit.skipped,
            "output": output, "wall_s": wall_s,
        })),
        ..Report::default()
    }
}

fn part(name: &str) -> &str {
    match name {
        "prefill" => "steps with prompt tokens",
        "decode" => "kernels of decode steps",
        "request" => "the host's part of a request",
        _ => "the host's part of a step",
    }
}
