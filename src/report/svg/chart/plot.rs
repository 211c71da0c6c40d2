//! What lies between the axes.

use super::{Chart, Draw, Markup, Point, Px, Scale, Series, TEXT, class, path, shape, tip, width, words};
use crate::report::svg::NARROW;
use crate::report::svg::text::{Room, around};

/// A plot under construction.
pub(super) struct Plot<'a> {
    chart: &'a Chart,
    scales: [Scale; 2],
    /// Left, top, right, bottom.
    bounds: [f64; 4],
    room: Room,
    /// Points say what they are to a pointer; fingers do not hover.
    tips: bool,
}

/// Radius of a mark.
const MARK: f64 = 3.4;

/// Height that a label takes.
const LABEL: f64 = 13.0;

fn radius(point: &Point) -> f64 {
    3.2 + 9.0 * point.share.clamp(0.0, 1.0).sqrt()
}

impl<'a> Plot<'a> {
    pub(super) fn new(chart: &'a Chart, scales: [Scale; 2], bounds: [f64; 4], wide: f64) -> Self {
        let [left, top, _, bottom] = bounds;
        Self {
            chart,
            scales,
            bounds,
            room: Room::new([left + 1.0, top - 6.0, wide - 2.0, bottom]),
            tips: wide > NARROW,
        }
    }

    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, top, right, bottom] = self.bounds;
        let [sx, sy] = [self.scales[0].share(x), self.scales[1].share(y)];
        [left + sx * (right - left), bottom - sy * (bottom - top)]
    }

    fn shown(&self, series: &'a Series) -> Vec<&'a Point> {
        series.points.iter().filter(|p| self.chart.shows(p)).collect()
    }

    pub(super) fn draw(mut self, out: &mut Markup) {
        let chart = self.chart;
        for (i, series) in chart.series.iter().enumerate() {
            self.band(out, i, series);
        }
        for (i, series) in chart.series.iter().enumerate() {
            self.curve(out, i, series);
        }
        for (i, series) in chart.series.iter().enumerate() {
            self.points(out, i, series);
        }
        // what was asked for has the first choice of room, then limits, then the largest
        for draw in [Draw::Asked, Draw::Limit, Draw::Named, Draw::Line, Draw::Curve] {
            for series in chart.series.iter().filter(|s| s.draw == draw) {
                self.labels(out, series);
            }
            if draw == Draw::Asked {
                // it may cross the line of a mark, others may not
                self.marks();
            }
        }
    }

    /// The interval around a curve.
    fn band(&self, out: &mut Markup, i: usize, series: &'a Series) {
        let ends: Vec<(f64, [f64; 2])> =
            self.shown(series).iter().filter_map(|p| p.ends.map(|e| (p.x, e))).collect();
        if ends.len() < 2 {
            // a single point has its interval as a bar
            for (x, [low, high]) in ends {
                let ([x, low], [_, high]) = (self.at(x, low), self.at(x, high));
                let d = format!(
                    "M{} {}V{}M{} {}h10M{} {}h10",
                    Px(x),
                    Px(low),
                    Px(high),
                    Px(x - 5.0),
                    Px(low),
                    Px(x - 5.0),
                    Px(high)
                );
                path(out, &format!("line {}", class('l', i)), &d);
            }
            return;
        }
        let upper = ends.iter().map(|(x, e)| self.at(*x, e[1]));
        let lower = ends.iter().rev().map(|(x, e)| self.at(*x, e[0]));
        let d: Vec<String> = upper.chain(lower).map(|[x, y]| format!("{} {}", Px(x), Px(y))).collect();
        path(out, &format!("band {}", class('f', i)), &format!("M{}z", d.join("L")));
    }

    /// Keeps labels off the lines of marks.
    fn marks(&mut self) {
        for mark in self.chart.marks.iter().filter(|m| self.scales[0].holds(m.at)) {
            let [x, _] = self.at(mark.at, f64::NAN);
            self.room.take([x - 2.0, self.bounds[1], x + 2.0, self.bounds[3]]);
        }
    }

    fn curve(&mut self, out: &mut Markup, i: usize, series: &'a Series) {
        if !matches!(series.draw, Draw::Line | Draw::Curve | Draw::Limit) {
            return;
        }
        let places: Vec<[f64; 2]> = self.shown(series).iter().map(|p| self.at(p.x, p.y)).collect();
        let places: Vec<[f64; 2]> = match (series.draw, places.as_slice()) {
            (Draw::Limit, [from, to]) => self.clipped(*from, *to).to_vec(),
            _ => places,
        };
        for pair in places.windows(2) {
            self.room.take_line(pair[0], pair[1]);
        }
        if places.len() > 1 {
            let d: Vec<String> = places.iter().map(|[x, y]| format!("{} {}", Px(*x), Px(*y))).collect();
            let look = match series.draw {
                Draw::Limit => "limit".to_owned(),
                _ => format!("line {} d{}", class('l', i), i % 6),
            };
            path(out, &look, &format!("M{}", d.join("L")));
        }
    }

    /// A straight line without what lies under the horizontal axis.
    fn clipped(&self, from: [f64; 2], to: [f64; 2]) -> [[f64; 2]; 2] {
        let bottom = self.bounds[3];
        if from[1] <= bottom || to[1] >= bottom {
            return [from, to];
        }
        let t = (from[1] - bottom) / (from[1] - to[1]);
        [[from[0] + t * (to[0] - from[0]), bottom], to]
    }

    fn points(&mut self, out: &mut Markup, i: usize, series: &'a Series) {
        if matches!(series.draw, Draw::Limit | Draw::Curve) {
            return;
        }
        let mut points = self.shown(series);
        points.sort_by(|a, b| b.share.total_cmp(&a.share));
        for point in points {
            let at = self.at(point.x, point.y);
            let r = match series.draw {
                Draw::Named => radius(point),
                Draw::Asked => 5.0,
                _ => MARK,
            };
            if self.tips {
                out.open("g", &[]).element("title", &[], &tip(self.chart, series, point));
                if r < 8.0 && series.draw != Draw::Cloud {
                    out.empty(
                        "circle",
                        &[("class", &"hit"), ("cx", &Px(at[0])), ("cy", &Px(at[1])), ("r", &9)],
                    );
                }
            }
            shape(out, i, series.draw, at, r);
            if self.tips {
                out.close("g");
            }
            self.room.take([at[0] - r, at[1] - r, at[0] + r, at[1] + r]);
        }
    }

    fn label(&mut self, out: &mut Markup, look: &str, text: &str, places: &[[f64; 2]]) -> bool {
        let wide = width(text, TEXT) * if look.starts_with('b') { 1.1 } else { 1.0 };
        if let Some([x, y]) = self.room.label(places, [wide, LABEL]) {
            words(out, look, [x, y + 4.0], "start", text);
            return true;
        }
        false
    }

    fn labels(&mut self, out: &mut Markup, series: &'a Series) {
        let mut points = self.shown(series);
        match series.draw {
            Draw::Limit => self.limit_label(out, series, &points),
            Draw::Asked => {
                for point in points {
                    let text = match point.name.as_str() {
                        "" => series.name.clone(),
                        name => format!("{}: {name}", series.name),
                    };
                    // bold letters are wider
                    let (at, wide) = (self.at(point.x, point.y), 1.1 * width(&text, TEXT));
                    let mut places = around(at, 7.0, wide).to_vec();
                    // where a curve ends in a corner, further off
                    for down in [24.0, -24.0, 38.0, -38.0] {
                        places.extend([[at[0] - wide - 6.0, at[1] + down], [at[0] + 6.0, at[1] + down]]);
                    }
                    self.label(out, "b halo", &text, &places);
                }
            }
            Draw::Curve => {
                // its name beside its middle
                for part in [2, 3, 1] {
                    let Some(point) = points.get(points.len() * part / 4) else { continue };
                    let places = around(self.at(point.x, point.y), 3.0, width(&series.name, TEXT));
                    if self.label(out, "halo", &series.name, &places) {
                        return;
                    }
                }
            }
            _ => {
                // several curves have their names at their ends, where there is room
                let curves = self.chart.series.iter().filter(|s| s.draw == Draw::Line).count();
                if let Some(last) = points.last().filter(|_| curves > 1 && series.draw == Draw::Line) {
                    let [x, y] = self.at(last.x, last.y);
                    let mut places = [0.0, 6.0, -6.0, 12.0, -12.0].map(|d| [x + MARK + 4.0, y + d]).to_vec();
                    places.extend(around([x, y], MARK, width(&series.name, TEXT)));
                    self.label(out, "halo", &series.name, &places);
                }
                points.sort_by(|a, b| b.share.total_cmp(&a.share));
                // what was asked for has its own label
                let asked = self.chart.series.iter().filter(|s| s.draw == Draw::Asked);
                let asked: Vec<[f64; 2]> = asked.flat_map(|s| &s.points).map(|p| [p.x, p.y]).collect();
                points.retain(|p| !p.name.is_empty() && !asked.contains(&[p.x, p.y]));
                for point in points {
                    let r = if series.draw == Draw::Named { radius(point) } else { MARK };
                    let places = around(self.at(point.x, point.y), r, width(&point.name, TEXT));
                    self.label(out, "halo", &point.name, &places);
                }
            }
        }
    }

    /// The name of a limit along it: over a level one at its end, left of a rising one.
    fn limit_label(&mut self, out: &mut Markup, series: &Series, points: &[&Point]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let (from, to) = (self.at(first.x, first.y), self.at(last.x, last.y));
        let wide = width(&series.name, TEXT);
        let mut places = vec![];
        for part in [1.0, 0.9, 0.75, 0.6, 0.45, 0.3, 0.15] {
            let [x, y] = [0, 1].map(|i| from[i] + part * (to[i] - from[i]));
            if to[1] < from[1] - 4.0 {
                places.extend([[x - wide - 9.0, y - 2.0], [x - wide - 16.0, y]]);
            } else {
                places.extend([[x - wide, y - 10.0], [x - wide, y + 11.0]]);
            }
        }
        self.label(out, "m halo", &series.name, &places);
    }
}
