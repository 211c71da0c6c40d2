//! `foretoken doctor`.

use clap::Args;
use std::path::PathBuf;

use super::{CliError, Context};
use crate::answer::doctor;
use crate::machine::library::Surroundings;
use crate::report;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Directory with CUDA libraries, or a toolkit or Python prefix; searched before all others.
    #[arg(long, value_name = "DIR")]
    cuda_libraries: Vec<PathBuf>,
}

pub(super) fn run(arguments: &DoctorArgs, context: &Context) -> Result<(), CliError> {
    let surroundings = Surroundings::of_process(arguments.cuda_libraries.clone());
    let found = doctor(&surroundings, &context.directories);
    context.output.print(&report::doctor(&found))?;
    if found.has_usable_gpu() {
        return Ok(());
    }
    let why = found.problem.unwrap_or_else(|| "no GPU can run a benchmark; see the list".into());
    Err(CliError::NoAccelerator(why))
}
