//! `doctor` on paper: meant to be pasted into an issue.

use serde_json::json;

use super::{Report, Section, bytes_gib, count, number, percent, versioned};
use crate::answer::{Doctor, GpuFacts};
use crate::machine::cpu::Cpu;
use crate::machine::library::Version;

/// Processor, driver, GPUs, libraries and benchmarks.
#[must_use]
pub fn doctor(d: &Doctor) -> Report {
    let mut sections = vec![processor(&d.cpu)];
    if let Some(driver) = &d.driver {
        let mut section = Section::new("NVIDIA driver", &[]);
        section.row(["version", &driver.version]);
        section.row(["CUDA up to", &driver.cuda_version]);
        if let Some(visible) = &driver.cuda_visible_devices {
            section.row(["CUDA_VISIBLE_DEVICES", visible]);
        }
        sections.push(section);
    }
    for gpu in &d.gpus {
        sections.push(facts(gpu));
        let mut section = Section::new(
            format!("Benchmarks of calibrate on GPU {}", gpu.gpu.index),
            &["benchmark", "finds out", "here"],
        );
        for b in &gpu.benchmarks {
            section.row([b.name, b.purpose, b.obstacle.as_deref().unwrap_or("can run")]);
        }
        sections.push(section);
    }
    if !d.libraries.is_empty() {
        let mut section = Section::new("CUDA libraries", &["library", "version", "found by", "file"]);
        for found in &d.libraries {
            let version = match &found.version {
                Version::Version(version) => version.clone(),
                Version::Error(error) => format!("does not open: {error}"),
            };
            let path = found.path.display().to_string();
            section.row([found.library.to_string(), version, found.origin.to_string(), path]);
        }
        sections.push(section);
    }
    let mut footer = vec![];
    if let Some(problem) = &d.problem {
        footer.push(format!("No GPU can be used: {problem}."));
    }
    footer.push("`foretoken calibrate --device cpu` can measure this processor.".into());
    Report {
        heading: vec![format!("foretoken {} on {}", d.version, d.system)],
        sections,
        footer,
        json: versioned(&json!(d)),
        ..Report::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
fn processor(cpu: &Cpu) -> Section {
    let mut section = Section::new("CPU", &[]);
    section.row(["model", &format!("{} ({})", cpu.model, cpu.architecture)]);
    let cores = cpu.physical_cores.map_or_else(String::new, |n| format!("{n} cores, "));
    section.row([
        "cores",
        &format!("{cores}{} threads, {} usable by this process", cpu.threads, cpu.usable_threads),
    ]);
    if !cpu.simd.is_empty() {
        section.row(["instructions", &cpu.simd.join(" ")]);
    }
    if !cpu.caches.is_empty() {
        let caches = cpu.caches.iter().map(|c| {
            let size = c.bytes as f64 / 1024.0;
            let size = if size < 1024.0 { format!("{size} KiB") } else { format!("{} MiB", size / 1024.0) };
            format!("L{} {} × {size}", c.level, c.count)
        });
        section.row(["caches", &caches.collect::<Vec<_>>().join(", ")]);
    }
    let (total, free) = (cpu.memory_bytes as f64, cpu.available_memory_bytes as f64);
    section.row(["memory", &format!("{}, {} available", bytes_gib(total), bytes_gib(free))]);
    section.row(["load", &format!("{:.2} in the last minute", cpu.load_average)]);
    section
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
fn facts(g: &GpuFacts) -> Section {
    let gpu = &g.gpu;
    let mut section = Section::new(format!("GPU {}: {}", gpu.index, gpu.name), &[]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            section.row([name.to_owned(), value]);
        }
    };
    let mhz = |hz: Option<f64>| hz.map(|hz| format!("{} MHz", count(hz / 1e6)));
    let of = |now: Option<String>, most: Option<String>| match (now, most) {
        (Some(now), Some(most)) => Some(format!("{now}, at most {most}")),
        (now, most) => now.or(most.map(|m| format!("at most {m}"))),
    };
    let gib = |bytes: u64| bytes_gib(bytes as f64);
    row("catalog", Some(g.catalog_id.clone().unwrap_or_else(|| "no entry of this name".into())));
    row("CUDA device", g.cuda_ordinal.map(|n| format!("cuda:{n}")));
    row(
        "card",
        Some(gpu.uuid_hash.clone()).filter(|h| !h.is_empty()).map(|h| format!("{h} (hash of its UUID)")),
    );
    let capability = gpu.compute_capability.as_ref().map(|c| format!(", compute capability {c}"));
    row("architecture", gpu.architecture.as_ref().map(|a| format!("{a}{}", capability.unwrap_or_default())));
    row("multiprocessors", g.multiprocessors.map(|n| n.to_string()));
    row("L2 cache", g.l2_cache_bytes.map(|b| format!("{} MiB", number(b as f64 / 1_048_576.0))));
    row(
        "memory",
        gpu.memory_total_bytes
            .map(|total| format!("{}, {} in use", gib(total), gib(gpu.memory_used_bytes.unwrap_or(0)))),
    );
    row(
        "memory bandwidth",
        gpu.memory_bandwidth_bytes_per_s.map(|b| format!("{} GB/s by clock and bus width", number(b / 1e9))),
    );
    row("SM clock", of(mhz(gpu.now.sm_clock_hz), mhz(gpu.max_sm_clock_hz)));
    row("memory clock", of(mhz(gpu.now.memory_clock_hz), mhz(gpu.max_memory_clock_hz)));
    row("clocks held by", Some(gpu.now.throttle_reasons.join(", ")).filter(|r| !r.is_empty()));
    let watts = |w: Option<f64>| w.map(|w| format!("{w:.0} W"));
    row("power", of(watts(gpu.now.power_w), watts(gpu.power_limit_w)));
    row("power as delivered", watts(gpu.power_limit_default_w.filter(|d| gpu.power_limit_w != Some(*d))));
    row("temperature", gpu.now.temperature_c.map(|t| format!("{t:.0} °C")));
    row("busy", gpu.now.utilization.map(percent));
    row("PCI Express", gpu.pcie.clone());
    row("NVLink", (gpu.nvlinks > 0).then(|| format!("{} links up", gpu.nvlinks)));
    row("ECC", gpu.ecc.map(on));
    row("MIG", gpu.mig.map(on));
    row(
        "other programs",
        Some(gpu.processes.len()).filter(|n| *n > 0).map(|n| {
            let held: u64 = gpu.processes.iter().filter_map(|p| p.memory_bytes).sum();
            format!("{n}, holding {}", gib(held))
        }),
    );
    section
}

fn on(on: bool) -> String {
    if on { "on" } else { "off" }.into()
}
