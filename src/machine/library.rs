//! CUDA's shared libraries: found by directory, opened by absolute path, asked for their version.
#![allow(unsafe_code, reason = "shared libraries are opened and their version functions called")]

pub use libloading::Library as Handle;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::path::{Path, PathBuf};

use super::gpu::cuda_version;
pub use super::places::{Origin, Surroundings};

/// A library of CUDA that a measurement may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Library {
    /// The driver's programming interface.
    Driver,
    /// Matrix products.
    CublasLt,
    /// Compiler of CUDA C++; not needed to measure.
    Nvrtc,
    /// Collectives between GPUs.
    Nccl,
}

impl std::fmt::Display for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Driver => "CUDA driver",
            Self::CublasLt => "cuBLASLt",
            Self::Nvrtc => "NVRTC",
            Self::Nccl => "NCCL",
        })
    }
}

/// A library that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which.
    pub library: Library,
    /// Where.
    pub path: PathBuf,
    /// How.
    pub origin: Origin,
    /// Its version; or why it does not open.
    #[serde(flatten)]
    pub version: Version,
}

/// What a library says when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// `13.1.0`.
    Version(String),
    /// It does not open, or lacks its version function.
    Error(String),
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Driver, Self::CublasLt, Self::Nvrtc, Self::Nccl];

    /// File names, the newest first; a name without a number is a development link.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["libcuda.so.1"],
            Self::CublasLt => &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"],
            Self::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"],
            Self::Nccl => &["libnccl.so.2"],
        }
    }

    /// Opens a file of this library and keeps it open until the process ends: CUDA's libraries start
    /// threads and register functions to run at exit, so that none may be closed.
    ///
    /// # Errors
    /// What the loader says.
    pub fn open(path: &Path) -> Result<&'static Handle, String> {
        // SAFETY: the file is one of CUDA's libraries by its name, whose initialisers are made to be
        // run by any process that opens them; nothing of this process depends on their not running
        let handle = unsafe { Handle::new(path) }.map_err(|e| message(&e))?;
        Ok(Box::leak(Box::new(handle)))
    }

    /// The version that an opened library reports.
    fn version(self, handle: &Handle) -> Result<String, String> {
        let refused = |code: c_int| format!("its version function answers {code}");
        match self {
            Self::Driver => {
                // SAFETY: CUresult cuDriverGetVersion(int *); needs no initialisation (CUDA driver API)
                let (code, version) = unsafe { one(handle, b"cuDriverGetVersion\0") }?;
                if code == 0 { Ok(cuda_version(version)) } else { Err(refused(code)) }
            }
            Self::CublasLt => {
                // SAFETY: size_t cublasLtGetVersion(void) (cuBLAS library)
                let function =
                    unsafe { handle.get::<unsafe extern "C" fn() -> usize>(b"cublasLtGetVersion\0") };
                let function = function.map_err(|e| message(&e))?;
                // SAFETY: as declared; takes nothing and only returns a constant
                Ok(three_parts(unsafe { function() }))
            }
            Self::Nvrtc => {
                type VersionOf = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
                // SAFETY: nvrtcResult nvrtcVersion(int *major, int *minor) (NVRTC)
                let function = unsafe { handle.get::<VersionOf>(b"nvrtcVersion\0") };
                let function = function.map_err(|e| message(&e))?;
                let (mut major, mut minor) = (0, 0);
                // SAFETY: both pointers are to integers that live over the call
                match unsafe { function(&raw mut major, &raw mut minor) } {
                    0 => Ok(format!("{major}.{minor}")),
                    code => Err(refused(code)),
                }
            }
            Self::Nccl => {
                // SAFETY: ncclResult_t ncclGetVersion(int *) (NCCL)
                let (code, version) = unsafe { one(handle, b"ncclGetVersion\0") }?;
                if code == 0 { Ok(nccl_version(version)) } else { Err(refused(code)) }
            }
        }
    }
}

/// Calls `int NAME(int *)` and gives its result and what it wrote.
///
/// # Safety
/// The symbol must be a function of that type.
unsafe fn one(handle: &Handle, name: &[u8]) -> Result<(c_int, c_int), String> {
    // SAFETY: the caller vouches for the type
    let function = unsafe { handle.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(name) };
    let function = function.map_err(|e| message(&e))?;
    let mut value = 0;
    // SAFETY: the pointer is to an integer that lives over the call
    let code = unsafe { function(&raw mut value) };
    Ok((code, value))
}

/// What the loader says, with its cause and without line breaks.
fn message(error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.unwrap_or_else(|| error.to_string()).replace('\n', " ")
}

/// 130100 → `13.1.0`, 120905 → `12.9.5`: major × 10,000 + minor × 100 + patch (cublasLt.h).
fn three_parts(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

/// 22809 → `2.28.9` (since 2.9), 2708 → `2.7.8`: `NCCL_VERSION` of nccl.h.
fn nccl_version(number: c_int) -> String {
    if number < 10_000 {
        format!("{}.{}.{}", number / 1000, number / 100 % 10, number % 100)
    } else {
        format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
    }
}

/// Every file of the libraries, in the order of search, each file once; those the loader finds last.
#[must_use]
pub fn find_all(surroundings: &Surroundings) -> Vec<Found> {
    let directories = surroundings.directories();
    let mut found = vec![];
    for library in Library::ALL {
        let mut seen = BTreeSet::new();
        for (origin, path) in candidates(library, &directories) {
            if seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                let version = Library::open(&path).and_then(|handle| library.version(handle));
                found.push(Found { library, path, origin, version: version.into() });
            }
        }
        for name in library.names() {
            let Ok(handle) = Library::open(Path::new(name)) else { continue };
            let path = mapped(name).unwrap_or_else(|| PathBuf::from(name));
            if seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                let version = library.version(handle).into();
                found.push(Found { library, path, origin: Origin::Loader, version });
            }
        }
    }
    found
}

impl From<Result<String, String>> for Version {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(version) => Self::Version(version),
            Err(error) => Self::Error(error),
        }
    }
}

/// Files of a library in the directories. The driver is the loader's business alone: a `libcuda.so.1`
/// in a toolkit is a stub.
fn candidates<'a>(
    library: Library,
    directories: &'a [(Origin, PathBuf)],
) -> impl Iterator<Item = (Origin, PathBuf)> + 'a {
    let given_only = library == Library::Driver;
    directories
        .iter()
        .filter(move |(origin, _)| !given_only || *origin == Origin::Given)
        .flat_map(move |(origin, directory)| {
            library.names().iter().map(move |n| (*origin, directory.join(n)))
        })
        .filter(|(_, path)| path.is_file())
}

/// Opens the first file of a library that a driver of CUDA `major` can serve: by the places, then by the loader's own
/// search. Files of the wrong machine or without what they need are passed over.
///
/// # Errors
/// What the loader said of the last file tried, or that there was none.
pub fn preload(
    library: Library,
    surroundings: &Surroundings,
    major: u32,
) -> Result<(PathBuf, &'static Handle), String> {
    let mut problem = format!("none of {} is found", library.names().join(", "));
    let directories = surroundings.directories();
    let files = candidates(library, &directories).map(|(_, path)| path);
    for path in files.chain(library.names().iter().map(PathBuf::from)) {
        if library != Library::Nccl && needs_driver(&path).is_some_and(|needed| needed > major) {
            if path.is_absolute() {
                problem = format!("{} is newer than the driver, which serves CUDA {major}", path.display());
            }
            continue;
        }
        match Library::open(&path) {
            Ok(handle) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok((if path.is_absolute() { path } else { mapped(&name).unwrap_or(path) }, handle));
            }
            Err(error) if path.is_absolute() => problem = format!("{}: {error}", path.display()),
            Err(_) => {}
        }
    }
    Err(problem)
}

/// The major version of CUDA in a file's name: libraries of 13 need a driver of 13.
fn needs_driver(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.split_once(".so.")?.1.split('.').next()?.parse().ok()
}

/// The file that is mapped into this process under a name (Linux).
fn mapped(name: &str) -> Option<PathBuf> {
    let stem = name.split(".so").next()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let fits = |path: &&str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        file.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".so") && compatible(name, file))
    };
    paths.into_iter().find(fits).map(PathBuf::from)
}

/// `libnvrtc.so.12` may be the file `libnvrtc.so.12.0.140`.
fn compatible(name: &str, file: &str) -> bool {
    file == name
        || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        || !file.contains(".so.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_split_as_the_headers_say() {
        assert_eq!(three_parts(130_100), "13.1.0");
        assert_eq!(three_parts(120_905), "12.9.5");
        assert_eq!(nccl_version(22_809), "2.28.9");
        assert_eq!(nccl_version(2_708), "2.7.8");
    }

    #[test]
    fn a_file_that_is_no_library_says_so() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("libnccl.so.2"), "not a library").unwrap();
        let surroundings = Surroundings { given: vec![root.path().into()], ..Surroundings::default() };
        let found = find_all(&surroundings);
        let nccl = found.iter().find(|f| f.origin == Origin::Given).unwrap();
        assert_eq!(nccl.library, Library::Nccl);
        assert!(matches!(&nccl.version, Version::Error(e) if e.contains("libnccl.so.2")), "{nccl:?}");
    }
}
