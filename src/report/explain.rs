//! Definitions of metrics on paper.

use serde_json::json;

use super::{Report, Section, duration};
use crate::answer::{MetricExplanation, TpotDefinition};
use crate::units::Seconds;

/// One metric with the definitions of other tools.
#[must_use]
pub fn metric(explanation: &MetricExplanation) -> Report {
    let e = explanation;
    let mut tools = Section::new("How tools define it", &["tool", "as", "definition"]);
    for tool in e.tools {
        tools.row([tool.tool, tool.key, tool.definition]);
    }
    let mut heading = vec![format!("{} ({})", e.title, e.name), String::new(), e.definition.to_owned()];
    heading.push(format!("Formula: {}", e.formula));
    heading.push(format!("Unit: {}", e.unit));
    if !e.aliases.is_empty() {
        heading.push(format!("Also called: {}", e.aliases.join(", ")));
    }
    let footer = [e.note, e.source].into_iter().zip(["Mind: ", "Source: "]);
    Report {
        heading,
        sections: if e.tools.is_empty() { vec![] } else { vec![tools] },
        footer: footer
            .filter(|(text, _)| !text.is_empty())
            .map(|(text, head)| format!("{head}{text}"))
            .collect(),
        json: json!({ "schema_version": 1, "metric": e }),
        ..Report::default()
    }
}

/// All metrics, a line each.
#[must_use]
pub fn metrics(all: impl Iterator<Item = &'static MetricExplanation>) -> Report {
    let mut section = Section::new("", &["metric", "", "formula"]);
    let mut json = vec![];
    for e in all {
        section.row([e.name, e.title, e.formula]);
        json.push(json!({ "name": e.name, "title": e.title, "formula": e.formula, "unit": e.unit }));
    }
    Report {
        sections: vec![section],
        footer: vec!["`foretoken explain METRIC` has the definitions of other tools.".into()],
        json: json!({ "schema_version": 1, "metrics": json }),
        ..Report::default()
    }
}

/// One time per output token in every definition.
#[must_use]
pub fn conversion(ttft: Seconds, output_len: u64, converted: &[(TpotDefinition, Seconds)]) -> Report {
    let mut section = Section::new("", &["definition", "time", "formula"]);
    for (definition, value) in converted {
        section.row([definition.name().to_owned(), duration(value.0), definition.formula().to_owned()]);
    }
    let times: serde_json::Map<String, serde_json::Value> =
        converted.iter().map(|(d, s)| (d.name().to_owned(), json!(s.0))).collect();
    Report {
        heading: vec![format!("TTFT {}, {output_len} output tokens", duration(ttft.0))],
        sections: vec![section],
        json: json!({ "schema_version": 1, "ttft_s": ttft.0, "output_len": output_len, "tpot_s": times }),
        ..Report::default()
    }
}
