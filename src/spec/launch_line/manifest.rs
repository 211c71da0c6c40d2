//! Launch lines within YAML: a container of Kubernetes (`command`, `args`, `env`) or a service of Docker Compose.
//!
//! Only what a launch line needs is read, and of several containers the first: `image`, `entrypoint`, `command` and `args`, as
//! a list, in brackets, as text or as a block, and the values of `env` for `$(NAME)`.

use super::tokens::{Token, split};

/// A line with its depth.
struct Line<'a> {
    indent: usize,
    text: &'a str,
}

/// The words of a manifest, the image first as `docker run` has it; none when the text is no manifest.
pub(super) fn words(text: &str) -> Option<Result<Vec<Token>, String>> {
    if !text.contains('\n') {
        return None;
    }
    let lines: Vec<Line<'_>> = text.lines().filter_map(line).collect();
    let first = |key: &str| lines.iter().position(|l| value_of(l, key).is_some());
    let places = ["entrypoint", "command", "args"].map(first);
    if places.iter().all(Option::is_none) {
        return None;
    }
    let mut all = vec![];
    if let Some(image) = first("image").and_then(|i| value_of(lines.get(i)?, "image")) {
        all.extend(["docker".to_owned(), unquoted(image).to_owned()].map(Token::Word));
    }
    let keys = ["entrypoint", "command", "args"];
    for (place, key) in places.into_iter().zip(keys) {
        let Some(place) = place else { continue };
        match block(&lines, place, key) {
            Ok(words) => all.extend(words),
            Err(problem) => return Some(Err(problem)),
        }
    }
    let values = environment(&lines);
    for token in &mut all {
        if let Token::Word(word) = token {
            for (name, value) in &values {
                *word = word.replace(&format!("$({name})"), value);
            }
        }
    }
    Some(Ok(all))
}

fn line(text: &str) -> Option<Line<'_>> {
    let trimmed = text.trim_start();
    let text_only = trimmed.split(" # ").next().unwrap_or(trimmed).trim_end();
    (!text_only.is_empty() && !text_only.starts_with('#'))
        .then(|| Line { indent: text.len() - trimmed.len(), text: text_only })
}

/// What follows `key:`, with a list's dash before it or not.
fn value_of<'a>(line: &Line<'a>, key: &str) -> Option<&'a str> {
    let text = line.text.strip_prefix("- ").unwrap_or(line.text);
    text.strip_prefix(key)?.strip_prefix(':').map(str::trim)
}

fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// The words under a key.
fn block(lines: &[Line<'_>], place: usize, key: &str) -> Result<Vec<Token>, String> {
    let Some(head) = lines.get(place) else { return Ok(vec![]) };
    let inline = value_of(head, key).unwrap_or_default();
    // `- args:` lies two deeper than its dash
    let depth = head.indent + if head.text.starts_with("- ") { 2 } else { 0 };
    let below = lines.get(place + 1..).unwrap_or_default();
    let deeper = |l: &&Line<'_>| l.indent > depth;
    match inline.chars().next() {
        Some('[') => {
            let rest: Vec<&str> = below.iter().take_while(deeper).map(|l| l.text).collect();
            let joined = format!("{inline} {}", rest.join(" "));
            let inside = joined.trim_start_matches('[');
            let inside = inside.rsplit_once(']').map_or(inside, |(inside, _)| inside);
            items(inside.split(',').map(str::trim))
        }
        Some('|' | '>') => {
            split(&below.iter().take_while(deeper).map(|l| l.text).collect::<Vec<_>>().join("\n"))
        }
        Some(_) => {
            let more: Vec<&str> = below.iter().take_while(deeper).map(|l| l.text).collect();
            split(&format!("{} {}", unquoted(inline), more.join(" ")))
        }
        None => {
            let dash = below.first().map_or(depth, |l| l.indent);
            let inside =
                below.iter().take_while(|l| l.indent > dash || l.indent == dash && l.text.starts_with('-'));
            let mut listed: Vec<String> = vec![];
            for line in inside {
                match listed.last_mut() {
                    Some(item) if line.indent > dash => item.extend(["\n", line.text]),
                    _ => listed.push(line.text.trim_start_matches('-').trim().to_owned()),
                }
            }
            // a block's first line is its marker: `|`, `>-`
            let text = |item: &'_ String| match item.split_once('\n') {
                Some((marker, rest)) if marker.starts_with(['|', '>']) => rest.to_owned(),
                _ => item.clone(),
            };
            let texts: Vec<String> = listed.iter().map(text).collect();
            items(texts.iter().map(String::as_str))
        }
    }
}

/// Items of a list, each one word, or a whole command where it has blanks.
fn items<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<Token>, String> {
    let mut all = vec![];
    for item in items.map(unquoted).filter(|i| !i.is_empty()) {
        if item.contains(char::is_whitespace) && !item.starts_with('{') {
            all.extend(split(item)?);
        } else {
            all.push(Token::Word(item.to_owned()));
        }
    }
    Ok(all)
}

/// `- name: X` with `value: Y` below it.
fn environment<'a>(lines: &[Line<'a>]) -> Vec<(&'a str, &'a str)> {
    let pair = |two: &[Line<'a>]| {
        let [a, b] = two else { return None };
        Some((unquoted(value_of(a, "name")?), unquoted(value_of(b, "value")?)))
    };
    lines.windows(2).filter_map(pair).collect()
}
