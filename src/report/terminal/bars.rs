//! Bars: parts of a whole on one line, lengths beneath each other.

use super::canvas::{Ink, inked};
use super::{Terminal, cut, plain, width};
use crate::report::picture::{Bar, Bars, Stack};

/// Marks of the parts, told apart without colour; ASCII ones beside.
pub(in crate::report) const PARTS: [char; 6] = ['█', '▓', '▒', '▚', '░', '▞'];
const ASCII_PARTS: [char; 6] = ['#', '%', '+', 'x', '-', 'o'];

/// One line to scale in so many cells: what fills the whole, each part by its mark; a dot is free.
pub(in crate::report) fn line(parts: &[(f64, char)], whole: f64, cells: usize, free: char) -> String {
    let mut line = String::new();
    let (mut filled, mut drawn) = (0.0, 0);
    for (value, mark) in parts {
        filled += value;
        let until = (cells as f64 * filled / whole).round().clamp(0.0, cells as f64) as usize;
        line.extend(std::iter::repeat_n(*mark, until.saturating_sub(drawn)));
        drawn = drawn.max(until);
    }
    line.extend(std::iter::repeat_n(free, cells - drawn));
    line
}

/// Parts of a whole: the line and what its marks are.
pub(super) fn stack(stack: &Stack, terminal: Terminal) -> Vec<String> {
    let (marks, free) = if terminal.ascii { (ASCII_PARTS, '.') } else { (PARTS, '·') };
    let mark = |i: usize| marks[i % marks.len()];
    let parts: Vec<(f64, char)> = stack.parts.iter().enumerate().map(|(i, p)| (p.value, mark(i))).collect();
    // parts beyond the whole lie past a line
    let cells = terminal.width - 4;
    let all: f64 = stack.parts.iter().map(|p| p.value).sum();
    let mut text = line(&parts, stack.whole.max(all), cells, free);
    if all > stack.whole * 1.001 {
        let edge = if terminal.ascii { '|' } else { '┃' };
        let at = ((cells as f64 * stack.whole / all).round() as usize).clamp(1, cells - 1);
        text = text.chars().enumerate().map(|(i, c)| if i == at { edge } else { c }).collect();
    }
    let mut out = String::new();
    for run in text.chars().collect::<Vec<_>>().chunk_by(|a, b| a == b) {
        let ink = parts.iter().position(|(_, m)| *m == run[0]).map_or(Ink::Plain, Ink::Series);
        out += &inked(&run.iter().collect::<String>(), ink, terminal.colour);
    }
    let edge = if terminal.ascii { '|' } else { '│' };
    let mut lines = vec![format!(" {edge}{out}{edge}")];
    let longest = stack.parts.iter().map(|p| width(&p.name)).max().unwrap_or(0);
    let widest = stack.parts.iter().map(|p| width(&p.text)).max().unwrap_or(0);
    for (i, part) in stack.parts.iter().enumerate() {
        let mark = inked(&mark(i).to_string(), Ink::Series(i), terminal.colour);
        let name = plain(&part.name, terminal);
        let share = part.value / stack.whole;
        let share = if share < 10.0 { format!("{:.0} %", 100.0 * share) } else { format!("{share:.0} ×") };
        let share = plain(&share, terminal);
        lines.push(format!(" {mark} {name:<longest$}  {:>widest$}  {share:>5}  {}", part.text, part.kind));
    }
    lines
}

/// Eighths of a cell.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Lengths beneath each other, the longest as long as there is room.
pub(super) fn bars(Bars { bars, full }: &Bars, terminal: Terminal) -> Vec<String> {
    let most = bars.iter().map(|b| b.value).fold(*full, f64::max);
    let longest = bars.iter().map(|b| width(&b.name)).max().unwrap_or(0).min(2 * terminal.width / 5);
    let texts = bars.iter().map(|b| width(&b.text)).max().unwrap_or(0);
    let kinds = bars.iter().map(|b| width(&b.kind)).max().unwrap_or(0);
    let cells = terminal.width.saturating_sub(longest + texts + kinds + 7).max(8);
    let one = |bar: &Bar| {
        let length = if most > 0.0 { bar.value / most * cells as f64 } else { 0.0 };
        let (drawn, used) = if terminal.ascii {
            let full = length.round() as usize;
            ("#".repeat(full), full)
        } else {
            let eighths = (8.0 * length).round() as usize;
            let part = eighths % 8;
            let rest = if part > 0 { EIGHTHS[part].to_string() } else { String::new() };
            ("█".repeat(eighths / 8) + &rest, eighths.div_ceil(8))
        };
        let drawn = inked(&drawn, Ink::Series(0), terminal.colour) + &" ".repeat(cells.saturating_sub(used));
        let name = plain(&cut(&bar.name, longest), terminal);
        let text = plain(&bar.text, terminal);
        format!(" {name:<longest$}  {drawn}  {text:>texts$}  {}", plain(&bar.kind, terminal))
    };
    bars.iter().map(one).collect()
}
