//! Recorded requests: the Azure traces of 2023, Mooncake's with block hashes, and any CSV or JSON lines
//! with a time, a prompt length and an output length.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::arrivals::Traffic;
use crate::calibrate::samples::read_csv;
use crate::spec::SpecError;

/// A recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TraceRow {
    /// When it was sent, in seconds from the first.
    pub time_s: f64,
    /// Prompt tokens.
    pub input: u32,
    /// Generated tokens.
    pub output: u32,
    /// Where its block hashes stand: first and number.
    pub blocks: [u32; 2],
}

/// Requests in the order of their times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    rows: Vec<TraceRow>,
    hashes: Arc<[u32]>,
    hash_tokens: u32,
}

/// Tokens that a hash of a Mooncake trace stands for (its README: blocks of 512 tokens).
const MOONCAKE_BLOCK: u32 = 512;

/// Names of the columns, in lower case, and the seconds in a unit of numeric times.
const TIMES: [(&str, f64); 9] = [
    ("timestamp", 1.0),
    ("timestamp_s", 1.0),
    ("timestamp_ms", 1e-3),
    ("time_s", 1.0),
    ("arrival_s", 1.0),
    ("arrival_time", 1.0),
    ("arrived_at", 1.0),
    ("arrival_ms", 1e-3),
    ("sent_s", 1.0),
];
const INPUTS: [&str; 9] = [
    "contexttokens",
    "input_length",
    "input_len",
    "isl",
    "num_prefill_tokens",
    "prompt_tokens",
    "request tokens",
    "prompt_len",
    "input_tokens",
];
const OUTPUTS: [&str; 9] = [
    "generatedtokens",
    "output_length",
    "output_len",
    "osl",
    "num_decode_tokens",
    "completion_tokens",
    "response tokens",
    "output_tokens",
    "generated_tokens",
];

impl Trace {
    /// Reads a file, gzipped or not.
    ///
    /// # Errors
    /// When it cannot be read or a line holds no request; the message names the line.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        Self::parse(&read_csv(path)?, &path.display().to_string())
    }

    /// Parses the text of a file: JSON lines when it starts with a brace, else CSV. Outputs of 0 tokens count
    /// as 1: the prompt was computed. Requests are put in the order of their times.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let mut trace = read_rows(text, file, true)?;
        trace.rows.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
        let first = trace.rows[0].time_s;
        for row in &mut trace.rows {
            row.time_s -= first;
        }
        Ok(trace)
    }

    /// Traffic that sends `prompts` prompts in turn, the same tokens again each time. Their first `shared` tokens are the same in
    /// all. A hash stands for a block of `block` tokens; the last token of a prompt is computed whatever the cache holds, and
    /// has none.
    ///
    /// # Errors
    /// When the traffic makes no sense, or would fill the memory.
    pub fn repeating(traffic: &Traffic, prompts: u32, shared: u32, block: u32) -> Result<Self, SpecError> {
        let block = block.max(1);
        let mut trace = Self { hash_tokens: block, ..Self::default() };
        let (mut hashes, mut known): (Vec<u32>, Vec<(u32, [u32; 2])>) = (vec![], vec![]);
        let common = shared / block;
        let mut next = common;
        for (i, request) in traffic.stream()?.enumerate() {
            let place = i % prompts.max(1) as usize;
            if place == known.len() {
                let (first, count) = (hashes.len() as u32, request.input.saturating_sub(1) / block);
                if hashes.len() + count as usize > MOST_REPEATED {
                    return Err(too_many());
                }
                hashes.extend(0..common.min(count));
                hashes.extend(next..next + count.saturating_sub(common));
                next += count.saturating_sub(common);
                known.push((request.input, [first, count]));
            }
            if i >= MOST_REPEATED {
                return Err(too_many());
            }
            let (input, blocks) = known[place];
            trace.rows.push(TraceRow { time_s: request.sent, input, output: request.output, blocks });
        }
        trace.hashes = hashes.into();
        Ok(trace)
    }

    /// Requests in the order of their times.
    #[must_use]
    pub fn rows(&self) -> &[TraceRow] {
        &self.rows
    }

    /// Hashes of all blocks, and the tokens that one stands for (0 without hashes).
    #[must_use]
    pub fn hashes(&self) -> (Arc<[u32]>, u32) {
        (Arc::clone(&self.hashes), self.hash_tokens)
    }

    /// Lengths of prompts and outputs.
    #[must_use]
    pub fn lengths(&self) -> Arc<[(u32, u32)]> {
        self.rows.iter().map(|r| (r.input, r.output)).collect()
    }
}

/// Most requests, and blocks of different prompts, that are kept of prompts that repeat.
const MOST_REPEATED: usize = 10_000_000;

fn too_many() -> SpecError {
    SpecError::Usage(format!(
        "prompts that repeat are kept in memory: at most {MOST_REPEATED} requests, and blocks of different prompts"
    ))
}

fn fault(file: &str, line: usize, why: &str) -> SpecError {
    SpecError::Syntax { file: file.into(), format: "trace", message: format!("line {line}: {why}") }
}

/// A count of tokens.
fn tokens(value: f64, what: &str) -> Result<u32, String> {
    if value.is_finite() && (0.0..=1e9).contains(&value) && value.fract() == 0.0 {
        Ok(value as u32)
    } else {
        Err(format!("{what} is {value}; it must be a whole number of tokens from 0 to 1e9"))
    }
}

fn row(time_s: f64, input: f64, output: f64) -> Result<TraceRow, String> {
    if !(time_s.is_finite() && time_s.abs() < 1e12) {
        return Err(format!("the time {time_s} is not a number of seconds"));
    }
    let input = tokens(input, "the prompt's length")?.max(1);
    let output = tokens(output, "the output's length")?.max(1);
    Ok(TraceRow { time_s, input, output, blocks: [0, 0] })
}

/// Prompt and output lengths of a file in its order; times are not needed and not looked at.
///
/// # Errors
/// As [`Trace::parse`].
pub(super) fn length_pairs(text: &str, file: &str) -> Result<Arc<[(u32, u32)]>, SpecError> {
    Ok(read_rows(text, file, false)?.lengths())
}

fn read_rows(text: &str, file: &str, timed: bool) -> Result<Trace, SpecError> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let trace =
        if text.starts_with('{') { json_lines(text, file, timed)? } else { csv_rows(text, file, timed)? };
    if trace.rows.is_empty() {
        return Err(fault(file, 1, "the file holds no requests; add a line for each"));
    }
    Ok(trace)
}

fn csv_rows(text: &str, file: &str, timed: bool) -> Result<Trace, SpecError> {
    if text.is_empty() {
        return Ok(Trace::default());
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| fault(file, 1, &e.to_string()))?.clone();
    let names: Vec<String> = header.iter().map(|n| n.trim().to_ascii_lowercase()).collect();
    let find = |wanted: &[&str], what: &str| {
        wanted.iter().find_map(|w| names.iter().position(|n| n == w)).ok_or_else(|| SpecError::Missing {
            file: file.into(),
            key: what.into(),
            fix: format!("a trace needs a column named one of {}", wanted.join(", ")),
        })
    };
    let time_names: Vec<&str> = TIMES.iter().map(|t| t.0).collect();
    let time = if timed { Some(find(&time_names, "the time of a request")?) } else { None };
    let (input, output) = (find(&INPUTS, "the prompt's length")?, find(&OUTPUTS, "the output's length")?);
    let unit = TIMES.iter().find(|t| time.is_some_and(|i| t.0 == names[i])).map_or(1.0, |t| t.1);
    let mut rows = vec![];
    for (i, record) in reader.records().enumerate() {
        let line = i + 2;
        let record = record.map_err(|e| fault(file, line, &e.to_string()))?;
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let number = |at: usize| {
            cell(at).parse::<f64>().map_err(|_| fault(file, line, &format!("`{}` is not a number", cell(at))))
        };
        let at = match time.map(cell) {
            None => 0.0,
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) => seconds * unit,
                Err(_) => date(text).ok_or_else(|| {
                    let why = format!("`{text}` is neither a number nor a date like 2023-11-16 18:17:03.98");
                    fault(file, line, &why)
                })?,
            },
        };
        rows.push(row(at, number(input)?, number(output)?).map_err(|why| fault(file, line, &why))?);
    }
    Ok(Trace { rows, ..Trace::default() })
}

/// JSON lines; `timestamp` is in milliseconds, as Mooncake writes it.
fn json_lines(text: &str, file: &str, timed: bool) -> Result<Trace, SpecError> {
    let (mut rows, mut hashes) = (vec![], vec![]);
    let mut ids: HashMap<u64, u32> = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let bad = |why: &str| fault(file, i + 1, why);
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| bad(&e.to_string()))?;
        let number = |names: &[&str], what: &str| {
            names.iter().find_map(|n| value.get(n)).and_then(serde_json::Value::as_f64).ok_or_else(|| {
                bad(&format!("{what} is missing or no number; name it one of {}", names.join(", ")))
            })
        };
        let unit = |name: &str| {
            if name == "timestamp" { 1e-3 } else { TIMES.iter().find(|t| t.0 == name).map_or(1.0, |t| t.1) }
        };
        let time = match TIMES.iter().find(|(n, _)| value.get(n).is_some()) {
            _ if !timed => 0.0,
            Some((name, _)) => number(&[name], "the time")? * unit(name),
            None => return Err(bad("there is no time; name it timestamp (milliseconds) or time_s")),
        };
        let mut row =
            row(time, number(&INPUTS, "the prompt's length")?, number(&OUTPUTS, "the output's length")?)
                .map_err(|why| bad(&why))?;
        if let Some(list) = value.get("hash_ids") {
            let first = hashes.len() as u32;
            for id in list.as_array().ok_or_else(|| bad("hash_ids is no list"))? {
                let id =
                    id.as_u64().ok_or_else(|| bad("hash_ids holds something that is no whole number"))?;
                let next = ids.len() as u32;
                hashes.push(*ids.entry(id).or_insert(next));
            }
            row.blocks = [first, hashes.len() as u32 - first];
        }
        rows.push(row);
    }
    let hash_tokens = if hashes.is_empty() { 0 } else { MOONCAKE_BLOCK };
    Ok(Trace { rows, hashes: hashes.into(), hash_tokens })
}

/// Seconds of a date like `2023-11-16 18:17:03.9799600` or with a `T`, from an arbitrary day.
fn date(text: &str) -> Option<f64> {
    let (day, clock) = text.trim_end_matches(['Z', 'z']).split_once([' ', 'T'])?;
    let clock = clock.split_once('+').map_or(clock, |c| c.0);
    let whole = |t: &str| t.parse::<i64>().ok();
    let mut parts = day.split('-');
    let (y, m, d) = (whole(parts.next()?)?, whole(parts.next()?)?, whole(parts.next()?)?);
    if !((1..=12).contains(&m) && (1..=31).contains(&d) && (0..10_000).contains(&y)) {
        return None;
    }
    let mut parts = clock.split(':');
    let (hours, minutes) = (whole(parts.next()?)?, whole(parts.next()?)?);
    let seconds: f64 = parts.next().unwrap_or("0").parse().ok()?;
    if !((0..24).contains(&hours) && (0..60).contains(&minutes) && (0.0..61.0).contains(&seconds)) {
        return None;
    }
    // days of the proleptic Gregorian calendar, years from March (H. Hinnant, days_from_civil)
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1;
    Some((days * 86_400 + hours * 3600 + minutes * 60) as f64 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::{Arrivals, Length, Lengths, Rate};

    #[test]
    fn azure_mooncake_and_others() {
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5000000,4808,10\n2023-11-17 00:00:01.0,3180,0\n";
        let trace = Trace::parse(azure, "a.csv").unwrap();
        assert_eq!(trace.rows()[0], TraceRow { time_s: 0.0, input: 4808, output: 10, blocks: [0, 0] });
        assert!((trace.rows()[1].time_s - 1.5).abs() < 1e-6 && trace.rows()[1].output == 1);
        let mooncake = r#"{"timestamp": 3000, "input_length": 900, "output_length": 5, "hash_ids": [7, 8]}
{"timestamp": 1000, "input_length": 1100, "output_length": 6, "hash_ids": [7, 9, 10]}"#;
        let trace = Trace::parse(mooncake, "m.jsonl").unwrap();
        assert_eq!(trace.rows()[1], TraceRow { time_s: 2.0, input: 900, output: 5, blocks: [0, 2] });
        let (hashes, tokens) = trace.hashes();
        assert_eq!((&*hashes, tokens), (&[0, 1, 0, 2, 3][..], 512));
        let vidur =
            Trace::parse("arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,374,44\n", "v.csv").unwrap();
        assert_eq!(&*vidur.lengths(), [(374, 44)]);
    }

    #[test]
    fn prompts_repeat_in_turn() {
        let traffic = Traffic {
            arrivals: Arrivals::Open(Rate::constant(5.0).unwrap(), 1.0),
            lengths: Lengths::Independent { input: Length::Fixed(49), output: Length::Fixed(3) },
            requests: 5,
            seed: 1,
        };
        let trace = Trace::repeating(&traffic, 2, 20, 16).unwrap();
        let (hashes, tokens) = trace.hashes();
        // 20 shared tokens fill one block of 16; 48 of 49 tokens can be found again
        assert_eq!((&*hashes, tokens), (&[0, 1, 2, 0, 3, 4][..], 16));
        let blocks: Vec<[u32; 2]> = trace.rows().iter().map(|r| r.blocks).collect();
        assert_eq!(blocks, [[0, 3], [3, 3], [0, 3], [3, 3], [0, 3]]);
        let sent: Vec<f64> = traffic.stream().unwrap().map(|r| r.sent).collect();
        assert_eq!(trace.rows().iter().map(|r| r.time_s).collect::<Vec<_>>(), sent);
        let many = Traffic { requests: MOST_REPEATED as u64 + 1, ..traffic };
        assert!(Trace::repeating(&many, 2, 20, 16).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn rubbish_names_its_line() {
        for (text, words) in [
            ("", "holds no requests"),
            ("a,b\n1,2\n", "needs a column named"),
            ("timestamp,isl,osl\n", "holds no requests"),
            ("timestamp,isl,osl\n1,10,5\nx,10,5\n", "line 3"),
            ("timestamp,isl,osl\n1,-10,5\n", "line 2"),
            ("timestamp,isl,osl\n1,10.5,5\n", "whole number"),
            ("timestamp,isl,osl\nnan,10,5\n", "not a number of seconds"),
            ("timestamp,isl,osl\n1,10\n", "line 2"),
            ("{\"timestamp\": 1}", "line 1"),
            ("{\"timestamp\": 1, \"isl\": 1, \"osl\": 1}\n{oops", "line 2"),
            ("{\"timestamp\": 1, \"isl\": 1, \"osl\": 1, \"hash_ids\": 5}", "hash_ids"),
        ] {
            let error = Trace::parse(text, "t").unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
