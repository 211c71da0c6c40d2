//! Samples of activation quantisation → fits.

use std::collections::BTreeMap;

use super::fit::{FitError, Row, mix};
use super::heldout::fit_class;
use super::samples::Table;
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};
use crate::time::forms::quantise::{CachedPass, Quantise};

/// Largest median error in percent on widths left out. Tables that are a difference of two timings of about
/// the same length hold noise of 20 % and more.
const MOST_MEDIAN_APE: f64 = 15.0;

/// Fits every data type of a table into `out`; returns what could not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(
    table: &Table,
    hardware: &Hardware,
    out: &mut Calibration,
) -> Result<Vec<(ClassKey, FitError)>, SpecError> {
    let mut classes: BTreeMap<String, Vec<Row<Quantise>>> = BTreeMap::new();
    for record in table.records() {
        let (m, k) = (record.number("m")?, record.number("k")?);
        let row = Row { input: Quantise { m, k }, seconds: record.seconds()?, group: mix(k as u64) };
        let rows = classes.entry(record.text("quant_dtype").to_owned()).or_default();
        // tables hold the difference of two timings: where it came out as nothing, nothing was learnt
        if row.seconds > 0.0 {
            rows.push(row);
        }
    }
    let mut refused = vec![];
    for (data_type, rows) in classes {
        let key = ClassKey {
            engine: table.engine.clone(),
            data_type,
            kernel: String::new(),
            variant: String::new(),
        };
        match fit_class::<CachedPass>(key.clone(), &rows, hardware, None) {
            Ok(fitted) if fitted.heldout_ape[1] > MOST_MEDIAN_APE => {
                refused.push((key, FitError::Scattered { median_ape: fitted.heldout_ape[1] }));
            }
            Ok(fitted) => out.quantise.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}
