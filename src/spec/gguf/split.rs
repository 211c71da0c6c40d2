//! Models in several files: `name-00001-of-00003.gguf` and its siblings.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::header::{self, Header};
use crate::spec::SpecError;

/// More files than any model has.
const MOST_FILES: u32 = 10_000;

/// A header with the tensors of all files, and the names of files that are not there.
pub(super) struct Joined {
    /// Metadata of the first file, tensors of all.
    pub(super) header: Header,
    /// Siblings that are missing.
    pub(super) missing: Vec<String>,
    /// Files that end before their tensors do, with the bytes they lack.
    pub(super) truncated: Vec<(String, u64)>,
}

/// Reads the header at `path` and those of its siblings.
pub(super) fn read(path: &Path) -> Result<Joined, SpecError> {
    let paths = siblings(path).unwrap_or_else(|| vec![path.to_owned()]);
    let mut joined: Option<Joined> = None;
    let mut missing = vec![];
    for sibling in paths {
        if sibling != path && !sibling.exists() {
            missing.push(sibling.display().to_string());
            continue;
        }
        let (header, lacking) = open(&sibling)?;
        let lacking = (lacking > 0).then(|| (sibling.display().to_string(), lacking));
        match &mut joined {
            None => {
                joined = Some(Joined { header, missing: vec![], truncated: lacking.into_iter().collect() })
            }
            Some(all) => {
                all.header.tensors.extend(header.tensors);
                all.truncated.extend(lacking);
            }
        }
    }
    let mut joined = joined.ok_or_else(|| SpecError::Unreadable {
        file: path.display().to_string(),
        message: "no such file".into(),
    })?;
    joined.missing = missing;
    Ok(joined)
}

/// The header of one file, and how many bytes the file lacks.
fn open(path: &Path) -> Result<(Header, u64), SpecError> {
    let file = path.display().to_string();
    let unreadable = |e: std::io::Error| SpecError::Unreadable { file: file.clone(), message: e.to_string() };
    let handle = File::open(path).map_err(unreadable)?;
    let attributes = handle.metadata().map_err(unreadable)?;
    if !attributes.is_file() {
        return Err(SpecError::Unreadable { file, message: "not a regular file".into() });
    }
    let size = attributes.len();
    let header = header::read(BufReader::with_capacity(1 << 16, handle), &file, Some(size))?;
    let lacking = header.file_bytes.saturating_sub(size);
    Ok((header, lacking))
}

/// All files of a split model in order, when the name says that it is one.
fn siblings(path: &Path) -> Option<Vec<PathBuf>> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".gguf")?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let is_number = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    if !is_number(total) || !is_number(number) {
        return None;
    }
    let count: u32 = total.parse().ok().filter(|n| (1..=MOST_FILES).contains(n))?;
    Some((1..=count).map(|i| path.with_file_name(format!("{prefix}-{i:05}-of-{total}.gguf"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_follow_from_the_name() {
        let all = siblings(Path::new("/m/big-q4-00002-of-00003.gguf")).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], Path::new("/m/big-q4-00001-of-00003.gguf"));
        assert_eq!(siblings(Path::new("/m/one.gguf")), None);
        assert_eq!(siblings(Path::new("/m/x-1-of-3.gguf")), None);
        assert_eq!(siblings(Path::new("/m/x-00001-of-00000.gguf")), None);
    }
}
