//! Rubbish traces, rates and sizes through the binary: one clear line, exit code 2, and nothing lost of what is right.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

fn simulate(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(["simulate", "llama-3.1-8b", "--gpu", "h100-sxm", "--json"]).args(arguments);
    command.output().unwrap()
}

/// Refused with one line that has these words.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = simulate(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{arguments:?}: {message}");
    assert!(words.iter().all(|w| message.contains(w)), "{arguments:?}: {message}");
}

fn file(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::File::create(&path).unwrap().write_all(content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn rubbish_traces_are_told_by_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let good = "timestamp,input_length,output_length\n0,100,10\n";
    for (name, content, words) in [
        ("empty.csv", String::new(), vec!["holds no requests"]),
        ("header.csv", "timestamp,input_length,output_length\n".into(), vec!["holds no requests"]),
        ("columns.csv", "a,b\n1,2\n".into(), vec!["needs a column"]),
        ("word.csv", format!("{good}soon,100,10\n"), vec!["line 3", "soon"]),
        ("negative.csv", format!("{good}1,-5,10\n"), vec!["line 3", "-5"]),
        ("half.csv", format!("{good}1,5.5,10\n"), vec!["line 3", "5.5"]),
        ("huge.csv", format!("{good}1,1e30,10\n"), vec!["line 3"]),
        ("nan.csv", format!("{good}nan,5,10\n"), vec!["line 3"]),
        ("inf.csv", format!("{good}1,inf,10\n"), vec!["line 3"]),
        ("short.csv", format!("{good}1,5\n"), vec!["line 3"]),
        (
            "broken.jsonl",
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5}\n{oops\n".into(),
            vec!["line 2"],
        ),
        (
            "list.jsonl",
            "{\"timestamp\": [], \"input_length\": 5, \"output_length\": 5}\n".into(),
            vec!["line 1", "the time"],
        ),
        (
            "hashes.jsonl",
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [-1]}\n".into(),
            vec!["line 1", "hash_ids"],
        ),
    ] {
        let path = file(directory.path(), name, content.as_bytes());
        refused(&["--trace", &path], &[vec![name], words].concat());
    }
    let binary = file(directory.path(), "binary.csv", &[0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28]);
    refused(&["--trace", &binary], &["binary.csv"]);
    let torn = file(directory.path(), "torn.csv.gz", &[0x1f, 0x8b, 0x08, 0x00, 0x01]);
    refused(&["--trace", &torn], &["torn.csv.gz"]);
    refused(&["--trace", "/nowhere/at/all.csv"], &["/nowhere/at/all.csv"]);
    refused(&["--lengths", "/nowhere/at/all.csv"], &["/nowhere/at/all.csv"]);
}

#[test]
fn rubbish_numbers_are_told_by_their_flag() {
    for bad in ["0", "-1", "nan", "inf", "1e300", "fast", ""] {
        refused(&["--request-rate", bad], &["--request-rate"]);
        refused(&["--request-rate", "5", "--burstiness", bad], &["--burstiness"]);
    }
    for bad in ["0", "0,0", "-1,5", "nan", "1,x", ",", "inf"] {
        refused(&["--hourly-rates", bad], &[]);
    }
    refused(&["--request-rate", "5", "--ramp-to", "0"], &["--ramp-to"]);
    refused(&["--request-rate", "1", "--burstiness", "1e-8"], &["burstiness"]);
    for bad in ["0", "normal:5", "uniform:9,1", "lognormal:-5,1", "normal:nan,1", "zipf:1,2", "fixed:1e99"] {
        refused(&["--request-rate", "5", "--input-dist", bad], &["--input-dist"]);
        refused(&["--turns", bad, "--turn-input-len", "5"], &["--turns"]);
    }
    refused(&["--turns", "5"], &["--turn-input-len"]);
    refused(&["--preset", "poetry"], &["--preset", "chat"]);
    refused(&["--preset", "chat", "--input-len", "5"], &["--input-len"]);
    refused(&["--speculative-tokens", "3"], &["--acceptance-rate"]);
    for bad in ["-0.1", "1.1", "nan", "x"] {
        refused(&["--speculative-tokens", "3", "--acceptance-rate", bad], &["--acceptance-rate"]);
    }
    refused(
        &["--speculative-tokens", "1000", "--acceptance-rate", "0.5", "--draft-model", "ngram"],
        &["1000"],
    );
    refused(
        &["--speculative-tokens", "2", "--acceptance-rate", "0.5", "--draft-model", "no-such-model"],
        &["no-such-model"],
    );
    for bad in ["wire", "0GB/s", "5GB"] {
        refused(&["--decode-replicas", "1", "--kv-link", bad], &["--kv-link"]);
    }
    refused(&["--kv-link", "tcp"], &["--decode-replicas"]);
    refused(&["--decode-replicas", "1", "--decode-gpu", "h999"], &["h999"]);
    refused(&["--decode-replicas", "1", "--find-split"], &["limit"]);
    for bad in ["0GiB", "0", "64GiB@0GB/s", "@5GB/s", "x@y"] {
        refused(&["--kv-tier", bad], &["--kv-tier"]);
    }
    refused(&["--fluidity", "--ttft", "500"], &["--fluidity"]);
    refused(&["--discipline", "random"], &["--discipline"]);
}

/// Requests that no engine could serve are counted, and all others end.
#[test]
fn nothing_is_lost_of_what_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let content = "timestamp,input_length,output_length\n5,100,10\n1,900000000,10\n1,100,10\n1,0,0\n-3,7,1\n";
    let path = file(directory.path(), "mixed.csv", content.as_bytes());
    for more in [&[][..], &["--decode-replicas", "2"], &["--discipline", "srpt"], &["--replicas", "3"]] {
        let arguments = [&["--trace", path.as_str()][..], more].concat();
        let output = simulate(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |key: &str| answer[key].as_u64().unwrap();
        assert_eq!(
            (count("simulated_requests"), count("completed_requests"), count("rejected_requests")),
            (5, 4, 1)
        );
        let warnings = answer["warnings"].to_string();
        assert!(warnings.contains("1 requests were refused"), "{warnings}");
    }
}
