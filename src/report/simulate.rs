//! A simulation on paper, and in the words of `vllm bench serve`.

mod split;

use serde_json::json;
use std::fmt::Write;

use super::{Report, Section, count, duration, number, percent, versioned};
use crate::answer::{Fluidity, Goodput, SessionUse, Simulation, SpeculationUse};
use crate::serving::Summary;

/// Lays out a simulation.
#[must_use]
pub fn simulation(answer: &Simulation) -> Report {
    let json = versioned(&serde_json::to_value(answer).unwrap_or_else(|_| json!({})));
    let mut sections = vec![latency(answer), load(answer)];
    sections.extend(answer.speculation.as_ref().map(speculation));
    sections.extend(answer.disaggregation.as_ref().map(split::pools));
    if !answer.splits.is_empty() {
        sections.push(split::ways(&answer.splits));
    }
    sections.extend(answer.goodput.as_ref().map(goodput));
    sections.extend(answer.fluidity.as_ref().map(fluidity));
    let mut footer: Vec<String> = answer.lengths_source.iter().map(|s| format!("Lengths: {s}.")).collect();
    footer.push(super::coefficients(&answer.provenance));
    Report {
        heading: heading(answer),
        sections,
        footer,
        warnings: answer.warnings.clone(),
        json,
        vllm: Some(vllm(answer)),
        ..Report::default()
    }
}

fn heading(answer: &Simulation) -> Vec<String> {
    let i = &answer.inputs;
    let load = match (i.concurrency, i.request_rate_per_s) {
        (Some(n), _) => format!("{n} in flight"),
        (_, Some(rate)) => format!("{} requests/s", number(rate)),
        _ => String::new(),
    };
    let replicas =
        if answer.replicas > 1 { format!("{} replicas of ", answer.replicas) } else { String::new() };
    let pools = answer.disaggregation.as_ref().map_or_else(String::new, |d| {
        format!(
            " for prefill, {} of {}× {} for decode",
            d.decode_replicas, d.decode.layout.num_gpus, d.decode.layout.gpu
        )
    });
    vec![
        format!(
            "{replicas}{} on {}× {}, {}{pools}",
            i.layout.model, i.layout.num_gpus, i.layout.gpu, i.layout.engine
        ),
        format!(
            "{} requests, {} in, {} out on average, {load}; {} simulated",
            count(answer.simulated_requests as f64),
            count(i.input_len as f64),
            count(i.output_len as f64),
            duration(answer.duration_s)
        ),
    ]
}

fn latency(answer: &Simulation) -> Section {
    let mut section =
        Section::new("", &["", "mean", "P50", "P90", "P95", "P99", "80 % interval of the mean"]);
    let l = &answer.latency;
    let between = |i: &crate::answer::Interval| format!("{} – {}", duration(i.low), duration(i.high));
    let transfer = l.transfer_s.as_ref().map(|s| ("  transfer", s, None));
    let first = [
        ("TTFT", &l.ttft_s, Some(&answer.intervals.ttft_s)),
        ("  queue", &l.queue_s, None),
        ("  prefill", &l.prefill_s, None),
    ];
    let rest = [
        ("TPOT", &l.tpot_s, Some(&answer.intervals.tpot_s)),
        ("ITL", &l.itl_s, None),
        ("E2E", &l.e2e_s, Some(&answer.intervals.e2e_s)),
        ("E2E / tokens", &l.normalized_s, None),
    ];
    for (name, s, interval) in first.into_iter().chain(transfer).chain(rest) {
        let Summary { mean, p50, p90, p95, p99 } = *s;
        let mut row = vec![name.to_owned()];
        row.extend([mean, p50, p90, p95, p99].map(duration));
        row.push(interval.map_or_else(String::new, between));
        section.row(row);
    }
    section
}

fn load(answer: &Simulation) -> Section {
    let mut section = Section::new("", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let t = &answer.throughput;
    row("requests", format!("{}/s", number(t.requests_per_s)));
    row("output", format!("{} tokens/s", number(t.output_tokens_per_s)));
    row("total", format!("{} tokens/s", number(t.total_tokens_per_s)));
    let u = &answer.utilization;
    row("busy", percent(u.busy));
    row("decode rows, mean", number(u.mean_rows));
    row("KV cache, mean and peak", format!("{} and {}", percent(u.kv_cache_mean), percent(u.kv_cache_peak)));
    if u.preemptions > 0 {
        row("preemptions", count(u.preemptions as f64));
    }
    if u.prefix_hit_share > 0.0 {
        row("prompt tokens cached", percent(u.prefix_hit_share));
    }
    if u.loaded_tokens > 0 {
        row("brought back from tiers", format!("{} tokens", count(u.loaded_tokens as f64)));
    }
    if let Some(sessions) = &answer.sessions {
        let calls = number(sessions.calls_per_session);
        row("sessions", format!("{} of {calls} calls on average", count(sessions.sessions as f64)));
        let SessionUse { duration_s: Summary { mean, p90, .. }, .. } = sessions;
        row("session, mean and P90", format!("{} and {}", duration(*mean), duration(*p90)));
    }
    if let Some(cost) = &answer.cost {
        row("cost, million tokens", super::cost::million(cost));
        row("price", super::cost::price(&cost.price));
    }
    if let Some(energy) = &answer.energy {
        row("energy, token", super::cost::energy(energy));
    }
    if answer.rejected_requests > 0 {
        row("refused", count(answer.rejected_requests as f64));
    }
    if answer.saturation.saturated {
        row("SATURATED", format!("backlog grows by {}/s", number(answer.saturation.backlog_growth_per_s)));
    }
    section
}

/// Drafts: what a step keeps of them, and up to where they pay.
pub(super) fn speculation(used: &SpeculationUse) -> Section {
    let mut section = Section::new("Speculative decoding", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let what =
        format!("{} by {}, accepted {}", used.speculative_tokens, used.draft, percent(used.acceptance_rate));
    row("drafted", what);
    row("tokens kept a step", number(used.tokens_per_step));
    let pays = used.pays_up_to_rows.map_or("never".into(), |n| format!("up to {} rows", count(f64::from(n))));
    row("faster than without", pays);
    section
}

fn goodput(goodput: &Goodput) -> Section {
    let mut section = Section::new("Limits", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let slo = &goodput.slo;
    for (name, limit) in [("TTFT", slo.ttft_s), ("TPOT", slo.tpot_s), ("E2E", slo.e2e_s)] {
        if let Some(limit) = limit {
            row(name, format!("≤ {}", duration(limit)));
        }
    }
    let verdict = if goodput.held { "held" } else { "NOT HELD" };
    row(
        "requests within all",
        format!("{} ({} needed): {verdict}", percent(goodput.share), percent(goodput.required_share)),
    );
    row("goodput", format!("{} requests/s", number(goodput.requests_per_s)));
    if let Some(rate) = goodput.highest_rate_per_s {
        row("highest rate that holds", format!("{} requests/s", number(rate)));
    }
    section
}

fn fluidity(fluidity: &Fluidity) -> Section {
    let mut section = Section::new("Fluidity", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let due = format!(
        "first after {}, then every {}",
        duration(fluidity.first_token_s),
        duration(fluidity.token_s)
    );
    row("tokens due", due);
    row("fluidity index, mean", percent(fluidity.index));
    row("requests with 90 % in time", percent(fluidity.fluid_share));
    row("fluid token generation rate", format!("{} tokens/s", number(fluidity.token_rate_per_s)));
    section
}

/// The layout that `vllm bench serve` prints.
fn vllm(answer: &Simulation) -> String {
    let mut text = String::new();
    let title = |text: &mut String, name: &str, c: char| {
        let pad = 50_usize.saturating_sub(name.len());
        let (left, right) = (pad / 2, pad - pad / 2);
        let bar = |n: usize| c.to_string().repeat(n);
        let _ = writeln!(text, "{}{name}{}", bar(left), bar(right));
    };
    let whole = |text: &mut String, name: &str, value: u64| {
        let _ = writeln!(text, "{name:<40} {value:<10}");
    };
    let real = |text: &mut String, name: &str, value: f64| {
        let _ = writeln!(text, "{name:<40} {value:<10.2}");
    };
    title(&mut text, " Serving Benchmark Result ", '=');
    whole(&mut text, "Successful requests:", answer.completed_requests);
    whole(&mut text, "Failed requests:", answer.rejected_requests);
    if let Some(n) = answer.inputs.concurrency {
        whole(&mut text, "Maximum request concurrency:", n.into());
    }
    if let Some(rate) = answer.inputs.request_rate_per_s {
        real(&mut text, "Request rate configured (RPS):", rate);
    }
    real(&mut text, "Benchmark duration (s):", answer.duration_s);
    whole(&mut text, "Total input tokens:", answer.input_tokens);
    whole(&mut text, "Total generated tokens:", answer.output_tokens);
    real(&mut text, "Request throughput (req/s):", answer.throughput.requests_per_s);
    if let Some(goodput) = &answer.goodput {
        real(&mut text, "Request goodput (req/s):", goodput.requests_per_s);
    }
    real(&mut text, "Output token throughput (tok/s):", answer.throughput.output_tokens_per_s);
    real(&mut text, "Total token throughput (tok/s):", answer.throughput.total_tokens_per_s);
    let l = &answer.latency;
    for (heading, short, s) in [
        ("Time to First Token", "TTFT", &l.ttft_s),
        ("Time per Output Token (excl. 1st token)", "TPOT", &l.tpot_s),
        ("Inter-token Latency", "ITL", &l.itl_s),
        ("End-to-end Latency", "E2EL", &l.e2e_s),
    ] {
        title(&mut text, heading, '-');
        for (name, value) in
            [("Mean", s.mean), ("Median", s.p50), ("P90", s.p90), ("P95", s.p95), ("P99", s.p99)]
        {
            real(&mut text, &format!("{name} {short} (ms):"), 1e3 * value);
        }
    }
    title(&mut text, "", '=');
    text
}
