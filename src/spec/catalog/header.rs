//! The lines of a catalog file by which it is found. Shared with `build.rs`, which writes them
//! into the binary so that a process parses only the file it was asked for.

/// What a catalog file is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Catalog id; the file's stem when the text names none.
    pub id: String,
    /// Name as sold, of accelerators.
    pub name: String,
    /// Repository on Hugging Face, of models.
    pub hf_id: String,
    /// Other names.
    pub aliases: Vec<String>,
}

impl Header {
    /// Reads the header of one of our TOML files: top-level `id` (`gpu` of a calibration), `name`
    /// and `hf_id`, and `aliases` (of a model under `[source]`).
    pub fn read(text: &str, stem: &str) -> Self {
        let top = text.split("\n[").next().unwrap_or_default();
        let id = string(top, "id").or_else(|| string(top, "gpu")).unwrap_or_else(|| stem.to_owned());
        Self {
            id,
            name: string(top, "name").unwrap_or_default(),
            hf_id: string(top, "hf_id").unwrap_or_default(),
            aliases: strings(text, "aliases"),
        }
    }
}

/// What follows `key =` at the start of a line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.filter_map(|at| text.get(at..)).find_map(|line| {
        let rest = line.strip_prefix(key)?.trim_start_matches([' ', '\t']);
        Some(rest.strip_prefix('=')?.trim_start())
    })
}

fn string(text: &str, key: &str) -> Option<String> {
    Some(value(text, key)?.strip_prefix('"')?.split('"').next()?.to_owned())
}

/// Quoted strings up to the closing bracket, on one line or several.
fn strings(text: &str, key: &str) -> Vec<String> {
    let list = value(text, key).and_then(|v| v.strip_prefix('[')).and_then(|v| v.split(']').next());
    list.unwrap_or_default().split('"').skip(1).step_by(2).map(str::to_owned).collect()
}
