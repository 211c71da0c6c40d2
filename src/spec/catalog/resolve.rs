//! From a name as people type it to one catalog file.

use super::{CatalogFile, Kind};
use crate::spec::{SpecError, similar};

/// Words in front of an accelerator's name that carry nothing: vendors and product lines.
const NOISE: [&str; 12] = [
    "nvidia", "amd", "intel", "google", "apple", "huawei", "aws", "geforce", "instinct", "radeon", "tesla",
    "core",
];

/// Letters and digits of a name in lower case, so that `RTX 4090`, `rtx_4090` and `rtx4090` agree.
/// `/` stays (it parts organisation and model) and so does `+` (it tells `8480+` from `8480`).
pub(super) fn key(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '/' | '+'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The key of an accelerator's name, without remarks in parentheses (`B200 SXM (HGX)`, `Intel(R)`)
/// and without vendor and product line in front.
pub(super) fn device_key(name: &str) -> String {
    let mut depth = 0_u32;
    let name: String = name
        .chars()
        .filter(|c| {
            depth += u32::from(*c == '(');
            let outside = depth == 0;
            depth = depth.saturating_sub(u32::from(*c == ')'));
            outside
        })
        .collect();
    let mut words = name.split([' ', '-', '_']).filter(|w| !w.is_empty()).peekable();
    while words.next_if(|w| NOISE.contains(&w.to_ascii_lowercase().as_str())).is_some() {}
    let rest: String = words.collect();
    if rest.is_empty() { key(&name) } else { key(&rest) }
}

/// The keys by which an entry is found besides its id.
fn names(kind: Kind, file: &CatalogFile) -> impl Iterator<Item = &str> {
    let header = &file.header;
    let full = [header.name.as_str(), header.hf_id.as_str()]
        .into_iter()
        .chain(header.aliases.iter().map(String::as_str));
    full.flat_map(move |name| {
        let short = name.split_once('/').map(|(_, short)| short).filter(|_| kind == Kind::Models);
        std::iter::once(name).chain(short)
    })
    .filter(|n| !n.is_empty())
}

/// The one entry that `name` means: letter for letter, else by id, else by another name, else (models only) as the
/// beginning of ids up to a hyphen.
///
/// # Errors
/// When nothing or more than one entry fits.
pub(super) fn resolve<'a>(
    kind: Kind,
    name: &str,
    files: &'a [CatalogFile],
    fix: &str,
) -> Result<&'a CatalogFile, SpecError> {
    // letter for letter: `opt-1.3b` is not `opt-13b`
    let mut same = files.iter().filter(|f| {
        f.header.id.eq_ignore_ascii_case(name) || names(kind, f).any(|n| n.eq_ignore_ascii_case(name))
    });
    if let (Some(found), None) = (same.next(), same.next()) {
        return Ok(found);
    }
    // written out in full, remarks included: `Apple M1 (7-core GPU)` is not `Apple M1`
    let full = key(name);
    let mut exact = files.iter().filter(|f| !full.is_empty() && names(kind, f).any(|n| self::key(n) == full));
    if let (Some(found), None) = (exact.next(), exact.next()) {
        return Ok(found);
    }
    let key = if kind == Kind::Hardware { device_key } else { key };
    let wanted = key(name);
    if let Some(found) = files.iter().find(|f| key(&f.header.id) == wanted) {
        return Ok(found);
    }
    let mut fitting: Vec<&CatalogFile> =
        files.iter().filter(|f| names(kind, f).any(|n| key(n) == wanted)).collect();
    if fitting.is_empty() && kind == Kind::Models && !wanted.is_empty() {
        let beginning = format!("{}-", name.to_ascii_lowercase().replace(['_', ' '], "-"));
        fitting = files.iter().filter(|f| f.header.id.starts_with(&beginning)).collect();
    }
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(SpecError::Unknown {
            kind: kind.noun(),
            name: name.into(),
            similar: look_alikes(kind, name, files),
            fix: fix.into(),
        }),
        several => Err(SpecError::Ambiguous {
            name: name.into(),
            candidates: several.iter().map(|f| f.header.id.clone()).collect(),
        }),
    }
}

/// Ids of entries whose id or other name looks like `name`.
fn look_alikes(kind: Kind, name: &str, files: &[CatalogFile]) -> Vec<String> {
    let name = name.to_ascii_lowercase().replace(['_', ' '], "-");
    let bare = name.rsplit('/').next().unwrap_or(&name);
    let ids = files.iter().map(|f| f.header.id.as_str());
    let close = similar(bare, ids);
    if !close.is_empty() {
        return close;
    }
    let others = similar(bare, files.iter().flat_map(|f| names(kind, f)));
    let mut ids: Vec<String> = Vec::new();
    for other in others {
        for file in files.iter().filter(|f| names(kind, f).any(|n| n == other)) {
            if !ids.contains(&file.header.id) {
                ids.push(file.header.id.clone());
            }
        }
    }
    ids.truncate(3);
    ids
}
