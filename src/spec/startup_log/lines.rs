//! Lines of a log without what stands before them, put together again where a terminal or an editor cut them.

/// Longest line that is kept, in characters: a configuration takes about ten thousand.
const LONGEST: usize = 65_536;

/// Words that begin a line which a terminal's width may have cut.
const LONG: [&str; 5] = [
    "with config:",
    "non-default args:",
    "server_args=",
    "args: Namespace(",
    "To serve at least one request",
];

/// Most physical lines that one was cut into.
const MOST_PARTS: usize = 400;

/// The lines as they were written.
pub(super) fn logical(text: &str) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    // parts that may still follow the last line
    let mut open = 0;
    for physical in text.split(['\n', '\r']) {
        let clean = plain(physical);
        let (rest, prefixed) = without_prefix(&clean);
        if rest.trim().is_empty() {
            continue;
        }
        match all.last_mut() {
            Some(last) if open > 0 && !prefixed => {
                if last.len() < LONGEST {
                    last.extend(rest.chars().take(LONGEST));
                }
                open -= 1;
            }
            _ => {
                open = if LONG.iter().any(|l| rest.contains(l)) { MOST_PARTS } else { 0 };
                all.push(rest.chars().take(LONGEST).collect());
            }
        }
    }
    all
}

/// Without colours and other control sequences (ECMA-48: ESC [ … final byte), tabs as blanks.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A line behind its prefixes: containers' names, time stamps, processes, level and place. True where it had some.
fn without_prefix(line: &str) -> (&str, bool) {
    let mut rest = line.trim_start_matches(['│', '#', '>', ' ']);
    let mut prefixed = false;
    // docker compose: "vllm-1  | "
    if let Some((name, after)) = rest.split_once(" | ")
        && name.len() < 40
        && !name.trim_end().contains(' ')
    {
        (rest, prefixed) = (after.trim_start(), true);
    }
    loop {
        let before = rest;
        for (open, close) in [('(', ") "), ('[', "] ")] {
            if rest.starts_with(open)
                && let Some((inside, after)) = rest.split_once(close)
                && inside.len() < 80
                && is_origin(inside)
            {
                (rest, prefixed) = (after.trim_start(), true);
            }
        }
        if let Some((word, after)) = rest.split_once(' ')
            && (is_stamp(word)
                || ["INFO", "WARNING", "ERROR", "DEBUG", "CRITICAL"].contains(&word.trim_end_matches(':')))
        {
            (rest, prefixed) = (after.trim_start(), true);
        }
        if rest == before {
            return (rest.trim_end(), prefixed);
        }
    }
}

/// `(EngineCore_DP0 pid=7130`, `[core.py:93`, `[2025-10-16 09:06:22 TP5`, `[rank0`, `(Worker_TP0`.
fn is_origin(inside: &str) -> bool {
    let inside = inside.trim_start_matches(['(', '[']);
    inside.contains("pid=")
        || inside.contains(".py:")
        || inside.contains("rank")
        || inside.split(' ').next().is_some_and(is_stamp)
        || inside.starts_with("Worker")
        || inside.starts_with("Stage")
}

/// A date or a time of day: digits with at least two separators, or `mm-dd`.
fn is_stamp(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let separators = word.chars().filter(|c| "-:/.,TZ+".contains(*c)).count();
    digits >= 4
        && separators >= 1
        && digits + separators == word.chars().count()
        && !word.starts_with('.')
        && (separators >= 2 || word.contains('-') && word.len() == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_all_kinds() {
        for (line, plain) in [
            (
                "INFO 01-30 03:18:12 gpu_model_runner.py:848] Loading model weights took 67.7229 GB",
                "gpu_model_runner.py:848] Loading model weights took 67.7229 GB",
            ),
            (
                "(EngineCore_DP0 pid=441) INFO 11-24 11:43:54 [gpu_model_runner.py:3341] Model loading took 2.05 GiB",
                "Model loading took 2.05 GiB",
            ),
            ("vllm-1  | (Worker_TP0 pid=9) ERROR 11-18 18:07:28 [x.py:1] a b", "a b"),
            ("[2026-02-24T20:21:58Z] (EngineCore_DP0 pid=6940) ValueError: Free", "ValueError: Free"),
            (
                "│ INFO 03-21 20:15:45 [worker.py:267] model weights take 12.55GiB",
                "model weights take 12.55GiB",
            ),
            ("\u{1b}[0;36m(EngineCore pid=1)\u{1b}[0;0m INFO x", "x"),
            ("[2025-10-16 09:06:22 TP5] KV Cache is allocated.", "KV Cache is allocated."),
        ] {
            assert_eq!(logical(line), [plain], "{line}");
        }
    }

    #[test]
    fn lines_that_were_cut_are_joined() {
        let text = "(E pid=3) ValueError: To serve at least one request with the model's max seq len (100000), (4.26 GiB KV cach\r\ne is needed\n(E pid=3) next";
        assert_eq!(logical(text).len(), 2);
        assert!(logical(text)[0].ends_with("KV cache is needed"));
    }
}
