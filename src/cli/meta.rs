//! `completions` and `man`, generated from the command line itself.

use clap::Args;
use clap_complete::Shell;

use super::CliError;
use super::output::to_stdout;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

pub(super) fn completions(arguments: &CompletionsArgs, command: &mut clap::Command) -> Result<(), CliError> {
    let mut script = vec![];
    clap_complete::generate(arguments.shell, command, "foretoken", &mut script);
    to_stdout(&script)
}

pub(super) fn man(command: clap::Command) -> Result<(), CliError> {
    let mut page = vec![];
    clap_mangen::Man::new(command).render(&mut page).map_err(|e| CliError::Runtime(e.to_string()))?;
    to_stdout(&page)
}
