//! The accelerator catalog: every file holds together, and names find what people mean.
#![allow(clippy::unwrap_used)]

use foretoken::spec::accelerator::Status;
use foretoken::spec::catalog::{self, Directories, Kind};
use foretoken::spec::{Accelerator, DataType, SpecError};
use std::collections::BTreeMap;
use std::path::Path;

fn find(name: &str) -> Result<Accelerator, SpecError> {
    catalog::accelerator(name, &Directories::default())
}

fn everything() -> Vec<(String, Accelerator)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            (stem, Accelerator::from_toml(&text, &path.display().to_string()).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn every_file_parses_and_carries_its_name() {
    let all = everything();
    assert_eq!(all.len(), 145);
    for (stem, accelerator) in &all {
        assert_eq!(stem, &accelerator.id);
        assert_eq!(&find(stem).unwrap(), accelerator, "embedded {stem} differs from its file");
        assert_eq!(&find(&accelerator.name).unwrap(), accelerator, "{stem} by its name");
    }
    assert_eq!(catalog::accelerators(&Directories::default()).unwrap().len(), 145);
}

#[test]
fn headers_agree_with_the_files() {
    for file in catalog::files(Kind::Hardware, &Directories::default()).unwrap() {
        let parsed = Accelerator::from_toml(&file.text, &file.file).unwrap();
        assert_eq!((&file.header.id, &file.header.name), (&parsed.id, &parsed.name));
        assert_eq!(file.header.aliases, parsed.aliases);
    }
}

#[test]
fn every_alias_finds_its_entry_or_says_that_it_is_ambiguous() {
    let mut ambiguous = BTreeMap::new();
    for (_, accelerator) in everything() {
        for alias in &accelerator.aliases {
            match find(alias) {
                Ok(found) => assert_eq!(found.id, accelerator.id, "alias {alias}"),
                Err(SpecError::Ambiguous { candidates, .. }) => {
                    assert!(candidates.contains(&accelerator.id));
                    ambiguous.insert(alias.clone(), candidates);
                }
                Err(other) => panic!("{alias}: {other}"),
            }
        }
    }
    let names: Vec<&str> = ambiguous.keys().map(String::as_str).collect();
    let expected = [
        "4060-ti",
        "5060-ti",
        "pro-6000",
        "rtx-4060-ti",
        "rtx-5060-ti",
        "rtx-6000-pro",
        "rtx-pro-6000",
        "rtx-pro-6000-blackwell",
        "v100",
        "v100-pcie",
        "v100-sxm2",
    ];
    assert_eq!(names, expected);
}

#[test]
fn narrower_formats_are_not_slower() {
    // B300 and GB300 cut int8 to a thirtieth; the datasheet says so.
    for (id, accelerator) in everything() {
        let peak = |d| accelerator.peak(d).map(|p| p.0);
        let ordered = |narrow: DataType, wide: DataType| {
            if let (Some(narrow), Some(wide)) = (peak(narrow), peak(wide)) {
                assert!(narrow >= wide * 0.999, "{id}");
            }
        };
        ordered(DataType::Fp8, DataType::Bf16);
        ordered(DataType::Nvfp4, DataType::Fp8);
        ordered(DataType::Mxfp4, DataType::Fp8);
        ordered(DataType::Fp16, DataType::Fp32);
        if !matches!(id.as_str(), "b300-sxm" | "gb300") {
            ordered(DataType::Int8, DataType::Bf16);
        }
    }
}

#[test]
fn nothing_invents_a_peak() {
    let missing = |id: &str, d| assert!(find(id).unwrap().peak(d).is_none(), "{id} {d}");
    for id in ["a100-sxm-80", "a100-sxm-40", "a100-pcie-80", "a30", "rtx-3090", "arc-pro-b60", "gaudi2"] {
        missing(id, DataType::Nvfp4);
    }
    for id in ["a100-sxm-80", "a10", "a40", "rtx-3090", "t4", "mi250x", "arc-pro-b60", "m3-max"] {
        missing(id, DataType::Fp8);
    }
    for id in ["v100-sxm2-16", "t4", "rtx-2080-ti", "p40"] {
        missing(id, DataType::Bf16);
    }
    missing("v100-sxm2-32", DataType::Int8);
    missing("h100-sxm", DataType::Mxfp4);
    missing("h100-sxm", DataType::Int4);
    missing("mi355x", DataType::Nvfp4);
}

#[test]
fn values_say_where_they_come_from() {
    for (id, accelerator) in everything() {
        let visible = accelerator.visible_memory_gib.as_ref().unwrap();
        assert!(matches!(visible.status, Status::Measured | Status::Derived), "{id}");
        let nominal = accelerator.memory_gb.value;
        assert!(visible.value <= nominal && visible.value > 0.9 * nominal, "{id}: {}", visible.value);
        for sourced in accelerator.peak_tflops.values().chain([visible, &accelerator.memory_gb]) {
            assert!(!sourced.source.is_empty() && !sourced.date.is_empty(), "{id}");
        }
    }
}

#[test]
fn people_s_names_resolve() {
    for (name, id) in [
        ("H100", "h100-sxm"),
        ("h100_sxm", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80"),
        ("a100", "a100-sxm-80"),
        ("A100-PCIE-40GB", "a100-pcie-40"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("MI300X", "mi300x"),
        ("AMD Instinct MI300X", "mi300x"),
        ("m3 max", "m3-max"),
        ("Apple M4 Max", "m4-max"),
        ("Tesla T4", "t4"),
        ("b200", "b200-sxm"),
        ("gb10", "dgx-spark"),
        ("8480+", "xeon-8480plus"),
        ("Intel(R) Xeon(R) Platinum 8480+", "xeon-8480plus"),
        ("NVIDIA H100-80GB SXM (79.19 GiB visible)", "h100-sxm"),
        ("GeForce RTX 4090 24GB", "rtx-4090"),
    ] {
        assert_eq!(find(name).unwrap().id, id, "{name}");
    }
}

#[test]
fn unknown_and_ambiguous_names_say_what_to_do() {
    let message = find("h100-smx").unwrap_err().to_string();
    assert!(message.contains("did you mean `h100-sxm`") && message.contains("gpus list"), "{message}");
    let message = find("rtx-pro-6000").unwrap_err().to_string();
    assert!(message.contains("rtx-pro-6000-server") && message.contains("rtx-pro-6000-ws"), "{message}");
    for name in ["", " ", "nvidia", "🦀", "zzzzzz"] {
        assert!(matches!(find(name), Err(SpecError::Unknown { .. })), "{name:?}");
    }
}

#[test]
fn paths_and_directories_of_the_user_win() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware/h100-sxm.toml");
    let text = std::fs::read_to_string(embedded).unwrap();
    let faster = text.replacen("value = 3350.0", "value = 4000.0", 1);
    let path = directory.path().join("mine.toml");
    std::fs::write(&path, &faster).unwrap();
    let bandwidth = |a: Accelerator| a.memory_bandwidth().0;
    assert_eq!(bandwidth(find(path.to_str().unwrap()).unwrap()), 4e12);
    let directories = Directories::default().with_hardware([directory.path().to_owned()]);
    assert_eq!(bandwidth(catalog::accelerator("h100", &directories).unwrap()), 4e12);
    assert_eq!(bandwidth(find("h100").unwrap()), 3.35e12);
    assert_eq!(catalog::accelerators(&directories).unwrap().len(), 145);

    std::fs::write(&path, faster.replacen("value = 4000.0", "value = -1.0", 1)).unwrap();
    let message = catalog::accelerator("h100", &directories).unwrap_err().to_string();
    assert!(message.contains("mine.toml") && message.contains("memory_bandwidth_gb_per_s"), "{message}");
}

#[test]
fn unreadable_files_are_refused() {
    for name in ["/dev/zero", "/nowhere/h100.toml", "nowhere.toml", "/", "./"] {
        assert!(matches!(find(name), Err(SpecError::Unreadable { .. })), "{name}");
    }
    let directories = Directories::default().with_hardware(["/nowhere".into()]);
    assert!(matches!(catalog::accelerator("h100", &directories), Err(SpecError::Unreadable { .. })));
}

#[test]
fn absurd_values_are_refused_by_key() {
    let text = include_str!("../hardware/h100-sxm.toml");
    for (from, to, key) in [
        ("usd = 2.931", "usd = -1.0", "hourly_price.usd"),
        ("usd = 30000.0", "usd = nan", "purchase_price.usd"),
        ("value = 79.19", "value = 0.0", "visible_memory_gib"),
        ("fp8 = { value = 1979.0", "fp8 = { value = inf", "peak_tflops.fp8"),
        ("value = 700.0", "value = \"a lot\"", "string"),
        ("fp8 = {", "fp9 = {", "fp9"),
        ("tdp_w = {", "tdp = {", "tdp"),
    ] {
        assert!(text.contains(from), "{from}");
        let message = Accelerator::from_toml(&text.replacen(from, to, 1), "a.toml").unwrap_err().to_string();
        assert!(message.contains("a.toml") && message.contains(key), "{message}");
    }
    let message = Accelerator::from_toml("id = \"x\"\nname = 5\n", "a.toml").unwrap_err().to_string();
    assert!(message.contains("line 2"), "{message}");
    assert!(Accelerator::from_toml("", "a.toml").is_err());
    assert!(Accelerator::from_toml("\u{0}\u{1}", "a.toml").is_err());
}
