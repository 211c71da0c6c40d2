//! The `foretoken` binary: parse, answer, report.

use std::process::ExitCode;

fn main() -> ExitCode {
    foretoken::cli::run(std::env::args_os())
}
