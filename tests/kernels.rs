//! The embedded PTX is made from the CUDA source beside it, and every GPU from Turing to Blackwell assembles it, where the
//! compilers are at hand: PyPI's nvidia-cuda-nvrtc-cu12 12.0 and nvidia-cuda-nvcc-cu12 12.9 in the python of
//! $FORETOKEN_CUDA_PYTHON, or of the path.
//!
//! And what they compute is held to its description on a processor, with every buffer's end watched.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

#[test]
fn the_kernels_are_made_from_their_source_and_assemble() {
    let python = std::env::var("FORETOKEN_CUDA_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/calibrate/cuda/kernels/compile.py");
    let Ok(output) = Command::new(python).args(["-B", script, "--check"]).output() else {
        eprintln!("passed over: no python");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        eprintln!("passed over: {text}");
        return;
    }
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("11 kernels, no spills").count(), 9, "{text}");
}

#[test]
fn the_kernels_compute_what_they_say_and_stay_in_their_buffers() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("host");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernels/host.cpp");
    let options = ["-std=c++17", "-O1", "-g", "-w", "-fsanitize=address,undefined", "-pthread"];
    let built = Command::new("c++").args(options).arg(source).arg("-o").arg(&program).output();
    let said = built.as_ref().map(|b| String::from_utf8_lossy(&b.stderr).into_owned()).unwrap_or_default();
    // the linker says so where the sanitizer's library is not installed
    if built.is_err() || said.contains("cannot find") {
        eprintln!("passed over: no C++ compiler with an address sanitizer");
        return;
    }
    assert!(built.unwrap().status.success(), "{said}");
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("11 kernels hold"), "{text}");
}
