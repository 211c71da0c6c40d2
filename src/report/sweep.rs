//! A sweep on paper: one row a point, columns only for what varies.

use serde_json::{Map, Value, json};

use super::{Report, Section, count, duration, number, usd};
use crate::answer::{Crossover, Layout, Reason, Sweep, SweepPoint};
use crate::spec::{Load, Workload};

/// What of a sweep is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepView {
    /// Mark the frontier.
    pub pareto: bool,
    /// List the frontier alone.
    pub only_pareto: bool,
    /// Name what was left out.
    pub left_out: bool,
}

/// Reasons in a table; the others are counted together.
const REASONS: usize = 12;

/// Lays out a sweep.
#[must_use]
pub fn sweep(answer: &Sweep, view: SweepView) -> Report {
    let shown: Vec<&SweepPoint> = answer.points.iter().filter(|p| p.is_pareto || !view.only_pareto).collect();
    let columns = Columns::of(answer);
    let mut sections = vec![];
    if !shown.is_empty() {
        sections.push(points(answer, &shown, &columns, view));
    }
    if !answer.left_out.is_empty() {
        sections.push(reasons(answer));
        if view.left_out {
            sections.push(left_out(answer, &columns));
        }
    }
    let asked = answer.layouts.len() * answer.workloads.len();
    let lines = vec![columns.constants, format!("{} of {asked} points answered", answer.points.len())];
    let mut footer: Vec<String> = answer.crossovers.iter().map(crossover).collect();
    if shown.iter().any(|p| p.waves > 1.0) {
        footer.push(
            "*: more than the KV pool or the engine's seats hold; the last requests wait for the others."
                .into(),
        );
    }
    footer.extend(super::cost::price_line(&answer.prices));
    if view.pareto {
        footer.push(
            "Pareto: no other point of the model and lengths has more tokens/s per GPU at as many per user, or the reverse."
                .into(),
        );
    }
    Report {
        heading: lines.into_iter().filter(|line| !line.is_empty()).collect(),
        sections,
        footer,
        warnings: warnings(answer, view),
        rows: Some("points"),
        json: document(answer, &shown, view),
        ..Report::default()
    }
}

fn warnings(answer: &Sweep, view: SweepView) -> Vec<String> {
    let mut all = answer.warnings.clone();
    let of = |kind| answer.left_out.iter().filter(|l| l.kind == kind).map(|l| l.count).sum::<usize>();
    let (refused, large) = (of(Reason::Refused), of(Reason::DoesNotFit));
    if refused + large > 0 {
        let first = answer.left_out.first().map_or("", |l| l.reason.as_str());
        let fix = if view.left_out { "" } else { "; --list-left-out names each" };
        let all_points = answer.layouts.len() * answer.workloads.len();
        all.push(format!(
            "left out of {all_points} points: {large} that do not fit, {refused} that are refused; most often: {first}{fix}"
        ));
    }
    all
}

/// Words of the axes: those that differ are columns, the others stand above.
pub(super) struct Columns {
    /// Of deployments and of workloads: which differ.
    layout: Vec<usize>,
    workload: Vec<usize>,
    constants: String,
}

const LAYOUT: [&str; 6] = ["model", "GPU", "engine", "weights", "KV cache", "layout"];
const WORKLOAD: [&str; 4] = ["prefix", "in", "out", "load"];

impl Columns {
    pub(super) fn of(answer: &Sweep) -> Self {
        let layouts: Vec<[String; 6]> = answer.layouts.iter().map(layout_words).collect();
        let workloads: Vec<[String; 4]> = answer.workloads.iter().map(workload_words).collect();
        let (layout, workload) = (varying(&layouts), varying(&workloads));
        let mut constants: Vec<String> = vec![];
        if let (Some(l), Some(w)) = (layouts.first(), workloads.first()) {
            let fixed = (0..LAYOUT.len()).filter(|i| !layout.contains(i));
            constants.extend(fixed.map(|i| match LAYOUT[i] {
                "weights" | "KV cache" => format!("{} {}", l[i], LAYOUT[i]),
                _ => l[i].clone(),
            }));
            let fixed = (0..WORKLOAD.len()).filter(|i| !workload.contains(i) && (*i > 0 || w[0] != "0"));
            constants.extend(fixed.map(|i| match WORKLOAD[i] {
                "load" => w[i].clone(),
                name => format!("{} {name}", w[i]),
            }));
        }
        Self { layout, workload, constants: constants.join(", ") }
    }

    fn names(&self) -> Vec<&'static str> {
        let layout = self.layout.iter().map(|i| LAYOUT[*i]);
        layout.chain(self.workload.iter().map(|i| WORKLOAD[*i])).collect()
    }

    /// What tells a deployment from others.
    pub(super) fn layout_cells(&self, layout: &Layout) -> Vec<String> {
        let words = layout_words(layout);
        self.layout.iter().map(|i| words[*i].clone()).collect()
    }

    /// What tells a point from others.
    pub(super) fn cells(&self, layout: &Layout, workload: Option<&Workload>) -> Vec<String> {
        let mut cells = self.layout_cells(layout);
        let words = workload.map(workload_words);
        cells.extend(self.workload.iter().map(|i| words.as_ref().map_or("all".into(), |w| w[*i].clone())));
        cells
    }
}

/// Indices of the words that are not the same in all rows.
fn varying<const N: usize>(rows: &[[String; N]]) -> Vec<usize> {
    (0..N).filter(|i| rows.iter().any(|row| row[*i] != rows[0][*i])).collect()
}

fn layout_words(l: &Layout) -> [String; 6] {
    [
        l.model.clone(),
        l.gpu.clone(),
        l.engine.clone(),
        l.weight_dtype.clone(),
        l.kv_cache_dtype.clone(),
        l.degrees(),
    ]
}

fn workload_words(w: &Workload) -> [String; 4] {
    let load = match w.load {
        Load::StaticBatch(n) => format!("batch {}", count(f64::from(n))),
        Load::Concurrency(n) => format!("{} in flight", count(f64::from(n))),
        Load::Rate { per_s, .. } => format!("{per_s}/s"),
    };
    let tokens = |n: u64| count(n as f64);
    [tokens(w.prefix_len), tokens(w.input_len), tokens(w.output_len), load]
}

fn points(answer: &Sweep, shown: &[&SweepPoint], columns: &Columns, view: SweepView) -> Section {
    let mut header = columns.names();
    header.extend(["TTFT", "TPOT", "E2E", "tokens/s", "per GPU", "per user", "$/M in", "$/M out"]);
    if view.pareto {
        header.push("Pareto");
    }
    let mut section = Section::new("", &header);
    for point in shown {
        let mut cells = columns.cells(&answer.layouts[point.layout], Some(&answer.workloads[point.workload]));
        let (l, t) = (&point.latency, &point.throughput);
        cells.extend([l.ttft_s, l.tpot_s].map(duration));
        cells.push(format!("{}{}", duration(l.e2e_s), if point.waves > 1.0 { " *" } else { "" }));
        cells.extend(
            [t.output_tokens_per_s, t.output_tokens_per_s_per_gpu, t.output_tokens_per_s_per_user]
                .map(number),
        );
        match point.usd_per_million_tokens {
            Some(each) => cells.extend(each.map(usd)),
            None => cells.extend(["–".to_owned(), "–".to_owned()]),
        }
        if view.pareto {
            cells.push(if point.is_pareto { "●".into() } else { String::new() });
        }
        section.row(cells);
    }
    section
}

fn kind(kind: Reason) -> &'static str {
    match kind {
        Reason::Refused => "refused",
        Reason::DoesNotFit => "does not fit",
    }
}

fn reasons(answer: &Sweep) -> Section {
    let mut section = Section::new("Left out", &["points", "", "reason"]);
    for left in answer.left_out.iter().take(REASONS) {
        section.row([count(left.count as f64), kind(left.kind).into(), left.reason.clone()]);
    }
    if answer.left_out.len() > REASONS {
        let rest = &answer.left_out[REASONS..];
        let points: usize = rest.iter().map(|l| l.count).sum();
        let reasons = format!("{} further reasons: --json has them", rest.len());
        section.row([count(points as f64), String::new(), reasons]);
    }
    section
}

fn left_out(answer: &Sweep, columns: &Columns) -> Section {
    let mut header = columns.names();
    header.push("reason");
    let mut section = Section::new("Each of them", &header);
    for point in &answer.left_out_points {
        let workload = point.workload.map(|w| &answer.workloads[w]);
        let mut cells = columns.cells(&answer.layouts[point.layout], workload);
        cells.push(answer.left_out[point.reason].reason.clone());
        section.row(cells);
    }
    section
}

/// `2 × tp2`.
pub(super) fn fleet(f: &crate::answer::Fleet) -> String {
    if f.replicas > 1 { format!("{} × {}", f.replicas, f.layout) } else { f.layout.clone() }
}

/// `h200-sxm: 2 × tp2 beats tp4 above 48 in flight`.
fn crossover(c: &Crossover) -> String {
    let load = if c.load == "batch_size" { "requests in a batch" } else { "requests in flight" };
    format!(
        "{}× {}: {} beats {} above {} {load} ({}, {}, {} weights, {} in, {} out)",
        c.num_gpus,
        c.gpu,
        fleet(&c.above),
        fleet(&c.below),
        number(c.at),
        c.model,
        c.engine,
        c.weight_dtype,
        count(c.input_len as f64),
        count(c.output_len as f64),
    )
}

fn document(answer: &Sweep, shown: &[&SweepPoint], view: SweepView) -> Value {
    let points: Vec<Value> = shown.iter().map(|p| Value::Object(record(answer, p, view))).collect();
    let mut all = json!({
        "schema_version": 1,
        "asked": answer.layouts.len() * answer.workloads.len(),
        "answered": answer.points.len(),
        "points": points,
        "prices": answer.prices,
        "left_out": answer.left_out,
        "crossovers": answer.crossovers,
        "warnings": answer.warnings,
    });
    if view.left_out {
        all["left_out_points"] = answer
            .left_out_points
            .iter()
            .map(|point| {
                let mut map = object(&answer.layouts[point.layout]);
                if let Some(w) = point.workload {
                    put_workload(&mut map, &answer.workloads[w]);
                }
                map.insert("kind".into(), json!(answer.left_out[point.reason].kind));
                map.insert("reason".into(), answer.left_out[point.reason].reason.clone().into());
                Value::Object(map)
            })
            .collect();
    }
    all
}

fn object(layout: &Layout) -> Map<String, Value> {
    match serde_json::to_value(layout) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn put_workload(map: &mut Map<String, Value>, w: &Workload) {
    map.insert("input_len".into(), w.input_len.into());
    map.insert("output_len".into(), w.output_len.into());
    map.insert("prefix_len".into(), w.prefix_len.into());
    match w.load {
        Load::StaticBatch(n) => map.insert("batch_size".into(), n.into()),
        Load::Concurrency(n) => map.insert("concurrency".into(), n.into()),
        Load::Rate { per_s, .. } => map.insert("request_rate_per_s".into(), per_s.into()),
    };
}

fn record(answer: &Sweep, point: &SweepPoint, view: SweepView) -> Map<String, Value> {
    let mut map = object(&answer.layouts[point.layout]);
    // lengths as `estimate` echoes them: means where they are spread
    put_workload(&mut map, &answer.workloads[point.workload].at_mean());
    map.insert("latency".into(), json!(point.latency));
    map.insert("throughput".into(), json!(point.throughput));
    map.insert("waves".into(), point.waves.into());
    let cost = point.usd_per_million_tokens.map(|[input, output]| {
        json!({ "usd_per_million_input_tokens": input, "usd_per_million_output_tokens": output })
    });
    map.insert("cost".into(), cost.into());
    if view.pareto {
        map.insert("pareto".into(), point.is_pareto.into());
    }
    map
}
