//! `foretoken models`.

use clap::{Args, Subcommand};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::args::whole;
use super::output::{to_stderr, to_stdout};
use super::{CliError, Context};
use crate::answer::summarise_model;
use crate::report;
use crate::spec::ModelSpec;
use crate::spec::catalog::{Kind, files, model};
use crate::spec::import::{Identity, import, to_toml};
use crate::spec::model::ModelSource;

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// All models of the catalog.
    List {
        /// Only those whose id or Hugging Face id contains this.
        text: Option<String>,
    },
    /// One model: parameters, layers, cache, checkpoint.
    Show {
        /// Catalog id, Hugging Face id, directory, config.json, .gguf or TOML file.
        model: String,
    },
    /// Write a catalog file from a configuration.
    Import(Box<ImportArgs>),
}

/// Arguments of `models import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Directory, config.json, .gguf or TOML file.
    path: PathBuf,
    /// Catalog id [default: the repository's name in lower case].
    #[arg(long)]
    id: Option<String>,
    /// Repository on Hugging Face: organisation/name.
    #[arg(long, value_name = "ORG/NAME")]
    hf_id: Option<String>,
    /// Published parameter count, which must agree to the unit and so confirms what had to be assumed.
    #[arg(long, value_parser = whole, value_name = "N")]
    parameters: Option<u64>,
    /// Directory or .toml file to write [default: print the text].
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
    /// Another repository whose model has the same shapes and context; may be repeated.
    #[arg(long, value_name = "ORG/NAME", requires = "source_repository")]
    alias: Vec<String>,
    /// Repository or package that the configuration was read from.
    #[arg(long, value_name = "NAME")]
    source_repository: Option<String>,
    /// Path inside it.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    source_path: String,
    /// Revision of it.
    #[arg(long, value_name = "COMMIT", default_value = "", hide_default_value = true)]
    source_revision: String,
    /// How it was obtained.
    #[arg(long, value_name = "TEXT", default_value = "verbatim")]
    source_kind: String,
    /// Licence of the source.
    #[arg(long, value_name = "SPDX", default_value = "", hide_default_value = true)]
    source_licence: String,
}

pub(super) fn run(command: &ModelsCommand, context: &Context) -> Result<(), CliError> {
    let report = match command {
        ModelsCommand::List { text } => {
            let wanted = text.as_deref().unwrap_or_default().to_lowercase();
            let mut all = vec![];
            for file in files(Kind::Models, &context.directories)? {
                if file.header.id.contains(&wanted) || file.header.hf_id.to_lowercase().contains(&wanted) {
                    all.push(summarise_model(&ModelSpec::from_toml(&file.text, &file.file)?));
                }
            }
            all.sort_by(|a, b| a.id.cmp(&b.id));
            report::model_list(&all)
        }
        ModelsCommand::Show { model: name } => {
            report::model(&summarise_model(&model(name, &context.directories)?))
        }
        ModelsCommand::Import(arguments) => return write(arguments),
    };
    context.output.print(&report)
}

fn write(arguments: &ImportArgs) -> Result<(), CliError> {
    let source = arguments.source_repository.clone().map(|repository| ModelSource {
        repository,
        path: arguments.source_path.clone(),
        revision: arguments.source_revision.clone(),
        kind: arguments.source_kind.clone(),
        licence: arguments.source_licence.clone(),
        aliases: arguments.alias.clone(),
    });
    let identity = Identity {
        id: arguments.id.clone(),
        hf_id: arguments.hf_id.clone(),
        source,
        parameters: arguments.parameters,
    };
    let spec = import(&arguments.path, identity)?;
    for warning in &spec.warnings {
        to_stderr(&format!("warning: {warning}"));
    }
    let text = to_toml(&spec)?;
    let Some(output) = &arguments.output else {
        return to_stdout(text.as_bytes());
    };
    let path = if output.is_dir() { output.join(format!("{}.toml", spec.id)) } else { output.clone() };
    let mut options = OpenOptions::new();
    options.write(true);
    if arguments.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| {
        let fix =
            if arguments.force { "check the path" } else { "check the path, or overwrite with --force" };
        CliError::Runtime(format!("{}: cannot be written: {e}; {fix}", path.display()))
    })
}
