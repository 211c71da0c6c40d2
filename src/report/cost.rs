//! Prices and costs on paper.

mod verdict;

use std::collections::BTreeMap;

use super::{Report, Section, count, duration, number, percent, usd, versioned};
use crate::answer::{
    Basis, Cost, CostAnswer, Energy, HourlyPrice, JobDone, Situation, SituationCost, SituationKind,
};

/// Lays out an answer of `cost`.
#[must_use]
pub fn cost(answer: &CostAnswer) -> Report {
    let verdicts = verdict::all(answer);
    let mut json = versioned(&serde_json::to_value(answer).unwrap_or_default());
    json["verdicts"] = verdicts.clone().into();
    let mut sections = vec![situations(answer), costs(answer)];
    if !answer.break_even.is_empty() {
        sections.push(break_even(answer));
    }
    sections.extend(answer.job.as_ref().map(job));
    sections.push(prices(answer));
    if !answer.assumptions.is_empty() {
        sections.push(assumptions(answer));
    }
    let mut footer = verdicts;
    if let Some(e) = answer.situations.iter().find_map(|s| s.energy.as_ref()) {
        footer.push(format!("Energy of the GPUs, idle time included; {}.", e.source));
    }
    footer.push(super::coefficients(&answer.provenance));
    Report {
        heading: heading(answer),
        sections,
        footer,
        warnings: answer.warnings.clone(),
        rows: Some("costs"),
        json,
        ..Report::default()
    }
}

fn heading(answer: &CostAnswer) -> Vec<String> {
    let i = &answer.inputs;
    let replicas =
        if answer.replicas > 1 { format!("{} replicas of ", answer.replicas) } else { String::new() };
    let duty = if answer.duty < 1.0 {
        format!("; {} of the paid hours are used", percent(answer.duty))
    } else {
        String::new()
    };
    vec![
        format!(
            "{replicas}{} on {}× {} {}, {}",
            i.layout.model,
            i.layout.num_gpus,
            i.layout.gpu,
            i.layout.degrees(),
            i.layout.engine
        ),
        format!(
            "{} weights, {} KV cache; {} in, {} out{duty}",
            i.layout.weight_dtype,
            i.layout.kv_cache_dtype,
            count(i.input_len as f64),
            count(i.output_len as f64)
        ),
    ]
}

pub(super) fn name(kind: SituationKind) -> &'static str {
    match kind {
        SituationKind::AsAsked => "as asked",
        SituationKind::AtSlo => "at the limits",
        SituationKind::Saturated => "saturated",
        SituationKind::AtYourLoad => "at your load",
    }
}

fn load(answer: &CostAnswer, s: &Situation) -> String {
    if s.situation == SituationKind::AsAsked && answer.inputs.batch_size.is_some() {
        return format!("batch {}", count(s.mean_in_flight));
    }
    let n = s.mean_in_flight;
    let n = if s.concurrency.is_some() || n >= 10.0 { count(n) } else { number(n) };
    format!("{n} in flight")
}

fn situations(answer: &CostAnswer) -> Section {
    let header = [
        "",
        "load",
        "GPUs",
        "requests/s",
        "tokens/s out",
        "of capacity",
        "TTFT",
        "P90",
        "TPOT",
        "P90",
        "J/token out",
    ];
    let mut section = Section::new("", &header);
    let tail = |value: Option<f64>| value.map_or_else(String::new, duration);
    for s in &answer.situations {
        let kept = if s.held == Some(false) { " (limits not kept)" } else { "" };
        section.row([
            format!("{}{kept}", name(s.situation)),
            load(answer, s),
            count(f64::from(s.num_gpus)),
            number(s.requests_per_s),
            number(s.output_tokens_per_s),
            percent(s.load),
            duration(s.ttft_s),
            tail(s.ttft_p90_s),
            duration(s.tpot_s),
            tail(s.tpot_p90_s),
            s.energy.as_ref().map_or_else(String::new, |e| number(e.joules_per_output_token)),
        ]);
    }
    section
}

fn costs(answer: &CostAnswer) -> Section {
    let header = ["million tokens", "", "in", "out", "80 % of out", "1,000 requests", "hour", "month"];
    let mut section = Section::new("Cost", &header);
    for s in &answer.situations {
        for c in answer.costs.iter().filter(|c| c.situation == s.situation) {
            section.row(cost_row(s, c));
        }
    }
    section
}

fn cost_row(s: &Situation, c: &SituationCost) -> [String; 8] {
    let out = c.usd_per_million_output_tokens;
    let between = s
        .interval_factors
        .filter(|f| f.low < f.high)
        .map_or_else(String::new, |f| format!("{} – {}", usd(out * f.low), usd(out * f.high)));
    [
        name(s.situation).into(),
        c.basis.name().into(),
        usd(c.usd_per_million_input_tokens),
        usd(out),
        between,
        usd(1000.0 * c.usd_per_request),
        usd(c.usd_per_hour),
        usd(c.usd_per_month),
    ]
}

fn break_even(answer: &CostAnswer) -> Section {
    let api = answer.api.map_or_else(String::new, |a| {
        format!(
            "Against {} in, {} out of an API",
            usd(a.usd_per_million_input_tokens),
            usd(a.usd_per_million_output_tokens)
        )
    });
    let header =
        ["", "costs less from", "tokens a month", "replicas", "of what they can do", "full, over the API"];
    let mut section = Section::new(api, &header);
    for b in &answer.break_even {
        let mut row = vec![b.basis.name().to_owned()];
        match &b.from {
            Some(c) => row.extend([
                format!("{} requests/s", number(c.requests_per_s)),
                millions(c.tokens_per_month),
                count(f64::from(c.replicas)),
                percent(c.load),
            ]),
            None => row.extend(["never", "", "", ""].map(str::to_owned)),
        }
        row.push(percent(b.full_over_api));
        section.row(row);
    }
    section
}

/// Accelerators in words.
fn gpus(n: u32) -> String {
    if n == 1 { "1 GPU".into() } else { format!("{} GPUs", count(f64::from(n))) }
}

/// Tokens in millions or billions.
pub(super) fn millions(tokens: f64) -> String {
    match tokens {
        t if t >= 1e9 => format!("{} B", number(t / 1e9)),
        t if t >= 1e6 => format!("{} M", number(t / 1e6)),
        t => count(t),
    }
}

fn job(job: &JobDone) -> Section {
    let mut section = Section::new(format!("{} documents", count(job.documents as f64)), &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let i = &job.duration_interval_s;
    row("time", format!("{} (80 %: {} – {})", duration(job.duration_s), duration(i.low), duration(i.high)));
    row("replicas", format!("{} on {}", count(f64::from(job.replicas)), gpus(job.num_gpus)));
    row("rate", format!("{} documents/s", number(job.documents_per_s)));
    row("tokens", format!("{} in, {} out", millions(job.input_tokens), millions(job.output_tokens)));
    for c in &job.costs {
        row(
            c.basis.name(),
            format!(
                "{} (80 %: {} – {}), {} a thousand",
                usd(c.usd),
                usd(c.usd_interval.low),
                usd(c.usd_interval.high),
                usd(1000.0 * c.usd_per_document)
            ),
        );
    }
    if let Some(api) = job.api_usd {
        row("API", usd(api));
    }
    if let Some(kwh) = job.accelerator_kwh {
        row("energy of the GPUs", format!("{} kWh", number(kwh)));
    }
    section
}

fn prices(answer: &CostAnswer) -> Section {
    let mut section = Section::new("Prices", &["", "GPU-hour", "source"]);
    for p in &answer.prices {
        let caution = p.caution().map_or_else(String::new, |c| format!(", {c}"));
        section.row([p.basis.name().to_owned(), usd(p.usd_per_gpu_hour), format!("{}{caution}", p.source)]);
        for part in p.parts.iter().filter(|_| p.basis == Basis::Owned) {
            section.row([format!("  {}", part.part), usd(part.usd_per_gpu_hour), String::new()]);
        }
    }
    section
}

fn assumptions(answer: &CostAnswer) -> Section {
    let mut section = Section::new("Owning and electricity rest on", &["", "value", "source"]);
    for a in &answer.assumptions {
        section.row([format!("--{}", a.name), format!("{}", a.value), a.source.to_owned()]);
    }
    section
}

/// A price per hour with its source, and its age where it is old.
pub(super) fn price(price: &HourlyPrice) -> String {
    let caution = price.caution().map_or_else(String::new, |c| format!(", {c}"));
    format!("{} per GPU-hour ({}{caution})", usd(price.usd_per_gpu_hour), price.source)
}

/// Cost of a million prompt and a million generated tokens.
pub(super) fn million(cost: &Cost) -> String {
    format!("{} in, {} out", usd(cost.usd_per_million_input_tokens), usd(cost.usd_per_million_output_tokens))
}

/// Energy of a prompt token and a generated one.
pub(super) fn energy(energy: &Energy) -> String {
    let (input, output) = (number(energy.joules_per_input_token), number(energy.joules_per_output_token));
    format!("{input} J in, {output} J out ({})", energy.source)
}

/// Prices of several accelerators in a line, and how many of them are old; none of none.
pub(super) fn price_line(all: &BTreeMap<String, HourlyPrice>) -> Option<String> {
    let first = all.iter().next()?;
    if all.len() == 1 {
        return Some(format!("Price: {}.", price(first.1)));
    }
    let each: Vec<String> = all.iter().map(|(gpu, p)| format!("{gpu} {}", usd(p.usd_per_gpu_hour))).collect();
    let old = all.values().filter(|p| p.is_old).count();
    let caution = match old {
        0 => String::new(),
        n => format!("; {n} of {} undated or over 90 days old: check them", all.len()),
    };
    Some(format!("Prices per GPU-hour: {}{caution}.", each.join(", ")))
}
