//! Curves and points over two axes.

use super::canvas::{Canvas, Ink};
use super::{Terminal, inked, plain, width, wrapped};
use crate::report::picture::axis::{Scale, scales};
use crate::report::picture::{Chart, Draw, Point, Series, Unit};

/// Rows of the plot.
const ROWS: usize = 13;

/// Names that get a letter; smaller ones are drawn as dots.
const NAMED: usize = 14;

/// Draws a chart.
pub(super) fn chart(chart: &Chart, terminal: Terminal) -> Vec<String> {
    let Some([x, y]) = scales(chart) else { return vec![] };
    let y_ticks: Vec<(f64, String)> =
        y.ticks(6).into_iter().map(|t| (y.share(t), plain(&y.text(t), terminal))).collect();
    let gutter = y_ticks.iter().map(|(_, text)| width(text)).max().unwrap_or(0);
    let columns = terminal.width.saturating_sub(gutter + 4).max(16);
    let mut plot =
        Plot { canvas: Canvas::new(columns, ROWS, terminal.ascii), x, y, terminal, letters: letters(chart) };
    plot.draw(chart);
    let (bar, tee, corner) = if terminal.ascii { ("|", "+", "+") } else { ("│", "┤", "└") };
    // values with units say what the title says
    let bare = matches!(chart.y.unit, Unit::Number | Unit::Share);
    let mut lines: Vec<String> = vec![];
    lines.extend(bare.then(|| format!(" {}", inked(&plain(&chart.y.label, terminal), Ink::Plain, false))));
    for row in 0..ROWS {
        let tick = y_ticks.iter().find(|(at, _)| plot.row(*at) == Some(row));
        let (text, edge) = tick.map_or(("", bar), |(_, text)| (text.as_str(), tee));
        lines.push(format!(" {text:>gutter$} {edge}{}", plot.canvas.row(row, terminal.colour)));
    }
    let (line, words) = x_axis(&x, columns, terminal);
    lines.push(format!(" {:gutter$} {corner}{line}", ""));
    lines.push(format!(" {:gutter$}  {words}", ""));
    let label = plain(&chart.x.label, terminal);
    let middle = (gutter + 2 + columns / 2).saturating_sub(width(&label) / 2);
    lines.push(format!(" {:middle$}{label}", ""));
    lines.extend(key(chart, &plot.letters, terminal));
    lines
}

/// The line under the plot with its ticks, and their words.
fn x_axis(x: &Scale, columns: usize, terminal: Terminal) -> (String, String) {
    let (bar, tee) = if terminal.ascii { ('-', '+') } else { ('─', '┬') };
    let mut line = vec![bar; columns];
    let mut words = String::new();
    for tick in x.ticks(columns / 9) {
        let at = (x.share(tick).clamp(0.0, 1.0) * (columns - 1) as f64).round() as usize;
        let text = plain(&x.text(tick), terminal);
        let start = at.saturating_sub(width(&text) / 2).min(columns.saturating_sub(width(&text)));
        let used = width(&words);
        if used == 0 || start > used {
            line[at] = tee;
            words += &" ".repeat(start - used.min(start));
            words += &text;
        }
    }
    (line.into_iter().collect(), words)
}

/// Names with a letter each: those of points drawn by name, the largest first.
fn letters(chart: &Chart) -> Vec<String> {
    let named = chart.series.iter().filter(|s| s.draw == Draw::Named).flat_map(|s| &s.points);
    let mut shares: Vec<(String, f64)> = vec![];
    for point in named.filter(|p| chart.shows(p)) {
        match shares.iter_mut().find(|(name, _)| *name == point.name) {
            Some((_, share)) => *share = share.max(point.share),
            None => shares.push((point.name.clone(), point.share)),
        }
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.into_iter().take(NAMED).map(|(name, _)| name).collect()
}

fn letter(index: usize, series: usize) -> char {
    let first = if series == 0 { b'A' } else { b'a' };
    char::from(first + (index % 26) as u8)
}

/// Marks of joined series beyond the first, which tell them apart without colour.
const MARKS: [char; 6] = ['●', '■', '▲', '◇', '○', '□'];
const ASCII_MARKS: [char; 6] = ['o', 'x', '@', '%', '=', '&'];

fn mark_of(series: usize, ascii: bool) -> char {
    let marks = if ascii { ASCII_MARKS } else { MARKS };
    marks[series % marks.len()]
}

/// What marks and letters mean.
fn key(chart: &Chart, letters: &[String], terminal: Terminal) -> Vec<String> {
    let mut words = vec![];
    for (i, series) in chart.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
        match series.draw {
            Draw::Line | Draw::Curve => words.push(format!("{} {}", mark_of(i, terminal.ascii), series.name)),
            Draw::Asked => words.push(format!("{} {}", asked(terminal), series.name)),
            Draw::Cloud => words.push(format!("{} {}", cloud(terminal), series.name)),
            Draw::Named => {
                let case = if named_before(chart, i) == 0 { "A B C" } else { "a b c" };
                words.push(format!("{case} {}", series.name));
            }
            Draw::Limit => {}
        }
    }
    words.extend(letters.iter().enumerate().map(|(i, name)| format!("{} {name}", letter(i, 0))));
    let clean = words.iter().map(|w| plain(w, terminal));
    let lines = wrapped(clean, "   ", terminal.width - 1);
    lines.into_iter().map(|l| format!(" {}", inked(&l, Ink::Plain, false))).collect()
}

fn asked(terminal: Terminal) -> char {
    if terminal.ascii { '#' } else { '◆' }
}

fn cloud(terminal: Terminal) -> char {
    if terminal.ascii { ':' } else { '∘' }
}

/// Series drawn by name before this one.
fn named_before(chart: &Chart, series: usize) -> usize {
    chart.series[..series].iter().filter(|s| s.draw == Draw::Named).count()
}

struct Plot {
    canvas: Canvas,
    x: Scale,
    y: Scale,
    terminal: Terminal,
    letters: Vec<String>,
}

impl Plot {
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        self.canvas.place(self.x.share(x), self.y.share(y))
    }

    fn row(&self, share: f64) -> Option<usize> {
        self.canvas.cell(self.canvas.place(0.0, share)).map(|[_, row]| row)
    }

    fn draw(&mut self, chart: &Chart) {
        let places: Vec<(&Series, Vec<&Point>)> =
            chart.series.iter().map(|s| (s, s.points.iter().filter(|p| chart.shows(p)).collect())).collect();
        for (_, points) in &places {
            self.band(points);
        }
        for (row, mark) in chart.marks.iter().enumerate() {
            self.mark(mark.at, row, &plain(&mark.text, self.terminal));
        }
        for (i, (series, points)) in places.iter().enumerate() {
            let ink = if series.draw == Draw::Limit { Ink::Plain } else { Ink::Series(i) };
            if matches!(series.draw, Draw::Line | Draw::Curve | Draw::Limit) {
                for pair in points.windows(2) {
                    self.canvas.line(self.at(pair[0].x, pair[0].y), self.at(pair[1].x, pair[1].y), ink);
                }
            }
        }
        for (i, (series, points)) in places.iter().enumerate() {
            // of a curve of many points a few have marks, those of another elsewhere
            let step = if series.draw == Draw::Curve { points.len().div_ceil(6).max(1) } else { 1 };
            let skip = if step > 1 { (step / 2 + i) % step } else { 0 };
            for point in points.iter().skip(skip).step_by(step).rev() {
                self.point(chart, i, series, point);
            }
        }
        for (_, points) in places.iter().filter(|(s, _)| s.draw == Draw::Line) {
            for point in points {
                self.name(point);
            }
        }
        for (series, points) in places.iter().filter(|(s, _)| s.draw == Draw::Limit) {
            self.limit_name(&series.name, points);
        }
    }

    /// The interval around a curve: its ends dotted, sparse dots between.
    fn band(&mut self, points: &[&Point]) {
        for pair in points.windows(2) {
            let (Some(from), Some(to)) = (pair[0].ends, pair[1].ends) else { continue };
            let [start, end] = [self.at(pair[0].x, from[0]), self.at(pair[1].x, to[0])];
            let [top_start, top_end] = [self.at(pair[0].x, from[1]), self.at(pair[1].x, to[1])];
            let mut column = start[0].round();
            while column <= end[0] {
                let t = if end[0] > start[0] { (column - start[0]) / (end[0] - start[0]) } else { 0.0 };
                let bottom = (start[1] + t * (end[1] - start[1])).round();
                let top = (top_start[1] + t * (top_end[1] - top_start[1])).round();
                let mut row = top;
                while row <= bottom {
                    if (column as i64 + 2 * (row as i64)).rem_euclid(4) == 0 {
                        self.canvas.dot([column, row], Ink::Faint);
                    }
                    row += 1.0;
                }
                column += 1.0;
            }
        }
    }

    /// A line from the top to the bottom with its words beside the upper end.
    fn mark(&mut self, at: f64, row: usize, text: &str) {
        if !self.x.holds(at) {
            return;
        }
        let line = if self.terminal.ascii { ':' } else { '┊' };
        let Some([column, _]) = self.canvas.cell(self.canvas.place(self.x.share(at), 1.0)) else { return };
        for row in 0..ROWS {
            self.canvas.put([column, row], line, Ink::Faint);
        }
        let cells = width(text);
        let start = if column > cells + 1 { column - cells - 1 } else { column + 2 };
        self.canvas.write([start, row % ROWS], text, Ink::Faint);
    }

    fn point(&mut self, chart: &Chart, i: usize, series: &Series, point: &Point) {
        let Some(cell) = self.canvas.cell(self.at(point.x, point.y)) else { return };
        let character = match series.draw {
            Draw::Limit => return,
            Draw::Line | Draw::Curve => mark_of(i, self.terminal.ascii),
            Draw::Cloud => cloud(self.terminal),
            Draw::Asked => asked(self.terminal),
            Draw::Named => match self.letters.iter().position(|name| *name == point.name) {
                Some(place) => letter(place, named_before(chart, i)),
                None => cloud(self.terminal),
            },
        };
        self.canvas.put(
            cell,
            character,
            if series.draw == Draw::Asked { Ink::Strong } else { Ink::Series(i) },
        );
    }

    /// The name of a point beside it, where there is room.
    fn name(&mut self, point: &Point) {
        let text = plain(&point.name, self.terminal);
        let Some([column, row]) = self.canvas.cell(self.at(point.x, point.y)) else { return };
        if text.is_empty() {
            return;
        }
        let cells = width(&text);
        let right = column + 2;
        let left = (column > cells + 1).then(|| column - cells - 1);
        let above = (row > 0).then(|| [column, row - 1]);
        let places = [Some([right, row]), left.map(|l| [l, row]), above, Some([column, row + 1])];
        if let Some(free) = places.into_iter().flatten().find(|at| self.canvas.is_free(*at, cells)) {
            self.canvas.write(free, &text, Ink::Plain);
        }
    }

    /// The name of a limit beside it: left of a rising one, over or under the end of a level one.
    fn limit_name(&mut self, name: &str, points: &[&Point]) {
        let name = plain(name, self.terminal);
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let (start, end) = (self.at(first.x, first.y), self.at(last.x, last.y));
        let cells = width(&name);
        let mut places = vec![];
        for part in [1.0, 0.8, 0.6, 0.4, 0.2] {
            let dot = [start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])];
            let Some([column, row]) = self.canvas.cell(dot) else { continue };
            if end[1] < start[1] {
                places.push([column.saturating_sub(cells + 2), row]);
            } else {
                let left = (column + 1).saturating_sub(cells);
                places.extend([[left, row.wrapping_sub(1)], [left, row + 1]]);
            }
        }
        if let Some(free) = places.into_iter().find(|at| self.canvas.is_free(*at, cells)) {
            self.canvas.write(free, &name, Ink::Plain);
        }
    }
}
