//! A pasted launch line (`vllm serve MODEL --flag value …`) as MODEL and our own flags. Understood
//! are vLLM, SGLang, TensorRT-LLM and llama.cpp servers, started directly, with `python -m` or in a
//! container, behind environment variables, over several lines.
//!
//! Flags that change what a deployment costs are kept and translated; all others are left out and
//! named, without their values, which may be secrets.

mod flags;
mod tokens;

use std::iter::Peekable;

use super::deployment::EngineKind;
use super::{DataType, SpecError};
use flags::{Action, action};
use tokens::{Token, split};

/// Longest line taken for real, in bytes.
const LONGEST: usize = 65_536;

/// A launch line in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchLine {
    /// Whose line it is.
    pub engine: EngineKind,
    /// The model as named there.
    pub model: String,
    /// Our flags and their values, one after the other.
    pub flags: Vec<String>,
    /// Names of the flags that were left out, in the order of the line.
    pub dropped: Vec<String>,
}

/// Reads a launch line; none when `line` is something else (a model's name, say).
///
/// # Errors
/// When it is a launch line, but names no model, leaves a quote open, has a shell variable where a
/// value is needed, or gives a number that is none.
pub fn parse(line: &str) -> Option<Result<LaunchLine, SpecError>> {
    if !line.trim().contains(char::is_whitespace) || line.len() > LONGEST {
        return None;
    }
    let tokens = match split(line) {
        Ok(tokens) => tokens,
        // An apostrophe in a path is no launch line.
        Err(_) if !["vllm", "sglang", "trtllm", "llama-server"].iter().any(|n| line.contains(n)) => {
            return None;
        }
        Err(problem) => return Some(Err(SpecError::Usage(problem))),
    };
    let (engine, start) = launcher(&tokens)?;
    let words = tokens.iter().skip(start).map_while(|t| match t {
        Token::Word(word) => Some(word.as_str()),
        Token::Separator => None,
    });
    Some(read(engine, words))
}

/// Which server is started, and the place of its first argument.
fn launcher(tokens: &[Token]) -> Option<(EngineKind, usize)> {
    let word = |i: usize| match tokens.get(i) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let mut container = false;
    let mut image = None;
    for i in 0..tokens.len() {
        let name = word(i).rsplit('/').next().unwrap_or_default();
        let next = word(i + 1);
        match name {
            "vllm" if next == "serve" => return Some((EngineKind::Vllm, i + 2)),
            "vllm.entrypoints.openai.api_server" | "vllm.entrypoints.api_server" | "api_server.py" => {
                return Some((EngineKind::Vllm, i + 1));
            }
            "sglang" if next == "serve" => return Some((EngineKind::Sglang, i + 2)),
            "sglang.launch_server" => return Some((EngineKind::Sglang, i + 1)),
            "trtllm-serve" => return Some((EngineKind::Trtllm, i + if next == "serve" { 2 } else { 1 })),
            "llama-server" | "llama-cli" => return Some((EngineKind::Llamacpp, i + 1)),
            "docker" | "podman" | "nerdctl" => container = true,
            // The image's entry point is the server, unless the command says otherwise further on.
            _ if container && name.starts_with("vllm-openai") && !word(i).starts_with('-') => {
                image.get_or_insert((EngineKind::Vllm, i + 1));
            }
            _ => {}
        }
    }
    image
}

fn read<'a>(engine: EngineKind, words: impl Iterator<Item = &'a str>) -> Result<LaunchLine, SpecError> {
    let mut words = words.peekable();
    let mut model: Option<String> = None;
    let mut flags: Vec<(&'static str, Option<String>)> = vec![];
    let mut dropped = vec![];
    while let Some(word) = words.next() {
        if !is_flag(word) {
            if model.is_none() {
                model = Some(word.into());
            } else {
                dropped.push("a further positional argument".into());
            }
            continue;
        }
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value)),
            None => (word.replace('_', "-"), None),
        };
        match action(engine, &name) {
            Action::Model => model = Some(value(&name, attached, &mut words)?.into()),
            Action::Switch(ours) => flags.push((ours, None)),
            Action::Number(ours) => {
                let text = value(&name, attached, &mut words)?;
                match text {
                    // "as the model allows", which is what leaving the flag out means
                    "auto" | "-1" | "0" => dropped.push(name),
                    _ => flags.push((ours, Some(number(&name, text)?))),
                }
            }
            Action::Format(ours) => {
                let text = value(&name, attached, &mut words)?;
                match known_format(text) {
                    Some(known) => flags.push((ours, Some(known))),
                    None => dropped.push(format!("{name} {text} (as the checkpoint says)")),
                }
            }
            Action::DropSwitch => dropped.push(name),
            Action::Drop => {
                if attached.is_none() {
                    words.next_if(|w| !is_flag(w));
                }
                dropped.push(name);
            }
        }
    }
    let model = model.ok_or_else(|| {
        SpecError::Usage(format!(
            "the {} line names no model; write it like `vllm serve MODEL …`",
            engine.name()
        ))
    })?;
    resolved("MODEL", &model)?;
    Ok(LaunchLine { engine, model, flags: last_of_each(flags), dropped })
}

/// A flag starts with a dash; a negative number does not make one.
fn is_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.parse::<f64>().is_err())
}

fn value<'a>(
    name: &str,
    attached: Option<&'a str>,
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
) -> Result<&'a str, SpecError> {
    let value = attached.or_else(|| words.next_if(|w| !is_flag(w))).filter(|v| !v.is_empty());
    let value = value.ok_or_else(|| SpecError::Usage(format!("`{name}` of the launch line has no value")))?;
    resolved(name, value)?;
    Ok(value)
}

/// Refuses what only the shell knows.
fn resolved(name: &str, value: &str) -> Result<(), SpecError> {
    if value.contains('$') || value.contains('`') {
        let shown: String = value.chars().take(60).collect();
        return Err(SpecError::Usage(format!(
            "{name} of the launch line is `{shown}`, which only the shell knows; write its value out"
        )));
    }
    Ok(())
}

/// A number as vLLM reads it: `k`, `m`, `g` are powers of 1000, `K`, `M`, `G` of 1024. Fractions
/// stay as they are (shares of memory).
fn number(name: &str, text: &str) -> Result<String, SpecError> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'm')) => (&text[..at], 1e6),
        Some((at, 'g')) => (&text[..at], 1e9),
        Some((at, 'K')) => (&text[..at], 1024.0),
        Some((at, 'M')) => (&text[..at], 1024f64.powi(2)),
        Some((at, 'G')) => (&text[..at], 1024f64.powi(3)),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 && n * factor < 1e15 => Ok((n * factor).to_string()),
        _ => Err(SpecError::Usage(format!(
            "`{name} {text}` of the launch line is no number; write it like 32768 or 32k"
        ))),
    }
}

/// A number format that we know; none for what only names a checkpoint's method.
pub(super) fn known_format(text: &str) -> Option<String> {
    let plain = match text {
        "auto" => return Some(text.into()),
        other if other.starts_with("fp8_") => other.parse::<DataType>().map_or("fp8", |_| other),
        other => other,
    };
    plain.parse::<DataType>().ok().map(|_| plain.to_owned())
}

/// The last value of each flag, as the servers read it.
fn last_of_each(flags: Vec<(&'static str, Option<String>)>) -> Vec<String> {
    let stem = |flag: &'static str| flag.split('=').next();
    let mut kept: Vec<(&'static str, Option<String>)> = vec![];
    for (name, value) in flags {
        kept.retain(|(other, _)| stem(other) != stem(name));
        kept.push((name, value));
    }
    kept.into_iter().flat_map(|(name, value)| std::iter::once(name.to_owned()).chain(value)).collect()
}
