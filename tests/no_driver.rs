//! Without a driver `calibrate` tries nothing. Alone in its file, because it is timed.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use std::time::{Duration, Instant};

fn foretoken(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(arguments);
    command
}

/// One line, exit code 4, in under 50 ms.
#[test]
fn no_driver_is_said_at_once() {
    foretoken(&["calibrate", "--device", "tpu"]).assert().code(2);
    if foretoken(&["doctor"]).assert().get_output().status.success() {
        return; // this machine has one
    }
    let runs = (0..25).map(|_| {
        let start = Instant::now();
        let assert = foretoken(&["calibrate", "--device", "cuda:0"]).assert().code(4).stdout("");
        let took = start.elapsed();
        let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(message.lines().count() == 1 && message.contains("driver"), "{message}");
        std::thread::sleep(Duration::from_millis(20));
        took
    });
    // what else the machine does only ever adds: the fastest says what it takes
    let fastest = runs.min().unwrap();
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}
