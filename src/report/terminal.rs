//! Pictures in the characters of a terminal.

mod bars;
mod canvas;
mod chart;

use super::picture::{Board, Drawing, Picture};
pub(super) use bars::{PARTS, line as stack_line};
use canvas::{Ink, inked};

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Characters in a line.
    pub width: usize,
    /// Colours, beside marks and words that say the same.
    pub colour: bool,
    /// ASCII alone.
    pub ascii: bool,
}

/// Lines beyond it are hard to follow, below it nothing can be read.
const WIDTHS: std::ops::RangeInclusive<usize> = 48..=120;

/// Draws the pictures of a board that carry one of the words, or with `all` those that no table shows already.
///
/// # Errors
/// With the words that there are, when one is asked for that no picture carries.
pub fn drawn(board: &Board, words: &[String], terminal: Terminal) -> Result<Vec<String>, String> {
    let mut known: Vec<&str> = board.pictures.iter().filter(|p| !p.is_empty()).map(|p| p.key).collect();
    known.dedup();
    if known.is_empty() {
        return Err(NO_PICTURES.into());
    }
    if let Some(wrong) = words.iter().find(|w| *w != ALL && !known.contains(&w.as_str())) {
        return Err(format!(
            "`{wrong}` is no picture of this answer; use {ALL}, ascii, {}",
            known.join(", ")
        ));
    }
    let all = words.iter().any(|w| w == ALL);
    let chosen = |p: &&Picture| (all && !p.printed) || words.iter().any(|w| w == p.key);
    Ok(board.pictures.iter().filter(|p| !p.is_empty()).filter(chosen).map(|p| picture(p, terminal)).collect())
}

/// What to say where there is nothing to draw.
pub const NO_PICTURES: &str =
    "this answer has no pictures; estimate, memory, sweep, simulate, size and cost have";

/// The word for all pictures.
const ALL: &str = "all";

/// Draws a picture; every line ends in a line feed.
fn picture(picture: &Picture, terminal: Terminal) -> String {
    let terminal = Terminal { width: terminal.width.clamp(*WIDTHS.start(), *WIDTHS.end()), ..terminal };
    let mut lines = vec![inked(&plain(&picture.title, terminal), Ink::Strong, terminal.colour)];
    let drawn = match &picture.drawing {
        Drawing::Stack(stack) => bars::stack(stack, terminal),
        Drawing::Bars(all) => bars::bars(all, terminal),
        Drawing::Chart(chart) => chart::chart(chart, terminal),
    };
    lines.extend(drawn);
    if !picture.note.is_empty() {
        let words = wrapped(picture.note.split(' ').map(str::to_owned), " ", terminal.width - 1);
        lines.extend(
            words.iter().map(|l| format!(" {}", inked(&plain(l, terminal), Ink::Faint, terminal.colour))),
        );
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Words that an ASCII terminal can show.
fn plain(text: &str, terminal: Terminal) -> String {
    if !terminal.ascii {
        return text.to_owned();
    }
    let one = |c: char| match c {
        '×' => "x".to_owned(),
        '–' | '−' => "-".to_owned(),
        '≤' => "<=".to_owned(),
        '·' => ".".to_owned(),
        'µ' => "u".to_owned(),
        c if c.is_ascii() => c.to_string(),
        _ => "?".to_owned(),
    };
    text.chars().map(one).collect()
}

/// Cells that a text takes.
fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// A text cut to so many cells.
fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if width(&short) + 2 > most {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// Words in lines of at most so many cells.
fn wrapped(words: impl Iterator<Item = String>, between: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in words {
        match lines.last_mut() {
            Some(line) if width(line) + between.len() + width(&word) <= most => {
                line.push_str(between);
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}
