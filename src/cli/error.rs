//! Errors and exit codes of the process.

use std::process::ExitCode;

use super::output::to_stderr;
use crate::memory::MemoryError;
use crate::spec::SpecError;

/// Why a command did not answer with success.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong usage or input: exit code 2.
    #[error(transparent)]
    Input(#[from] SpecError),
    /// Something failed while running: exit code 1.
    #[error("{0}")]
    Runtime(String),
    /// The answer is no, and `--check` asked for a verdict: exit code 3.
    #[error("{0}")]
    No(String),
    /// No accelerator or driver that can be used: exit code 4.
    #[error("{0}")]
    NoAccelerator(String),
}

impl From<MemoryError> for CliError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Spec(spec) => Self::Input(spec),
            MemoryError::Empty { .. } => Self::Input(SpecError::Usage(error.to_string())),
        }
    }
}

/// Longest word of a message in characters: names are quoted as given, but not whole files.
const LONGEST_WORD: usize = 400;

/// The message without line breaks and other control characters, words of no end shortened.
fn one_line(message: &str) -> String {
    let words = message.split_whitespace().map(|word| {
        let mut visible = word.chars().filter(|c| !c.is_control());
        let mut short: String = visible.by_ref().take(LONGEST_WORD).collect();
        if visible.next().is_some() {
            short.push('…');
        }
        short
    });
    words.collect::<Vec<_>>().join(" ")
}

impl CliError {
    /// Prints one line to stderr and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        to_stderr(&format!("error: {}", one_line(&self.to_string())));
        ExitCode::from(match self {
            Self::Input(_) => 2,
            Self::Runtime(_) => 1,
            Self::No(_) => 3,
            Self::NoAccelerator(_) => 4,
        })
    }
}
