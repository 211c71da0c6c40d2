//! How much room texts take, and where labels find it.

/// Width of a text in pixels, a little generous: no font is at hand to ask, and readers have their own.
pub(in crate::report) fn width(text: &str, size: f64) -> f64 {
    let ems = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | ' ' => 0.31,
        'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '–' => 0.88,
        c if c.is_ascii_uppercase() => 0.68,
        c if c.is_ascii() => 0.58,
        c => unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) as f64 * 0.6,
    };
    1.04 * size * text.chars().map(ems).sum::<f64>()
}

/// A text cut to so many pixels.
pub(super) fn cut(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if width(&short, size) + 1.6 * size > most {
            break;
        }
        short.push(c);
    }
    short.trim_end().to_owned() + "…"
}

/// Words in lines of at most so many pixels.
pub(super) fn wrapped(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line, size) + width(word, size) + 0.31 * size <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, size, most)),
        }
    }
    lines
}

/// A rectangle: left, top, right, bottom.
pub(super) type Box = [f64; 4];

/// What is taken in a plot.
#[derive(Debug, Clone)]
pub(super) struct Room {
    bounds: Box,
    taken: Vec<Box>,
}

impl Room {
    /// An empty plot.
    pub(super) fn new(bounds: Box) -> Self {
        Self { bounds, taken: vec![] }
    }

    /// Takes a place.
    pub(super) fn take(&mut self, place: Box) {
        self.taken.push(place);
    }

    /// Takes what a line crosses, in steps.
    pub(super) fn take_line(&mut self, from: [f64; 2], to: [f64; 2]) {
        let steps = ((to[0] - from[0]).abs().max((to[1] - from[1]).abs()) / 5.0).ceil().clamp(1.0, 400.0);
        for step in 0..=steps as usize {
            let t = step as f64 / steps;
            let (x, y) = (from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1]));
            self.take([x - 1.5, y - 1.5, x + 1.5, y + 1.5]);
        }
    }

    /// The first of some places for a label of this size that is inside and free, taken then. A place is the label's
    /// left end and the middle of its height.
    pub(super) fn label(&mut self, places: &[[f64; 2]], [wide, high]: [f64; 2]) -> Option<[f64; 2]> {
        let of = |[x, y]: [f64; 2]| [x, y - high / 2.0, x + wide, y + high / 2.0];
        let apart = |a: &Box, b: &Box| a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
        let b = self.bounds;
        let inside = |p: &Box| p[0] >= b[0] && p[1] >= b[1] && p[2] <= b[2] && p[3] <= b[3];
        let free = |at: &&[f64; 2]| inside(&of(**at)) && self.taken.iter().all(|t| apart(t, &of(**at)));
        let found = *places.iter().find(free)?;
        // words of two labels need air between them
        let [left, top, right, bottom] = of(found);
        self.take([left - 7.0, top, right + 7.0, bottom]);
        Some(found)
    }
}

/// Places for a label of this width around a point with a mark of radius r.
pub(super) fn around([x, y]: [f64; 2], r: f64, wide: f64) -> [[f64; 2]; 8] {
    let (left, right, middle) = (x - r - 4.0 - wide, x + r + 4.0, x - wide / 2.0);
    let (up, down) = (y - r - 9.0, y + r + 9.0);
    [
        [right, y],
        [middle, up],
        [left, y],
        [middle, down],
        [right - 2.0, up + 3.0],
        [right - 2.0, down - 3.0],
        [left + 2.0, up + 3.0],
        [left + 2.0, down - 3.0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_inside() {
        let mut room = Room::new([0.0, 0.0, 112.0, 50.0]);
        let places = around([90.0, 25.0], 3.0, 40.0);
        let first = room.label(&places, [40.0, 12.0]).unwrap();
        assert!(first[0] + 40.0 <= 112.0, "right of the point it would leave the plot");
        let second = room.label(&places, [40.0, 12.0]).unwrap();
        assert!((second[1] - first[1]).abs() >= 12.0 || second[0] + 47.0 <= first[0]);
        assert!(room.label(&[[95.0, 25.0]], [40.0, 12.0]).is_none());
    }

    #[test]
    fn long_words_are_cut() {
        assert!(width(&cut(&"x".repeat(500), 12.0, 100.0), 12.0) <= 110.0);
        assert_eq!(wrapped("one two three", 12.0, 50.0), ["one two", "three"]);
    }
}
