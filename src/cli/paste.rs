//! What people paste, made into our own arguments: launch lines, start-up logs and the short flags of vLLM.

use std::ffi::OsString;
use std::path::Path;

use super::CliError;
use crate::spec::accelerator::{Sourced, Status};
use crate::spec::catalog::{self, Directories, accelerator_of_driver};
use crate::spec::launch_line;
use crate::spec::startup_log::StartupLog;
use crate::spec::{Accelerator, SpecError};
use crate::units::Bytes;

/// vLLM's short flags of several letters, which no POSIX parser reads.
const LONG_SHORTS: [(&str, &str); 5] = [
    ("-tp", "--tp"),
    ("-pp", "--pp"),
    ("-dp", "--dp"),
    ("-ep", "--enable-expert-parallel"),
    ("-q", "--quantization"),
];

/// Commands that take a model and its deployment.
const DEPLOYING: [&str; 5] = ["estimate", "memory", "check", "cost", "simulate"];

/// Names of the accelerator's flag.
const GPU_FLAGS: [&str; 3] = ["--gpu", "--system", "--hardware"];

/// Arguments in our own words.
#[derive(Debug, Default)]
pub(super) struct Pasted {
    /// For the parser.
    pub arguments: Vec<OsString>,
    /// What was left out.
    pub notes: Vec<String>,
    /// The log that was given.
    pub log: Option<StartupLog>,
}

/// Turns words of other tools into ours: `-tp 8`, a whole pasted launch line or log as MODEL, `--from-log FILE`.
pub(super) fn normalise(mut words: impl Iterator<Item = OsString>) -> Result<Pasted, CliError> {
    let mut pasted = Pasted::default();
    let mut logs = vec![];
    while let Some(argument) = words.next() {
        let Some(text) = argument.to_str() else {
            pasted.arguments.push(argument);
            continue;
        };
        let deploying = pasted.place().is_some();
        if let Some((_, long)) = LONG_SHORTS.iter().find(|(short, _)| *short == text) {
            pasted.arguments.push((*long).into());
        } else if let Some(line) = launch_line::parse(file_of(text, deploying).as_deref().unwrap_or(text)) {
            // its flags come first, so that flags given beside it win
            let line = line?;
            // a file that is here is meant, and a missing one is named as it was written
            let model = catalog::name_elsewhere(&line.model);
            let is_file = Path::new(&model).extension().is_some_and(|e| e == "gguf" || e == "json");
            pasted.arguments.push(if is_file || model.is_empty() { line.model.into() } else { model.into() });
            let engine = line.version.map_or_else(String::new, |v| format!("@{v}"));
            pasted.arguments.extend(["--engine".into(), format!("{}{engine}", line.engine.name()).into()]);
            pasted.arguments.extend(line.flags.into_iter().map(OsString::from));
            let dropped = line.dropped.iter();
            pasted.notes.extend(dropped.map(|flag| format!("{flag} of the launch line has no effect here")));
        } else if let Some(log) = pasted_log(text).filter(|_| deploying) {
            logs.push(log);
        } else {
            let attached = text.strip_prefix("--from-log=").map(OsString::from);
            let follows = text == "--from-log";
            pasted.arguments.push(argument);
            let file = if follows { words.next() } else { attached };
            if let Some(file) = file {
                logs.push(StartupLog::from_file(Path::new(&file))?);
                pasted.arguments.extend(follows.then_some(file));
            }
        }
    }
    if let Some(log) = logs.pop() {
        pasted.add(log)?;
    }
    Ok(pasted)
}

/// The text of a script or manifest in place of a model.
fn file_of(text: &str, deploying: bool) -> Option<String> {
    if !deploying {
        return None;
    }
    let path = Path::new(text);
    let is_one =
        path.extension().is_some_and(|e| ["yaml", "yml", "sh", "service"].iter().any(|known| e == *known));
    // longer ones are no launch lines
    if !is_one || !path.metadata().is_ok_and(|m| m.is_file() && m.len() < 65_536) {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// A log pasted as an argument, or the path of one in place of a model.
fn pasted_log(text: &str) -> Option<StartupLog> {
    if text.contains(char::is_whitespace) && text.len() > 40 {
        return StartupLog::parse(text);
    }
    let path = Path::new(text);
    let is_log = path.extension().is_some_and(|e| ["log", "out", "txt"].iter().any(|known| e == *known));
    if is_log && path.is_file() { StartupLog::from_file(path).ok() } else { None }
}

impl Pasted {
    /// Where the command stands that takes a deployment.
    fn place(&self) -> Option<usize> {
        self.arguments.iter().position(|a| DEPLOYING.iter().any(|name| a == name))
    }

    /// Puts what a log says before the flags of the command, which win.
    fn add(&mut self, log: StartupLog) -> Result<(), CliError> {
        let Some(place) = self.place() else { return Ok(()) };
        let mut added = log.arguments();
        if let Some(model) = log.model_name() {
            added.extend(["--log-model".to_owned(), model]);
        }
        let is_gpu = |a: &OsString| {
            a.to_str().is_some_and(|a| GPU_FLAGS.contains(&a.split_once('=').map_or(a, |(flag, _)| flag)))
        };
        if !self.arguments.iter().any(is_gpu) {
            added.extend(["--gpu".to_owned(), gpu(&log)?]);
        }
        self.arguments.splice(place + 1..=place, added.into_iter().map(OsString::from));
        self.notes.extend(log.dropped.iter().map(|flag| format!("{flag} of the log has no effect here")));
        self.log = Some(log);
        Ok(())
    }
}

/// The accelerator of a log.
fn gpu(log: &StartupLog) -> Result<String, SpecError> {
    let none = Directories::default();
    let memory = log.total_gib.map(Bytes::from_gib);
    if let Some(name) = &log.gpu
        && let Ok(found) = accelerator_of_driver(name, memory, &none)
    {
        return Ok(found.id);
    }
    let Some(total) = log.total_gib else {
        return Err(SpecError::Usage("the log does not name the accelerator; give it with --gpu".into()));
    };
    // what drivers and error correction take differs by about a percent
    let near = |id: &String| {
        catalog::accelerator(id, &none).is_ok_and(|a| (a.memory().gib() / total - 1.0).abs() < 0.015)
    };
    let ids = catalog::accelerators(&none)?.into_iter().map(|h| h.id);
    let all: Vec<String> = ids.filter(near).collect();
    let named = if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) };
    Err(SpecError::Usage(format!(
        "the log does not name the accelerator, only its {total} GiB{named}; give it with --gpu"
    )))
}

/// The accelerator with the memory that the server saw.
pub(super) fn as_logged(log: &StartupLog, accelerator: &mut Accelerator) {
    if let Some(value) = log.total_gib.filter(|total| (total / accelerator.memory().gib() - 1.0).abs() < 0.1)
    {
        let (source, date) = ("start-up log".into(), String::new());
        accelerator.visible_memory_gib = Some(Sourced { value, status: Status::Measured, source, date });
    }
}
