//! Samples of latent attention → fits: kernels and modules, decode and prefill. All on DeepSeek-V3's widths.

use super::attention::{format, short};
use super::fit::{Refusal, Row, mix};
use super::gemm::formats;
use super::heldout::fit_class;
use super::samples::{Classes, Record, Table};
use crate::spec::{DataType, SpecError};
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey, Fitted};
use crate::time::forms::Form;
use crate::time::forms::latent::{LatentDecode, LatentDecodeForm, LatentDims};
use crate::time::forms::latent_module::{
    GRAPH_US, LatentDecodeModule, LatentDecodeModuleForm, LatentPrefillModule, LatentPrefillModuleForm,
    Projections,
};
use crate::time::forms::prefill_attention::{PrefillAttention, PrefillAttentionForm};

const DIMS: LatentDims = LatentDims::DEEPSEEK_V3;

/// Kernels of vLLM that decode; its prefill modules use them for a few tokens, which is another operator.
const DECODE_KERNELS: [&str; 4] = ["FLASHMLA", "FLASH_ATTN_MLA", "FLASHINFER_MLA", "TRITON_MLA"];

/// Samples of decode and of prefill kernels.
pub type KernelClasses = (Classes<LatentDecode>, Classes<PrefillAttention>);

/// Samples of latent attention kernels: rows with a past (`step`) are decode, rows without are prefill.
///
/// # Errors
/// When a cell holds no number.
pub fn kernel_classes(table: &Table, hardware: &Hardware) -> Result<KernelClasses, SpecError> {
    let mut decode: Classes<LatentDecode> = Classes::new();
    let mut prefill: Classes<PrefillAttention> = Classes::new();
    for record in table.records() {
        let (attention, cache) = (record.text("mla_dtype"), record.text("kv_cache_dtype"));
        let Some((stored, math)) = core_formats(attention, cache, hardware) else { continue };
        let key = key(table, attention, cache, "", "");
        let (heads, requests) = (record.number("num_heads")?, record.number("batch_size")?);
        let (new, past) = (record.number("isl")?, record.number("step")?);
        if past > 0.0 {
            let input = core(requests, past + new, heads, stored, math);
            decode.entry(key).or_default().push(row(&record, input, heads)?);
        } else {
            let input = DIMS.prefill(requests, new, past, heads, math);
            prefill.entry(key).or_default().push(row(&record, input, heads)?);
        }
    }
    Ok((decode, prefill))
}

/// Fits the kernels of a table of latent attention into `out`.
///
/// # Errors
/// When a row is broken.
pub fn fit_kernels(
    table: &Table,
    hardware: &Hardware,
    out: &mut Calibration,
) -> Result<Vec<Refusal>, SpecError> {
    let (decode, prefill) = kernel_classes(table, hardware)?;
    let mut refused = collect::<LatentDecodeForm>(&decode, hardware, &mut out.latent_decode);
    refused.extend(collect::<PrefillAttentionForm>(&prefill, hardware, &mut out.latent_prefill));
    Ok(refused)
}

/// Samples of latent decode attention with its projections.
///
/// # Errors
/// When a cell holds no number.
pub fn decode_module_classes(
    table: &Table,
    hardware: &Hardware,
) -> Result<Classes<LatentDecodeModule>, SpecError> {
    let mut classes: Classes<LatentDecodeModule> = Classes::new();
    for record in table.records() {
        let Some((key, stored, math, projections)) = module(table, &record, hardware) else { continue };
        let heads = record.number("n_heads")?;
        let core = core(record.number("batch")?, record.number("step")? + 1.0, heads, stored, math);
        let input = LatentDecodeModule { core, projections };
        classes.entry(key).or_default().push(row(&record, input, heads)?);
    }
    for rows in classes.values_mut() {
        let eager = is_eager(table, rows);
        rows.iter_mut().for_each(|r| r.input.projections.eager = eager);
    }
    Ok(classes)
}

/// Fits the modules of a table of latent decode attention with projections into `out`.
///
/// # Errors
/// When a row is broken.
pub fn fit_decode_module(
    table: &Table,
    hardware: &Hardware,
    out: &mut Calibration,
) -> Result<Vec<Refusal>, SpecError> {
    let classes = decode_module_classes(table, hardware)?;
    Ok(collect::<LatentDecodeModuleForm>(&classes, hardware, &mut out.latent_decode_module))
}

/// Samples of latent prefill attention with its projections.
///
/// # Errors
/// When a cell holds no number.
pub fn prefill_module_classes(
    table: &Table,
    hardware: &Hardware,
) -> Result<Classes<LatentPrefillModule>, SpecError> {
    let mut classes: Classes<LatentPrefillModule> = Classes::new();
    for record in table.records() {
        if DECODE_KERNELS.contains(&record.text("kernel")) {
            continue;
        }
        let Some((key, _, math, projections)) = module(table, &record, hardware) else { continue };
        let heads = record.number("n_heads")?;
        let input = LatentPrefillModule {
            requests: record.number("batch")?,
            new_tokens: record.number("isl")?,
            past_tokens: record.number("prefix")?,
            heads,
            math,
            projections,
        };
        classes.entry(key).or_default().push(row(&record, input, heads)?);
    }
    for rows in classes.values_mut() {
        let eager = is_eager(table, rows);
        rows.iter_mut().for_each(|r| r.input.projections.eager = eager);
    }
    Ok(classes)
}

/// Fits the modules of a table of latent prefill attention with projections into `out`.
///
/// # Errors
/// When a row is broken.
pub fn fit_prefill_module(
    table: &Table,
    hardware: &Hardware,
    out: &mut Calibration,
) -> Result<Vec<Refusal>, SpecError> {
    let classes = prefill_module_classes(table, hardware)?;
    Ok(collect::<LatentPrefillModuleForm>(&classes, hardware, &mut out.latent_prefill_module))
}

/// Formats of cache and arithmetic. An 8-bit cache is multiplied in 8 bit by some kernels: its peak is the bound.
fn core_formats(attention: &str, cache: &str, hardware: &Hardware) -> Option<(DataType, DataType)> {
    let (math, stored) = (format(attention, hardware)?, format(cache, hardware)?);
    let math = if stored == DataType::Fp8 && hardware.peak(stored) > 0.0 { stored } else { math };
    (hardware.peak(math) > 0.0).then_some((stored, math))
}

fn core(rows: f64, context: f64, heads: f64, stored: DataType, math: DataType) -> LatentDecode {
    LatentDecode {
        rows,
        context,
        heads,
        rank: DIMS.rank,
        rope: DIMS.rope,
        kv_bytes: stored.bytes(),
        math,
        warm: true,
    }
}

/// Class, formats of cache and core, and projections of a module's row.
fn module(
    table: &Table,
    record: &Record<'_>,
    hardware: &Hardware,
) -> Option<(ClassKey, DataType, DataType, Projections)> {
    let (attention, cache) = (record.text("attn_dtype"), record.text("kv_dtype"));
    let (stored, core_math) = core_formats(attention, cache, hardware)?;
    let (weights, math) = formats(record.text("gemm_dtype"), hardware)?;
    let key = key(table, attention, cache, record.text("kernel"), record.text("gemm_dtype"));
    let projections = Projections { dims: DIMS, weights, math, eager: false };
    (hardware.peak(math) > 0.0).then_some((key, stored, core_math, projections))
}

/// The class, data types as `attention/cache` and, for modules, `/projections`.
fn key(table: &Table, attention: &str, cache: &str, kernel: &str, projections: &str) -> ClassKey {
    let mut data_type = format!("{}/{}", short(attention), short(cache));
    if !projections.is_empty() {
        data_type = format!("{data_type}/{}", short(projections));
    }
    ClassKey { engine: table.engine.clone(), data_type, kernel: kernel.into(), variant: String::new() }
}

/// A row; shapes with as many heads are left out together.
fn row<I>(record: &Record<'_>, input: I, heads: f64) -> Result<Row<I>, SpecError> {
    Ok(Row { input, seconds: record.seconds()?, group: mix(heads.to_bits()) })
}

/// True when no run is as short as a graph makes it: kernels were launched one by one.
fn is_eager<I>(table: &Table, rows: &[Row<I>]) -> bool {
    let shortest = rows.iter().map(|r| r.seconds).fold(f64::INFINITY, f64::min);
    table.engine.starts_with("vllm") && shortest > GRAPH_US * 1e-6
}

fn collect<F: Form>(classes: &Classes<F::Input>, hardware: &Hardware, out: &mut Vec<Fitted>) -> Vec<Refusal> {
    let mut refused = vec![];
    for (key, rows) in classes {
        match fit_class::<F>(key.clone(), rows, hardware, None) {
            Ok(fitted) => out.push(fitted),
            Err(error) => refused.push((key.clone(), error)),
        }
    }
    refused
}
