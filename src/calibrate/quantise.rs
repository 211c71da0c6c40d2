//! Samples of activation quantisation → fits.

use super::fit::{FitError, Refusal, Row, mix};
use super::heldout::fit_class;
use super::samples::{Classes, Table};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};
use crate::time::forms::quantise::{CachedPass, Quantise};

/// Largest median error in percent on widths left out. Tables that are a difference of two timings of about
/// the same length hold noise of 20 % and more.
const MOST_MEDIAN_APE: f64 = 15.0;

/// Samples by data type, without those that came out as nothing.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table) -> Result<Classes<Quantise>, SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        let (m, k) = (record.number("m")?, record.number("k")?);
        let row = Row { input: Quantise { m, k }, seconds: record.seconds()?, group: mix(k as u64) };
        let key = ClassKey {
            engine: table.engine.clone(),
            data_type: record.text("quant_dtype").to_owned(),
            kernel: String::new(),
            variant: String::new(),
        };
        let rows: &mut Vec<_> = classes.entry(key).or_default();
        // tables hold the difference of two timings: where it came out as nothing, nothing was learnt
        if row.seconds > 0.0 {
            rows.push(row);
        }
    }
    Ok(classes)
}

/// Fits every data type of a table into `out`; returns what could not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    for (key, rows) in classes(table)? {
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
