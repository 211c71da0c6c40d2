//! All pictures of an answer on one sheet.

use super::markup::{Attributes, Markup, Px};
use super::text::{cut, wrapped};
use super::{STYLE, drawn, patterns};
use crate::report::Report;
use crate::report::picture::{Headline, Picture};

/// Width of the sheet.
const SHEET: f64 = 1200.0;
/// Room around it and between columns.
const MARGIN: f64 = 32.0;
/// Width of a column of two.
const COLUMN: f64 = (SHEET - 3.0 * MARGIN) / 2.0;
/// Numbers in a row, and the height of one.
const CARDS: usize = 4;
const CARD: f64 = 92.0;

/// Draws the sheet. None where the answer has no pictures.
pub(in crate::report) fn board(report: &Report) -> Option<String> {
    let pictures: Vec<&Picture> = report.board.pictures.iter().filter(|p| !p.is_empty()).collect();
    if pictures.is_empty() {
        return None;
    }
    let mut body = Markup::default();
    let (title, rest) = crate::report::html::titled(report);
    let mut y = MARGIN + 18.0;
    for (i, line) in wrapped(title, 22.0, SHEET - 2.0 * MARGIN).iter().enumerate() {
        y += if i > 0 { 28.0 } else { 0.0 };
        words(&mut body, "t", [MARGIN, y], line);
    }
    for line in rest.iter().flat_map(|l| wrapped(l, 12.0, SHEET - 2.0 * MARGIN)) {
        y += 20.0;
        words(&mut body, "m", [MARGIN, y], &line);
    }
    for line in report.warnings.iter().flat_map(|w| wrapped(&format!("⚠ {w}"), 12.0, SHEET - 2.0 * MARGIN))
    {
        y += 20.0;
        words(&mut body, "b", [MARGIN, y], &line);
    }
    y += 20.0;
    for row in report.board.headline.chunks(CARDS) {
        cards(&mut body, row, y);
        y += CARD + 10.0;
    }
    y += 10.0;
    let (mut left, mut tallest) = (true, 0.0_f64);
    for picture in pictures {
        if picture.wide && !left {
            (y, left, tallest) = (y + tallest + 30.0, true, 0.0);
        }
        let x = if left { MARGIN } else { 2.0 * MARGIN + COLUMN };
        let wide = if picture.wide { SHEET - 2.0 * MARGIN } else { COLUMN };
        tallest = tallest.max(figure(&mut body, picture, [x, y], wide));
        if picture.wide || !left {
            (y, left, tallest) = (y + tallest + 30.0, true, 0.0);
        } else {
            left = false;
        }
    }
    y += if left { 0.0 } else { tallest + 30.0 };
    let footer = report.footer.iter().filter(|l| !l.starts_with("--"));
    for line in footer.flat_map(|l| wrapped(l, 12.0, SHEET - 2.0 * MARGIN)) {
        words(&mut body, "m", [MARGIN, y], &line);
        y += 17.0;
    }
    words(&mut body, "m", [MARGIN, y], concat!("foretoken ", env!("CARGO_PKG_VERSION")));
    Some(sheet(title, &body, y + MARGIN))
}

fn sheet(title: &str, body: &Markup, height: f64) -> String {
    let mut out = Markup::default();
    let view = format!("0 0 {SHEET} {}", Px(height));
    let attributes: &Attributes<'_> = &[
        ("xmlns", &"http://www.w3.org/2000/svg"),
        ("viewBox", &view),
        ("width", &SHEET),
        ("height", &Px(height)),
        ("role", &"img"),
        ("aria-label", &title),
    ];
    out.open("svg", attributes).element("title", &[], title).style(STYLE).add(&patterns()).line();
    out.empty("rect", &[("class", &"paper"), ("width", &SHEET), ("height", &Px(height))]);
    out.add(body).close("svg").line();
    out.as_str().to_owned()
}

fn words(out: &mut Markup, class: &str, [x, y]: [f64; 2], text: &str) {
    out.element("text", &[("class", &class), ("x", &Px(x)), ("y", &Px(y))], text);
}

fn cards(out: &mut Markup, row: &[Headline], y: f64) {
    let wide = (SHEET - 2.0 * MARGIN - 12.0 * (CARDS - 1) as f64) / CARDS as f64;
    for (i, card) in row.iter().enumerate() {
        let x = MARGIN + i as f64 * (wide + 12.0);
        let attributes: &Attributes<'_> = &[
            ("class", &"card"),
            ("x", &Px(x)),
            ("y", &Px(y)),
            ("width", &Px(wide)),
            ("height", &CARD),
            ("rx", &6),
        ];
        out.empty("rect", attributes);
        words(out, "m", [x + 12.0, y + 20.0], &cut(&card.name, 12.0, wide - 20.0));
        words(out, "v", [x + 12.0, y + 44.0], &cut(&card.value, 19.0, wide - 20.0));
        for (i, line) in wrapped(&card.note, 12.0, wide - 20.0).iter().take(2).enumerate() {
            words(out, "m", [x + 12.0, y + 64.0 + 16.0 * i as f64], line);
        }
    }
}

/// One picture with title and note; returns its height.
fn figure(out: &mut Markup, picture: &Picture, [x, y]: [f64; 2], wide: f64) -> f64 {
    let mut high = 15.0;
    for line in wrapped(&picture.title, 15.0, wide) {
        words(out, "h", [x, y + high], &line);
        high += 20.0;
    }
    let inner = drawn(picture, wide);
    let shift = format!("translate({} {})", Px(x), Px(y + high));
    out.open("g", &[("transform", &shift)]).add(&inner.markup).close("g").line();
    high += inner.height + 16.0;
    for line in wrapped(&picture.note, 12.0, wide) {
        words(out, "m", [x, y + high], &line);
        high += 17.0;
    }
    high
}
