//! Accelerators by name.

use std::path::Path;

use super::files::{CatalogFile, Kind, files, read_text};
use super::resolve::resolve;
use super::{Directories, Header};
use crate::spec::{Accelerator, SpecError};

const FIX: &str = "`foretoken gpus list` names all; a path to a TOML file is accepted too";

/// An accelerator by catalog id, other name or path to a TOML file.
///
/// Case, hyphens, underscores and spaces do not matter, and neither does the vendor in front:
/// `h100-sxm`, `NVIDIA H100 80GB HBM3` and `H100` are one device.
///
/// # Errors
/// When the name is unknown or fits several entries, or the file cannot be read.
pub fn accelerator(name: &str, directories: &Directories) -> Result<Accelerator, SpecError> {
    let name = name.trim();
    if name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|e| e == "toml") {
        return Accelerator::from_toml(&read_text(Path::new(name))?, name);
    }
    let all = files(Kind::Hardware, directories)?;
    let CatalogFile { text, file, .. } = resolve(Kind::Hardware, name, &all, FIX)?;
    Accelerator::from_toml(text, file)
}

/// The headers of all accelerators, by id.
///
/// # Errors
/// When a directory of the user cannot be read.
pub fn accelerators(directories: &Directories) -> Result<Vec<Header>, SpecError> {
    let mut headers: Vec<Header> =
        files(Kind::Hardware, directories)?.into_iter().map(|f| f.header).collect();
    headers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(headers)
}

/// Splits a count in front from the name: `2xh100-sxm` is two `h100-sxm`, `h100-sxm` has no count.
/// Counts have at most three digits, so that `7900xtx` stays a name.
///
/// # Errors
/// When the count is zero.
pub fn parse_gpu_count(text: &str) -> Result<(Option<u32>, &str), SpecError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, rest) = text.split_at(digits);
    let name = rest.trim_start().strip_prefix(['x', 'X', '×', '*']).map(str::trim_start);
    match (name, count.parse::<u32>()) {
        (Some(name), Ok(0)) if !name.is_empty() => {
            Err(SpecError::Usage(format!("`{text}`: the count must be at least 1; write it like 2xh100-sxm")))
        }
        (Some(name), Ok(count)) if digits <= 3 && !name.is_empty() => Ok((Some(count), name)),
        _ => Ok((None, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_in_front() {
        assert_eq!(parse_gpu_count("2xh100-sxm").unwrap(), (Some(2), "h100-sxm"));
        assert_eq!(parse_gpu_count("8 x NVIDIA H100").unwrap(), (Some(8), "NVIDIA H100"));
        assert_eq!(parse_gpu_count("h100-sxm").unwrap(), (None, "h100-sxm"));
        assert_eq!(parse_gpu_count("7900xtx").unwrap(), (None, "7900xtx"));
        assert_eq!(parse_gpu_count("4090").unwrap(), (None, "4090"));
        assert!(parse_gpu_count("0xh100-sxm").is_err());
    }
}
