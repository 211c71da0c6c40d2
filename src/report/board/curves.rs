//! Curves around an estimate.

use crate::answer::{CurvePoint, Curves, Interval, LimitedBy, LoadKind, LoadLimit, Pictured};
use crate::report::cost::price;
use crate::report::picture::{Axis, Chart, Draw, Drawing, Mark, Picture, Point, Series, Spacing, Unit};
use crate::report::{count, duration, number, usd};

/// What the band of a curve means.
fn band(answer: &Pictured) -> &'static str {
    match answer.estimate.memory.fits {
        true => "Shaded: the 80 % interval.",
        false => "Shaded: the 80 % interval. It does not fit: times are what they would be if it did.",
    }
}

fn load_axis(curves: &Curves) -> Axis {
    match curves.kind {
        LoadKind::Batch => Axis::new("requests in a static batch", Spacing::Doubling, Unit::Number),
        LoadKind::Concurrency => Axis::new("requests in flight", Spacing::Doubling, Unit::Number),
        LoadKind::Rate => Axis::new("requests per second", Spacing::Linear, Unit::Number),
    }
}

fn load_words(curves: &Curves) -> &'static str {
    match curves.kind {
        LoadKind::Batch => "batch size",
        LoadKind::Concurrency => "requests in flight",
        LoadKind::Rate => "request rate",
    }
}

fn mark(limit: LoadLimit) -> Mark {
    let text = match limit.by {
        LimitedBy::KvCache => format!("KV cache full at {}", count(limit.at.floor())),
        LimitedBy::Seats => format!("max-num-seqs, {}", count(limit.at)),
        LimitedBy::Capacity => format!("capacity {}/s", number(limit.at)),
    };
    Mark { at: limit.at, text }
}

/// A curve with its band, and the point that was asked for on top.
fn curve(
    points: &[CurvePoint],
    value: fn(&CurvePoint) -> (f64, Option<Interval>),
    text: fn(f64) -> String,
) -> Vec<Series> {
    let of = |p: &CurvePoint| {
        let (y, interval) = value(p);
        Point { ends: interval.map(|i| [i.low, i.high]), ..Point::at(p.at, y) }
    };
    let asked =
        points.iter().filter(|p| p.asked).map(|p| Point { name: text(value(p).0), ends: None, ..of(p) });
    vec![
        Series { name: String::new(), draw: Draw::Line, points: points.iter().map(of).collect() },
        Series { name: "asked for".into(), draw: Draw::Asked, points: asked.collect() },
    ]
}

/// TTFT and TPOT against the load.
pub(super) fn latency(answer: &Pictured) -> Vec<Picture> {
    let curves = &answer.curves;
    let chart = |title: &str, value: fn(&CurvePoint) -> (f64, Option<Interval>)| Picture {
        note: band(answer).into(),
        ..Picture::new(
            "latency",
            format!("{title} against {}", load_words(curves)),
            Drawing::Chart(Chart {
                x: load_axis(curves),
                y: Axis::new(title, Spacing::Log, Unit::Seconds),
                series: curve(&curves.load, value, duration),
                marks: curves.limit.map(mark).into_iter().collect(),
            }),
        )
    };
    let mut all = vec![chart("TTFT", |p| (p.latency.ttft_s, Some(p.intervals.ttft_s)))];
    if answer.estimate.inputs.output_len > 1 {
        all.push(chart("TPOT", |p| (p.latency.tpot_s, Some(p.intervals.tpot_s))));
    }
    all
}

/// Tokens/s per accelerator against tokens/s per user, the load along the curve.
pub(super) fn frontier(answer: &Pictured) -> Picture {
    let curves = &answer.curves;
    let of = |p: &CurvePoint| Point {
        name: if curves.kind == LoadKind::Rate { format!("{}/s", number(p.at)) } else { count(p.at) },
        ..Point::at(p.output_tokens_per_s_per_user, p.output_tokens_per_s_per_gpu)
    };
    let asked: Vec<Point> = curves.load.iter().filter(|p| p.asked).map(of).collect();
    let series = vec![
        Series { name: String::new(), draw: Draw::Line, points: curves.load.iter().map(of).collect() },
        Series { name: "asked for".into(), draw: Draw::Asked, points: asked },
    ];
    let chart = Chart {
        x: Axis::new("tokens/s that one user sees", Spacing::Log, Unit::Number),
        y: Axis::new("tokens/s per GPU", Spacing::Log, Unit::Number),
        series,
        marks: vec![],
    };
    Picture {
        note: format!("Numbers beside the points: {}.", load_words(curves)),
        ..Picture::new("frontier", "Throughput against speed for one user", Drawing::Chart(chart))
    }
}

/// TTFT and TPOT of one request alone against its prompt.
pub(super) fn length(answer: &Pictured) -> Vec<Picture> {
    let points = &answer.curves.length;
    let chart = |title: &str, value: fn(&CurvePoint) -> (f64, Option<Interval>)| Picture {
        note: format!("{} Nothing else runs.", band(answer)),
        ..Picture::new(
            "length",
            format!("{title} of one request alone against its prompt"),
            Drawing::Chart(Chart {
                x: Axis::new("prompt tokens", Spacing::Doubling, Unit::Number),
                y: Axis::new(title, Spacing::Log, Unit::Seconds),
                series: curve(points, value, duration),
                marks: vec![],
            }),
        )
    };
    let mut all = vec![chart("TTFT", |p| (p.latency.ttft_s, Some(p.intervals.ttft_s)))];
    if answer.estimate.inputs.output_len > 1 {
        all.push(chart("TPOT", |p| (p.latency.tpot_s, Some(p.intervals.tpot_s))));
    }
    all
}

/// What generated tokens cost against the load, where a price is known.
pub(super) fn cost(answer: &Pictured) -> Option<Picture> {
    let curves = &answer.curves;
    let cost = answer.estimate.cost.as_ref().filter(|_| answer.estimate.inputs.output_len > 1)?;
    let value = |p: &CurvePoint| (p.usd_per_million_output_tokens.unwrap_or(0.0), None);
    Some(Picture {
        note: format!("{}.", price(&cost.price)),
        ..Picture::new(
            "cost",
            format!("Cost of a million generated tokens against {}", load_words(curves)),
            Drawing::Chart(Chart {
                x: load_axis(curves),
                y: Axis::new("US dollars per million tokens", Spacing::Log, Unit::Dollars),
                series: curve(&curves.load, value, usd),
                marks: curves.limit.map(mark).into_iter().collect(),
            }),
        )
    })
}
