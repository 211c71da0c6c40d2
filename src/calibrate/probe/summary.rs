//! What a samples file says of the device beside the classes that are fitted, and the accelerator that an unknown device
//! is.

use statrs::statistics::{Data, OrderStatistics};
use std::collections::BTreeMap;

use super::cpu::CPU_ATTENTION;
use super::{KV_READ, Origin, SampleFile};
use crate::spec::accelerator::{Sourced, Status};
use crate::spec::{Accelerator, DataType, SpecError};
use crate::time::measured::{BestProduct, Energy, Measured, Sustained};

type Row = BTreeMap<String, String>;

fn number(row: &Row, column: &str) -> Option<f64> {
    row.get(column)?.parse().ok()
}

fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

fn of<'a>(samples: &'a SampleFile, operator: &'static str) -> impl Iterator<Item = (&'a Row, f64)> {
    samples
        .rows
        .iter()
        .filter(move |r| text(r, "operator") == operator)
        .filter_map(|r| Some((r, number(r, "latency_us")? * 1e-6)).filter(|(_, seconds)| *seconds > 0.0))
}

/// The figures of a run.
#[must_use]
pub fn measured(samples: &SampleFile) -> Measured {
    let mut found = Measured::default();
    for (row, seconds) in of(samples, "launch") {
        let slot =
            if text(row, "mode") == "graph" { &mut found.graph_launch_us } else { &mut found.launch_us };
        *slot = Some(seconds * 1e6);
    }
    let cache = samples.origin.device.cache_bytes.unwrap_or(0.0);
    for (row, seconds) in of(samples, "stream") {
        let Some(bytes) = number(row, "bytes").filter(|b| *b > 2.0 * cache) else { continue };
        let best = found.bandwidth_bytes_per_s.entry(text(row, "kind").to_owned()).or_default();
        *best = best.max(bytes / seconds);
    }
    for (row, seconds) in of(samples, "decode_attention").filter(|(r, _)| text(r, "kernel") == KV_READ) {
        let columns = ["batch", "step", "n_kv_heads", "head_dim"].map(|c| number(row, c));
        let [Some(batch), Some(past), Some(heads), Some(width)] = columns else { continue };
        let element = if text(row, "kv_dtype") == "fp8" { 1.0 } else { 2.0 };
        let bytes = 2.0 * batch * (past + 1.0) * heads * width * element;
        if bytes > 2.0 * cache {
            let best = found.kv_read_bytes_per_s.entry(text(row, "kv_dtype").to_owned()).or_default();
            *best = best.max(bytes / seconds);
        }
    }
    for (row, seconds) in of(samples, "gemm") {
        let [Some(m), Some(n), Some(k)] = ["m", "n", "k"].map(|c| number(row, c)) else { continue };
        let best = found.matmul.entry(text(row, "dtype").to_owned()).or_default();
        let flops_per_s = 2.0 * m * n * k / seconds;
        if flops_per_s > best.flops_per_s {
            *best = BestProduct { flops_per_s, shape: [m, n, k] };
        }
    }
    found.attention_flops_per_s = attention(samples);
    let products = of(samples, "sustained").filter(|(row, _)| row.contains_key("m"));
    found.sustained = products.into_iter().next().and_then(|(row, seconds)| {
        Some(Sustained {
            dtype: text(row, "dtype").into(),
            flops_per_s: 2.0 * number(row, "m")?.powi(3) / seconds,
            power_w: number(row, "power_w"),
            clock_mhz: number(row, "clock_mhz"),
        })
    });
    found.energy = found.sustained.as_ref().and_then(|product| energy(samples, product));
    found.not_converged = samples.rows.iter().filter(|r| text(r, "converged") == "false").count();
    found
}

/// Two equations for two unknowns: the product moves bytes too, M = N = K of 16 bit three times a product. None where power
/// was not told, or where the device drew no more than idle, as one that does not tell the truth.
fn energy(samples: &SampleFile, product: &Sustained) -> Option<Energy> {
    let idle_w = samples.origin.device.idle_power_w?;
    let row = |column: &str| of(samples, "sustained").find(|(row, _)| row.contains_key(column));
    let (read, seconds) = row("bytes")?;
    let bytes_per_s = number(read, "bytes")? / seconds;
    let joules_per_byte = (number(read, "power_w")? - idle_w) / bytes_per_s;
    let (row, seconds) = row("m")?;
    let moved = 3.0 * 2.0 * number(row, "m")?.powi(2) / seconds;
    let computing = product.power_w? - idle_w - joules_per_byte * moved;
    let joules_per_flop = computing / product.flops_per_s;
    (joules_per_byte > 0.0 && joules_per_flop > 0.0).then_some(Energy {
        idle_w,
        joules_per_flop,
        joules_per_byte,
    })
}

/// Rates of attention that computes, by phase: the median over its shapes.
fn attention(samples: &SampleFile) -> BTreeMap<String, f64> {
    let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (operator, phase) in [("decode_attention", "decode"), ("prefill_attention", "prefill")] {
        for (row, seconds) in of(samples, operator).filter(|(r, _)| text(r, "kernel") == CPU_ATTENTION) {
            let columns = ["batch", "n_heads", "head_dim"].map(|c| number(row, c));
            let [Some(batch), Some(heads), Some(width)] = columns else { continue };
            let pairs = match phase {
                "decode" => number(row, "step").map(|past| past + 1.0),
                _ => number(row, "isl").map(|tokens| tokens * (tokens + 1.0) / 2.0),
            };
            let flops = 4.0 * batch * heads * width * pairs.unwrap_or(0.0);
            rates.entry(phase.to_owned()).or_default().push(flops / seconds);
        }
    }
    rates.into_iter().map(|(phase, rates)| (phase, Data::new(rates).median())).collect()
}

/// The device as an accelerator, for one that no catalog has: its peaks are the best that was measured.
///
/// The 16-bit peak is the best product that multiplies in 16 bit, quantised weights included; the bandwidth the best
/// stream or row product beyond the caches. Efficiencies of the fits are shares of these.
///
/// # Errors
/// When the samples hold no 16-bit product or no bandwidth.
pub fn accelerator(samples: &SampleFile) -> Result<Accelerator, SpecError> {
    let Origin { date, device, .. } = &samples.origin;
    let figures = measured(samples);
    let source = |value: f64| Sourced {
        value,
        status: Status::Measured,
        source: "best of `foretoken calibrate` on the device".into(),
        date: date.clone(),
    };
    let missing = |what: &str| {
        SpecError::Usage(format!(
            "the samples hold no {what}, and no catalog knows {}: measure all classes (no --only)",
            device.name
        ))
    };
    let rows = of(samples, "gemm").filter(|(r, _)| text(r, "m") == "1").filter_map(|(row, seconds)| {
        let weights = data_type(text(row, "dtype"))?.bytes() * number(row, "n")? * number(row, "k")?;
        Some(weights / seconds)
    });
    let streams = figures.bandwidth_bytes_per_s.values().copied();
    let bandwidth = streams.chain(rows).fold(0.0, f64::max);
    if bandwidth <= 0.0 {
        return Err(missing("bandwidth"));
    }
    let mut peaks: BTreeMap<DataType, Sourced> = BTreeMap::new();
    for (dtype, best) in &figures.matmul {
        let Some(math) = data_type(dtype).map(multiplies_in) else { continue };
        let tera = best.flops_per_s * 1e-12;
        let peak = peaks.entry(math).or_insert_with(|| source(tera));
        peak.value = peak.value.max(tera);
    }
    if !peaks.keys().any(|d| matches!(d, DataType::Fp16 | DataType::Bf16)) {
        return Err(missing("matrix product in 16 bit"));
    }
    let memory = device.memory_bytes.ok_or_else(|| missing("memory size"))?;
    let cpu = device.threads.is_some();
    Ok(Accelerator {
        id: device.gpu.clone(),
        name: match device.threads {
            Some(threads) => format!("{} ({threads} threads)", device.name),
            None => device.name.clone(),
        },
        aliases: vec![],
        vendor: device.name.split_whitespace().next().unwrap_or("unknown").to_owned(),
        architecture: if cpu { "CPU" } else { "unknown" }.into(),
        released: None,
        memory_type: None,
        memory_gb: source(memory / 1e9),
        visible_memory_gib: Some(source(memory / (1u64 << 30) as f64)),
        memory_bandwidth_gb_per_s: source(bandwidth / 1e9),
        peak_tflops: peaks,
        peak_tflops_fp16_accumulate: None,
        peak_tflops_tf32: None,
        multiprocessors: device.multiprocessors.map(source),
        boost_clock_mhz: device.max_clock_mhz.map(source),
        l2_cache_mb: device.cache_bytes.map(|b| source(b / 1e6)),
        tdp_w: device.power_limit_w.map(source),
        interconnect: None,
        interconnect_gb_per_s: None,
        pcie: None,
        pcie_gb_per_s: None,
        purchase_price: None,
        hourly_price: None,
        note: Some("measured on this machine; peaks are the best achieved, not a datasheet's".into()),
    })
}

/// Storage that a table's data type names.
fn data_type(name: &str) -> Option<DataType> {
    match name {
        "tf32" => None,
        "int4_wo" => Some(DataType::Int4),
        "int8_wo" => Some(DataType::Int8),
        other => other.parse().ok(),
    }
}

/// What weights of a format multiply in here.
fn multiplies_in(stored: DataType) -> DataType {
    if stored.is_weight_only() { DataType::Fp16 } else { stored }
}
