//! The accelerators may be others than thought, or run slower.

use std::borrow::Cow;

use super::Question;
use super::likelihood::Prior::{Known, Occasional, Rare};
use super::scenario::{Scenario, Suspect};
use crate::answer::Kernels;
use crate::spec::accelerator::Sourced;
use crate::spec::catalog::{self, Directories};
use crate::spec::{Accelerator, EngineKind};
use crate::time::{Trust, kinship};

/// Shares of the boost clock under heat, a power cap or a locked clock. Judged.
const CLOCKS: [f64; 6] = [0.95, 0.8, 0.65, 0.5, 0.35, 0.2];

/// Shares of the memory bandwidth. Judged.
const BANDWIDTHS: [f64; 5] = [0.95, 0.8, 0.6, 0.4, 0.2];

/// Shares of a GPU that others leave. Judged.
const SHARED: [f64; 5] = [0.9, 0.75, 0.5, 0.35, 0.2];

/// Shares of the host link: fewer lanes, an older generation, or a way through host memory.
const LANES: [f64; 4] = [0.7, 0.5, 0.25, 0.06];

/// MIG slices of GPUs that can be cut: sevenths of the multiprocessors, eighths of memory and its bandwidth (NVIDIA MIG
/// User Guide, profiles 1g to 4g).
const SLICES: [(u32, f64); 4] = [(1, 1.0), (2, 2.0), (3, 4.0), (4, 4.0)];

pub(super) fn suspects(question: &Question<'_>, directories: &Directories) -> Vec<Suspect> {
    let accelerator = question.accelerator;
    let mut all = vec![clocks(accelerator), bandwidth(accelerator), shared(accelerator)];
    all.extend(link(question));
    all.extend(variants(question, directories));
    all.extend(slices(question));
    all.extend(fewer(question));
    all
}

/// Arithmetic at a share of its rate, as lower clocks make it; caches and launches keep theirs, which is too kind.
fn slower(scenario: &mut Scenario<'_>, arithmetic: f64, memory: f64) {
    let scale = |value: &mut Sourced, by: f64| value.value *= by;
    let a = scenario.accelerator.to_mut();
    a.peak_tflops.values_mut().for_each(|peak| scale(peak, arithmetic));
    for value in [&mut a.peak_tflops_fp16_accumulate, &mut a.peak_tflops_tf32, &mut a.boost_clock_mhz] {
        value.iter_mut().for_each(|v| scale(v, arithmetic));
    }
    scale(&mut a.memory_bandwidth_gb_per_s, memory);
    // figures measured on the device are absolute
    let measured = scenario.kernels.as_mut().filter(|k| k.calibration.measured.is_some());
    if let Some(found) = measured.and_then(|k| k.to_mut().calibration.measured.as_mut()) {
        found.bandwidth_bytes_per_s.values_mut().for_each(|rate| *rate *= memory);
        found.attention_flops_per_s.values_mut().for_each(|rate| *rate *= arithmetic);
        found.matmul.values_mut().for_each(|best| best.flops_per_s *= arithmetic);
    }
}

fn clocks(accelerator: &Accelerator) -> Suspect {
    let boost = accelerator.boost_clock_mhz.as_ref().map(|c| c.value);
    let words = move |share: f64| {
        let at = boost.map_or_else(String::new, |mhz| format!(", {:.0} of {mhz:.0} MHz", share * mhz));
        format!("clocks are held down to {:.0} %{at} (heat, power cap, locked clocks)", 100.0 * share)
    };
    let tell = match accelerator.vendor.as_str() {
        "NVIDIA" => {
            "nvidia-smi -q -d CLOCK,PERFORMANCE,POWER under load: SM clock, active throttle reasons, power limit"
        }
        "AMD" => "rocm-smi --showclocks --showpower --showtemp under load",
        _ => "clocks, temperature and power limit under load",
    };
    Suspect::range(Occasional, tell, CLOCKS, words, |s, share| slower(s, share, 1.0))
}

fn bandwidth(accelerator: &Accelerator) -> Suspect {
    let words = |share| {
        format!(
            "memory runs at {:.0} % of its bandwidth (memory clock, ECC, others reading it)",
            100.0 * share
        )
    };
    let tell = match accelerator.vendor.as_str() {
        "NVIDIA" => {
            "nvidia-smi -q -d CLOCK,ECC under load: memory clock against its maximum; foretoken calibrate --quick measures it"
        }
        "AMD" => "rocm-smi --showclocks under load: memory clock against its maximum",
        _ => "other programs that read memory at the same time",
    };
    Suspect::range(Rare, tell, BANDWIDTHS, words, |s, share| slower(s, 1.0, share))
}

fn shared(accelerator: &Accelerator) -> Suspect {
    let words = |share| format!("another process takes {:.0} % of the GPU", 100.0 * (1.0 - share));
    let tell = if accelerator.vendor == "NVIDIA" {
        "nvidia-smi: processes and memory in use beside the server's; MPS or time slicing in the cluster"
    } else {
        "other processes on the device"
    };
    Suspect::range(Rare, tell, SHARED, words, |s, share| slower(s, share, share))
}

/// Collectives over another link than thought.
fn link(question: &Question<'_>) -> Vec<Suspect> {
    let p = question.deployment.parallelism;
    if p.tp.max(p.pp).max(p.ep) < 2 {
        return vec![];
    }
    let tell = "nvidia-smi topo -m: NV# between all GPUs, not PHB, NODE or SYS; NCCL_DEBUG=INFO: `via P2P`, not `via SHM`";
    let own = question.accelerator.interconnect.clone();
    let instead = own.filter(|_| question.accelerator.interconnect_gb_per_s.is_some()).map(|name| {
        let words = format!("the GPUs talk over PCIe instead of {name}");
        Suspect::one(Occasional, tell, words, |s| over_pcie(s, 1.0))
    });
    let prior = if instead.is_some() { Rare } else { Occasional };
    let words = |share| {
        format!(
            "the GPUs talk over {:.0} % of the PCIe bandwidth (fewer lanes, through host memory)",
            100.0 * share
        )
    };
    let tell = "nvidia-smi --query-gpu=pcie.link.gen.current,pcie.link.width.current --format=csv under load; \
                nvidia-smi topo -m; NCCL_DEBUG=INFO: `via P2P`, not `via SHM`";
    let slower = Suspect::range(prior, tell, LANES, words, over_pcie);
    instead.into_iter().chain([slower]).collect()
}

fn over_pcie(scenario: &mut Scenario<'_>, share: f64) {
    let a = scenario.accelerator.to_mut();
    (a.interconnect, a.interconnect_gb_per_s) = (None, None);
    a.pcie_gb_per_s.iter_mut().for_each(|rate| rate.value *= share);
}

/// Other boards of the same chip, which share its name or half of it.
fn variants(question: &Question<'_>, directories: &Directories) -> Option<Suspect> {
    let ours = question.accelerator;
    let ids = catalog::accelerators(directories).ok()?;
    let others: Vec<(Accelerator, Option<Kernels>)> = ids
        .into_iter()
        .filter_map(|header| catalog::accelerator(&header.id, directories).ok())
        .filter(|other| other.id != ours.id)
        .filter(|other| kinship(ours, other).is_some_and(|(trust, _)| trust == Trust::SameChip))
        .map(|other| {
            let kernels =
                question.kernels.and_then(|_| Kernels::in_force(&other, directories).ok().flatten());
            (other, kernels)
        })
        .collect();
    let names: Vec<String> =
        others.iter().map(|(a, _)| format!("it is another board: {} ({})", a.name, a.id)).collect();
    let tell = match ours.vendor.as_str() {
        "NVIDIA" => "nvidia-smi -L; nvidia-smi --query-gpu=name,memory.total,power.limit --format=csv",
        _ => "the device's full name and memory; foretoken doctor",
    };
    let words = move |i: usize| names.get(i).cloned().unwrap_or_default();
    (!others.is_empty()).then(|| {
        Suspect::each(Occasional, tell, others.len(), words, move |s, i| {
            if let Some((accelerator, kernels)) = others.get(i) {
                s.accelerator = Cow::Owned(accelerator.clone());
                s.kernels = kernels.clone().map(Cow::Owned);
            }
        })
    })
}

fn slices(question: &Question<'_>) -> Option<Suspect> {
    let a = question.accelerator;
    let cut = a.vendor == "NVIDIA"
        && matches!(a.memory_type.as_deref(), Some(m) if m.starts_with("HBM"))
        && ["Ampere", "Hopper", "Blackwell"].iter().any(|family| a.architecture.starts_with(family));
    if !cut || question.deployment.parallelism.accelerators() > 1 {
        return None;
    }
    let of = |i: usize| SLICES.get(i).copied().unwrap_or((1, 1.0));
    let words = move |i| format!("it is a MIG slice of {}/7", of(i).0);
    let tell = "nvidia-smi -L lists MIG devices; foretoken doctor names them";
    Some(Suspect::each(Known, tell, SLICES.len(), words, move |s, i| {
        let (sevenths, eighths) = of(i);
        slower(s, f64::from(sevenths) / 7.0, eighths / 8.0);
        let a = s.accelerator.to_mut();
        a.memory_gb.value *= eighths / 8.0;
        for (value, by) in [
            (&mut a.visible_memory_gib, eighths / 8.0),
            (&mut a.l2_cache_mb, eighths / 8.0),
            (&mut a.multiprocessors, f64::from(sevenths) / 7.0),
        ] {
            value.iter_mut().for_each(|v| v.value *= by);
        }
    }))
}

/// Fewer or more ranks than thought.
fn fewer(question: &Question<'_>) -> Option<Suspect> {
    let tp = question.deployment.parallelism.tp;
    let mut others: Vec<u32> =
        std::iter::successors(Some(tp / 2), |n| Some(n / 2)).take_while(|n| *n > 0).collect();
    others.push(2 * tp);
    let names: Vec<String> = others
        .iter()
        .map(|n| format!("the model runs on {n} GPU{} (tensor parallel {n})", if *n > 1 { "s" } else { "" }))
        .collect();
    let words = move |i: usize| names.get(i).cloned().unwrap_or_default();
    let tell =
        "grep tensor_parallel_size in the server's log; nvidia-smi: on which GPUs the server has memory";
    (question.deployment.engine.kind != EngineKind::Llamacpp).then(|| {
        Suspect::each(Rare, tell, others.len(), words, move |s, i| {
            let p = &mut s.deployment.to_mut().parallelism;
            p.tp = others.get(i).copied().unwrap_or(p.tp);
        })
    })
}
