//! `foretoken accuracy`.

use clap::Args;
use std::path::PathBuf;

use super::output::write_atomically;
use super::progress::Progress;
use super::{CliError, Context};
use crate::answer::{
    ACCURACY_HEADER, AccuracyQuestion, Kernels, MeasuredTable, accuracy, accuracy_book, operators,
};
use crate::report;
use crate::spec::catalog::{Kind, accelerator, files};
use crate::spec::{Engine, SpecError};

/// Arguments of `accuracy`.
#[derive(Debug, Args)]
#[command(after_long_help = super::AFTER_HELP)]
pub(super) struct AccuracyArgs {
    /// Accelerator [default: any].
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "GPU")]
    gpu: Option<String>,
    /// Engine: vllm, sglang, trtllm, llamacpp, transformers [default: any].
    #[arg(long, visible_alias = "backend")]
    engine: Option<String>,
    /// Kind of model: dense, moe (routed experts) or mla (latent attention) [default: any].
    #[arg(long, value_parser = ["dense", "moe", "mla"], value_name = "KIND")]
    model_kind: Option<String>,
    /// Validate these files and write the document here (for the project's own use).
    #[arg(long, hide = true, num_args = 1.., value_name = "FILE", requires_all = ["document", "book"])]
    measured: Vec<PathBuf>,
    #[arg(long, hide = true, value_name = "FILE", requires = "measured")]
    document: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FILE", requires = "measured")]
    book: Option<PathBuf>,
}

pub(super) fn run(arguments: &AccuracyArgs, context: &Context) -> Result<(), CliError> {
    if let (Some(document), Some(book)) = (&arguments.document, &arguments.book) {
        return write(arguments, document, book, context);
    }
    let gpu = arguments.gpu.as_deref().map(|g| accelerator(g, &context.directories)).transpose()?;
    let engine = arguments.engine.as_deref().map(str::parse::<Engine>).transpose()?.map(|e| e.kind);
    let question = AccuracyQuestion { gpu, engine, kind: arguments.model_kind.clone() };
    context.output.print(&report::accuracy(&accuracy(&question, &context.directories)?))
}

/// Writes the document and the book.
fn write(
    arguments: &AccuracyArgs,
    document: &std::path::Path,
    book: &std::path::Path,
    context: &Context,
) -> Result<(), CliError> {
    let tables: Vec<MeasuredTable> =
        arguments.measured.iter().map(|f| MeasuredTable::read(f)).collect::<Result<_, SpecError>>()?;
    let progress = Progress::new(tables.iter().map(|t| t.rows().count()).sum(), "rows");
    let (cases, skipped) = accuracy_book(&tables, &context.directories, &|done| progress.at(done))?;
    progress.finish();
    let mut kernels = vec![];
    for file in files(Kind::Calibrations, &context.directories)? {
        let gpu = accelerator(&file.header.id, &context.directories)?;
        if let Some(own) = Kernels::in_force(&gpu, &context.directories)? {
            kernels.push((gpu.id, operators(&own)));
        }
    }
    let lines: Vec<String> = cases.iter().map(crate::answer::Case::line).collect();
    write_atomically(document, &report::accuracy_document(&kernels, &cases, &skipped))?;
    write_atomically(book, &format!("{ACCURACY_HEADER}\n{}\n", lines.join("\n")))
}
