//! Bad input as users give it, through the binary: exit code 2, one line that names the culprit, nothing
//! on stdout, no panic.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/configs");
const ESTIMATE: [&str; 4] = ["estimate", "llama-3.1-8b", "--gpu", "h100-sxm"];

fn run_in<S: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().current_dir(directory).args(arguments).output().unwrap()
}

/// Splits at blanks; `'…'` keeps them.
fn words(line: &str) -> Vec<String> {
    line.split('\'')
        .enumerate()
        .flat_map(|(i, part)| match i % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// The message of a refusal, checked for what every refusal owes.
fn refusal(directory: &Path, arguments: &[OsString], code: i32) -> String {
    let output = run_in(directory, arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{message}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    assert!(message.starts_with("error: "), "{arguments:?}\n{message}");
    assert!(!message.contains("panicked") && !message.contains("RUST_BACKTRACE"), "{message}");
    // the parser of the command line adds its usage below; our own messages are one line
    let parser = message.contains("For more information, try '--help'.");
    assert!(parser || message.lines().count() == 1, "{arguments:?}\n{message}");
    message
}

/// Every line: arguments, and what the message must say.
fn refuse_all(directory: &Path, cases: &[(&str, &[&str])]) {
    for (line, needles) in cases {
        let arguments: Vec<OsString> = words(line).into_iter().map(OsString::from).collect();
        let message = refusal(directory, &arguments, 2);
        for needle in *needles {
            assert!(message.contains(needle), "{line}: no `{needle}` in\n{message}");
        }
    }
}

/// The same behind `estimate llama-3.1-8b --gpu h100-sxm`.
fn refuse_flags(cases: &[(&str, &[&str])]) {
    for (flags, needles) in cases {
        refuse_all(Path::new("."), &[(&format!("{} {flags}", ESTIMATE.join(" ")), needles)]);
    }
}

#[test]
fn unknown_and_ambiguous_names() {
    refuse_all(
        Path::new("."),
        &[
            ("estimate lama-3.1-8b --gpu h100-sxm", &["`lama-3.1-8b`", "did you mean `llama-3.1-8b`"]),
            ("estimate llama-3.1-8b --gpu h100-smx", &["`h100-smx`", "did you mean `h100-sxm`", "gpus list"]),
            ("estimate llama --gpu h100-sxm", &["`llama` could be any of", "llama-3.1-70b", "give one"]),
            ("estimate llama-3.1-8b --gpu rtx", &["`rtx`", "gpus list"]),
            ("estimate '' --gpu h100-sxm", &["no model named ``", "models list"]),
            ("estimate llama-3.1-8b --gpu ''", &["no accelerator named ``"]),
            ("estimate '   ' --gpu h100-sxm", &["no model named"]),
            ("estimate no/such/model --gpu h100-sxm", &["`no/such/model`"]),
            ("memory zzzzzzzz --gpu h100-sxm", &["`zzzzzzzz`", "models list"]),
            ("models show qwen3-8bb", &["did you mean `qwen3-8b`"]),
            ("gpus show a100-sxm-81", &["did you mean"]),
            ("nonsense", &["nonsense"]),
            ("estimate --gpu h100-sxm", &["MODEL"]),
            ("estimate llama-3.1-8b", &["--gpu"]),
            ("estimate llama-3.1-8b qwen3-8b --gpu h100-sxm", &["qwen3-8b"]),
            ("completions tcsh", &["tcsh", "bash"]),
            ("explain throughputt", &["throughputt"]),
        ],
    );
    refuse_flags(&[
        ("--engine vlm", &["`vlm`", "did you mean `vllm`"]),
        ("--engine vllm@new", &["`new`", "vllm@0.19"]),
        ("--dtype int3", &["--dtype", "`int3`", "bf16"]),
        ("--quantization marlinx", &["--quantization", "`marlinx`", "awq"]),
        ("--kv-cache-dtype tiny", &["--kv-cache-dtype", "`tiny`"]),
        ("--tpot-definition mean", &["`mean`", "per-token"]),
        ("--format yaml", &["yaml", "jsonl"]),
        ("--frobnicate", &["--frobnicate"]),
    ]);
}

#[test]
fn samples_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let gemm = "m,n,k,dtype,kernel,latency_us\n";
    write("empty.csv", "");
    write("header.csv", gemm);
    write("other.csv", "a,b,latency_us\n1,2,3\n");
    write("few.csv", &format!("{gemm}1,4096,4096,bfloat16,x,15\n2,4096,4096,bfloat16,x,16\n"));
    write("word.csv", &format!("{gemm}1,4096,many,bfloat16,x,5\n"));
    write("negative.csv", &format!("{gemm}1,4096,4096,bfloat16,x,-5\n"));
    write("ragged.csv", &format!("{gemm}1,4096\n"));
    write("zero.csv", &format!("{gemm}{}", "1,4096,4096,bfloat16,x,0\n".repeat(20)));
    write("same.csv", &format!("{gemm}{}", "1,4096,4096,bfloat16,x,15\n".repeat(20)));
    write("launch.csv", &format!("{gemm}{}", "1,4096,4096,fp8_block,x,150\n".repeat(20)));
    write("not.csv.gz", "this is no gzip");
    refuse_all(
        directory.path(),
        &[
            ("calibrate --gpu h100-sxm", &["--from-samples"]),
            ("calibrate --from-samples few.csv", &["--gpu"]),
            ("calibrate --gpu h100-smx --from-samples few.csv", &["did you mean `h100-sxm`"]),
            ("calibrate --gpu h100-sxm --from-samples none.csv", &["none.csv", "cannot be read"]),
            ("calibrate --gpu h100-sxm --from-samples empty.csv", &["empty.csv", "latency_us"]),
            ("calibrate --gpu h100-sxm --from-samples header.csv", &["nothing was written"]),
            ("calibrate --gpu h100-sxm --from-samples other.csv", &["other.csv", "columns", "gemm"]),
            (
                "calibrate --gpu h100-sxm --from-samples few.csv",
                &["gemm", "2 samples are too few", "at least 10"],
            ),
            ("calibrate --gpu h100-sxm --from-samples word.csv", &["word.csv", "k (line 2)", "many"]),
            ("calibrate --gpu h100-sxm --from-samples negative.csv", &["latency_us (line 2)", "-5"]),
            ("calibrate --gpu h100-sxm --from-samples ragged.csv", &["ragged.csv", "not valid CSV"]),
            ("calibrate --gpu h100-sxm --from-samples zero.csv", &["0 is no time"]),
            ("calibrate --gpu h100-sxm --from-samples same.csv", &["same time", "vary the shapes"]),
            ("calibrate --gpu h100-sxm --from-samples launch.csv", &["150 us", "CUDA graph"]),
            ("calibrate --gpu h100-sxm --from-samples not.csv.gz", &["not.csv.gz", "cannot be read"]),
            ("calibrate --gpu h100-sxm --from-samples few.csv --date today", &["--date", "2026-11-20"]),
            ("calibrations show gtx-9999", &["no accelerator named"]),
            ("calibrations show rtx-4090", &["rtx-4090 has no calibration", "foretoken calibrate"]),
            ("calibrations show nothing.toml", &["nothing.toml", "cannot be read"]),
        ],
    );
    assert!(!directory.path().join("h100-sxm.toml").exists());
}

#[test]
fn degrees_that_do_not_fit() {
    let cases: [(&str, &[&str]); 12] = [
        ("h100-sxm --tp 3", &["--tensor-parallel-size 3", "32 attention heads", "1, 2, 4, 8"]),
        ("0xh100", &["`0xh100`", "at least 1"]),
        ("3xh100 --tp 2", &["2 accelerators", "3 were given"]),
        ("2xh100 --num-gpus 3", &["2xh100", "--num-gpus 3", "give one"]),
        ("5xh100 --pp 2", &["pp 2", "--tp"]),
        ("h100 --num-gpus 0", &["--num-gpus", "at least 1"]),
        ("h100 --tp 0", &["--tensor-parallel-size", "at least 1"]),
        ("h100 --tp -2", &["--tensor-parallel-size", "-2"]),
        ("h100 --tp 1000000000 --pp 1000000000", &["100,000 accelerators"]),
        ("h100 --pp 64", &["--pipeline-parallel-size 64", "32 layers"]),
        ("h100 --ep 2", &["--expert-parallel-size 2", "no experts"]),
        ("h100 --tp 2 --ep 2 --enable-expert-parallel", &["--enable-expert-parallel"]),
    ];
    for (flags, needles) in cases {
        refuse_all(Path::new("."), &[(&format!("estimate llama-3.1-8b --gpu {flags}"), needles)]);
    }
}

#[test]
fn numbers_and_units_that_are_none() {
    for value in ["0", "1e30", "-5", "abc", "1.5", "nan", "inf", "99999999999999999999", "''", "0x10", "2e9"]
    {
        for flag in ["--input-len", "--output-len", "--batch-size", "--max-model-len", "--max-num-seqs"] {
            refuse_flags(&[(&format!("{flag} {value}"), &[flag, value.trim_matches('\'')])]);
        }
    }
    for value in ["0", "1.5", "nan", "-0.1", "half", "inf"] {
        for flag in ["--gpu-memory-utilization", "--length-ratio-min", "--duty"] {
            refuse_flags(&[(&format!("{flag} {value}"), &[flag, value])]);
        }
    }
    refuse_flags(&[
        ("--network-rtt fast", &["--network-rtt", "`fast`", "500ms"]),
        ("--network-rtt -1ms", &["-1"]),
        ("--cold-start 3parsecs", &["--cold-start", "3parsecs", "GB/s"]),
        ("--cold-start 3GB", &["--cold-start", "3GB", "GB/s"]),
        ("--cold-start 0GB/s", &["--cold-start", "above 0"]),
        ("--cpu-offload-gb lots", &["--cpu-offload-gb", "lots", "24GiB"]),
        ("--cpu-offload-gb nan", &["--cpu-offload-gb", "nan"]),
        ("--gpu-hour-usd free", &["--gpu-hour-usd", "free"]),
        ("--gpu-hour-usd -3", &["--gpu-hour-usd", "-3"]),
        ("--gpu-hour-usd inf", &["--gpu-hour-usd", "inf"]),
        ("--activation-sparsity 1", &["--activation-sparsity"]),
        ("--num-layers 0", &["--num-layers"]),
        ("--num-layers 99", &["--num-layers 99", "1..=32"]),
        ("--low-rank 0", &["--low-rank"]),
        ("--low-rank wide", &["--low-rank", "wide"]),
        ("--images 30000", &["--images", "30000"]),
        ("--image-size 3", &["--image-size", "1024x768"]),
        ("--image-size 0x0", &["--image-size"]),
    ]);
}

#[test]
fn flags_that_contradict_each_other_or_the_hardware() {
    refuse_flags(&[
        ("--batch-size 4 --concurrency 4", &["--batch-size", "--concurrency"]),
        ("--prefix-len 1024", &["--prefix-len 1024", "--input-len"]),
        ("--prefix-len 800 --length-ratio-min 0.5", &["--prefix-len 800", "768 prompt tokens"]),
        ("--json --format csv", &["--json", "--format"]),
        ("--dtype int4", &["--dtype int4", "--quantization int4"]),
        ("--kv-cache-dtype q4_0", &["--kv-cache-dtype q4_0", "--engine llamacpp"]),
        ("--images 3", &["--images", "vision", "llama-3.1-8b"]),
        ("--max-model-len 1000000", &["--max-model-len 1000000", "131072"]),
        ("--max-num-seqs 64 --max-num-batched-tokens 32", &["--max-num-batched-tokens 32"]),
        ("--model qwen3-8b", &["--model"]),
    ]);
    refuse_all(
        Path::new("."),
        &[
            ("estimate llama-3.1-8b --gpu v100-sxm2-32 --quantization fp8", &["V100", "fp8", "int4"]),
            (
                "estimate llama-3.1-8b --gpu a100-sxm-80 --quantization nvfp4 --engine trtllm",
                &["A100", "nvfp4", "trtllm"],
            ),
        ],
    );
    // vLLM falls back to fp16 by itself on a device without bf16, so this is a warning
    let output = run_in(Path::new("."), words("estimate qwen3-0.6b --gpu t4 --dtype bf16"));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warning.contains("T4 has no bf16"), "{warning}");
}

#[test]
fn launch_lines_with_mistakes() {
    refuse_all(
        Path::new("."),
        &[("estimate 'vllm serve \"llama -tp 2' --gpu h100-sxm", &["\" open", "close it"])],
    );
    for (line, needle) in [
        ("vllm serve 'llama -tp 2", "' open"),
        ("vllm serve", "names no model"),
        ("vllm serve $MODEL", "$MODEL"),
        ("vllm serve llama-3.1-8b -tp two", "`-tp two`"),
        ("vllm serve llama-3.1-8b -tp 3", "--tensor-parallel-size 3"),
    ] {
        let arguments = ["estimate", line, "--gpu", "h100-sxm"].map(OsString::from);
        let message = refusal(Path::new("."), &arguments, 2);
        assert!(message.contains(needle), "{line}\n{message}");
    }
}

#[test]
fn messages_are_short_and_plain() {
    let long = "a".repeat(100_000);
    for arguments in [
        ["estimate", &long, "--gpu", "h100"],
        ["estimate", "llama-3.1-8b", "--gpu", &long],
        ["estimate", "lla\nma\u{1b}[31m", "--gpu", "h100"],
    ] {
        let message = refusal(Path::new("."), &arguments.map(OsString::from), 2);
        assert!(message.len() < 2000 && !message.contains('\u{1b}'), "{}", message.len());
    }
}

/// A directory of files that are no models.
fn litter() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let hardware = include_str!("../hardware/l4.toml");
    let bandwidth = hardware.lines().find(|l| l.starts_with("memory_bandwidth_gb_per_s")).unwrap();
    let negative = hardware.replace(bandwidth, &bandwidth.replace("value = ", "value = -"));
    let model = include_str!("../models/llama-3.1-8b.toml");
    let config = fs::read_to_string(format!("{CONFIGS}/Qwen__Qwen3-8B.json")).unwrap();
    let png: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
    let files: [(&str, &[u8]); 17] = [
        ("image.png", png),
        ("image.json", png),
        ("image.gguf", png),
        ("empty.json", b""),
        ("empty.toml", b""),
        ("empty.gguf", b""),
        ("plain", b"hello"),
        ("cut.json", &config.as_bytes()[..config.len() / 2]),
        ("list.json", b"[1, 2]"),
        ("null.json", b"null"),
        ("object.json", b"{}"),
        ("unet.json", br#"{"_class_name": "UNet2DConditionModel", "sample_size": 64}"#),
        ("whisper.json", br#"{"model_type": "whisper", "d_model": 384, "vocab_size": 51865}"#),
        ("colour.toml", &[b"colour = \"red\"\n", model.as_bytes()].concat()),
        ("negative.toml", negative.as_bytes()),
        ("bad/gpu.toml", b"id = 3"),
        ("sub/readme.md", b"nothing here"),
    ];
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

#[test]
fn files_that_are_no_models() {
    let litter = litter();
    let cases: [(&str, &[&str]); 19] = [
        ("sub", &["sub", "config.json"]),
        ("./sub", &["./sub", "config.json", "missing"]),
        ("image.png", &["image.png", "not valid text"]),
        ("image.json", &["image.json", "not valid text"]),
        ("image.gguf", &["image.gguf", "not valid GGUF"]),
        ("empty.json", &["empty.json", "not valid JSON"]),
        ("empty.toml", &["empty.toml", "`id`"]),
        ("empty.gguf", &["empty.gguf", "not valid GGUF"]),
        ("plain", &["plain", "not valid JSON"]),
        ("cut.json", &["cut.json", "not valid JSON"]),
        ("list.json", &["list.json", "a list"]),
        ("null.json", &["null.json", "null"]),
        ("object.json", &["object.json", "`num_hidden_layers` is missing"]),
        ("unet.json", &["unet.json", "UNet2DConditionModel", "diffusion"]),
        ("whisper.json", &["whisper.json", "whisper"]),
        ("colour.toml", &["colour.toml", "`colour`", "line 1"]),
        ("absent.json", &["absent.json", "No such file"]),
        ("./absent", &["./absent", "No such file"]),
        ("/dev/null", &["/dev/null", "no regular file"]),
    ];
    for (path, needles) in cases {
        refuse_all(litter.path(), &[(&format!("models show {path}"), needles)]);
        refuse_all(litter.path(), &[(&format!("estimate {path} --gpu h100-sxm"), needles)]);
    }
    refuse_all(
        litter.path(),
        &[
            ("models import cut.json", &["cut.json"]),
            ("models import unet.json --id x", &["diffusion"]),
            ("models import object.json --parameters many", &["--parameters", "many"]),
            ("gpus show negative.toml", &["negative.toml", "memory_bandwidth_gb_per_s", "-300", "above 0"]),
            ("estimate llama-3.1-8b --gpu negative.toml", &["memory_bandwidth_gb_per_s"]),
            ("gpus show ./empty.toml", &["./empty.toml", "`id`"]),
            ("gpus show absent.toml", &["absent.toml", "No such file"]),
            ("gpus show colour.toml", &["colour.toml", "not valid accelerator TOML"]),
            ("gpus list --hardware-dir absent", &["absent", "No such file"]),
            ("gpus list --hardware-dir plain", &["plain", "Not a directory"]),
            ("gpus list --hardware-dir bad", &["gpu.toml", "line 1"]),
            ("estimate llama-3.1-8b --gpu h100-sxm --hardware-dir absent", &["absent"]),
        ],
    );
}

#[test]
fn what_fails_while_running_exits_with_1_and_no_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let export = |path: &str| {
        let arguments: Vec<OsString> =
            ESTIMATE.iter().copied().chain(["--export-json", path]).map(OsString::from).collect();
        refusal(directory.path(), &arguments, 1)
    };
    assert!(export("absent/x.json").contains("absent/x.json: cannot be written"));
    assert!(export(".").contains("check the path"));
    for command in ["estimate", "memory"] {
        let output = run_in(directory.path(), [command, "llama-3.1-70b", "--gpu", "t4", "--check"]);
        assert_eq!(output.status.code(), Some(3));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("error: llama-3.1-70b does not fit on t4"), "{message}");
        assert!(!output.stdout.is_empty(), "the answer is still given");
    }
}

/// `foretoken … | head -1` closes the pipe early.
#[cfg(unix)]
#[test]
fn a_closed_stdout_is_no_panic() {
    for arguments in
        [&["gpus", "list", "--json"][..], &["models", "list"], &["man"], &["completions", "bash"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("foretoken"))
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

/// Nor is a closed stderr.
#[cfg(unix)]
#[test]
fn a_closed_stderr_is_no_panic() {
    for (arguments, code) in [
        (["estimate", "nonsense", "--gpu", "h100-sxm"], 2),
        (["estimate", "qwen3-8b", "--gpu", "h100-smx"], 2),
        (["estimate", "llama-3.1-70b", "--gpu", "t4"], 0),
        (["estimate", "llama-3.1-8b", "--gpu", "--json"], 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = std::process::Command::new(assert_cmd::cargo::cargo_bin("foretoken"))
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// A full disk behind stdout is said.
#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("foretoken"))
        .args(ESTIMATE)
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.starts_with("error: standard output: cannot be written"), "{message}");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![b'h', 0xff, 0xfe]);
    let text = |t: &str| OsString::from(t);
    for arguments in [
        vec![text("estimate"), bytes(), text("--gpu"), text("h100-sxm")],
        vec![text("estimate"), text("llama-3.1-8b"), text("--gpu"), bytes()],
        vec![text("gpus"), text("show"), bytes()],
        vec![bytes()],
        vec![text("gpus"), text("list"), text("--hardware-dir"), bytes()],
    ] {
        refusal(Path::new("."), &arguments, 2);
    }
}
