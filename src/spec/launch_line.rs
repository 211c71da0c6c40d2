//! A pasted launch line (`vllm serve MODEL --flag value …`) as MODEL and our own flags. Understood
//! are vLLM, SGLang, TensorRT-LLM and llama.cpp servers, started directly, with `python -m` or in a
//! container, behind environment variables, over several lines, or in YAML of Kubernetes or Docker Compose.
//!
//! Flags that change what a deployment costs are kept and translated; all others are left out and
//! named, without their values, which may be secrets.

mod flags;
mod manifest;
mod tokens;
mod write;

use std::iter::Peekable;

use super::deployment::EngineKind;
use super::{DataType, SpecError};
use flags::{Action, action};
use tokens::{Token, split};
pub use write::write;

/// A flag of ours with its value.
type Flag = (&'static str, Option<String>);

/// Longest line taken for real, in bytes.
const LONGEST: usize = 65_536;

/// A launch line in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchLine {
    /// Whose line it is.
    pub engine: EngineKind,
    /// Its version, where the image's tag has it.
    pub version: Option<String>,
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
    let tokens = match manifest::words(line).unwrap_or_else(|| split(line)) {
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
    Some(read(engine, words).map(|line| LaunchLine { version: version(&tokens), ..line }))
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
            "sglang.launch_server" | "sglang_router.launch_server" => {
                return Some((EngineKind::Sglang, i + 1));
            }
            "trtllm-serve" => return Some((EngineKind::Trtllm, i + if next == "serve" { 2 } else { 1 })),
            "lmdeploy" if next == "serve" && word(i + 2) == "api_server" => {
                return Some((EngineKind::Lmdeploy, i + 3));
            }
            "ftllm" if matches!(next, "server" | "serve") => return Some((EngineKind::Fastllm, i + 2)),
            "llama-server" | "llama-cli" => return Some((EngineKind::Llamacpp, i + 1)),
            "docker" | "podman" | "nerdctl" => container = true,
            // The image's entry point is the server, unless the command says otherwise further on.
            _ if container && name.starts_with("vllm-openai") && !word(i).starts_with('-') => {
                image.get_or_insert((EngineKind::Vllm, i + 1));
            }
            _ if container && name.starts_with("llama.cpp:server") => {
                image.get_or_insert((EngineKind::Llamacpp, i + 1));
            }
            _ => {}
        }
    }
    image
}

/// The version in an image's tag: `vllm/vllm-openai:v0.11.2`, `lmsysorg/sglang:v0.5.4.post1-cu126`,
/// `llama.cpp:server-cuda-b6325`.
fn version(tokens: &[Token]) -> Option<String> {
    let tag = tokens.iter().find_map(|token| {
        let Token::Word(word) = token else { return None };
        let (image, tag) = word.rsplit('/').next()?.split_once(':')?;
        ["vllm-openai", "sglang", "llama.cpp"].contains(&image).then_some(tag)
    })?;
    let last = tag.rsplit('-').find(|part| {
        part.trim_start_matches(['v', 'b']).starts_with(|c: char| c.is_ascii_digit())
            && !part.starts_with("cu")
    })?;
    let plain: Vec<&str> = last.trim_start_matches('v').split('.').take(2).collect();
    let known = plain.iter().all(|p| p.trim_start_matches('b').parse::<u32>().is_ok());
    known.then(|| plain.join("."))
}

fn read<'a>(engine: EngineKind, words: impl Iterator<Item = &'a str>) -> Result<LaunchLine, SpecError> {
    let mut words = words.peekable();
    let mut model: Option<String> = None;
    let mut flags: Vec<Flag> = vec![];
    let mut dropped = vec![];
    while let Some(word) = words.next() {
        if !is_flag(word) {
            // llama.cpp takes no model without a flag: what stands alone belongs to a switch (`-fa on`)
            if model.is_none() && engine != EngineKind::Llamacpp {
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
    let mut flags = last_of_each(flags);
    match engine {
        EngineKind::Sglang => share_attention(&mut flags, &mut dropped),
        EngineKind::Llamacpp => share_context(&mut flags, &dropped),
        _ => {}
    }
    let flags = flags.into_iter().flat_map(|(name, value)| std::iter::once(name.to_owned()).chain(value));
    Ok(LaunchLine { engine, version: None, model, flags: flags.collect(), dropped })
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
fn last_of_each(flags: Vec<Flag>) -> Vec<Flag> {
    let stem = |flag: &'static str| flag.split('=').next();
    let mut kept: Vec<Flag> = vec![];
    for (name, value) in flags {
        kept.retain(|(other, _)| stem(other) != stem(name));
        kept.push((name, value));
    }
    kept
}

/// The number that a flag has.
fn number_of(flags: &[Flag], name: &str) -> Option<u64> {
    flags.iter().find(|(flag, _)| *flag == name)?.1.as_ref()?.parse().ok()
}

fn replace(flags: &mut [Flag], name: &str, number: u64) {
    for (_, value) in flags.iter_mut().filter(|(flag, _)| *flag == name) {
        *value = Some(number.to_string());
    }
}

/// SGLang counts all ranks of a replica as tensor parallel: with `--enable-dp-attention` attention is cut over tp/dp of
/// them, and the other engines' tp is that (`server_args.py`, `dp_size` must divide `tp_size`).
fn share_attention(flags: &mut [Flag], dropped: &mut Vec<String>) {
    let (tp, dp) = ("--tensor-parallel-size", "--data-parallel-size");
    if !dropped.iter().any(|flag| flag == "--enable-dp-attention") {
        return;
    }
    if let (Some(ranks), Some(replicas)) = (number_of(flags, tp), number_of(flags, dp))
        && replicas > 0
        && ranks.is_multiple_of(replicas)
    {
        replace(flags, tp, ranks / replicas);
        dropped.retain(|flag| flag != "--enable-dp-attention");
    }
}

/// llama.cpp divides its context among the slots unless they share it (`--kv-unified`).
fn share_context(flags: &mut [Flag], dropped: &[String]) {
    let shared = dropped.iter().any(|flag| flag == "--kv-unified" || flag == "-kvu");
    let slots = number_of(flags, "--max-num-seqs");
    if let (Some(context), Some(slots), false) = (number_of(flags, "--max-model-len"), slots, shared) {
        replace(flags, "--max-model-len", (context / slots.max(1)).max(1));
    }
}
