//! The processor and its memory.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What the operating system says of the processor and the memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cpu {
    /// Name as sold; empty where the system does not say.
    pub model: String,
    /// Instruction set: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// Cores of the machine, without hyper-threads.
    pub physical_cores: Option<usize>,
    /// Hardware threads of the machine.
    pub threads: usize,
    /// Threads that this process may use at once: after affinity and the container's quota.
    pub usable_threads: usize,
    /// Data and unified caches, the nearest first.
    pub caches: Vec<Cache>,
    /// Vector and matrix instructions that the processor has, of those that matter here.
    pub simd: Vec<&'static str>,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// Memory that can be had without swapping, in bytes; the container's limit counts.
    pub available_memory_bytes: u64,
    /// Runnable tasks, mean of the last minute.
    pub load_average: f64,
}

/// A level of data cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// Size of one, in bytes.
    pub bytes: u64,
    /// How many of them the machine has.
    pub count: usize,
}

impl Cpu {
    /// Asks the operating system; what it does not say is left empty.
    #[must_use]
    pub fn read() -> Self {
        let wanted = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(wanted);
        let limit = system.cgroup_limits().map_or(u64::MAX, |l| l.free_memory);
        let threads = system.cpus().len();
        Self {
            model: system.cpus().first().map(|c| c.brand().trim().to_owned()).unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            physical_cores: System::physical_core_count(),
            threads,
            usable_threads: std::thread::available_parallelism().map_or(threads.max(1), usize::from),
            caches: caches(Path::new("/sys/devices/system/cpu")),
            simd: simd(),
            memory_bytes: system.total_memory(),
            available_memory_bytes: system.available_memory().min(limit),
            load_average: System::load_average().one,
        }
    }
}

/// The data caches that Linux lists under `/sys/devices/system/cpu`; none elsewhere.
///
/// A cache is counted once however many threads share it: its first thread speaks for it.
fn caches(root: &Path) -> Vec<Cache> {
    let mut counts: BTreeMap<(u32, u64), usize> = BTreeMap::new();
    let read = |path: &Path, name: &str| {
        std::fs::read_to_string(path.join(name)).map(|t| t.trim().to_owned()).unwrap_or_default()
    };
    for thread in directories(root, "cpu") {
        for cache in directories(&root.join(format!("cpu{thread}")).join("cache"), "index") {
            let path = root.join(format!("cpu{thread}")).join("cache").join(format!("index{cache}"));
            let first = read(&path, "shared_cpu_list");
            let first = first.split([',', '-']).next().and_then(|t| t.parse::<usize>().ok());
            let size = kibibytes(&read(&path, "size"));
            if let (Ok(level), Some(bytes), "Data" | "Unified") =
                (read(&path, "level").parse(), size, read(&path, "type").as_str())
                && first.is_none_or(|first| first == thread)
            {
                *counts.entry((level, bytes)).or_default() += 1;
            }
        }
    }
    counts.into_iter().map(|((level, bytes), count)| Cache { level, bytes, count }).collect()
}

/// Numbers of the directories `<prefix><number>` in a directory.
fn directories(root: &Path, prefix: &str) -> Vec<usize> {
    let names = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.file_name());
    names.filter_map(|n| n.to_str()?.strip_prefix(prefix)?.parse().ok()).collect()
}

/// `48K` → 49,152.
fn kibibytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return text.parse().ok(),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    macro_rules! having {
        ($($name:tt),*) => { [$(($name, is_x86_feature_detected!($name))),*] };
    }
    let all =
        having!("avx", "avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512bf16", "avx512fp16", "avx512vnni");
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    macro_rules! having {
        ($($name:tt),*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let all = having!("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2");
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_caches_are_counted_once() {
        let root = tempfile::tempdir().unwrap();
        let write = |thread: usize, index: usize, level: &str, kind: &str, size: &str, shared: &str| {
            let path = root.path().join(format!("cpu{thread}/cache/index{index}"));
            std::fs::create_dir_all(&path).unwrap();
            for (name, text) in
                [("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)]
            {
                std::fs::write(path.join(name), format!("{text}\n")).unwrap();
            }
        };
        for thread in 0..4 {
            write(thread, 0, "1", "Data", "48K", &thread.to_string());
            write(thread, 1, "1", "Instruction", "32K", &thread.to_string());
            write(thread, 2, "2", "Unified", "2048K", if thread < 2 { "0-1" } else { "2,3" });
            write(thread, 3, "3", "Unified", "32M", "0-3");
        }
        std::fs::create_dir_all(root.path().join("cpufreq")).unwrap();
        let expected = [(1, 48 << 10, 4), (2, 2 << 20, 2), (3, 32 << 20, 1)];
        let expected = expected.map(|(level, bytes, count)| Cache { level, bytes, count });
        assert_eq!(caches(root.path()), expected);
        assert!(caches(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn this_machine_has_a_processor() {
        let cpu = Cpu::read();
        assert!(cpu.usable_threads >= 1 && cpu.memory_bytes > 1 << 20, "{cpu:?}");
        assert!(cpu.available_memory_bytes <= cpu.memory_bytes, "{cpu:?}");
    }
}
