//! Samples of dense matrix products → fits.

use std::collections::BTreeMap;

use super::fit::{FitError, Row, mix};
use super::heldout::{GridAxes, fit_class};
use super::samples::Table;
use crate::spec::{DataType, SpecError};
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};
use crate::time::forms::gemm::{Gemm, SoftGemm};

/// A class that could not be fitted, with the reason.
pub type Refusal = (ClassKey, FitError);

/// Range of the grid: shapes of language models from one row and a narrow layer to a long prefill.
const AXES: GridAxes<Gemm> =
    GridAxes { low: [1.0, 256.0, 256.0], high: [32768.0, 65536.0, 65536.0], point: Gemm::point };

/// Storage and arithmetic of the data types in operator tables.
fn formats(name: &str, hardware: &Hardware) -> Option<(DataType, DataType)> {
    let math16 = if hardware.peak(DataType::Bf16) > 0.0 { DataType::Bf16 } else { DataType::Fp16 };
    Some(match name {
        "bfloat16" | "float16" | "half" => (math16, math16),
        "fp8" | "fp8_static" => (DataType::Fp8, DataType::Fp8),
        "fp8_block" => (DataType::Fp8Block, DataType::Fp8),
        "nvfp4" => (DataType::Nvfp4, DataType::Nvfp4),
        "mxfp4" => (DataType::Mxfp4, DataType::Mxfp4),
        "int8" | "sq" => (DataType::Int8, DataType::Int8),
        "int8_wo" => (DataType::Int8, math16),
        "int4_wo" => (DataType::Int4, math16),
        _ => return None,
    })
}

/// Fits every data type and kernel of a GEMM table into `out`; returns what could not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut classes: BTreeMap<String, Vec<Row<Gemm>>> = BTreeMap::new();
    for record in table.records() {
        let Some((weights, math)) = formats(record.text("dtype"), hardware) else { continue };
        if hardware.peak(math) <= 0.0 {
            continue;
        }
        let (m, n, k) = (record.number("m")?, record.number("n")?, record.number("k")?);
        let group = mix((n as u64) << 32 | k as u64);
        let input = Gemm { m, n, k, weights, math };
        classes.entry(record.text("dtype").to_owned()).or_default().push(Row {
            input,
            seconds: record.seconds()?,
            group,
        });
    }
    let mut refused = vec![];
    for (data_type, rows) in classes {
        let key = ClassKey {
            engine: table.engine.clone(),
            data_type,
            kernel: String::new(),
            variant: String::new(),
        };
        match fit_class::<SoftGemm>(key.clone(), &rows, hardware, Some(&AXES)) {
            Ok(fitted) => out.gemm.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
