//! Pictures as scalable graphics, in light and dark as the reader likes it.

mod bars;
mod board;
mod chart;
pub(super) mod markup;
pub(super) mod text;

use super::picture::{Drawing, Picture};
pub(super) use board::board;
use markup::{Attributes, Markup, Px};

/// Colours and strokes of both themes.
pub(super) const STYLE: &str = include_str!("svg/chart.css");

/// Below this width pictures are for phones.
const NARROW: f64 = 480.0;

/// Size of text in pixels.
const TEXT: f64 = 12.0;

/// Classes of series; more than so many begin anew.
fn class(kind: char, series: usize) -> String {
    format!("{kind}{}", series % 6)
}

/// A drawing and its height at a width.
pub(super) struct Drawn {
    pub markup: Markup,
    pub height: f64,
}

/// Draws a picture without its title.
pub(super) fn drawn(picture: &Picture, width: f64) -> Drawn {
    match &picture.drawing {
        Drawing::Stack(stack) => bars::stack(stack, width),
        Drawing::Bars(all) => bars::bars(all, width),
        Drawing::Chart(chart) => chart::chart(chart, width),
    }
}

/// A picture as an element of a page; `class` says for which width of the reader's screen.
pub(super) fn element(picture: &Picture, width: f64, class: &str) -> Markup {
    let Drawn { markup, height } = drawn(picture, width);
    let mut out = Markup::default();
    let view = format!("0 0 {} {}", Px(width), Px(height));
    let attributes: &Attributes<'_> = &[
        ("class", &class),
        ("role", &"img"),
        ("aria-label", &spoken(picture)),
        ("viewBox", &view),
        ("width", &Px(width)),
        ("height", &Px(height)),
    ];
    out.open("svg", attributes).add(&markup).close("svg").line();
    out
}

/// A picture in words, for those who hear it.
fn spoken(picture: &Picture) -> String {
    let mut words = vec![picture.title.clone()];
    match &picture.drawing {
        Drawing::Stack(stack) => words.extend(stack.parts.iter().map(|p| format!("{}: {}", p.name, p.text))),
        Drawing::Bars(bars) => {
            words.extend(bars.bars.iter().map(|b| format!("{}: {} {}", b.name, b.text, b.kind)));
        }
        Drawing::Chart(chart) => words.extend(chart::spoken(chart)),
    }
    words.join(". ") + "."
}

/// Hatching of parts, told apart without colour. They stand once in a document.
pub(super) fn patterns() -> Markup {
    let mut out = Markup::default();
    out.open("defs", &[]);
    let open = |out: &mut Markup, id: usize| {
        let id = format!("p{id}");
        let attributes: &Attributes<'_> =
            &[("id", &id), ("width", &8), ("height", &8), ("patternUnits", &"userSpaceOnUse")];
        out.open("pattern", attributes);
    };
    open(&mut out, 1);
    out.empty("path", &[("class", &"hatch"), ("d", &"M-2 2l4-4M0 8l8-8M6 10l4-4")]).close("pattern");
    open(&mut out, 2);
    out.empty("circle", &[("class", &"dot"), ("cx", &2), ("cy", &2), ("r", &1.3)]);
    out.empty("circle", &[("class", &"dot"), ("cx", &6), ("cy", &6), ("r", &1.3)]).close("pattern");
    open(&mut out, 3);
    out.empty("path", &[("class", &"hatch"), ("d", &"M0 2h8M0 6h8")]).close("pattern");
    open(&mut out, 4);
    out.empty("path", &[("class", &"hatch"), ("d", &"M-2 6l4 4M0 0l8 8M6-2l4 4")]).close("pattern");
    open(&mut out, 5);
    out.empty("path", &[("class", &"hatch"), ("d", &"M2 0v8M6 0v8")]).close("pattern");
    out.close("defs");
    out
}
