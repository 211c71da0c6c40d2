//! Curves and points over two axes.

mod plot;

use super::markup::{Attributes, Markup, Px};
use super::text::width;
use super::{Drawn, TEXT, class};
use crate::report::picture::axis::{Scale, scales};
use crate::report::picture::{Chart, Draw, Point, Series, Unit};
use plot::Plot;

/// Height of a plot of this width.
fn height(wide: f64) -> f64 {
    if wide > 800.0 { 340.0 } else { 236.0 }
}

/// A chart.
pub(super) fn chart(chart: &Chart, wide: f64) -> Drawn {
    let mut out = Markup::default();
    let Some([x, y]) = scales(chart) else { return Drawn { markup: out, height: 1.0 } };
    let ticks: Vec<(f64, String)> = y.ticks(6).into_iter().map(|t| (y.share(t), y.text(t))).collect();
    let left = ticks.iter().map(|(_, text)| width(text, TEXT)).fold(0.0, f64::max) + 10.0;
    let key = key(chart, wide);
    // values with units say what the title says
    let label = matches!(chart.y.unit, Unit::Number | Unit::Share);
    let above = 8.0 + if label { 18.0 } else { 0.0 } + key.height;
    // short names of several curves stand at their ends
    let ends = chart.series.iter().filter(|s| s.draw == Draw::Line).map(|s| width(&s.name, TEXT));
    let longest = ends.clone().fold(0.0, f64::max);
    let beside = if ends.count() > 1 && longest <= 60.0 { longest + 10.0 } else { 0.0 };
    let right = wide - 12.0 - beside;
    let marks = marks(chart, &x, [left, right]);
    let top = above + 15.0 * marks.iter().map(|m| m.row + 1).max().unwrap_or(0) as f64;
    let high = height(wide);
    let bounds = [left, top, right, top + high];
    if label {
        words(&mut out, "m", [0.0, 12.0], "start", &chart.y.label);
    }
    if key.height > 0.0 {
        let shift = format!("translate(0 {})", if label { 18 } else { 0 });
        out.open("g", &[("transform", &shift)]).add(&key.markup).close("g");
    }
    for (at, text) in &ticks {
        let y = bounds[3] - at * high;
        path(&mut out, "grid", &format!("M{} {}H{}", Px(left), Px(y), Px(bounds[2])));
        words(&mut out, "m", [left - 7.0, y + 4.0], "end", text);
    }
    x_axis(&mut out, &x, bounds);
    words(&mut out, "m", [f64::midpoint(left, bounds[2]), bounds[3] + 38.0], "middle", &chart.x.label);
    for mark in &marks {
        let y = above + 15.0 * mark.row as f64;
        path(&mut out, "mark", &format!("M{} {}V{}", Px(mark.x), Px(y + 9.0), Px(bounds[3])));
        words(&mut out, "m halo", [mark.text_x, y + 4.0], "start", mark.text);
    }
    Plot::new(chart, [x, y], bounds, wide).draw(&mut out);
    Drawn { markup: out, height: bounds[3] + 44.0 }
}

fn x_axis(out: &mut Markup, x: &Scale, [left, _, right, bottom]: [f64; 4]) {
    path(out, "axis", &format!("M{} {}H{}", Px(left), Px(bottom), Px(right)));
    let mut used = f64::MIN;
    for tick in x.ticks(((right - left) / 60.0) as usize) {
        let at = left + x.share(tick) * (right - left);
        let text = x.text(tick);
        let half = width(&text, TEXT) / 2.0;
        let middle = at.min(right + 12.0 - half).max(half);
        if middle - half < used + 6.0 {
            continue;
        }
        used = middle + half;
        path(out, "axis", &format!("M{} {}v5", Px(at), Px(bottom)));
        words(out, "m", [middle, bottom + 19.0], "middle", &text);
    }
}

fn path(out: &mut Markup, class: &str, d: &str) {
    out.empty("path", &[("class", &class), ("d", &d)]);
}

fn words(out: &mut Markup, class: &str, [x, y]: [f64; 2], anchor: &str, text: &str) {
    out.element("text", &[("class", &class), ("x", &Px(x)), ("y", &Px(y)), ("text-anchor", &anchor)], text);
}

/// A place that matters on the horizontal axis, with its words over the plot.
struct Place<'a> {
    x: f64,
    text: &'a str,
    text_x: f64,
    row: usize,
}

/// Puts the words of marks over the plot, each in the first row where no other's are.
fn marks<'a>(chart: &'a Chart, x: &Scale, [left, right]: [f64; 2]) -> Vec<Place<'a>> {
    let mut placed: Vec<Place<'a>> = vec![];
    for mark in chart.marks.iter().filter(|m| x.holds(m.at)) {
        let at = left + x.share(mark.at) * (right - left);
        let wide = width(&mark.text, TEXT);
        let text_x = (at - wide / 2.0).min(right + 12.0 - wide).max(0.0);
        // neither words on words nor a line through words below
        let clear = |p: &Place<'_>, row: usize| {
            let (from, to) = (p.text_x - 8.0, p.text_x + width(p.text, TEXT) + 8.0);
            let words = p.row != row || text_x > to || text_x + wide < from;
            let own_line = p.row <= row || at < from || at > to;
            let its_line = p.row >= row || p.x < text_x - 4.0 || p.x > text_x + wide + 4.0;
            words && own_line && its_line
        };
        let row = (0..chart.marks.len()).find(|row| placed.iter().all(|p| clear(p, *row)));
        placed.push(Place { x: at, text: &mark.text, text_x, row: row.unwrap_or(placed.len()) });
    }
    placed
}

/// What the marks mean, in rows over the plot; nothing where there is but one kind.
fn key(chart: &Chart, wide: f64) -> Drawn {
    let mut out = Markup::default();
    let (mut x, mut row) = (0.0, 0.0);
    let named = |(_, s): &(usize, &Series)| {
        !s.name.is_empty() && !s.points.is_empty() && !matches!(s.draw, Draw::Limit | Draw::Asked)
    };
    for (i, series) in chart.series.iter().enumerate().filter(named) {
        let name = super::text::cut(&series.name, TEXT, wide - 24.0);
        let long = 36.0 + width(&name, TEXT);
        if x > 0.0 && x + long - 12.0 > wide {
            (x, row) = (0.0, row + 1.0);
        }
        let y = 9.0 + 18.0 * row;
        shape(&mut out, i, series.draw, [x + 6.0, y - 1.0], 4.5);
        words(&mut out, "", [x + 16.0, y + 3.0], "start", &name);
        x += long;
    }
    Drawn { markup: out, height: if x > 0.0 { 18.0 * (row + 1.0) + 4.0 } else { 0.0 } }
}

/// The mark of a series: shapes tell series apart without colour.
fn shape(out: &mut Markup, series: usize, draw: Draw, [x, y]: [f64; 2], r: f64) {
    let (fill, stroke) = (class('f', series), class('l', series));
    let look = match draw {
        Draw::Asked => "asked".to_owned(),
        Draw::Named => format!("{fill} {stroke} soft"),
        Draw::Cloud => format!("{stroke} open"),
        Draw::Line | Draw::Curve | Draw::Limit => fill,
    };
    if draw == Draw::Curve {
        let d = format!("M{} {}h{:.1}", Px(x - 1.4 * r), Px(y), 2.8 * r);
        path(out, &format!("line {stroke} d{}", series % 6), &d);
        return;
    }
    let r = if draw == Draw::Cloud { 2.6 } else { r };
    if draw == Draw::Asked || series % 6 == 3 {
        let r = r * 1.35;
        let d = format!("M{} {}l{r:.1} {r:.1}l-{r:.1} {r:.1}l-{r:.1} -{r:.1}z", Px(x), Px(y - r));
        path(out, &look, &d);
        return;
    }
    match series % 6 {
        1 => {
            let attributes: &Attributes<'_> = &[
                ("class", &look),
                ("x", &Px(x - 0.89 * r)),
                ("y", &Px(y - 0.89 * r)),
                ("width", &Px(1.78 * r)),
                ("height", &Px(1.78 * r)),
            ];
            out.empty("rect", attributes);
        }
        2 => {
            let r = 1.2 * r;
            let d = format!("M{} {}l{:.1} {:.1}h-{:.1}z", Px(x), Px(y - r), 0.95 * r, 1.65 * r, 1.9 * r);
            path(out, &look, &d);
        }
        4 => {
            let d = format!("M{} {}h{:.1}M{} {}v{:.1}", Px(x - r), Px(y), 2.0 * r, Px(x), Px(y - r), 2.0 * r);
            path(out, &format!("{} line", class('l', series)), &d);
        }
        5 => {
            let d = format!("M{} {}h{:.1}l-{r:.1} {:.1}z", Px(x - r), Px(y - r * 0.8), 2.0 * r, 1.7 * r);
            path(out, &look, &d);
        }
        _ => {
            out.empty("circle", &[("class", &look), ("cx", &Px(x)), ("cy", &Px(y)), ("r", &Px(r))]);
        }
    }
}

/// A point in words.
fn tip(chart: &Chart, series: &Series, point: &Point) -> String {
    let say = |unit, v| crate::report::picture::axis::text(unit, v);
    let mut words: Vec<String> =
        [&series.name, &point.name].into_iter().filter(|n| !n.is_empty()).cloned().collect();
    words.push(format!("{}: {}", chart.x.label, say(chart.x.unit, point.x)));
    words.push(format!("{}: {}", chart.y.label, say(chart.y.unit, point.y)));
    if let Some([low, high]) = point.ends {
        words.push(format!("80 %: {} – {}", say(chart.y.unit, low), say(chart.y.unit, high)));
    }
    if point.share > 0.0 {
        words.push(format!("{:.0} % of the time", 100.0 * point.share));
    }
    words.join(", ")
}

/// Curves in words: where they begin and end.
pub(super) fn spoken(chart: &Chart) -> Vec<String> {
    let of = |series: &Series| {
        let points: Vec<&Point> = series.points.iter().filter(|p| chart.shows(p)).collect();
        match (series.draw, points.as_slice()) {
            (Draw::Line | Draw::Curve, [first, .., last]) => {
                Some(format!("From {} to {}", tip(chart, series, first), tip(chart, series, last)))
            }
            (Draw::Asked, [only, ..]) => Some(tip(chart, series, only)),
            (Draw::Named | Draw::Cloud, [_, ..]) => Some(format!("{} points: {}", points.len(), series.name)),
            _ => None,
        }
    };
    let marks = chart.marks.iter().map(|m| m.text.clone());
    chart.series.iter().filter_map(of).chain(marks).collect()
}
