//! Stand-ins for the NVIDIA driver's libraries.

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a fake `libnvidia-ml.so.1` and `libcuda.so.1`.
pub struct Fakes(TempDir);

impl Fakes {
    /// Compiles them; none where there is no C compiler or no Linux.
    pub fn new() -> Option<Self> {
        if !cfg!(target_os = "linux") || std::process::Command::new("cc").arg("--version").output().is_err() {
            eprintln!("passed over: needs Linux and a C compiler");
            return None;
        }
        let fakes = Self(tempfile::tempdir().unwrap());
        fakes.compile("nvml.c", "libnvidia-ml.so.1", &[]);
        fakes.compile("cuda.c", "libcuda.so.1", &[]);
        fakes.compile("cublaslt.c", "libcublasLt.so.13", &["-ldl"]);
        Some(fakes)
    }

    fn compile(&self, source: &str, name: &str, options: &[&str]) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_cuda").join(source);
        let output = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", &format!("-Wl,-soname,{name}"), "-o"])
            .arg(self.path().join(name))
            .args(options)
            .arg(source)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }

    /// Makes the loader of a child process find them.
    pub fn on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_LIBRARY_PATH", self.0.path())
    }

    /// The same with a `libcuda.so.1` that lacks functions.
    pub fn with_old_cuda(&self) -> Self {
        let other = Self(tempfile::tempdir().unwrap());
        other.compile("nvml.c", "libnvidia-ml.so.1", &[]);
        other.compile("cuda.c", "libcuda.so.1", &["-DOLD"]);
        other
    }

    /// The same with a `libcuda.so.1` that is no library.
    pub fn with_broken_cuda(&self) -> Self {
        let other = Self(tempfile::tempdir().unwrap());
        other.compile("nvml.c", "libnvidia-ml.so.1", &[]);
        std::fs::write(other.path().join("libcuda.so.1"), "not a library").unwrap();
        other
    }
}
