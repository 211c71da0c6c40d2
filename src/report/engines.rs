//! Fitted engine terms on paper.

use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Report, Section, number, versioned};
use crate::answer::{EngineFit, RunFit};
use crate::calibrate::engine::{Latencies, METRICS};
use crate::calibrate::statistics::Errors;
use crate::time::engine::{EngineFile, EngineRange, TERMS, term};

/// What was fitted: terms before and after, and errors of runs left out.
#[must_use]
pub fn engine_fitted(before: &EngineFile, fit: &EngineFit, output: &str, wall_s: f64) -> Report {
    let mut terms = Section::new("Terms", &["versions", "term", "before", "after"]);
    let mut errors = Section::new(
        "Runs left out",
        &["versions", "by", "metric", "n", "median", "p90", "10 % of ln m/p", "90 %"],
    );
    let mut ranges = vec![];
    for range in fit.file.ranges.iter().filter(|r| fit.fitted.contains(&r.name())) {
        let versions = range.name();
        let old = before.ranges.iter().find(|r| r.name() == versions);
        for t in range.fitted.iter().filter_map(|key| term(key)) {
            let earlier = old.map_or_else(String::new, |r| number((t.get)(&r.terms)));
            terms.row([versions.clone(), t.key.to_owned(), earlier, number((t.get)(&range.terms))]);
        }
        for l in range.fit.iter().flat_map(|f| &f.left_out) {
            errors.row([
                versions.clone(),
                l.by.clone(),
                l.metric.clone(),
                l.n.to_string(),
                format!("{:.1} %", l.median_ape),
                format!("{:.1} %", l.p90_ape),
                format!("{:+.3}", l.log_spread[0]),
                format!("{:+.3}", l.log_spread[1]),
            ]);
        }
        ranges.push(json(range));
    }
    let fitted_on: usize = fit
        .file
        .ranges
        .iter()
        .filter(|r| fit.fitted.contains(&r.name()))
        .flat_map(|r| &r.fit)
        .map(|f| f.rows)
        .sum();
    let mut skipped = Section::new("Not used", &["rows", "reason"]);
    for s in &fit.skipped {
        skipped.row([s.count.to_string(), s.reason.clone()]);
    }
    let refused = fit.refused.iter().map(|(v, e)| json!({ "versions": v, "reason": e.to_string() }));
    Report {
        heading: vec![format!(
            "terms of {} fitted to {fitted_on} runs, written to {output}",
            fit.file.engine
        )],
        sections: vec![terms, errors, groups(&fit.runs), skipped],
        footer: vec![
            "Errors are of runs that the fit has not seen: all of one model, then all of one accelerator."
                .into(),
        ],
        warnings: fit.refused.iter().map(|(v, e)| format!("versions {v} stay as they were: {e}")).collect(),
        json: versioned(&json!({
            "engine": fit.file.engine,
            "ranges": ranges,
            "refused": refused.collect::<Vec<_>>(),
            "skipped": fit.skipped,
            "runs": fit.runs,
            "output": output,
            "wall_s": wall_s,
        })),
        ..Report::default()
    }
}

/// Errors by model and accelerator: of the fit itself, and of fits without that model or that accelerator.
fn groups(runs: &[RunFit]) -> Section {
    let heads = ["model", "gpu", "metric", "n", "median", "p90", "bias", "without model", "without gpu"];
    let mut section = Section::new("By model and accelerator", &heads);
    let mut parts: BTreeMap<(&str, &str), Vec<&RunFit>> = BTreeMap::new();
    for run in runs {
        parts.entry((&run.model, &run.gpu)).or_default().push(run);
    }
    for ((model, gpu), runs) in parts {
        for (at, metric) in METRICS.iter().enumerate() {
            let errors = |of: fn(&RunFit) -> Option<Latencies>| {
                let pair = |r: &&RunFit| Some((*of(r)?.get(at)?, (*r.measured_s.get(at)?)?));
                Errors::of(&runs.iter().filter_map(pair).collect::<Vec<_>>())
            };
            let Some(fitted) = errors(|r| Some(r.fitted_s)) else { continue };
            let median = |e: Option<Errors>| e.map_or_else(String::new, |e| format!("{:.1} %", e.median_ape));
            section.row([
                model.to_owned(),
                gpu.to_owned(),
                (*metric).to_owned(),
                fitted.n.to_string(),
                format!("{:.1} %", fitted.median_ape),
                format!("{:.1} %", fitted.p90_ape),
                format!("{:+.1} %", fitted.bias),
                median(errors(|r| r.without_model_s)),
                median(errors(|r| r.without_gpu_s)),
            ]);
        }
    }
    section
}

fn json(range: &EngineRange) -> Value {
    let terms: serde_json::Map<String, Value> =
        TERMS.iter().map(|t| (t.key.to_owned(), json!((t.get)(&range.terms)))).collect();
    json!({
        "versions": range.versions,
        "architectures": range.architectures,
        "fitted": range.fitted,
        "terms": terms,
        "fit": range.fit,
    })
}
