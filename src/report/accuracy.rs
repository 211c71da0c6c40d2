//! How far answers can be trusted, on paper; and the book of accuracy as a document.

use serde_json::json;
use std::fmt::Write;

use super::transfer::transfer_chapter;
use super::{Format, Report, Section, count, percent, versioned};
use crate::answer::{Accuracy, Beside, Book, Case, OperatorAccuracy, Transfer};

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
    for (mode, title) in
        [("static", "End to end, static batches"), ("closed_loop", "End to end, closed loops")]
    {
        let mut section = Section::new(title, &ERRORS);
        for case in answer.cases.iter().filter(|c| c.mode == mode) {
            section.row(errors(case));
        }
        if !section.rows.is_empty() {
            sections.push(section);
        }
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
    let mut section = Section::new(title, &[&["gpu", "engine", "model", "load"], &ERRORS[..]].concat());
    for case in list {
        let model = if case.model == "*" { &case.kind } else { &case.model };
        let load = if case.mode == "static" { "static" } else { "loop" };
        let mut row = vec![case.gpu.clone(), case.engine.clone(), model.clone(), load.to_owned()];
        row.extend(errors(case));
        section.row(row);
    }
    section
}

fn table(out: &mut String, section: Section) {
    out.push_str(&Format::Markdown.render(&Report { sections: vec![section], ..Report::default() }));
}

/// Errors of closed loops beside another tool's: median, mean, 90 % quantile, mean signed error, share inside the 80 %
/// interval; then both medians and mean errors on the runs that the other one answered.
fn beside<'a>(title: &str, list: impl Iterator<Item = &'a Beside>) -> Section {
    let heads = [
        "engine",
        "model",
        "gpu",
        "in flight",
        "metric",
        "n",
        "median",
        "MAPE",
        "p90",
        "bias",
        "in interval",
        "n of both",
        "ours",
        "AIConfigurator",
    ];
    let mut section = Section::new(title, &heads);
    for b in list {
        let mut row = b.key.to_vec();
        row.extend([b.metric.to_owned(), count(b.ours.n as f64)]);
        row.extend([b.ours.median_ape, b.ours.mape, b.ours.p90_ape].map(|e| format!("{e:.1} %")));
        row.extend([format!("{:+.1} %", b.ours.bias), percent(b.coverage / 100.0)]);
        let pair =
            |e: &crate::calibrate::statistics::Errors| format!("{:.1} / {:.1} %", e.median_ape, e.mape);
        row.extend(match &b.both {
            Some([ours, peer]) => [count(ours.n as f64), pair(ours), pair(peer)],
            None => [String::new(), String::new(), String::new()],
        });
        section.row(row);
    }
    section
}

/// The document `docs/ACCURACY.md`: held-out errors of kernels by accelerator, errors of static batches,
/// and what is not covered.
#[must_use]
pub fn accuracy_document(
    kernels: &[(String, Vec<OperatorAccuracy>)],
    transfers: &[Transfer],
    book: &Book,
) -> String {
    let Book { cases: book, loops, skipped } = book;
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
    let whole = |c: &&Case| c.mode == "static" && c.model == "*" && c.kind == "*" && c.engine != "*";
    let old = |c: &Case| crate::answer::OLD_STACKS.contains(&c.gpu.as_str());
    table(&mut out, cases("By engine", book.iter().filter(whole).filter(|c| c.gpu == "*")));
    let by_gpu = || book.iter().filter(whole).filter(|c| c.gpu != "*");
    table(&mut out, cases("By accelerator and engine", by_gpu().filter(|c| !old(c))));
    table(&mut out, cases("Old or untuned stacks of 2024, apart", by_gpu().filter(|c| old(c))));
    let models = book
        .iter()
        .filter(|c| c.mode == "static" && c.model != "*" && c.metric != "ttft_s" && !old(c) && c.n >= 5);
    let mut worst: Vec<&Case> = models.collect();
    worst.sort_by(|a, b| b.median_ape.total_cmp(&a.median_ape));
    table(&mut out, cases("The ten worst models by accelerator and engine", worst.into_iter().take(10)));
    out.push_str(
        "## Closed loops\n\nRuns of InferenceX (Apache-2.0) without a flag in the table: so many requests always in flight, \
         lengths spread over 80 to 100 % of the nominal ones, every engine launched as its script says. Engine terms are \
         fitted to these runs; errors of models and accelerators left out of the fit stand in calibration/engines. \
         Beside ours, AIConfigurator's predictions of the same runs where it answered, with ours on those runs before it.\n\n",
    );
    let of = |by: fn(&Beside) -> bool| loops.iter().filter(move |b| by(b));
    table(&mut out, beside("All, and by engine", of(|b| b.key[1] == "*" && b.key[3] == "*")));
    table(&mut out, beside("By requests in flight", of(|b| b.key[3] != "*")));
    table(&mut out, beside("By model and accelerator", of(|b| b.key[1] != "*")));
    out.push_str(
        "## Not covered\n\nOpen loops and traces are simulated and not validated here. No static runs are known of Hopper \
         with vLLM of 2025 and later, of Blackwell, of latent attention, or of SGLang.\n\n### Rows \
         left out\n\n| rows | reason |\n|---|---|\n",
    );
    for s in skipped {
        let _ = writeln!(out, "| {} | {} |", s.count, s.reason.replace('|', "\\|"));
    }
    out
}
