//! Writes the embedded catalogs: for every TOML file of `hardware/`, `models/`, `calibration/` and
//! `calibration/engines/` the names it is found by and its text, sorted by id.

#[path = "src/spec/catalog/header.rs"]
mod header;

use header::Header;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut code = String::new();
    for (directory, table) in [
        ("hardware", "HARDWARE"),
        ("models", "MODELS"),
        ("calibration", "CALIBRATIONS"),
        ("calibration/engines", "ENGINES"),
    ] {
        println!("cargo::rerun-if-changed={directory}");
        write_table(&root.join(directory), table, &mut code)?;
    }
    println!("cargo::rerun-if-changed=src/spec/catalog/header.rs");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("catalog.rs"), code)?;
    Ok(())
}

fn write_table(directory: &Path, table: &str, code: &mut String) -> Result<(), Box<dyn Error>> {
    let mut entries = Vec::new();
    if directory.is_dir() {
        for file in fs::read_dir(directory)? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                println!("cargo::rerun-if-changed={}", path.display());
                entries.push((Header::read(&fs::read_to_string(&path)?, &stem), path));
            }
        }
    }
    entries.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    writeln!(code, "static {table}: &[Entry] = &[")?;
    for (Header { id, name, hf_id, aliases }, path) in entries {
        writeln!(
            code,
            "    Entry {{ id: {id:?}, name: {name:?}, hf_id: {hf_id:?}, aliases: &{aliases:?}, \
             text: include_str!({path:?}) }},"
        )?;
    }
    writeln!(code, "];")?;
    Ok(())
}
