//! A grid of characters with dots finer than a character: braille, 2 × 4 to the cell, or one to the cell in ASCII.

use anstyle::{AnsiColor, Style};
use std::fmt::Write;

/// What a character is drawn in. On a terminal without colour all look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Ink {
    /// Nothing there.
    #[default]
    None,
    /// Behind the data.
    Faint,
    /// As text.
    Plain,
    /// One of the colours of series.
    Series(usize),
    /// Titles.
    Strong,
}

/// Colours of series, apart for the colour-blind and readable on light and dark grounds; the terminal's own shades.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::Red,
];

impl Ink {
    fn style(self) -> Style {
        match self {
            Self::None | Self::Plain => Style::new(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Series(i) => Style::new().fg_color(Some(COLOURS[i % COLOURS.len()].into())),
        }
    }
}

/// Text in an ink, control characters left out.
pub(super) fn inked(text: &str, ink: Ink, colour: bool) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let style = ink.style();
    if colour && style != Style::new() { format!("{style}{clean}{style:#}") } else { clean }
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Dots by their bit in U+2800, of the strongest ink alone: others would look like its own.
    dots: u8,
    character: Option<char>,
    ink: Ink,
}

/// The grid.
pub(super) struct Canvas {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    ascii: bool,
}

impl Canvas {
    /// An empty grid.
    pub(super) fn new(columns: usize, rows: usize, ascii: bool) -> Self {
        Self { columns, rows, cells: vec![Cell::default(); columns * rows], ascii }
    }

    /// Dots in a cell, across and down.
    fn grain(&self) -> [usize; 2] {
        if self.ascii { [1, 1] } else { [2, 4] }
    }

    /// Dots in all, across and down.
    pub(super) fn dots(&self) -> [usize; 2] {
        let [across, down] = self.grain();
        [self.columns * across, self.rows * down]
    }

    /// The dot at a share of the width and, from the bottom, of the height.
    pub(super) fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [across, down] = self.dots().map(|n| n.saturating_sub(1) as f64);
        [x * across, (1.0 - y) * down]
    }

    /// The cell of a dot.
    pub(super) fn cell(&self, [x, y]: [f64; 2]) -> Option<[usize; 2]> {
        let [across, down] = self.grain();
        let (column, row) = ((x.round() / across as f64).floor(), (y.round() / down as f64).floor());
        let inside = column >= 0.0 && row >= 0.0 && column < self.columns as f64 && row < self.rows as f64;
        inside.then_some([column as usize, row as usize])
    }

    /// Sets a dot; a stronger ink than the cell's wins.
    pub(super) fn dot(&mut self, at: [f64; 2], ink: Ink) {
        let Some([column, row]) = self.cell(at) else { return };
        let [across, down] = self.grain();
        let (x, y) = (at[0].round() as usize % across, at[1].round() as usize % down);
        let ascii = self.ascii;
        let cell = &mut self.cells[row * self.columns + column];
        if ascii {
            if ink >= cell.ink {
                cell.character = Some(if ink <= Ink::Faint { '.' } else { '*' });
            }
        } else {
            if ink < cell.ink {
                return;
            }
            if ink > cell.ink && cell.ink <= Ink::Faint {
                cell.dots = 0;
            }
            // the fourth row of dots came later and has bits of its own
            cell.dots |= if y == 3 { 0x40 << x } else { 1 << (y + 3 * x) };
        }
        cell.ink = cell.ink.max(ink);
    }

    /// A straight line between two dots.
    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], ink: Ink) {
        let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
        let steps = dx.abs().max(dy.abs()).ceil().clamp(1.0, 10_000.0);
        for step in 0..=steps as usize {
            let t = step as f64 / steps;
            self.dot([from[0] + t * dx, from[1] + t * dy], ink);
        }
    }

    /// Puts a character into a cell, over its dots.
    pub(super) fn put(&mut self, [column, row]: [usize; 2], character: char, ink: Ink) {
        if column < self.columns && row < self.rows {
            let cell = &mut self.cells[row * self.columns + column];
            *cell = Cell { dots: 0, character: Some(character), ink };
        }
    }

    /// True when nothing but faint dots lies in so many cells from one on.
    pub(super) fn is_free(&self, [column, row]: [usize; 2], cells: usize) -> bool {
        column + cells <= self.columns
            && row < self.rows
            && self.cells[row * self.columns + column..][..cells]
                .iter()
                .all(|c| c.ink <= Ink::Faint && c.character.is_none_or(|c| c == '.'))
    }

    /// Writes a word from a cell on.
    pub(super) fn write(&mut self, [column, row]: [usize; 2], text: &str, ink: Ink) {
        for (i, character) in text.chars().enumerate() {
            self.put([column + i, row], character, ink);
        }
    }

    /// A row as text.
    pub(super) fn row(&self, row: usize, colour: bool) -> String {
        let mut out = String::new();
        let cells = &self.cells[row * self.columns..][..self.columns];
        let end = cells.iter().rposition(|c| c.dots != 0 || c.character.is_some()).map_or(0, |i| i + 1);
        for run in cells[..end].chunk_by(|a, b| a.ink == b.ink) {
            let text: String = run.iter().map(|c| c.character()).collect();
            let _ = write!(out, "{}", inked(&text, run[0].ink, colour));
        }
        out
    }
}

impl Cell {
    fn character(&self) -> char {
        match (self.character, self.dots) {
            (Some(c), _) => c,
            (None, 0) => ' ',
            (None, dots) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_have_their_bits() {
        let mut canvas = Canvas::new(2, 1, false);
        canvas.dot([0.0, 0.0], Ink::Plain);
        canvas.dot([1.0, 3.0], Ink::Plain);
        canvas.dot([2.0, 1.0], Ink::Plain);
        canvas.dot([9.0, 9.0], Ink::Plain);
        assert_eq!(canvas.row(0, false), "⢁⠂");
    }

    #[test]
    fn control_characters_stay_out() {
        assert_eq!(inked("a\u{1b}[31mb\n", Ink::Series(0), false), "a[31mb");
        assert!(inked("a", Ink::Series(0), true).starts_with("\u{1b}["));
    }
}
