//! Accelerators by name.

use std::path::Path;

use super::files::{CatalogFile, Kind, files, read_text};
use super::resolve::resolve;
use super::{Directories, Header, local};
use crate::spec::{Accelerator, SpecError};
use crate::units::{Bytes, GIB};

const FIX: &str = "`foretoken gpus list` names all; a path to a TOML file is accepted too";

/// An accelerator by catalog id, other name or path to a TOML file.
///
/// Case, hyphens, underscores and spaces do not matter, and neither does the vendor in front:
/// `h100-sxm`, `NVIDIA H100 80GB HBM3` and `H100` are one device.
///
/// # Errors
/// When the name is unknown or fits several entries, or the file cannot be read.
pub fn accelerator(name: &str, directories: &Directories) -> Result<Accelerator, SpecError> {
    let name = name.trim();
    if local::is_cpu(name) {
        return local::cpu(directories);
    }
    if name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|e| e == "toml") {
        return Accelerator::from_toml(&read_text(Path::new(name))?, name);
    }
    let all = files(Kind::Hardware, directories)?;
    let CatalogFile { text, file, .. } = resolve(Kind::Hardware, name, &all, FIX)?;
    Accelerator::from_toml(text, file)
}

/// The accelerator that a driver means by a name (`NVIDIA A100-SXM4-80GB`): as [`accelerator`], where the
/// memory that the driver reports agrees within 8 % (in-line error correction takes 1/16, page tables up to 1.5 %). Of several entries
/// the one with that memory is meant; cards sold in several sizes under one name are tried with the size
/// behind it.
///
/// # Errors
/// When the name is unknown, memory does not decide, or it belongs to no entry of that name.
pub fn accelerator_of_driver(
    name: &str,
    memory: Option<Bytes>,
    directories: &Directories,
) -> Result<Accelerator, SpecError> {
    let found = accelerator(name, directories);
    let Some(memory) = memory else { return found };
    let sized = format!("{name} {:.0}", memory.0 / GIB);
    let ids = match &found {
        Err(SpecError::Ambiguous { candidates, .. }) => candidates.clone(),
        Ok(one) => vec![one.id.clone(), sized],
        Err(_) => vec![sized],
    };
    let agrees = |a: &Accelerator| (a.memory().0 / memory.0 - 1.0).abs() <= 0.08;
    let mut fitting: Vec<Accelerator> =
        ids.iter().filter_map(|id| accelerator(id, directories).ok()).filter(agrees).collect();
    fitting.dedup_by(|a, b| a.id == b.id);
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        _ => Err(found.err().unwrap_or_else(|| SpecError::Unknown {
            kind: "accelerator",
            name: format!("{name} with {:.1} GiB", memory.0 / GIB),
            similar: vec![],
            fix: FIX.into(),
        })),
    }
}

/// The headers of all accelerators, by id.
///
/// # Errors
/// When a directory of the user cannot be read.
pub fn accelerators(directories: &Directories) -> Result<Vec<Header>, SpecError> {
    let mut headers: Vec<Header> =
        files(Kind::Hardware, directories)?.into_iter().map(|f| f.header).collect();
    headers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(headers)
}

/// Splits a count in front from the name: `2xh100-sxm` is two `h100-sxm`, `h100-sxm` has no count.
/// Counts have at most three digits, so that `7900xtx` stays a name.
///
/// # Errors
/// When the count is zero.
pub fn parse_gpu_count(text: &str) -> Result<(Option<u32>, &str), SpecError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, rest) = text.split_at(digits);
    let name = rest.trim_start().strip_prefix(['x', 'X', '×', '*']).map(str::trim_start);
    match (name, count.parse::<u32>()) {
        (Some(name), Ok(0)) if !name.is_empty() => {
            Err(SpecError::Usage(format!("`{text}`: the count must be at least 1; write it like 2xh100-sxm")))
        }
        (Some(name), Ok(count)) if digits <= 3 && !name.is_empty() => Ok((Some(count), name)),
        _ => Ok((None, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_in_front() {
        assert_eq!(parse_gpu_count("2xh100-sxm").unwrap(), (Some(2), "h100-sxm"));
        assert_eq!(parse_gpu_count("8 x NVIDIA H100").unwrap(), (Some(8), "NVIDIA H100"));
        assert_eq!(parse_gpu_count("h100-sxm").unwrap(), (None, "h100-sxm"));
        assert_eq!(parse_gpu_count("7900xtx").unwrap(), (None, "7900xtx"));
        assert_eq!(parse_gpu_count("4090").unwrap(), (None, "4090"));
        assert!(parse_gpu_count("0xh100-sxm").is_err());
    }

    /// Names as NVML gives them, with the memory it reports (MiB).
    #[test]
    fn names_of_the_driver_are_known() {
        let known = [
            ("NVIDIA H200", 143_771.0, "h200-sxm"),
            ("NVIDIA H200 NVL", 143_771.0, "h200-nvl"),
            ("NVIDIA H100 80GB HBM3", 81_559.0, "h100-sxm"),
            ("NVIDIA H100 PCIe", 81_559.0, "h100-pcie"),
            ("NVIDIA H100 NVL", 95_830.0, "h100-nvl"),
            ("NVIDIA H800", 81_559.0, "h800-sxm"),
            ("NVIDIA H20", 97_871.0, "h20"),
            ("NVIDIA A100-SXM4-80GB", 81_920.0, "a100-sxm-80"),
            ("NVIDIA A100-SXM4-40GB", 40_960.0, "a100-sxm-40"),
            ("NVIDIA A100 80GB PCIe", 81_920.0, "a100-pcie-80"),
            ("NVIDIA A100-PCIE-40GB", 40_960.0, "a100-pcie-40"),
            ("NVIDIA A800-SXM4-80GB", 81_920.0, "a800-sxm-80"),
            ("NVIDIA A40", 46_068.0, "a40"),
            ("NVIDIA A30", 24_576.0, "a30"),
            ("NVIDIA A10", 23_028.0, "a10"),
            ("NVIDIA A10G", 23_028.0, "a10g"),
            ("NVIDIA RTX A6000", 49_140.0, "a6000"),
            ("NVIDIA L40S", 46_068.0, "l40s"),
            ("NVIDIA L40", 46_068.0, "l40"),
            ("NVIDIA L20", 46_068.0, "l20"),
            ("NVIDIA L4", 23_034.0, "l4"),
            ("Tesla T4", 15_360.0, "t4"),
            ("Tesla V100-SXM2-16GB", 16_384.0, "v100-sxm2-16"),
            ("Tesla V100-SXM2-32GB", 32_768.0, "v100-sxm2-32"),
            ("Tesla V100-PCIE-16GB", 16_384.0, "v100-pcie-16"),
            ("Tesla P100-SXM2-16GB", 16_384.0, "p100-sxm2"),
            ("Tesla P40", 24_576.0, "p40"),
            ("NVIDIA GeForce RTX 4090", 24_564.0, "rtx-4090"),
            ("NVIDIA GeForce RTX 3090", 24_576.0, "rtx-3090"),
            ("NVIDIA GeForce RTX 3060", 12_288.0, "rtx-3060-12"),
            ("NVIDIA GeForce RTX 4060 Ti", 16_380.0, "rtx-4060-ti-16"),
            ("NVIDIA GeForce RTX 4060 Ti", 8_188.0, "rtx-4060-ti-8"),
            ("NVIDIA GeForce RTX 5060 Ti", 16_311.0, "rtx-5060-ti-16"),
            ("NVIDIA GeForce RTX 5090", 32_607.0, "rtx-5090"),
            ("NVIDIA RTX A5000", 24_564.0, "a5000"),
            ("Quadro RTX 8000", 49_152.0, "quadro-rtx-8000"),
            ("NVIDIA A16", 15_356.0, "a16"),
            ("NVIDIA A2", 15_356.0, "a2"),
            ("NVIDIA RTX 6000 Ada Generation", 49_140.0, "rtx-6000-ada"),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887.0, "rtx-pro-6000-server"),
            ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97_887.0, "rtx-pro-6000-ws"),
            ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97_887.0, "rtx-pro-6000-max-q"),
            ("NVIDIA RTX PRO 4000 Blackwell", 24_467.0, "rtx-pro-4000"),
            ("NVIDIA B200", 183_359.0, "b200-sxm"),
            ("NVIDIA B300 SXM6 AC", 275_040.0, "b300-sxm"),
            ("NVIDIA GB200", 189_471.0, "gb200"),
            ("NVIDIA GB300", 284_208.0, "gb300"),
            ("NVIDIA GH200 480GB", 97_871.0, "gh200-96"),
            ("NVIDIA GH200 144G HBM3e", 147_000.0, "gh200-144"),
            ("NVIDIA GB10", 122_000.0, "dgx-spark"),
        ];
        let mut wrong = vec![];
        for (name, mib, id) in known {
            let memory = Some(Bytes(mib * 1024.0 * 1024.0));
            let found = accelerator_of_driver(name, memory, &Directories::default());
            if found.as_ref().map(|a| a.id.as_str()).ok() != Some(id) {
                wrong.push(format!("{name} → {id}: {:?}", found.map(|a| a.id).map_err(|e| e.to_string())));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
