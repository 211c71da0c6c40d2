//! Bars: parts of a whole in one line, lengths beneath each other.

use super::markup::{Attributes, Markup, Px};
use super::text::{cut, width};
use super::{Drawn, NARROW, TEXT, class};
use crate::report::picture::{Bar, Bars, Stack};

fn rect(out: &mut Markup, class: &str, [x, y, wide, high]: [f64; 4], tip: &str) {
    let attributes: &Attributes<'_> = &[
        ("class", &class),
        ("x", &Px(x)),
        ("y", &Px(y)),
        ("width", &Px(wide.max(0.0))),
        ("height", &Px(high)),
        ("rx", &1.5),
    ];
    out.open("rect", attributes);
    if !tip.is_empty() {
        out.element("title", &[], tip);
    }
    out.close("rect");
}

fn words(out: &mut Markup, class: &str, [x, y]: [f64; 2], anchor: &str, text: &str) {
    out.element("text", &[("class", &class), ("x", &Px(x)), ("y", &Px(y)), ("text-anchor", &anchor)], text);
}

/// Swatch and bar of a part: its colour, and its hatching over it.
fn part(out: &mut Markup, index: usize, place: [f64; 4], tip: &str) {
    rect(out, &class('f', index), place, tip);
    if !index.is_multiple_of(6) {
        let fill = format!("url(#p{})", index % 6);
        let [x, y, wide, high] = place.map(Px);
        let attributes: &Attributes<'_> = &[
            ("fill", &fill),
            ("x", &x),
            ("y", &y),
            ("width", &wide),
            ("height", &high),
            ("pointer-events", &"none"),
        ];
        out.empty("rect", attributes);
    }
}

/// Parts of a whole: one bar to scale, and what its parts are, in the same order.
pub(super) fn stack(stack: &Stack, wide: f64) -> Drawn {
    let mut out = Markup::default();
    let all: f64 = stack.parts.iter().map(|p| p.value).sum();
    let scale = wide / stack.whole.max(all).max(f64::MIN_POSITIVE);
    let (top, high) = (20.0, 34.0);
    rect(&mut out, "track", [0.0, top, stack.whole * scale, high], "free");
    let mut x = 0.0;
    for (i, p) in stack.parts.iter().enumerate() {
        let length = p.value * scale;
        let gap = if length > 3.0 { 1.0 } else { 0.0 };
        part(&mut out, i, [x, top, (length - gap).max(0.6), high], &format!("{}: {}", p.name, p.text));
        x += length;
    }
    // the end of the whole
    let end = stack.whole * scale;
    let path = format!("M{} {}V{}", Px(end.min(wide - 0.5)), Px(top - 5.0), Px(top + high + 5.0));
    out.empty("path", &[("class", &"axis"), ("d", &path)]);
    let anchor = if end > wide / 2.0 { "end" } else { "start" };
    words(&mut out, "m", [end, top - 7.0], anchor, &stack.whole_text);
    let rows = stack.parts.len().div_ceil((wide / 280.0).max(1.0) as usize).max(1);
    let columns = stack.parts.len().div_ceil(rows).max(1);
    let column = (wide / columns as f64).min(300.0);
    for (i, p) in stack.parts.iter().enumerate() {
        let (x, y) = ((i / rows) as f64 * column, top + high + 24.0 + (i % rows) as f64 * 21.0);
        part(&mut out, i, [x, y - 10.0, 14.0, 12.0], "");
        words(&mut out, "", [x + 22.0, y], "start", &cut(&p.name, TEXT, column - 175.0));
        words(&mut out, "", [x + column - 76.0, y], "end", &p.text);
        let share = p.value / stack.whole;
        let share = if share < 10.0 { format!("{:.0} %", 100.0 * share) } else { format!("{share:.0} ×") };
        words(&mut out, "m", [x + column - 24.0, y], "end", &share);
    }
    Drawn { markup: out, height: top + high + 24.0 + rows as f64 * 21.0 - 8.0 }
}

/// Lengths beneath each other.
pub(super) fn bars(Bars { bars, full }: &Bars, wide: f64) -> Drawn {
    let longest = |of: fn(&Bar) -> &str| bars.iter().map(|b| width(of(b), TEXT)).fold(0.0, f64::max);
    let most = bars.iter().map(|b| b.value).fold(*full, f64::max).max(f64::MIN_POSITIVE);
    let narrow = wide < NARROW;
    let kinds = 1.06 * longest(|b| &b.kind);
    let texts = longest(|b| &b.text);
    let names = longest(|b| &b.name).min(0.42 * wide);
    let (left, right) = if narrow { (0.0, 0.0) } else { (names + 12.0, texts + kinds + 24.0) };
    let room = (wide - left - right).max(20.0);
    let step = if narrow { 36.0 } else { 25.0 };
    let mut out = Markup::default();
    for (i, bar) in bars.iter().enumerate() {
        let y = i as f64 * step;
        let length = bar.value / most * room;
        let (line, top) = if narrow { (y + 12.0, y + 18.0) } else { (y + 16.0, y + 4.0) };
        let high = if narrow { 9.0 } else { 16.0 };
        rect(&mut out, "track", [left, top, room, high], "");
        let tip = format!("{}: {} {}", bar.name, bar.text, bar.kind);
        rect(&mut out, "f0", [left, top, length.max(0.8), high], &tip);
        let kind_at = wide - if kinds > 0.0 { kinds + 10.0 } else { 0.0 };
        let name_room = if narrow { kind_at - texts - 10.0 } else { names + 1.0 };
        words(&mut out, "", [0.0, line], "start", &cut(&bar.name, TEXT, name_room));
        words(&mut out, "", [kind_at, line], "end", &bar.text);
        words(&mut out, "m", [wide - kinds, line], "start", &bar.kind);
    }
    Drawn { markup: out, height: (bars.len() as f64 * step).max(1.0) }
}
