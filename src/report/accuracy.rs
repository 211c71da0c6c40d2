//! How far answers can be trusted, on paper; and the book of accuracy as a document.

use serde_json::json;
use std::fmt::Write;

use super::transfer::transfer_chapter;
use super::{Format, Report, Section, count, percent, versioned};
use crate::answer::{Accuracy, Case, OperatorAccuracy, Skipped, Transfer};

/// Heads of the columns of a case after those that name it.
const ERRORS: [&str; 7] = ["metric", "n", "median", "p90", "bias", "within 20 %", "in interval"];

/// Lays out what was validated.
#[must_use]
pub fn accuracy(answer: &Accuracy) -> Report {
    let named = |what: &str, name: &str| if name == "*" { format!("any {what}") } else { name.to_owned() };
    let heading = vec![format!(
        "{}, {}, {} models",
        named("gpu", &answer.gpu),
        named("engine", &answer.engine),
        if answer.kind == "*" { "all" } else { &answer.kind }
    )];
    let mut sections = vec![];
    if !answer.cases.is_empty() {
        let mut section = Section::new("End to end, static batches", &ERRORS);
        for case in &answer.cases {
            section.row(errors(case));
        }
        sections.push(section);
    }
    if !answer.nearest.is_empty() {
        sections.push(cases("Nearest measured", &answer.nearest));
    }
    if !answer.operators.is_empty() {
        let mut section = Section::new("Kernels, on shapes left out of the fit", &OPERATORS);
        for operator in &answer.operators {
            section.row(operator_cells(operator));
        }
        sections.push(section);
    }
    let mut footer = vec![format!("Kernel models: {}.", answer.kernels)];
    if answer.cases.is_empty() {
        footer.insert(0, "Nothing measured of exactly this: trust it less than the nearest cases.".into());
    }
    Report { heading, sections, footer, json: versioned(&json!(answer)), ..Report::default() }
}

const OPERATORS: [&str; 6] =
    ["operator", "data type", "classes", "samples", "median, held out", "worst class"];

fn operator_cells(o: &OperatorAccuracy) -> Vec<String> {
    vec![
        o.operator.replace('_', " "),
        o.dtype.clone(),
        count(o.classes as f64),
        count(o.samples as f64),
        format!("{:.1} %", o.heldout_median_ape),
        format!("{:.1} %", o.worst_median_ape),
    ]
}

fn errors(case: &Case) -> Vec<String> {
    vec![
        case.metric.clone(),
        count(case.n as f64),
        format!("{:.1} %", case.median_ape),
        format!("{:.1} %", case.p90_ape),
        format!("{:+.1} %", case.bias),
        percent(case.within_20pct / 100.0),
        percent(case.interval_coverage / 100.0),
    ]
}

fn cases<'a>(title: &str, list: impl IntoIterator<Item = &'a Case>) -> Section {
    let mut section = Section::new(title, &[&["gpu", "engine", "model"], &ERRORS[..]].concat());
    for case in list {
        let model = if case.model == "*" { &case.kind } else { &case.model };
        let mut row = vec![case.gpu.clone(), case.engine.clone(), model.clone()];
        row.extend(errors(case));
        section.row(row);
    }
    section
}

fn table(out: &mut String, section: Section) {
    out.push_str(&Format::Markdown.render(&Report { sections: vec![section], ..Report::default() }));
}

/// The document `docs/ACCURACY.md`: held-out errors of kernels by accelerator, errors of static batches,
/// and what is not covered.
#[must_use]
pub fn accuracy_document(
    kernels: &[(String, Vec<OperatorAccuracy>)],
    transfers: &[Transfer],
    book: &[Case],
    skipped: &[Skipped],
) -> String {
    let mut out = String::from(
        "# Accuracy\n\nWritten by `just accuracy`; do not edit. Errors are |predicted − measured| / measured; bias is the \
         median of (predicted − measured) / measured, below 0 where predictions are too short. `foretoken accuracy` \
         answers from the same numbers, `foretoken validate` repeats them on your own.\n\n## Kernels\n\nFitted to \
         operator tables; errors are of shapes that the fit has not seen, by operator and data type: the median over \
         its classes (engines, kernels, head sizes, ranks) of each class's median, and that of the worst class.\n\n",
    );
    if kernels.is_empty() {
        out.push_str("No accelerator has a calibration of its own yet.\n\n");
    }
    for (gpu, operators) in kernels {
        let mut section = Section::new(gpu.clone(), &OPERATORS);
        for operator in operators {
            section.row(operator_cells(operator));
        }
        table(&mut out, section);
    }
    transfer_chapter(&mut out, transfers);
    out.push_str(
        "## Static batches and llama-bench\n\nPublished runs of one batch at a time: LLM-Inference-Bench (BSD-3), \
         TensorRT-LLM's documentation (Apache-2.0), ROCm's and other public tables, and llama.cpp results, some of which \
         are used to validate and not passed on (their cases show only where they hold five runs or more).\n\n",
    );
    let whole = |c: &&Case| c.model == "*" && c.kind == "*" && c.engine != "*";
    let old = |c: &Case| crate::answer::OLD_STACKS.contains(&c.gpu.as_str());
    table(&mut out, cases("By engine", book.iter().filter(whole).filter(|c| c.gpu == "*")));
    let by_gpu = || book.iter().filter(whole).filter(|c| c.gpu != "*");
    table(&mut out, cases("By accelerator and engine", by_gpu().filter(|c| !old(c))));
    table(&mut out, cases("Old or untuned stacks of 2024, apart", by_gpu().filter(|c| old(c))));
    let models = book.iter().filter(|c| c.model != "*" && c.metric != "ttft_s" && !old(c) && c.n >= 5);
    let mut worst: Vec<&Case> = models.collect();
    worst.sort_by(|a, b| b.median_ape.total_cmp(&a.median_ape));
    table(&mut out, cases("The ten worst models by accelerator and engine", worst.into_iter().take(10)));
    out.push_str(
        "## Not covered\n\nContinuous batching under load (closed and open loops) is not validated yet, and so there is \
         no other tool's figure beside ours: the published predictions of others are of closed loops. No static runs \
         are known of Hopper with vLLM of 2025 and later, of Blackwell, of latent attention, or of SGLang.\n\n### Rows \
         left out\n\n| rows | reason |\n|---|---|\n",
    );
    for s in skipped {
        let _ = writeln!(out, "| {} | {} |", s.count, s.reason.replace('|', "\\|"));
    }
    out
}
