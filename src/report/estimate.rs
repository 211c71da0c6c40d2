//! An estimate on paper.

use serde_json::json;

use super::{Report, Section, bytes_gib, count, duration, number, percent, usd};
use crate::answer::{Estimate, Inputs, Interval, TpotDefinition};
use crate::time::Line;

/// Lays out an estimate. With `explain`, every line of the breakdown with formula and traffic.
#[must_use]
pub fn estimate(answer: &Estimate, explain: bool) -> Report {
    let mut json = json!({ "schema_version": 1 });
    if let (Some(map), Ok(serde_json::Value::Object(fields))) =
        (json.as_object_mut(), serde_json::to_value(answer))
    {
        map.extend(fields);
    }
    let mut sections = vec![latency(answer), throughput(answer), memory(answer)];
    sections.extend(answer.speculation.as_ref().map(super::simulate::speculation));
    for (title, lines) in
        [("Prefill", &answer.breakdown.prefill), ("One decode step", &answer.breakdown.decode)]
    {
        if !lines.is_empty() {
            sections.push(if explain { explained(title, lines) } else { shares(title, lines) });
        }
    }
    let mut footer = vec![super::coefficients(&answer.provenance)];
    if let Some(defaults) = &answer.provenance.defaults {
        let classes = defaults.classes.join(", ").replace('_', " ");
        footer.push(format!("Not covered by them: {classes}, from the {}.", defaults.source));
    }
    if !explain {
        footer.push("--explain shows every line with its formula; --json everything in SI units.".into());
    }
    let warnings = answer.warnings.clone();
    Report { heading: question(&answer.inputs), sections, footer, warnings, json, ..Report::default() }
}

/// The question in two lines.
pub(super) fn question(i: &Inputs) -> Vec<String> {
    let load = match (i.batch_size, i.concurrency) {
        (Some(n), _) => format!("static batch {n}"),
        (_, Some(n)) => format!("concurrency {n}"),
        _ => i.request_rate_per_s.map_or_else(String::new, |r| format!("{} requests/s", number(r))),
    };
    let mut parallel = String::new();
    for (name, degree) in [
        ("tp", i.layout.tensor_parallel_size),
        ("pp", i.layout.pipeline_parallel_size),
        ("dp", i.layout.data_parallel_size),
        ("ep", i.layout.expert_parallel_size),
    ] {
        if degree > 1 {
            parallel.push_str(&format!(" {name}{degree}"));
        }
    }
    vec![
        format!(
            "{} on {}× {}{parallel}, {}",
            i.layout.model, i.layout.num_gpus, i.layout.gpu, i.layout.engine
        ),
        format!(
            "{} weights, {} KV cache; {} in, {} out, {load}",
            i.layout.weight_dtype,
            i.layout.kv_cache_dtype,
            count(i.input_len as f64),
            count(i.output_len as f64)
        ),
    ]
}

fn latency(answer: &Estimate) -> Section {
    let l = &answer.latency;
    let mut section = Section::new("", &["", "predicted", "80 % interval"]);
    let between = |i: &Interval| format!("{} – {}", duration(i.low), duration(i.high));
    section.row(["TTFT".into(), duration(l.ttft_s), between(&answer.intervals.ttft_s)]);
    for (name, value) in [
        ("  queue", l.queue_s),
        ("  prefill", l.prefill_s),
        ("  request handling", l.first_token_overhead_s),
        ("  image encoder", l.image_s),
        ("  KV from host memory", l.kv_load_s),
        ("  network", l.network_s),
        ("  cold start", l.cold_start_s),
    ] {
        if value > 0.0 {
            section.row([name.into(), duration(value), String::new()]);
        }
    }
    if answer.inputs.output_len > 1 {
        let name = match answer.inputs.tpot_definition {
            TpotDefinition::Vllm => "TPOT".to_owned(),
            other => format!("TPOT, {}: {}", other.name(), other.formula()),
        };
        section.row([name, duration(l.tpot_s), between(&answer.intervals.tpot_s)]);
    }
    section.row(["E2E".into(), duration(l.e2e_s), between(&answer.intervals.e2e_s)]);
    section
}

fn throughput(answer: &Estimate) -> Section {
    let t = &answer.throughput;
    let u = &answer.utilization;
    let mut section = Section::new("", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    row("output, all users", format!("{} tokens/s", number(t.output_tokens_per_s)));
    if t.output_tokens_per_s_per_user > 0.0 {
        row("output, one user", format!("{} tokens/s", number(t.output_tokens_per_s_per_user)));
    }
    row("prefill", format!("{} tokens/s", number(t.prefill_tokens_per_s)));
    row("requests", format!("{}/s", number(t.requests_per_s)));
    row("prefill MFU", format!("{} ({}-bound)", percent(u.prefill_mfu), u.prefill_bottleneck));
    if answer.inputs.output_len > 1 {
        row("decode MBU", format!("{} ({}-bound)", percent(u.decode_mbu), u.decode_bottleneck));
    }
    match &answer.cost {
        Some(cost) => {
            row("cost, million tokens", super::cost::million(cost));
            row("price", super::cost::price(&cost.price));
        }
        None => row("cost", "no price known: give --gpu-hour-usd or --purchase-usd with --own".into()),
    }
    if let Some(e) = &answer.energy {
        row("energy, token", super::cost::energy(e));
        if let (Some(input), Some(output)) =
            (e.electricity_usd_per_million_input_tokens, e.electricity_usd_per_million_output_tokens)
        {
            row("electricity, million tokens", format!("{} in, {} out", usd(input), usd(output)));
        }
    }
    section
}

fn memory(answer: &Estimate) -> Section {
    let m = &answer.memory;
    let mut section = Section::new("", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    row("memory", if m.fits { "fits".into() } else { "DOES NOT FIT".into() });
    row(
        "  weights, KV pool",
        format!(
            "{} and {} of {} per GPU",
            bytes_gib(m.weights_bytes_per_gpu.0),
            bytes_gib(m.kv_cache_bytes_per_gpu.0.max(0.0)),
            bytes_gib(m.capacity_bytes_per_gpu.0)
        ),
    );
    row(
        "  KV cache",
        format!(
            "{} tokens, {:.1} requests of {}",
            count(m.kv_cache_tokens as f64),
            m.max_concurrency,
            count(m.settings.max_model_len as f64)
        ),
    );
    section
}

/// Lines by share of the phase, longest first; those under 1 % together.
fn shares(title: &str, lines: &[Line]) -> Section {
    let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by(|a, b| b.seconds.0.total_cmp(&a.seconds.0));
    let mut section = Section::new(format!("{title}, {}", duration(total)), &["", "time", "share", "bound"]);
    let (shown, rest): (Vec<&Line>, Vec<&Line>) =
        sorted.into_iter().partition(|l| l.seconds.0 >= 0.01 * total);
    for line in shown {
        section.row([
            line.label.replace('_', " "),
            duration(line.seconds.0),
            percent(line.seconds.0 / total),
            line.bound.name().into(),
        ]);
    }
    let others: f64 = rest.iter().map(|l| l.seconds.0).sum();
    if others > 0.0 {
        section.row([
            format!("{} others", rest.len()),
            duration(others),
            percent(others / total),
            String::new(),
        ]);
    }
    section
}

fn explained(title: &str, lines: &[Line]) -> Section {
    let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
    let mut section = Section::new(
        format!("{title}, {}", duration(total)),
        &["", "runs", "time", "GFLOP", "MB", "bound", "source", "formula"],
    );
    for line in lines {
        section.row([
            line.label.replace('_', " "),
            count(line.count),
            duration(line.seconds.0),
            number(line.flops.0 / 1e9),
            number(line.bytes.0 / 1e6),
            line.bound.name().into(),
            line.source.name().into(),
            line.formula().into(),
        ]);
    }
    section
}
