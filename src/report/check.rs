//! A measured number and its causes on paper.

use super::{Report, Section, duration, number, percent, versioned};
use crate::answer::{Check, Impossible, Judged, Measure, Verdict};

/// Lays out a verdict with its causes.
#[must_use]
pub fn check(answer: &Check) -> Report {
    let mut heading = super::estimate::question(&answer.inputs);
    heading.extend([String::new(), verdict(answer)]);
    heading.extend(answer.impossible.iter().map(|i| impossible(i, &answer.inputs.layout.gpu)));
    let mut sections = vec![numbers(&answer.metrics)];
    let mut footer = vec![];
    if !answer.causes.is_empty() {
        sections.push(causes(answer));
        sections.push(looks(answer));
        footer.push(format!(
            "none of these, or the prediction errs: {}. Weights: how well the model meets the number with each cause, times how \
             common it is (judged).",
            percent(answer.unexplained)
        ));
    }
    let json = versioned(&serde_json::to_value(answer).unwrap_or_default());
    Report { heading, sections, footer, warnings: answer.warnings.clone(), json, ..Report::default() }
}

fn value(measure: Measure, value: f64) -> String {
    if measure.is_rate() { format!("{} tokens/s", number(value)) } else { duration(value) }
}

fn verdict(answer: &Check) -> String {
    let Some(judged) = answer.metrics.iter().find(|j| j.metric == answer.metric) else {
        return answer.verdict.name().into();
    };
    let (measured, predicted) =
        (value(judged.metric, judged.measured), value(judged.metric, judged.predicted));
    let name = judged.metric.name();
    match answer.verdict {
        Verdict::Normal => format!("NORMAL: {name} {measured} where {predicted} are expected"),
        Verdict::Slow => format!(
            "SLOW: {name} {measured} is {} times the {predicted} expected, outside the 80 % interval",
            number(judged.ratio)
        ),
        Verdict::Fast => format!(
            "FAST: {name} {measured} is {} times the {predicted} expected, outside the 80 % interval",
            number(judged.ratio)
        ),
    }
}

fn impossible(found: &Impossible, gpu: &str) -> String {
    let limit = value(found.metric, found.limit);
    let why = if found.metric == Measure::Tpot {
        format!(
            "a step moves {} GB on each accelerator at {} GB/s at most",
            number(found.step_bytes / 1e9),
            number(found.bandwidth_bytes_per_s / 1e9)
        )
    } else {
        "at peak arithmetic and full memory bandwidth, without any overhead".into()
    };
    let than = if found.metric.is_rate() { "more" } else { "less" };
    format!(
        "IMPOSSIBLE as understood: no {gpu} does {than} than {limit} ({why}). Look for another definition, unit, load or format."
    )
}

fn numbers(judged: &[Judged]) -> Section {
    let mut section =
        Section::new("", &["", "measured", "predicted", "80 % interval", "measured / predicted", "verdict"]);
    for j in judged {
        section.row([
            j.metric.name().to_owned(),
            value(j.metric, j.measured),
            value(j.metric, j.predicted),
            format!("{} – {}", value(j.metric, j.expected.low), value(j.metric, j.expected.high)),
            number(j.ratio),
            j.verdict.name().to_owned(),
        ]);
    }
    section
}

fn causes(answer: &Check) -> Section {
    let explains = answer.causes.iter().any(|c| c.explains || c.likelihood > 0.5);
    let title = if explains {
        "What would explain it, the likeliest first"
    } else {
        "No single cause explains it; the nearest"
    };
    let mut header = vec!["", "likelihood", "cause"];
    let then: Vec<String> = answer.metrics.iter().map(|j| format!("{} then", j.metric.name())).collect();
    header.extend(then.iter().map(String::as_str));
    header.extend(["measured / then", "within all intervals"]);
    let mut section = Section::new(title, &header);
    for (i, cause) in answer.causes.iter().enumerate() {
        let mut row = vec![(i + 1).to_string(), percent(cause.likelihood), cause.cause.clone()];
        let of = |j: &Judged| cause.predicted.get(j.metric);
        row.extend(answer.metrics.iter().map(|j| of(j).map_or_else(String::new, |v| value(j.metric, v))));
        let left =
            answer.metrics.iter().find(|j| j.metric == answer.metric).and_then(|j| Some(j.measured / of(j)?));
        row.push(left.map_or_else(String::new, number));
        row.push(if cause.explains { "yes" } else { "no" }.into());
        section.row(row);
    }
    section
}

fn looks(answer: &Check) -> Section {
    let mut section = Section::new("How to tell", &[]);
    for (i, cause) in answer.causes.iter().enumerate() {
        section.row([(i + 1).to_string(), cause.how_to_tell.clone()]);
    }
    section
}
