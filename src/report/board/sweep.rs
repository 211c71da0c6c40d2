//! A sweep in pictures.

use std::collections::BTreeMap;

use super::named;
use crate::answer::{Crossover, Sweep, SweepPoint};
use crate::report::picture::{
    Axis, Board, Chart, Draw, Drawing, Headline, Mark, Picture, Point, Series, Spacing, Unit,
};
use crate::report::sweep::{Columns, fleet};
use crate::report::{count, duration, number, usd};
use crate::spec::{Load, Workload};

/// Points off the frontier that are drawn; of more every so many.
const CLOUD: usize = 150;

/// Frontiers, and layouts of a curve, that are told apart.
const SERIES: usize = 6;

/// A sweep at a glance, and its pictures.
#[must_use]
pub fn sweep_board(answer: &Sweep) -> Board {
    let columns = Columns::of(answer);
    let mut pictures = vec![frontier(answer, &columns)];
    pictures.extend(curves(answer, &columns));
    let asked = answer.layouts.len() * answer.workloads.len();
    let title = format!("Sweep of {} points", count(asked as f64));
    Board { title, headline: headline(answer, &columns), pictures }
}

/// The words that tell a point from others.
fn words(answer: &Sweep, columns: &Columns, point: &SweepPoint) -> String {
    columns.cells(&answer.layouts[point.layout], Some(&answer.workloads[point.workload])).join(", ")
}

fn headline(answer: &Sweep, columns: &Columns) -> Vec<Headline> {
    let best = |of: &dyn Fn(&SweepPoint) -> Option<f64>| {
        let valued = answer.points.iter().filter_map(|p| of(p).filter(|v| v.is_finite()).map(|v| (p, v)));
        valued.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(p, _)| p)
    };
    let asked = answer.layouts.len() * answer.workloads.len();
    let mut all = vec![Headline::new(
        "Points answered",
        format!("{} of {}", count(answer.points.len() as f64), count(asked as f64)),
        format!("{} on the frontier", answer.points.iter().filter(|p| p.is_pareto).count()),
    )];
    let mut add = |name: &str, found: Option<&SweepPoint>, value: &dyn Fn(&SweepPoint) -> String| {
        all.extend(found.map(|p| Headline::new(name, value(p), words(answer, columns, p))));
    };
    let per_gpu = |p: &SweepPoint| p.throughput.output_tokens_per_s_per_gpu;
    let per_user = |p: &SweepPoint| p.throughput.output_tokens_per_s_per_user;
    let tokens = |v: f64| format!("{} tokens/s", number(v));
    add("Most per GPU", best(&|p| Some(per_gpu(p))), &|p| tokens(per_gpu(p)));
    add("Fastest for one user", best(&|p| Some(per_user(p))), &|p| tokens(per_user(p)));
    add("Shortest TTFT", best(&|p| Some(-p.latency.ttft_s)), &|p| duration(p.latency.ttft_s));
    let cost = |p: &SweepPoint| p.usd_per_million_tokens.map(|[_, output]| output).filter(|c| *c > 0.0);
    add("Cheapest million tokens out", best(&|p| cost(p).map(|c| -c)), &|p| {
        cost(p).map_or_else(String::new, usd)
    });
    all
}

/// Tokens/s per accelerator against tokens/s per user: frontiers joined, the rest small.
fn frontier(answer: &Sweep, columns: &Columns) -> Picture {
    let of = |p: &SweepPoint| {
        let t = &p.throughput;
        named(words(answer, columns, p), t.output_tokens_per_s_per_user, t.output_tokens_per_s_per_gpu)
    };
    let off: Vec<Point> = answer.points.iter().filter(|p| !p.is_pareto).map(of).collect();
    let step = off.len().div_ceil(CLOUD).max(1);
    let mut groups: BTreeMap<(&str, u64, u64, u64), Vec<Point>> = BTreeMap::new();
    for p in answer.points.iter().filter(|p| p.is_pareto) {
        let w = &answer.workloads[p.workload];
        let model = answer.layouts[p.layout].model.as_str();
        groups.entry((model, w.input_len, w.output_len, w.prefix_len)).or_default().push(of(p));
    }
    let several = groups.len() > 1;
    let mut series: Vec<Series> = groups
        .into_iter()
        .take(SERIES)
        .map(|((model, input, output, _), mut points)| {
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            let name = match several {
                true => {
                    format!("frontier of {model}, {} in, {} out", count(input as f64), count(output as f64))
                }
                false => "frontier".into(),
            };
            Series { name, draw: Draw::Line, points }
        })
        .collect();
    let (every, all) = (off.len().div_ceil(step), off.len());
    let cloud: Vec<Point> = off.into_iter().step_by(step).collect();
    series.push(Series { name: "beaten in both".into(), draw: Draw::Cloud, points: cloud });
    let mut note = String::from("Up and to the right is better.");
    if every < all {
        note += &format!(" Of {} points off the frontier {every} are drawn.", count(all as f64));
    }
    let chart = Chart {
        x: Axis::new("tokens/s that one user sees", Spacing::Log, Unit::Number),
        y: Axis::new("tokens/s per GPU", Spacing::Log, Unit::Number),
        series,
        marks: vec![],
    };
    Picture {
        note,
        wide: true,
        ..Picture::new("frontier", "Throughput against speed for one user", Drawing::Chart(chart))
    }
}

/// The load of a workload with the words for its axis; the kind tells loads apart that no axis has in common.
fn load(w: &Workload) -> (u8, f64) {
    match w.load {
        Load::StaticBatch(n) => (0, f64::from(n)),
        Load::Concurrency(n) => (1, f64::from(n)),
        Load::Rate { per_s, .. } => (2, per_s),
    }
}

/// TTFT, TPOT and throughput against the load, by layout, at the first lengths of the grid.
fn curves(answer: &Sweep, columns: &Columns) -> Vec<Picture> {
    let Some(first) = answer.points.first().map(|p| &answer.workloads[p.workload]) else { return vec![] };
    let lengths = |w: &Workload| (w.input_len, w.output_len, w.prefix_len);
    let here: Vec<&SweepPoint> = answer
        .points
        .iter()
        .filter(|p| {
            let w = &answer.workloads[p.workload];
            lengths(w) == lengths(first) && load(w).0 == load(first).0
        })
        .collect();
    let mut layouts: BTreeMap<usize, Vec<&SweepPoint>> = BTreeMap::new();
    for p in here {
        layouts.entry(p.layout).or_default().push(p);
    }
    layouts.retain(|_, points| points.len() > 1);
    let all = layouts.len();
    // those on the frontier say most
    let mut chosen: Vec<(usize, Vec<&SweepPoint>)> = layouts.into_iter().collect();
    chosen.sort_by_key(|(_, points)| std::cmp::Reverse(points.iter().filter(|p| p.is_pareto).count()));
    chosen.truncate(SERIES);
    chosen.sort_by_key(|(layout, _)| *layout);
    if chosen.is_empty() {
        return vec![];
    }
    let (axis, what) = match load(first).0 {
        0 => (Axis::new("requests in a static batch", Spacing::Doubling, Unit::Number), "batch size"),
        1 => (Axis::new("requests in flight", Spacing::Doubling, Unit::Number), "requests in flight"),
        _ => (Axis::new("requests per second", Spacing::Log, Unit::Number), "request rate"),
    };
    let name = |layout: usize| {
        let cells = columns.layout_cells(&answer.layouts[layout]);
        if cells.is_empty() { String::new() } else { cells.join(", ") }
    };
    let mut note =
        format!("At {} in, {} out.", count(first.input_len as f64), count(first.output_len as f64));
    if chosen.len() < all {
        note += &format!(" The {} layouts with most points on the frontier, of {all}.", chosen.len());
    }
    let chart = |title: &str, y: Axis, marks: Vec<Mark>, value: fn(&SweepPoint) -> f64| {
        let series = chosen.iter().map(|(layout, points)| {
            let mut points: Vec<Point> =
                points.iter().map(|p| Point::at(load(&answer.workloads[p.workload]).1, value(p))).collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            Series { name: name(*layout), draw: Draw::Line, points }
        });
        let drawing = Drawing::Chart(Chart { x: axis.clone(), y, series: series.collect(), marks });
        Picture { note: note.clone(), ..Picture::new("load", format!("{title} against {what}"), drawing) }
    };
    let model = answer.points.first().map_or("", |p| answer.layouts[p.layout].model.as_str());
    let same = |c: &&Crossover| {
        (c.input_len, c.output_len, c.model.as_str()) == (first.input_len, first.output_len, model)
    };
    let one_gpu = answer.layouts.iter().all(|l| l.gpu == answer.layouts[0].gpu);
    let place = |c: &Crossover| if one_gpu { String::new() } else { format!("{}: ", c.gpu) };
    let marks: Vec<Mark> = answer
        .crossovers
        .iter()
        .filter(same)
        .take(3)
        .map(|c| Mark {
            at: c.at,
            text: format!("{}{} beats {}", place(c), fleet(&c.above), fleet(&c.below)),
        })
        .collect();
    let seconds = |label: &str| Axis::new(label, Spacing::Log, Unit::Seconds);
    vec![
        chart("TTFT", seconds("TTFT"), vec![], |p| p.latency.ttft_s),
        chart("TPOT", seconds("TPOT"), vec![], |p| p.latency.tpot_s),
        chart("Throughput", Axis::new("tokens/s per GPU", Spacing::Log, Unit::Number), marks, |p| {
            p.throughput.output_tokens_per_s_per_gpu
        }),
        chart("E2E", seconds("E2E"), vec![], |p| p.latency.e2e_s),
    ]
}
