//! `gpus list` and `gpus show` on paper.

use serde_json::{Value, json};

use super::{Report, Section, bytes_gib, count, number, usd, versioned};
use crate::answer::AcceleratorSummary;
use crate::spec::accelerator::{Price, Sourced};
use crate::spec::{DataType, Offer};

/// The catalog's accelerators, one a row.
#[must_use]
pub fn gpu_list(gpus: &[AcceleratorSummary]) -> Report {
    let header = [
        "gpu",
        "name",
        "memory",
        "GB/s",
        "bf16 TFLOP/s",
        "fp8 TFLOP/s",
        "fp4 TFLOP/s",
        "int8 TOP/s",
        "W",
        "$/h",
    ];
    let mut section = Section::new("", &header);
    for g in gpus {
        let peak = |types: &[DataType]| {
            types.iter().find_map(|d| g.peak_flops_per_s.get(d)).map_or_else(String::new, |s| tera(s.value))
        };
        section.row([
            g.id.clone(),
            g.name.clone(),
            bytes_gib(g.memory_bytes.value),
            number(g.memory_bandwidth_bytes_per_s.value / 1e9),
            peak(&[DataType::Bf16, DataType::Fp16]),
            peak(&[DataType::Fp8]),
            peak(&[DataType::Nvfp4, DataType::Mxfp4]),
            peak(&[DataType::Int8]),
            g.other.get("tdp_w").map_or_else(String::new, |s| count(s.value)),
            g.hourly_price.as_ref().map_or_else(String::new, |p| usd(p.usd)),
        ]);
    }
    Report {
        sections: vec![section],
        footer: vec![
            "Dense rates; bf16 is fp16 where a device has no bf16. `gpus show` names every source.".into(),
        ],
        json: Value::Array(gpus.iter().map(|g| versioned(&json!(g))).collect()),
        ..Report::default()
    }
}

/// One accelerator with the status, source and date of every value.
#[must_use]
pub fn gpu(g: &AcceleratorSummary) -> Report {
    let mut values = Section::new("", &["", "value", "status", "source", "date"]);
    let mut value = |name: &str, text: String, s: &Sourced| {
        let status = json!(s.status).as_str().unwrap_or_default().to_owned();
        values.row([name.to_owned(), text, status, s.source.clone(), s.date.clone()]);
    };
    value("memory a program sees", bytes_gib(g.memory_bytes.value), &g.memory_bytes);
    let bandwidth = &g.memory_bandwidth_bytes_per_s;
    value("memory bandwidth", giga(bandwidth.value), bandwidth);
    for (data_type, s) in &g.peak_flops_per_s {
        value(&format!("dense {data_type}"), format!("{} T/s", tera(s.value)), s);
    }
    for (key, s) in &g.other {
        let (name, text) = match *key {
            "peak_flops_per_s_fp16_accumulate" => ("dense fp16, fp16 sums", format!("{} T/s", tera(s.value))),
            "peak_flops_per_s_tf32" => ("dense tf32", format!("{} T/s", tera(s.value))),
            "multiprocessors" => ("multiprocessors", count(s.value)),
            "boost_clock_hz" => ("boost clock", format!("{:.0} MHz", s.value / 1e6)),
            "l2_cache_bytes" => ("last-level cache", format!("{} MB", number(s.value / 1e6))),
            "tdp_w" => ("board power", format!("{:.0} W", s.value)),
            "interconnect_bytes_per_s" => ("scale-up link, one direction", giga(s.value)),
            "pcie_bytes_per_s" => ("host link, one direction", giga(s.value)),
            other => (other, number(s.value)),
        };
        value(name, text, s);
    }
    for (name, price) in [("price", &g.purchase_price), ("price per hour", &g.hourly_price)] {
        if let Some(Price { usd: amount, kind, source, date }) = price {
            values.row([name.into(), usd(*amount), kind.clone(), source.clone(), date.clone()]);
        }
    }
    let described = [&g.memory_type, &g.interconnect, &g.pcie, &g.released];
    let line: Vec<&str> = [g.vendor.as_str(), g.architecture.as_str()]
        .into_iter()
        .chain(described.into_iter().filter_map(|d| d.as_deref()))
        .collect();
    let mut footer: Vec<String> = g.note.iter().cloned().collect();
    if !g.aliases.is_empty() {
        footer.push(format!("Also known as {}.", g.aliases.join(", ")));
    }
    Report {
        heading: vec![format!("{} ({})", g.id, g.name), line.join(", ")],
        sections: std::iter::once(values).chain(offers(&g.offers, g.offered_range())).collect(),
        footer,
        json: versioned(&json!(g)),
        ..Report::default()
    }
}

/// What clouds ask, the cheapest on demand first, and the range.
fn offers(all: &[Offer], range: [Option<[f64; 3]>; 2]) -> Option<Section> {
    if all.is_empty() {
        return None;
    }
    let header = ["cloud", "on demand", "spot", "GPUs", "instance", "region", "source", "date"];
    let mut section = Section::new("Rent of one GPU-hour", &header);
    let mut sorted: Vec<&Offer> = all.iter().collect();
    let key = |o: &Offer| o.on_demand_usd_per_gpu_hour.unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let cell = |price: Option<f64>| price.map_or_else(String::new, usd);
    for o in sorted {
        section.row([
            o.cloud.clone(),
            cell(o.on_demand_usd_per_gpu_hour),
            cell(o.spot_usd_per_gpu_hour),
            o.gpus.to_string(),
            o.instance.clone(),
            o.region.clone(),
            o.source.clone(),
            o.date.clone(),
        ]);
    }
    for (i, name) in ["lowest", "median", "highest"].into_iter().enumerate() {
        let [fixed, spot] = range.map(|r| cell(r.map(|r| r[i])));
        section.row([name.to_owned(), fixed, spot]);
    }
    Some(section)
}

fn tera(per_second: f64) -> String {
    number(per_second / 1e12)
}

fn giga(bytes_per_second: f64) -> String {
    format!("{} GB/s", number(bytes_per_second / 1e9))
}
