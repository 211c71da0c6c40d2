//! Where to look besides the embedded catalogs.

use std::env;
use std::path::PathBuf;

/// Directories of the user. Earlier ones win, and all of them win over the embedded catalogs.
/// The default looks nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories {
    /// Directories of accelerator files.
    pub hardware: Vec<PathBuf>,
    /// Directories of model files.
    pub models: Vec<PathBuf>,
    /// Directories of calibration files.
    pub calibration: Vec<PathBuf>,
    /// Directories of engine terms.
    pub engines: Vec<PathBuf>,
    /// Hugging Face caches, the directories that hold `models--org--name`.
    pub hf_caches: Vec<PathBuf>,
}

impl Directories {
    /// `hardware/`, `models/`, `calibration/` and `calibration/engines/` of the user's directory where they exist, and the
    /// Hugging Face cache as `huggingface_hub` finds it: `$HF_HUB_CACHE`, `$HF_HOME/hub`,
    /// `$XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = Self::home();
        let under = |name: &str| -> Vec<PathBuf> {
            home.iter().map(|h| h.join(name)).filter(|d| d.is_dir()).collect()
        };
        let cache = variable("HF_HUB_CACHE")
            .or_else(|| Some(variable("HF_HOME")?.join("hub")))
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(env::home_dir()?.join(".cache/huggingface/hub")));
        Self {
            hardware: under("hardware"),
            models: under("models"),
            calibration: under("calibration"),
            engines: under("calibration/engines"),
            hf_caches: cache.into_iter().collect(),
        }
    }

    /// The user's directory: `$FORETOKEN_HOME` (empty: none), `$XDG_DATA_HOME/foretoken`, `~/.local/share/foretoken`.
    #[must_use]
    pub fn home() -> Option<PathBuf> {
        let variable = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if env::var_os("FORETOKEN_HOME").is_some() {
            return variable("FORETOKEN_HOME");
        }
        let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        Some(data?.join("foretoken"))
    }

    /// The same with directories given by `--hardware-dir`, which win over the others.
    #[must_use]
    pub fn with_hardware(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        self.hardware.splice(0..0, directories);
        self
    }
}
