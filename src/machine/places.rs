//! Directories in which CUDA's user-space libraries may lie, the most particular first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A directory that the user gave.
    Given,
    /// `$CUDA_HOME` or `$CUDA_PATH`.
    Environment,
    /// Wheels of `$VIRTUAL_ENV`, `$CONDA_PREFIX` or the python on `$PATH`; also conda's own libraries.
    Python,
    /// `/usr/local/cuda*`.
    Toolkit,
    /// The dynamic loader's own search.
    Loader,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Environment => "CUDA_HOME",
            Self::Python => "Python",
            Self::Toolkit => "toolkit",
            Self::Loader => "loader",
        })
    }
}

/// The part of the process's environment that says where to look; a value, so that tests can make one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Directories that the user gave.
    pub given: Vec<PathBuf>,
    /// `$CUDA_HOME`, `$CUDA_PATH`.
    pub cuda_homes: Vec<PathBuf>,
    /// `$VIRTUAL_ENV`, `$CONDA_PREFIX`.
    pub environments: Vec<PathBuf>,
    /// `$PATH`.
    pub path: Vec<PathBuf>,
    /// `$HOME`, for `pip install --user`.
    pub home: Option<PathBuf>,
    /// Where toolkits are installed: `/usr/local`.
    pub toolkits: PathBuf,
}

impl Surroundings {
    /// Those of this process, with directories given by the user in front.
    #[must_use]
    pub fn of_process(given: Vec<PathBuf>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|v: &OsString| !v.is_empty()).map(PathBuf::from);
        Self {
            given,
            cuda_homes: ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable).collect(),
            environments: ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect(),
            path: std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default(),
            home: variable("HOME"),
            toolkits: "/usr/local".into(),
        }
    }

    /// Directories that exist, each once, in the order of search.
    #[must_use]
    pub fn directories(&self) -> Vec<(Origin, PathBuf)> {
        let mut all = vec![];
        for given in &self.given {
            all.push((Origin::Given, given.clone()));
            all.extend(library_directories(given).map(|d| (Origin::Given, d)));
        }
        for home in &self.cuda_homes {
            all.extend(library_directories(home).map(|d| (Origin::Environment, d)));
        }
        for prefix in self.environments.iter().cloned().chain(self.python_prefixes()) {
            all.extend(wheel_directories(&prefix).into_iter().map(|d| (Origin::Python, d)));
            all.extend(library_directories(&prefix).map(|d| (Origin::Python, d)));
        }
        if let Some(home) = &self.home {
            let user = wheel_directories(&home.join(".local"));
            all.extend(user.into_iter().map(|d| (Origin::Python, d)));
        }
        for toolkit in matching(&self.toolkits, |name| name.starts_with("cuda")) {
            all.extend(library_directories(&toolkit).map(|d| (Origin::Toolkit, d)));
        }
        let mut seen = vec![];
        all.retain(|(_, directory)| match directory.canonicalize() {
            Ok(real) if real.is_dir() && !seen.contains(&real) => {
                seen.push(real);
                true
            }
            _ => false,
        });
        all
    }

    /// Prefixes of the first python on the path: the directory above its `bin`, once as the path names
    /// it (a virtual environment links to the python it was made with) and once with links followed.
    fn python_prefixes(&self) -> Vec<PathBuf> {
        let names = ["python3", "python"];
        let programs = self.path.iter().flat_map(|d| names.iter().map(move |n| d.join(n)));
        let Some(python) = programs.into_iter().find(|p| p.is_file()) else {
            return vec![];
        };
        let prefix = |p: &Path| Some(p.parent()?.parent()?.to_path_buf());
        let real = python.canonicalize().ok().and_then(|p| prefix(&p));
        prefix(&python).into_iter().chain(real).collect()
    }
}

/// Where a toolkit or prefix keeps libraries.
fn library_directories(root: &Path) -> impl Iterator<Item = PathBuf> {
    ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"].map(|d| root.join(d)).into_iter()
}

/// `lib` directories of NVIDIA's wheels under a Python prefix: `nvidia/cublas/lib` (CUDA 12),
/// `nvidia/cu13/lib` (CUDA 13), `nvidia/nccl/lib`; also of distributions' `dist-packages`.
fn wheel_directories(prefix: &Path) -> Vec<PathBuf> {
    let mut sites = vec![];
    for lib in ["lib", "lib64", "local/lib"].map(|l| prefix.join(l)) {
        for python in matching(&lib, |name| name.starts_with("python")) {
            sites.extend(["site-packages", "dist-packages"].map(|s| python.join(s)));
        }
    }
    // a directory that holds wheels without the rest of a Python (pip install --target)
    sites.push(prefix.to_path_buf());
    let mut found = vec![];
    for site in sites {
        for package in matching(&site.join("nvidia"), |_| true) {
            found.push(package.join("lib"));
        }
    }
    found
}

/// Entries of a directory whose name fits, the highest name first: `cuda-13.0` before `cuda-12.9`.
fn matching(directory: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.filter(|e| e.file_name().to_str().is_some_and(&fits)).map(|e| e.path()).collect();
    paths.sort();
    paths.reverse();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, directory: &str) -> PathBuf {
        let path = root.join(directory);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn places_come_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let given = make(root, "mine");
        let home = make(root, "home-cuda/lib64");
        let wheel = make(root, "venv/lib/python3.12/site-packages/nvidia/cu13/lib");
        let nccl = make(root, "venv/lib/python3.12/site-packages/nvidia/nccl/lib");
        make(root, "venv/bin");
        std::fs::write(root.join("venv/bin/python3"), "").unwrap();
        let older = make(root, "local/cuda-12.9/lib64");
        let newer = make(root, "local/cuda-13.0/lib64");
        let surroundings = Surroundings {
            given: vec![given.clone(), root.join("absent")],
            cuda_homes: vec![root.join("home-cuda")],
            path: vec![root.join("nowhere"), root.join("venv/bin")],
            toolkits: root.join("local"),
            ..Surroundings::default()
        };
        let found = surroundings.directories();
        let at = |path: &Path| found.iter().position(|(_, p)| p == path).unwrap();
        assert_eq!(found[0], (Origin::Given, given));
        assert_eq!(found[at(&home)].0, Origin::Environment);
        assert_eq!(found[at(&wheel)].0, Origin::Python);
        assert!(at(&home) < at(&nccl) && at(&nccl) < at(&newer) && at(&newer) < at(&older));
        assert!(found.iter().all(|(_, p)| p.is_dir()));
    }

    #[test]
    fn the_same_directory_counts_once() {
        let root = tempfile::tempdir().unwrap();
        let wheel = make(root.path(), "venv/lib/python3.12/site-packages/nvidia/cu13/lib");
        make(root.path(), "venv/bin");
        std::fs::write(root.path().join("venv/bin/python"), "").unwrap();
        let surroundings = Surroundings {
            environments: vec![root.path().join("venv")],
            path: vec![root.path().join("venv/bin")],
            ..Surroundings::default()
        };
        let found = surroundings.directories();
        assert_eq!(found.iter().filter(|(_, p)| *p == wheel).count(), 1, "{found:?}");
    }
}
