//! Samples of mixture-of-experts layers → fits.

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use harness::Groups;

use super::fit::{FitError, Refusal, Row, mix};
use super::heldout::fit_class_scored;
use super::samples::{Classes, Record, Table};
use crate::spec::{DataType, SpecError};
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey, Fitted, SLOWER};
use crate::time::forms::experts::{Configuration, ExpertLayer, GroupedGemm, listed};
use crate::time::forms::{Coefficient, Form};
use crate::work::{Router, Routing};

/// Most rows of a class: more add time and no accuracy.
const MOST_ROWS: usize = 500;
/// Footprints below so many caches are served from them in part (KERNELS section 1).
const WARM: f64 = 1.4;
/// Fewest shapes of which a part is left out to learn the error; below, token counts are left out.
const FEWEST_SHAPES: usize = 6;
/// Smallest share of memory bandwidth that a kernel fit for use reaches. FlashInfer's CUTLASS experts in 16 and
/// 8 bit on Hopper, timed without their tuning, reach 0.19 to 0.30; no engine would be run with them.
const LEAST_MEMORY: f64 = 0.35;
/// Fewest samples of either kind that tell measured configurations from the default.
const FEWEST_CONFIGURED: usize = 10;
/// Coefficients that say what the default loses.
const LOSSES: usize = 2;
/// Routings that a power-law sample replays in turn over the same weights.
const REPLAYED: f64 = 5.0;
/// (hidden, intermediate) sizes of models without a gate in their experts (Nemotron).
const UNGATED: [(f64, f64); 5] =
    [(1024.0, 2688.0), (2688.0, 1856.0), (2048.0, 5120.0), (8192.0, 5120.0), (4096.0, 2688.0)];

/// Engines whose tables were taken before the harness knew experts without a gate: they ran all with one.
const ALL_GATED: [&str; 2] = ["vllm-0.14.0", "sglang-0.5.10"];
/// One that SGLang's Triton kernel ran with a gate later too.
const GATED_IN_TRITON: (f64, f64) = (1024.0, 2688.0);

/// Sizes of DeepSeek-V3's experts.
const GROUPED: [(&str, f64); 4] = [("hidden", 7168.0), ("inter", 2048.0), ("topk", 8.0), ("experts", 256.0)];
/// Most copies per expert for which a balanced routing shows whether groups are limited: beyond, arithmetic counts
/// and not the experts hit.
const MANY_COPIES: f64 = 4.0;

/// Columns that two samples share which differ in their ranks alone.
const SHAPE: [&str; 7] = ["tokens", "hidden", "inter", "topk", "experts", "moe_tp", "distribution"];
/// Ranks whose samples are compared with undivided ones.
const DIVIDED: f64 = 4.0;
/// Copies per expert from which on arithmetic counts.
const COMPUTED_COPIES: f64 = 64.0;
/// Share of the time undivided above which nothing was divided; the busiest of four ranks has 0.25 to 0.55 of it.
const UNDIVIDED: f64 = 0.8;

/// A class: data type and kernel.
type Class = (String, String);

/// True when the experts of these sizes were timed with a gate. That they were where their model has none shows by
/// samples that take half as long again as those of the class's other shapes.
fn has_gate(engine: &str, kernel: &str, sizes: (f64, f64)) -> bool {
    let triton = engine.starts_with("sglang") && listed(engine, kernel).is_some();
    !UNGATED.contains(&sizes) || ALL_GATED.contains(&engine) || (triton && sizes == GATED_IN_TRITON)
}

/// Samples by data type and kernel, at most some hundred each.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table, hardware: &Hardware) -> Result<Classes<ExpertLayer>, SpecError> {
    let mut records: BTreeMap<Class, Vec<Record<'_>>> = BTreeMap::new();
    for record in table.records() {
        let kernel = record.text("kernel");
        // another activation function ran in place of the model's own
        if kernel.ends_with("_situ_as_silu") {
            continue;
        }
        records.entry((record.text("dtype").to_owned(), kernel.to_owned())).or_default().push(record);
    }
    let mut classes = Classes::new();
    for ((data_type, kernel), records) in records {
        let Some((weights, math)) = formats(&data_type, hardware) else { continue };
        let mut rows = vec![];
        let limited = group_limited(&records)?;
        let everything = computes_remote(&records)?;
        for record in shuffled(&records) {
            if rows.len() == MOST_ROWS {
                break;
            }
            if everything && record.number("moe_ep")? > 1.0 {
                continue;
            }
            match sample(record, weights, math, &table.engine, limited, hardware)? {
                // from the cache in part: neither the latency nor the bandwidth shows
                Some(row) if row.input.hit > 0.0 && row.input.hit < 1.0 => {}
                Some(row) => rows.push(row),
                None => {}
            }
        }
        let shapes: BTreeSet<u64> = rows.iter().map(|r| r.group).collect();
        if shapes.len() < FEWEST_SHAPES {
            for row in &mut rows {
                row.group = row.input.tokens.to_bits();
            }
        }
        let key = ClassKey { engine: table.engine.clone(), data_type, kernel, variant: String::new() };
        for row in &mut rows {
            row.input.configuration = configuration(&key, &row.input, hardware);
        }
        classes.insert(key, rows);
    }
    Ok(classes)
}

/// Fits every data type and kernel of a table into `out`; returns what could not be fitted.
///
/// Of several kernels for one data type all but the fastest are of variant [`SLOWER`].
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    let mut fits: Vec<(Fitted, Vec<Row<ExpertLayer>>)> = vec![];
    for (key, rows) in classes(table, hardware)? {
        match fit_rows(key.clone(), &rows, hardware) {
            Ok(fitted) => {
                let memory = memory_reached(&rows, hardware);
                if memory < LEAST_MEMORY {
                    refused.push((key, FitError::Untuned { memory }));
                } else {
                    fits.push((fitted, rows));
                }
            }
            Err(error) => refused.push((key, error)),
        }
    }
    out.experts.extend(ranked(fits, hardware));
    Ok(refused)
}

/// Fits the samples of one kernel, where it has some on measured configurations and some on the default with what
/// the default loses.
fn fit_rows(key: ClassKey, rows: &[Row<ExpertLayer>], hardware: &Hardware) -> Result<Fitted, FitError> {
    let serves = |x: &ExpertLayer| x.hit <= 0.0;
    let of = |wanted| rows.iter().filter(|r| r.input.configuration == wanted).count() >= FEWEST_CONFIGURED;
    if of(Configuration::Measured) && of(Configuration::Default) {
        return fit_class_scored::<GroupedGemm>(key, rows, hardware, None, serves);
    }
    let own = |r: &Row<ExpertLayer>| Row {
        input: ExpertLayer { configuration: Configuration::Own, ..r.input },
        ..*r
    };
    let rows: Vec<_> = rows.iter().map(own).collect();
    let mut fitted = fit_class_scored::<OneConfiguration>(key, &rows, hardware, None, serves)?;
    fitted.c.resize(GroupedGemm::COEFFICIENTS.len(), 0.0);
    Ok(fitted)
}

/// [`GroupedGemm`] without its last coefficients, what a default configuration loses.
struct OneConfiguration;

impl Form for OneConfiguration {
    type Input = ExpertLayer;

    const COEFFICIENTS: &'static [Coefficient] =
        GroupedGemm::COEFFICIENTS.split_at(GroupedGemm::COEFFICIENTS.len() - LOSSES).0;

    fn seconds(c: &[f64], x: &ExpertLayer, hardware: &Hardware) -> f64 {
        GroupedGemm::seconds(c, x, hardware)
    }
}

/// Share of the memory bandwidth at which the best tenth of the samples reads its active experts.
fn memory_reached(rows: &[Row<ExpertLayer>], hardware: &Hardware) -> f64 {
    let rate = |r: &Row<ExpertLayer>| {
        let x = &r.input;
        let matrices = if x.gated { 3.0 } else { 2.0 };
        x.active * matrices * x.width * x.intermediate * x.weights.bytes() / (r.seconds * hardware.bandwidth)
    };
    let mut rates: Vec<f64> = rows.iter().filter(|r| r.input.hit <= 0.0).map(rate).collect();
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() * 9 / 10).copied().unwrap_or(1.0)
}

/// Marks all kernels of a data type but the fastest: an engine that picks well would not run them. The sum of
/// ln t over the samples of all its kernels decides, every form over all of them.
fn ranked(fits: Vec<(Fitted, Vec<Row<ExpertLayer>>)>, hardware: &Hardware) -> Vec<Fitted> {
    let mut shapes: BTreeMap<String, Vec<ExpertLayer>> = BTreeMap::new();
    for (fitted, rows) in &fits {
        let list = shapes.entry(fitted.key.data_type.clone()).or_default();
        list.extend(rows.iter().map(|r| ExpertLayer { hit: 0.0, ..r.input }));
    }
    let mut ranked: Vec<(String, f64, Fitted)> = fits
        .into_iter()
        .map(|(fitted, _)| {
            let list = shapes.get(&fitted.key.data_type).map_or(&[][..], Vec::as_slice);
            let own = |x: &ExpertLayer| ExpertLayer {
                configuration: configuration(&fitted.key, x, hardware),
                ..*x
            };
            let sum = list.iter().map(|x| GroupedGemm::seconds(&fitted.c, &own(x), hardware).ln()).sum();
            (fitted.key.data_type.clone(), sum, fitted)
        })
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut before = None;
    for (data_type, _, fitted) in &mut ranked {
        if before.as_ref() == Some(data_type) {
            fitted.key.variant = SLOWER.into();
        }
        before = Some(data_type.clone());
    }
    ranked.into_iter().map(|(.., fitted)| fitted).collect()
}

/// Where a class's kernel has its tiles for a shape from.
fn configuration(key: &ClassKey, x: &ExpertLayer, hardware: &Hardware) -> Configuration {
    Configuration::of(listed(&key.engine, &key.kernel), x, hardware)
}

/// A fixed shuffle: its beginning represents all regions.
fn shuffled<'a>(records: &[Record<'a>]) -> Vec<Record<'a>> {
    let mut order: Vec<(u64, Record<'a>)> =
        records.iter().enumerate().map(|(i, r)| (mix(i as u64), *r)).collect();
    order.sort_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, record)| record).collect()
}

/// Storage and arithmetic of the data types in operator tables.
fn formats(name: &str, hardware: &Hardware) -> Option<(DataType, DataType)> {
    let known = |d: DataType| hardware.peak(d) > 0.0;
    let math16 = if known(DataType::Bf16) { DataType::Bf16 } else { DataType::Fp16 };
    // without 8-bit arithmetic the weights alone are narrow
    let math8 = if known(DataType::Fp8) { DataType::Fp8 } else { math16 };
    let formats = match name {
        "bfloat16" | "float16" => (math16, math16),
        "fp8" => (DataType::Fp8, math8),
        "fp8_block" => (DataType::Fp8Block, math8),
        "nvfp4" => (DataType::Nvfp4, DataType::Nvfp4),
        "int4_wo" => (DataType::Int4, math16),
        "w4a16_mxfp4" => (DataType::Mxfp4, math16),
        "w4a8_mxfp4_mxfp8" => (DataType::Mxfp4, math8),
        _ => return None,
    };
    known(formats.1).then_some(formats)
}

fn routing(name: &str) -> Option<Routing> {
    match name.strip_prefix("power_law_") {
        Some(alpha) => alpha.parse().ok().map(Routing::PowerLaw),
        None if name == "balanced" => Some(Routing::Balanced),
        None if name == "uniform" || name == "random" => Some(Routing::Uniform),
        None => None,
    }
}

/// The shape of a model whose router limits the groups of experts that a token uses: DeepSeek-V3.
fn is_grouped(record: &Record<'_>) -> bool {
    GROUPED.iter().all(|(column, value)| record.number(column).is_ok_and(|v| v == *value))
}

/// True when the kernel ran with its model's own limit on groups. The balanced routing, one expert in each group,
/// then hits half of the experts that it was made to hit, and less time passes than with a power law.
fn group_limited(records: &[Record<'_>]) -> Result<bool, SpecError> {
    let mut times: BTreeMap<(u64, String), [Option<f64>; 2]> = BTreeMap::new();
    for record in records.iter().filter(|r| is_grouped(r)) {
        let copies = record.number("tokens")? * record.number("topk")?;
        let experts = record.number("experts")?;
        if record.number("moe_ep")? > 1.0 || copies < experts || copies > MANY_COPIES * experts {
            continue;
        }
        let slot = usize::from(record.text("distribution") != "balanced");
        let key = (copies.to_bits(), record.text("moe_tp").to_owned());
        times.entry(key).or_default()[slot] = Some(record.seconds()?);
    }
    let ratios: Vec<f64> =
        times.values().filter_map(|[a, b]| Some((a.as_ref()? / b.as_ref()?).ln())).collect();
    Ok(!ratios.is_empty() && ratios.iter().sum::<f64>() < 0.0)
}

/// True when experts divided over ranks take as long as undivided ones: the copies for other ranks were computed with
/// those of this one, as no engine does.
fn computes_remote(records: &[Record<'_>]) -> Result<bool, SpecError> {
    let mut times: BTreeMap<Vec<&str>, [Option<f64>; 2]> = BTreeMap::new();
    for record in records {
        let ranks = record.number("moe_ep")?;
        // where arithmetic counts
        let copies = record.number("tokens")? * record.number("topk")?;
        if copies < COMPUTED_COPIES * record.number("experts")? {
            continue;
        }
        let slot = usize::from(ranks > 1.0);
        if slot == 1 && ranks < DIVIDED || ranks > DIVIDED {
            continue;
        }
        let shape = SHAPE.map(|column| record.text(column)).to_vec();
        times.entry(shape).or_default()[slot] = Some(record.seconds()?);
    }
    let mut ratios: Vec<f64> = times.values().filter_map(|[one, many]| Some((*many)? / (*one)?)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    Ok(ratios.get(ratios.len() / 2).is_some_and(|middle| *middle > UNDIVIDED))
}

/// The row of a record; none for an unknown distribution.
fn sample(
    record: Record<'_>,
    weights: DataType,
    math: DataType,
    engine: &str,
    limited: bool,
    hardware: &Hardware,
) -> Result<Option<Row<ExpertLayer>>, SpecError> {
    let Some(routing) = routing(record.text("distribution")) else { return Ok(None) };
    let [tokens, width, inter] =
        [record.number("tokens")?, record.number("hidden")?, record.number("inter")?];
    let [top_k, experts, ranks] =
        [record.number("topk")?, record.number("experts")?, record.number("moe_ep")?];
    let intermediate = (inter / record.number("moe_tp")?.max(1.0)).ceil();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts, checked to be finite and ≥ 0
    let (router, whole) =
        (Router { experts: experts as u32, top_k: top_k as u32, ranks: ranks as u32 }, tokens as u64);
    let groups = (limited && is_grouped(&record)).then_some(Groups::DEEPSEEK_V3);
    let load = harness::load(&router, routing, whole, groups);
    let gated = has_gate(engine, record.text("kernel"), (width, inter));
    let replayed = if matches!(routing, Routing::PowerLaw(_)) { REPLAYED } else { 1.0 };
    let matrices = if gated { 3.0 } else { 2.0 };
    let footprint =
        (replayed * load.active).min(router.local()) * matrices * width * intermediate * weights.bytes();
    // the same weights are read again and again: where they fit the cache they come from there
    let hit = (WARM - footprint / hardware.cache.max(1.0)).clamp(0.0, 1.0);
    let input = ExpertLayer {
        tokens,
        top_k,
        copies: load.copies,
        active: load.active,
        local: router.local(),
        tiles: load.tiles,
        width,
        intermediate,
        gated,
        weights,
        math,
        hit,
        configuration: Configuration::Own,
    };
    let group = [width, inter, top_k, experts].iter().fold(0, |hash, size| mix(hash ^ size.to_bits()));
    Ok(Some(Row { input, seconds: record.seconds()?, group }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    const COLUMNS: &str = "tokens,hidden,inter,topk,experts,moe_tp,moe_ep,distribution";

    fn table(kernels: &[(&str, [f64; 13])]) -> Table {
        let hardware = hardware();
        let mut text = format!("{COLUMNS},dtype,kernel,latency_us\n");
        for (kernel, c) in kernels {
            for (hidden, inter, top_k, experts) in [
                (2048, 768, 8, 128),
                (4096, 1536, 8, 128),
                (7168, 2048, 8, 256),
                (4096, 14336, 2, 8),
                (2880, 2880, 4, 32),
                (6144, 2560, 8, 160),
            ] {
                for tokens in [1, 8, 64, 512, 4096, 16384] {
                    let cells = format!("{tokens},{hidden},{inter},{top_k},{experts},1,1,power_law_1.2");
                    let one =
                        Table::parse(&format!("{COLUMNS},latency_us\n{cells},1\n"), "one.csv", "").unwrap();
                    let row = sample(
                        one.records().next().unwrap(),
                        DataType::Bf16,
                        DataType::Bf16,
                        "vllm-0.24.0",
                        false,
                        &hardware,
                    );
                    let us = GroupedGemm::seconds(c, &row.unwrap().unwrap().input, &hardware) * 1e6;
                    text += &format!("{cells},bfloat16,{kernel},{us}\n");
                }
            }
        }
        Table::parse(&text, "t.csv", "vllm-0.24.0").unwrap()
    }

    fn hardware() -> Hardware {
        Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap())
    }

    const FAST: [f64; 13] = [0.7, 0.9, 20.0, 2.0, 100.0, 0.2, 2.0, 1.5, 1.0, 1.3, 1.0, 0.0, 0.0];
    const SLOW: [f64; 13] = [0.5, 0.8, 40.0, 2.0, 100.0, 0.2, 2.0, 1.5, 1.0, 1.3, 1.0, 0.0, 0.0];
    const UNTUNED: [f64; 13] = [0.3, 0.2, 40.0, 2.0, 100.0, 0.2, 2.0, 1.5, 1.0, 1.3, 1.0, 0.0, 0.0];

    #[test]
    fn the_fastest_kernel_counts_and_untuned_ones_do_not() {
        let mut out = Calibration::default();
        let table = table(&[("a", SLOW), ("b", FAST), ("c", UNTUNED), ("d_situ_as_silu", FAST)]);
        let refused = fit(&table, &hardware(), &mut out).unwrap();
        assert!(
            matches!(&refused[..], [(key, FitError::Untuned { .. })] if key.kernel == "c"),
            "{refused:?}"
        );
        let found: Vec<_> =
            out.experts.iter().map(|f| (f.key.kernel.as_str(), f.key.variant.as_str())).collect();
        assert_eq!(found, [("b", ""), ("a", SLOWER)]);
        // compute, memory and latency come back
        for (found, wanted) in out.experts[0].c.iter().zip(FAST).take(3) {
            assert!((found / wanted - 1.0).abs() < 0.05, "{:?}", out.experts[0].c);
        }
        assert!(out.experts[0].heldout_ape[0] < 2.0);
    }
}
