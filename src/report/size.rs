//! `size` on paper.

use serde_json::json;
use std::collections::BTreeMap;

use super::{Report, Section, count, duration, number, percent, percentile, usd};
use crate::answer::{
    Advice, Comparison, DayProfile, EngineFlag, Mistake, NearMiss, Objective, Obstacle, Size, SizeInputs,
};

/// Reasons that are named where not all are asked for.
const REASONS: usize = 5;

/// Fleets that hold limits under a load.
#[must_use]
pub fn sized(answer: &Size, list_left_out: bool) -> Report {
    let mut json = json!(answer);
    json["schema_version"] = json!(1);
    let mut sections = vec![];
    if !answer.candidates.is_empty() {
        sections.push(candidates(answer));
    }
    if !answer.near_misses.is_empty() {
        sections.push(near(answer));
    }
    if let Some(advice) = &answer.advice {
        sections.extend(flags(answer, advice));
        sections.extend(mistakes(advice));
    }
    sections.extend(answer.comparison.as_ref().map(comparison));
    sections.extend(answer.profile.as_ref().map(|p| profile(answer, p)));
    sections.extend(left_out(answer, list_left_out));
    Report {
        heading: heading(answer),
        sections,
        footer: footer(answer),
        warnings: answer.warnings.clone(),
        rows: Some("candidates"),
        json,
        ..Report::default()
    }
}

fn heading(answer: &Size) -> Vec<String> {
    let SizeInputs { slo, required_share, .. } = &answer.inputs;
    let i = &answer.inputs;
    let load = match (i.users, i.request_rate_per_s) {
        (Some(users), _) => {
            format!("{} users who pause {}", count(users), i.think_time_s.map_or_else(String::new, duration))
        }
        (None, Some(rate)) if i.hourly_rates_per_s.is_empty() => format!("{} requests/s", number(rate)),
        (None, rate) => format!("up to {} requests/s by the hour", number(rate.unwrap_or(0.0))),
    };
    let room = if i.headroom > 0.0 {
        format!(", {} of the capacity free", percent(i.headroom))
    } else {
        String::new()
    };
    let limits: Vec<String> = [("TTFT", slo.ttft_s), ("TPOT", slo.tpot_s), ("E2E", slo.e2e_s)]
        .into_iter()
        .filter_map(|(name, limit)| Some(format!("{name} ≤ {}", duration(limit?))))
        .collect();
    vec![
        format!(
            "{}: {load}, {} in and {} out on average{room}",
            i.model,
            count(i.mean_input_len),
            count(i.mean_output_len)
        ),
        format!("{} for {} of the requests", limits.join(", "), percent(*required_share)),
    ]
}

fn fleet(replicas: u32, layout: &str) -> String {
    if replicas == 1 { layout.to_owned() } else { format!("{replicas} replicas of {layout}") }
}

fn candidates(answer: &Size) -> Section {
    let p = percentile(answer.inputs.required_share);
    let (ttft, tpot) = (format!("TTFT {p}"), format!("TPOT {p}"));
    let several = answer.candidates.iter().any(|c| c.engine != answer.candidates[0].engine);
    let mut header = vec!["", "accelerators", "layout", "weights"];
    if several {
        header.push("engine");
    }
    header.extend(["$/h", "$/M out", "W", ttft.as_str(), tpot.as_str(), "within", "KV peak"]);
    let mut section =
        Section::new(format!("Fleets that hold, by {}", name(answer.inputs.objective)), &header);
    for (place, c) in answer.candidates.iter().enumerate() {
        let known = |value: Option<f64>, shown: fn(f64) -> String| value.map_or("–".into(), shown);
        let at = |s: &crate::serving::Summary| at_share(s, answer.inputs.required_share);
        let mut row = vec![
            (place + 1).to_string(),
            format!("{}× {}", c.num_gpus, c.gpu),
            match c.decode_replicas {
                0 => fleet(c.replicas, &c.degrees()),
                decode => format!("{} prefill + {decode} decode of {}", c.replicas, c.degrees()),
            },
            c.weight_dtype.clone(),
        ];
        if several {
            row.push(c.engine.clone());
        }
        row.extend([
            known(c.usd_per_hour, usd),
            known(c.usd_per_million_output_tokens, usd),
            known(c.power_w, count),
            duration(at(&c.latency.ttft_s)),
            duration(at(&c.latency.tpot_s)),
            percent(c.share_within_limits),
            percent(c.utilization.kv_cache_peak),
        ]);
        section.row(row);
    }
    section
}

/// The percentile of the limits where it is one that is kept, else the next one above.
fn at_share(s: &crate::serving::Summary, share: f64) -> f64 {
    match share {
        s_ if s_ <= 0.5 => s.p50,
        s_ if s_ <= 0.9 => s.p90,
        s_ if s_ <= 0.95 => s.p95,
        _ => s.p99,
    }
}

fn name(objective: Objective) -> &'static str {
    Objective::ALL.iter().find(|(o, _)| *o == objective).map_or("", |(_, name)| name)
}

fn near(answer: &Size) -> Section {
    let unit = match answer.inputs.objective {
        Objective::Cost => "$/h",
        Objective::Power => "W",
        Objective::Gpus | Objective::Latency => "",
    };
    let mut section = Section::new("Why not less", &["accelerators", "layout", "weights", unit, "why not"]);
    for miss in &answer.near_misses {
        let NearMiss { gpu, num_gpus, replicas, layout, weight_dtype, value, reason } = miss;
        let value = match answer.inputs.objective {
            Objective::Cost => usd(*value),
            Objective::Power => count(*value),
            Objective::Gpus | Objective::Latency => String::new(),
        };
        section.row([
            format!("{num_gpus}× {gpu}"),
            fleet(*replicas, layout),
            weight_dtype.clone(),
            value,
            reason.clone(),
        ]);
    }
    section
}

/// What the advice is about, where the first candidate has two pools.
fn whole(answer: &Size) -> &'static str {
    if answer.candidates.first().is_some_and(|c| c.decode_replicas > 0) {
        " whose replicas do both"
    } else {
        ""
    }
}

fn flags(answer: &Size, advice: &Advice) -> Option<Section> {
    let mut section = Section::new(format!("Flags for the first{}", whole(answer)), &[]);
    for EngineFlag { flag, value, reason } in &advice.engine_flags {
        section.row([format!("{flag} {value}").trim_end().to_owned(), reason.clone()]);
    }
    (!section.rows.is_empty()).then_some(section)
}

fn mistakes(advice: &Advice) -> Option<Section> {
    let mut section = Section::new("What other settings would do to it", &[]);
    for Mistake { change, effect, .. } in &advice.mistakes {
        section.row([change.clone(), effect.clone()]);
    }
    (!section.rows.is_empty()).then_some(section)
}

fn comparison(comparison: &Comparison) -> Section {
    let mut section = Section::new(format!("{} replicas of it arranged otherwise", comparison.replicas), &[]);
    for verdict in &comparison.verdicts {
        section.row([verdict.clone()]);
    }
    section
}

fn profile(answer: &Size, profile: &DayProfile) -> Section {
    let mut section = Section::new(format!("Hour by hour, the first{}", whole(answer)), &[]);
    let numbers: Vec<String> = profile.replicas_by_hour.iter().map(u32::to_string).collect();
    section.row(["replicas", &numbers.join(" ")]);
    let cost = |dollars: Option<f64>| dollars.map_or("–".into(), usd);
    let all = format!("{} with the busiest hour's all the time", cost(profile.usd_fixed));
    section.row(["cost of the profile", all.as_str()]);
    let scaled = format!(
        "{} with replicas that come and go ({} of the hours; starting them is not counted)",
        cost(profile.usd_scaled),
        percent(profile.share_of_replica_hours)
    );
    section.row(["", scaled.as_str()]);
    section
}

fn left_out(answer: &Size, all: bool) -> Option<Section> {
    if answer.rejected.is_empty() {
        return None;
    }
    if all {
        let mut section = Section::new("Left out", &["accelerator", "layout", "weights", "why"]);
        for r in &answer.rejected {
            let degrees = format!(
                "tp{} pp{} dp{} ep{}",
                r.tensor_parallel_size,
                r.pipeline_parallel_size,
                r.data_parallel_size,
                r.expert_parallel_size
            );
            section.row([r.gpu.clone(), degrees, r.weight_dtype.clone(), r.reason.clone()]);
        }
        return Some(section);
    }
    let mut section = Section::new("Left out", &[]);
    let mut kinds: BTreeMap<Obstacle, usize> = BTreeMap::new();
    for r in &answer.rejected {
        *kinds.entry(r.kind).or_default() += 1;
    }
    for (kind, number) in kinds {
        let why = match kind {
            Obstacle::Refused => "no engine would start it",
            Obstacle::DoesNotFit => "does not fit into memory",
            Obstacle::TooSlow => "a request alone is beyond a limit",
            Obstacle::TooMany => "more than is allowed",
            Obstacle::Unknown => "what the objective counts is not known",
        };
        section.row([count(number as f64), why.to_owned()]);
    }
    // nothing holds: say what stood in the way
    if answer.candidates.is_empty() {
        let mut reasons: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for r in &answer.rejected {
            reasons.entry(&r.reason).or_insert((0, &r.gpu)).0 += 1;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
        for (reason, (number, gpu)) in reasons.into_iter().take(REASONS) {
            section.row([count(number as f64), format!("{reason} ({gpu})")]);
        }
    }
    Some(section)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn footer(answer: &Size) -> Vec<String> {
    let mut lines = vec![];
    match answer.candidates.first() {
        Some(first) => {
            let line = |words: &[String]| words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ");
            if let Some(advice) = &answer.advice {
                if let Some(command) = &advice.command {
                    lines.push(format!("Start it: {}", line(command)));
                }
                lines.extend(advice.notes.iter().map(|note| format!("  {note}")));
            }
            lines.push(format!("See it: foretoken simulate {}", line(&first.simulate_args)));
            if let Some(price) = &first.price {
                lines.push(format!("Its price: {}.", super::cost::price(price)));
            }
        }
        None => lines
            .push("Nothing holds the limits. --list-left-out names every deployment with its reason.".into()),
    }
    let s = &answer.searched;
    lines.push(format!(
        "{} deployments asked about: {} sized by simulation, {} could not be better, {} left out.",
        count(s.deployments as f64),
        count(s.simulated as f64),
        count(s.pruned as f64),
        count(answer.rejected.len() as f64)
    ));
    lines
}
