//! One page that needs nothing else: no network, no script, no font. It prints, and reads in light and dark.

mod tables;

use std::collections::BTreeMap;

use super::Report;
use super::picture::Picture;
use super::svg::markup::{Markup, escaped};
use super::svg::{self, STYLE};

const PAGE: &str = include_str!("html/page.html");
const PAGE_STYLE: &str = include_str!("html/page.css");

/// Widths of pictures on a desk, in one column of two or over both, and on a phone.
const WIDE: f64 = 576.0;
const WHOLE: f64 = 1192.0;
const NARROW: f64 = 358.0;

/// Renders a report as a page.
pub(super) fn page(report: &Report) -> String {
    let (title, rest) = titled(report);
    let mut lead = Markup::default();
    for line in rest {
        lead.element("p", &[("class", &"lead")], line).line();
    }
    let mut footer = Markup::default();
    // hints about flags help nobody on paper
    for line in report.footer.iter().filter(|l| !l.starts_with("--")) {
        footer.element("p", &[], line).line();
    }
    let style = format!("{STYLE}{PAGE_STYLE}");
    let slots = BTreeMap::from([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("title", escaped(title)),
        ("style", style),
        ("lead", lead.as_str().to_owned()),
        ("warnings", warnings(report).as_str().to_owned()),
        ("headline", headline(report).as_str().to_owned()),
        ("pictures", pictures(report).as_str().to_owned()),
        ("tables", tables::sections(report).as_str().to_owned()),
        ("inputs", tables::inputs(report).as_str().to_owned()),
        ("footer", footer.as_str().to_owned()),
    ]);
    filled(PAGE, &slots)
}

/// Title of a page and the lines under it, without bars of characters, which are drawn.
pub(super) fn titled(report: &Report) -> (&str, Vec<&str>) {
    let mut lines = report.heading.iter().map(|l| l.trim()).filter(|l| !l.is_empty() && !l.starts_with('|'));
    let title = match report.board.title.as_str() {
        "" => lines.next().unwrap_or("foretoken"),
        title => title,
    };
    (title, lines.collect())
}

/// A template with its `{{slots}}` filled in one pass: what is filled in is not read again.
fn filled(template: &str, slots: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut parts = template.split("{{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        out.push_str(slots.get(name).map_or("", String::as_str));
        out.push_str(rest);
    }
    out
}

fn warnings(report: &Report) -> Markup {
    let mut out = Markup::default();
    if !report.warnings.is_empty() {
        out.open("div", &[("class", &"warn"), ("role", &"note")]);
        out.element("strong", &[], "Before you use these numbers").open("ul", &[]);
        for warning in &report.warnings {
            out.element("li", &[], warning);
        }
        out.close("ul").close("div");
    }
    out
}

fn headline(report: &Report) -> Markup {
    let mut out = Markup::default();
    if !report.board.headline.is_empty() {
        out.open("dl", &[("class", &"cards")]);
        for card in &report.board.headline {
            out.open("div", &[]).element("dt", &[], &card.name);
            out.element("dd", &[("class", &"v")], &card.value);
            if !card.note.is_empty() {
                out.element("dd", &[("class", &"n")], &card.note);
            }
            out.close("div").line();
        }
        out.close("dl");
    }
    out
}

fn pictures(report: &Report) -> Markup {
    let mut out = Markup::default();
    let drawn: Vec<&Picture> = report.board.pictures.iter().filter(|p| !p.is_empty()).collect();
    if drawn.is_empty() {
        return out;
    }
    out.open("svg", &[("class", &"defs"), ("aria-hidden", &"true")])
        .add(&svg::patterns())
        .close("svg")
        .line();
    out.open("div", &[("class", &"figures")]).line();
    for picture in drawn {
        let (class, width) = if picture.wide { ("whole", WHOLE) } else { ("", WIDE) };
        out.open("figure", &[("class", &class)]).element("h3", &[], &picture.title).line();
        out.add(&svg::element(picture, width, "wide")).add(&svg::element(picture, NARROW, "narrow"));
        out.open("figcaption", &[]);
        if !picture.note.is_empty() {
            out.element("p", &[], &picture.note);
        }
        out.add(&tables::numbers(picture)).close("figcaption").close("figure").line();
    }
    out.close("div");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        let slots = BTreeMap::from([("a", "{{b}}".to_owned()), ("b", "no".to_owned())]);
        assert_eq!(filled("1 {{a}} 2 {{c}} 3", &slots), "1 {{b}} 2  3");
    }
}
