//! XML and HTML built so that nothing in a text or an attribute can end it.

use std::fmt::{Display, Formatter, Result, Write};

/// Attributes of an element.
pub(in crate::report) type Attributes<'a> = [(&'static str, &'a dyn Display)];

/// Markup under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::report) struct Markup(String);

/// A length to a tenth of a pixel.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct Px(pub f64);

impl Display for Px {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let tenths = (self.0 * 10.0).round();
        // no "-0"
        let tenths = if tenths == 0.0 { 0.0 } else { tenths };
        write!(f, "{}", tenths / 10.0)
    }
}

/// The characters of a text that XML allows, those with a meaning replaced.
pub(in crate::report) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

impl Markup {
    fn start(&mut self, name: &str, attributes: &Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            let value = value.to_string();
            // what a reader assumes anyway is left out
            if !matches!((*key, value.as_str()), ("class", "") | ("text-anchor", "start")) {
                let _ = write!(self.0, " {key}=\"{}\"", escaped(&value));
            }
        }
    }

    /// Opens an element.
    pub(in crate::report) fn open(&mut self, name: &'static str, attributes: &Attributes<'_>) -> &mut Self {
        self.start(name, attributes);
        self.0.push('>');
        self
    }

    /// Closes an element.
    pub(in crate::report) fn close(&mut self, name: &'static str) -> &mut Self {
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// An element without content.
    pub(in crate::report) fn empty(&mut self, name: &'static str, attributes: &Attributes<'_>) -> &mut Self {
        self.start(name, attributes);
        self.0.push_str("/>");
        self
    }

    /// Text.
    pub(in crate::report) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escaped(text));
        self
    }

    /// An element with nothing but text.
    pub(in crate::report) fn element(
        &mut self,
        name: &'static str,
        attributes: &Attributes<'_>,
        text: &str,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// Other markup.
    pub(in crate::report) fn add(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// A style sheet of this crate's.
    pub(in crate::report) fn style(&mut self, css: &'static str) -> &mut Self {
        self.0.push_str("<style>");
        self.0.push_str(css);
        self.0.push_str("</style>");
        self
    }

    /// A new line, for readers of the source.
    pub(in crate::report) fn line(&mut self) -> &mut Self {
        self.0.push('\n');
        self
    }

    /// What was built.
    pub(in crate::report) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_attribute_or_a_text() {
        let mut markup = Markup::default();
        let name = "\"><script>alert('&')</script>\u{1b}\u{0}";
        markup.element("text", &[("aria-label", &name), ("x", &Px(-0.04))], name);
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;";
        assert_eq!(markup.as_str(), format!("<text aria-label=\"{escaped}\" x=\"0\">{escaped}</text>"));
    }
}
