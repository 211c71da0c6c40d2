//! A simulation in pictures.

use super::time;
use crate::answer::{LoadCurve, LoadCurvePoint, LoadKind, Simulation};
use crate::report::picture::{
    Axis, Bar, Bars, Board, Chart, Draw, Drawing, Headline, Mark, Picture, Point, Series, Spacing, Stack,
    Unit,
};
use crate::report::{count, duration, number, percent};
use crate::serving::Summary;

/// A simulation at a glance, and its pictures.
#[must_use]
pub fn simulation_board(answer: &Simulation, curve: Option<&LoadCurve>) -> Board {
    let mut pictures = vec![request(answer), distributions(answer), usage(answer)];
    pictures.extend(curve.map(|c| loads(answer, c)).unwrap_or_default());
    Board { title: String::new(), headline: headline(answer), pictures }
}

/// Percentiles and the share within limits against the load.
fn loads(answer: &Simulation, curve: &LoadCurve) -> Vec<Picture> {
    let (axis, what) = match curve.kind {
        LoadKind::Rate => (Axis::new("requests per second", Spacing::Linear, Unit::Number), "request rate"),
        _ => (Axis::new("requests in flight", Spacing::Doubling, Unit::Number), "requests in flight"),
    };
    let marks: Vec<Mark> = curve
        .capacity_per_s
        .map(|at| Mark { at, text: format!("capacity {}/s", number(at)) })
        .into_iter()
        .collect();
    let slo = answer.goodput.as_ref().map(|g| g.slo).unwrap_or_default();
    let ends = [curve.points.first(), curve.points.last()].map(|p| p.map_or(0.0, |p| p.at));
    let limit = |name: String, at: f64| Series {
        name,
        draw: Draw::Limit,
        points: ends.map(|x| Point::at(x, at)).into(),
    };
    let times = |title: &str, most: Option<f64>, of: fn(&LoadCurvePoint) -> Summary| {
        let line = |name: &str, pick: fn(&Summary) -> f64| Series {
            name: name.into(),
            draw: Draw::Line,
            points: curve.points.iter().map(|p| Point::at(p.at, pick(&of(p)))).collect(),
        };
        let mut series = vec![line("P50", |s| s.p50), line("P90", |s| s.p90), line("P99", |s| s.p99)];
        series.extend(most.map(|at| limit(format!("limit {}", duration(at)), at)));
        let y = Axis::new(title, Spacing::Log, Unit::Seconds);
        let chart = Chart { x: axis.clone(), y, series, marks: marks.clone() };
        Picture::new("load", format!("{title} against {what}"), Drawing::Chart(chart))
    };
    let mut all = vec![times("TTFT", slo.ttft_s, |p| p.ttft_s), times("TPOT", slo.tpot_s, |p| p.tpot_s)];
    if let Some(goodput) = &answer.goodput {
        let point = |p: &LoadCurvePoint| Point::at(p.at, p.share_within_limits);
        let asked = curve
            .points
            .iter()
            .filter(|p| p.asked)
            .map(|p| Point { name: percent(p.share_within_limits), ..point(p) });
        let series = vec![
            Series {
                name: String::new(),
                draw: Draw::Line,
                points: curve.points.iter().map(point).collect(),
            },
            Series { name: "asked for".into(), draw: Draw::Asked, points: asked.collect() },
            limit(format!("needed {}", percent(goodput.required_share)), goodput.required_share),
        ];
        let y = Axis::new("requests within all limits", Spacing::Linear, Unit::Share);
        let chart = Chart { x: axis, y, series, marks };
        let title = format!("Requests within all limits against {what}");
        all.push(Picture::new("load", title, Drawing::Chart(chart)));
    }
    all
}

fn headline(answer: &Simulation) -> Vec<Headline> {
    let l = &answer.latency;
    let mut all = vec![
        time("TTFT, mean", l.ttft_s.mean, &answer.intervals.ttft_s),
        time("TPOT, mean", l.tpot_s.mean, &answer.intervals.tpot_s),
        time("E2E, mean", l.e2e_s.mean, &answer.intervals.e2e_s),
        Headline::new(
            "TTFT, P99",
            duration(l.ttft_s.p99),
            format!("P90 {}, P50 {}", duration(l.ttft_s.p90), duration(l.ttft_s.p50)),
        ),
        Headline::new(
            "Output",
            format!("{} tokens/s", number(answer.throughput.output_tokens_per_s)),
            format!("{} tokens/s per GPU", number(answer.throughput.output_tokens_per_s_per_gpu)),
        ),
        Headline::new(
            "Requests",
            format!("{}/s", number(answer.throughput.requests_per_s)),
            format!("{} simulated", count(answer.simulated_requests as f64)),
        ),
    ];
    if let Some(goodput) = &answer.goodput {
        let verdict = if goodput.held { "held" } else { "NOT HELD" };
        let needed = format!("{} needed: {verdict}", percent(goodput.required_share));
        all.push(Headline::new("Within all limits", percent(goodput.share), needed));
        if let Some(rate) = goodput.highest_rate_per_s {
            all.push(Headline::new("Highest rate that holds", format!("{} requests/s", number(rate)), ""));
        }
    }
    if answer.saturation.saturated {
        let growth = format!("the backlog grows by {}/s", number(answer.saturation.backlog_growth_per_s));
        all.push(Headline::new("Load", "SATURATED", growth));
    }
    all
}

/// Where the time of a request goes, on average.
fn request(answer: &Simulation) -> Picture {
    let l = &answer.latency;
    let e2e = l.e2e_s.mean;
    let first = l.queue_s.mean + l.prefill_s.mean + l.transfer_s.as_ref().map_or(0.0, |t| t.mean);
    let mut parts = vec![("waiting", l.queue_s.mean), ("prefill", l.prefill_s.mean)];
    parts.extend(l.transfer_s.as_ref().map(|t| ("KV transfer", t.mean)));
    parts.push(("request handling", (l.ttft_s.mean - first).max(0.0)));
    parts.push(("generating", (e2e - l.ttft_s.mean).max(0.0)));
    let part = |(name, seconds): (&str, f64)| Bar {
        name: name.into(),
        value: seconds,
        text: duration(seconds),
        kind: String::new(),
    };
    let parts = parts.into_iter().filter(|(_, s)| *s > 1e-3 * e2e).map(part).collect();
    let stack = Stack { whole: e2e, whole_text: duration(e2e), parts };
    Picture {
        wide: true,
        ..Picture::new("request", format!("A request on average, {}", duration(e2e)), Drawing::Stack(stack))
    }
}

/// Which share of the requests is done within which time.
fn distributions(answer: &Simulation) -> Picture {
    let d = &answer.distributions;
    let series = [("TTFT", &d.ttft_s), ("TPOT", &d.tpot_s), ("E2E", &d.e2e_s)].map(|(name, points)| Series {
        name: name.into(),
        draw: Draw::Curve,
        points: points.iter().map(|[seconds, share]| Point::at(*seconds, *share)).collect(),
    });
    let slo = answer.goodput.as_ref().map(|g| g.slo).unwrap_or_default();
    let marks = [("TTFT", slo.ttft_s), ("TPOT", slo.tpot_s), ("E2E", slo.e2e_s)];
    let mark = |(name, limit): (&str, Option<f64>)| {
        limit.map(|at| Mark { at, text: format!("{name} ≤ {}", duration(at)) })
    };
    let chart = Chart {
        x: Axis::new("time", Spacing::Log, Unit::Seconds),
        y: Axis::new("requests done within it", Spacing::Linear, Unit::Share),
        series: series.into(),
        marks: marks.into_iter().filter_map(mark).collect(),
    };
    Picture {
        note: "Of the simulated requests; dashed lines are the limits, where some were given.".into(),
        ..Picture::new("distribution", "How long requests take", Drawing::Chart(chart))
    }
}

/// What is used of the deployment.
fn usage(answer: &Simulation) -> Picture {
    let u = &answer.utilization;
    let mut rows = vec![
        ("busy", u.busy),
        ("KV cache in use, mean", u.kv_cache_mean),
        ("KV cache in use, peak", u.kv_cache_peak),
    ];
    if u.prefix_hit_share > 0.0 {
        rows.push(("prompt tokens found cached", u.prefix_hit_share));
    }
    rows.extend(answer.goodput.as_ref().map(|g| ("requests within all limits", g.share)));
    let bar = |(name, share): (&str, f64)| Bar {
        name: name.into(),
        value: share,
        text: percent(share),
        kind: String::new(),
    };
    let bars = Bars { bars: rows.into_iter().map(bar).collect(), full: 1.0 };
    Picture::new("usage", "What is used", Drawing::Bars(bars))
}
