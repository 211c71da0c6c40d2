//! Where an answer goes and in which format.

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::CliError;
use crate::report::{self, Format, Picture, Report, Terminal};
use crate::spec::SpecError;

/// Formats on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Table,
    Json,
    Jsonl,
    Csv,
    Md,
    /// As `vllm bench serve` prints it (simulate).
    Vllm,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Table => Self::Table,
            FormatArg::Json => Self::Json,
            FormatArg::Jsonl => Self::Jsonl,
            FormatArg::Csv => Self::Csv,
            FormatArg::Md => Self::Markdown,
            FormatArg::Vllm => Self::Vllm,
        }
    }
}

/// Output flags of every command.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// JSON in SI base units (the same as --format json).
    #[arg(long, global = true, help_heading = "Output", conflicts_with = "format")]
    json: bool,
    /// Format on stdout.
    #[arg(long, global = true, help_heading = "Output", value_enum, default_value = "table")]
    format: FormatArg,
    /// Write the answer as JSON to a file too.
    #[arg(long, global = true, help_heading = "Output", value_name = "FILE")]
    export_json: Option<PathBuf>,
    /// Write the answer as CSV to a file too.
    #[arg(long, global = true, help_heading = "Output", value_name = "FILE")]
    export_csv: Option<PathBuf>,
    /// Write the answer as Markdown to a file too.
    #[arg(long, global = true, help_heading = "Output", value_name = "FILE")]
    export_md: Option<PathBuf>,
    /// Write the answer as one page with its pictures, which needs no network.
    #[arg(long, global = true, help_heading = "Output", value_name = "FILE")]
    export_html: Option<PathBuf>,
    /// Write the pictures of the answer as one sheet.
    #[arg(long, global = true, help_heading = "Output", value_name = "FILE")]
    export_svg: Option<PathBuf>,
    /// Draw the answer too: all its pictures, or those named (the words stand in the error for a wrong one); `ascii` for
    /// plain characters.
    #[arg(long, global = true, help_heading = "Output", value_name = "PICTURES", num_args = 0..=1, require_equals = true, default_missing_value = "all", value_delimiter = ',')]
    plot: Vec<String>,
}

impl Output {
    /// True when pictures are asked for, which take calculations of their own.
    pub(super) fn draws(&self) -> bool {
        !self.plot.is_empty() || self.export_html.is_some() || self.export_svg.is_some()
    }

    /// The pictures for a terminal, as text.
    fn drawn(&self, report: &Report, format: Format) -> Result<Vec<String>, CliError> {
        if self.plot.is_empty() {
            return Ok(vec![]);
        }
        let usage = |message: String| CliError::from(SpecError::Usage(format!("--plot: {message}")));
        if !matches!(format, Format::Table | Format::Markdown) {
            return Err(usage("pictures stand in tables and Markdown; use --format table or md".into()));
        }
        let (ascii, mut words): (Vec<String>, Vec<String>) =
            self.plot.iter().cloned().partition(|w| w == "ascii");
        if words.is_empty() {
            words.push("all".into());
        }
        let on_paper = format == Format::Markdown;
        let terminal = Terminal {
            width: if on_paper { 80 } else { width() },
            colour: !on_paper && AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            ascii: !ascii.is_empty(),
        };
        report::drawn(&report.board, &words, terminal).map_err(usage)
    }

    /// Prints a report and writes the exports.
    pub(super) fn print(&self, report: &Report) -> Result<(), CliError> {
        if self.export_svg.is_some() && report.board.pictures.iter().all(Picture::is_empty) {
            return Err(SpecError::Usage(format!("--export-svg: {}", report::NO_PICTURES)).into());
        }
        for (path, format) in [
            (&self.export_json, Format::Json),
            (&self.export_csv, Format::Csv),
            (&self.export_md, Format::Markdown),
            (&self.export_html, Format::Html),
            (&self.export_svg, Format::Svg),
        ] {
            if let Some(path) = path {
                std::fs::write(path, format.render(report)).map_err(|e| {
                    CliError::Runtime(format!("{}: cannot be written: {e}; check the path", path.display()))
                })?;
            }
        }
        let format = if self.json { Format::Json } else { self.format.into() };
        let drawn = self.drawn(report, format)?;
        if format == Format::Vllm && report.vllm.is_none() {
            return Err(SpecError::Usage("--format vllm is a layout of simulate; use table".into()).into());
        }
        // a document has its warnings in it, a line for each row has not
        let lines_of_rows = format == Format::Jsonl && report.rows.is_some();
        if lines_of_rows || (format != Format::Json && format != Format::Jsonl) {
            for warning in &report.warnings {
                to_stderr(&format!("warning: {warning}"));
            }
        }
        if drawn.is_empty() {
            return to_stdout(format.render(report).as_bytes());
        }
        to_stdout(format.render(&Report { drawn, ..report.clone() }).as_bytes())
    }
}

/// Characters in a line: what the environment says, else what the terminal says, else 80.
fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
    said.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).unwrap_or(80)
}

/// Writes a file whole or not at all: beside the place under another name first.
pub(super) fn write_atomically(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |e: std::io::Error| {
        CliError::Runtime(format!("{}: cannot be written: {e}; check the path", path.display()))
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?);
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        failed(e)
    })
}

/// Writes a line to standard error; when nobody reads it there is nobody left to tell.
pub(super) fn to_stderr(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub(super) fn to_stdout(bytes: &[u8]) -> Result<(), CliError> {
    match std::io::stdout().write_all(bytes) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Runtime(format!("standard output: cannot be written: {e}; check where it leads")))
        }
        _ => Ok(()),
    }
}
