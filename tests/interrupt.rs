//! Ctrl-C while a device is measured: what was measured is kept, and a later run goes on with it.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::calibrate::probe::SampleFile;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn calibrate(directory: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretoken"));
    command.env_clear().current_dir(directory).args(["calibrate", "--device", "cpu", "--threads", "1"]);
    command.args(["--only", "bandwidth", "-o", "cpu.toml"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn samples(path: &Path) -> SampleFile {
    SampleFile::parse(&std::fs::read_to_string(path).unwrap(), "cpu.samples.csv").unwrap()
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_resume_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cpu.samples.csv");
    let running = calibrate(directory.path(), &[]).spawn().unwrap();
    // the first samples are written after two seconds at the earliest
    let started = Instant::now();
    while !file.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "no samples were written");
        std::thread::sleep(Duration::from_millis(50));
    }
    let on_the_way = samples(&file).rows.len();
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = samples(&file);
    assert!(!first.rows.is_empty() && first.rows.len() >= on_the_way);
    assert_eq!(first.origin.device.threads, Some(1));
    if !said.contains("stopped early") {
        return; // it was at its end already
    }
    // bandwidth alone fits no class: it says how to go on
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--resume cpu.samples.csv"), "{said}");
    assert!(!directory.path().join("cpu.toml").exists());

    let output =
        calibrate(directory.path(), &["--resume", "cpu.samples.csv", "--budget", "3s"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let second = samples(&file);
    assert!(second.rows.len() >= first.rows.len() && second.rows != first.rows, "{said}");
    // what was known is as it was: not measured again
    for row in first.rows.iter().filter(|r| r["converged"] == "true") {
        assert!(second.rows.contains(row), "{row:?}");
    }
}
