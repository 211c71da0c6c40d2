//! `foretoken gpus`.

use clap::Subcommand;

use super::local::accelerator;
use super::{CliError, Context};
use crate::answer::summarise_accelerator;
use crate::report;
use crate::spec::catalog::{Kind, files};
use crate::spec::{Accelerator, Offers};

/// Subcommands of `gpus`.
#[derive(Debug, Subcommand)]
pub(super) enum GpusCommand {
    /// All accelerators of the catalog.
    List {
        /// Only those whose id or name contains this.
        text: Option<String>,
    },
    /// One accelerator, every value with its source.
    Show {
        /// Catalog id, other name or TOML file.
        gpu: String,
    },
}

pub(super) fn run(command: &GpusCommand, context: &Context) -> Result<(), CliError> {
    let report = match command {
        GpusCommand::List { text } => {
            let wanted = text.as_deref().unwrap_or_default().to_lowercase();
            let mut all = vec![];
            for file in files(Kind::Hardware, &context.directories)? {
                if file.header.id.contains(&wanted) || file.header.name.to_lowercase().contains(&wanted) {
                    all.push(summarise_accelerator(&Accelerator::from_toml(&file.text, &file.file)?));
                }
            }
            all.sort_by(|a, b| a.id.cmp(&b.id));
            report::gpu_list(&all)
        }
        GpusCommand::Show { gpu } => {
            let summary = summarise_accelerator(&accelerator(gpu, &context.directories)?);
            report::gpu(&summary.with_offers(&Offers::default()))
        }
    };
    context.output.print(&report)
}
