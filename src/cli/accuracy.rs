//! `foretoken accuracy`.

use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::output::write_atomically;
use super::progress::Progress;
use super::{CliError, Context};
use crate::answer::{
    ACCURACY_HEADER, AccuracyQuestion, Kernels, MeasuredTable, TRANSFER_HEADER, accuracy, accuracy_book,
    embedded_transfers, leave_one_out, operators,
};
use crate::report;
use crate::spec::catalog::{Directories, Kind, accelerator, files};
use crate::spec::{Accelerator, Engine, SpecError};

/// Arguments of `accuracy`.
#[derive(Debug, Args)]
#[command(after_long_help = super::AFTER_HELP)]
pub(super) struct AccuracyArgs {
    /// Accelerator [default: any].
    #[arg(long, visible_aliases = ["system", "hardware"], value_name = "GPU")]
    gpu: Option<String>,
    /// Engine: vllm, sglang, trtllm, llamacpp, transformers-compiled … [default: any].
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
    /// Predict the operator tables `<gpu>__<engine-version>__<operator>.csv.gz` of this directory as if each
    /// accelerator's own calibration did not exist, and write the errors to --transfer.
    #[arg(long, hide = true, value_name = "DIR", requires = "transfer", conflicts_with = "measured")]
    leave_one_gpu_out: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FILE", requires = "leave_one_gpu_out")]
    transfer: Option<PathBuf>,
}

pub(super) fn run(arguments: &AccuracyArgs, context: &Context) -> Result<(), CliError> {
    if let (Some(document), Some(book)) = (&arguments.document, &arguments.book) {
        return write(arguments, document, book, context);
    }
    if let (Some(tables), Some(file)) = (&arguments.leave_one_gpu_out, &arguments.transfer) {
        return write_transfer(tables, file, context);
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
    let found = accuracy_book(&tables, &context.directories, &|done| progress.at(done))?;
    progress.finish();
    let mut kernels = vec![];
    for file in files(Kind::Calibrations, &context.directories)? {
        let gpu = accelerator(&file.header.id, &context.directories)?;
        if let Some(own) = Kernels::in_force(&gpu, &context.directories)? {
            kernels.push((gpu.id, operators(&own)));
        }
    }
    let lines: Vec<String> = found.cases.iter().map(crate::answer::Case::line).collect();
    write_atomically(document, &report::accuracy_document(&kernels, &embedded_transfers()?, &found))?;
    write_atomically(book, &format!("{ACCURACY_HEADER}\n{}\n", lines.join("\n")))
}

/// Leaves every accelerator out in turn and writes the errors.
fn write_transfer(tables: &Path, file: &Path, context: &Context) -> Result<(), CliError> {
    let found = operator_tables(tables, &context.directories)?;
    let progress = Progress::new(found.iter().map(|(_, files)| files.len()).sum(), "tables");
    let done = AtomicUsize::new(0);
    let all = leave_one_out(&found, &context.directories, &|| {
        progress.at(done.fetch_add(1, Ordering::Relaxed) + 1);
    })?;
    progress.finish();
    let lines: Vec<String> = all.iter().map(crate::answer::Transfer::line).collect();
    write_atomically(file, &format!("{TRANSFER_HEADER}\n{}\n", lines.join("\n")))
}

/// The operator tables of a directory by accelerator, which the beginning of a file's name says.
fn operator_tables(
    directory: &Path,
    directories: &Directories,
) -> Result<Vec<(Accelerator, Vec<PathBuf>)>, SpecError> {
    let unreadable = |e: std::io::Error| SpecError::Unreadable {
        file: directory.display().to_string(),
        message: e.to_string(),
    };
    let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((gpu, _)) = name.split_once("__").filter(|_| name.contains(".csv")) {
            by_name.entry(gpu.to_owned()).or_default().push(path);
        }
    }
    by_name
        .into_iter()
        .map(|(name, mut files)| {
            files.sort();
            Ok((accelerator(&name, directories)?, files))
        })
        .collect()
}
