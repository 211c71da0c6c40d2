//! Samples of collectives → fits: the tables of the vendor's library and those of engines' own all-reduce.

use super::fit::{Refusal, Row};
use super::heldout::fit_class;
use super::samples::{Classes, Record, Table};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};
use crate::time::forms::collective::{Message, ThreeRegimes};

/// Samples by operation, kernel and number of ranks, as variants `all_reduce,8`. Started one by one the
/// host's launch is timed; prediction adds that itself, so where there is a replayed graph only that counts.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table) -> Result<Classes<Message>, SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        let Some((operation, row)) = sample(&record)? else { continue };
        let key = ClassKey {
            engine: table.engine.clone(),
            data_type: "bf16".into(),
            kernel: record.text("kernel").to_owned(),
            variant: format!("{operation},{}", record.number("gpus")?),
        };
        classes.entry(key).or_default().push(row);
    }
    if classes.keys().any(|key: &ClassKey| key.kernel.ends_with("_graph")) {
        classes.retain(|key, _| !key.kernel.ends_with("_eager"));
    }
    Ok(classes)
}

/// Fits every operation, kernel and number of ranks of a table into `out`, as variants `all_reduce,8`; returns
/// what could not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    for (key, rows) in classes(table)? {
        match fit_class::<ThreeRegimes>(key.clone(), &rows, hardware, None) {
            Ok(fitted) => out.collective.push(fitted),
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}

/// Operation and row of a record; none for rows that are left out.
fn sample(record: &Record<'_>) -> Result<Option<(String, Row<Message>)>, SpecError> {
    // engines' own kernels have no column for it: they all reduce
    let operation = match record.text("op") {
        "" => "all_reduce",
        "alltoall" => "all_to_all",
        other => other,
    };
    let wide = matches!(record.text("dtype"), "half" | "float16" | "bfloat16");
    let reduces = matches!(operation, "all_reduce" | "reduce_scatter");
    // eight-bit sums miss the switch's reduction and no engine uses them; copies do not look at the type
    if reduces && !wide {
        return Ok(None);
    }
    let ranks = record.number("gpus")?;
    let message = record.number("elements")? * if wide { 2.0 } else { 1.0 };
    let factor = if operation == "all_reduce" { 2.0 } else { 1.0 };
    let bytes = factor * (1.0 - 1.0 / ranks.max(1.0)) * message;
    // one size is one shape, whatever its type
    let row = Row { input: Message { bytes }, seconds: record.seconds()?, group: bytes.to_bits() };
    Ok(Some((operation.to_owned(), row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn operations_kernels_and_ranks_are_classes() {
        let mut text = String::from("dtype,gpus,elements,kernel,latency_us\n");
        for ranks in [2, 8] {
            for power in 7..24 {
                let elements = 1u64 << power;
                let us = 4.0 + elements as f64 * 2.0 / 1.5e5;
                for kernel in ["x_graph", "x_eager"] {
                    text += &format!("bfloat16,{ranks},{elements},{kernel},{us}\n");
                }
            }
        }
        let table = Table::parse(&text, "t.csv", "vllm-0.24.0").unwrap();
        let hardware = Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap());
        let mut out = Calibration::default();
        assert_eq!(fit(&table, &hardware, &mut out).unwrap(), []);
        let variants: Vec<_> = out.collective.iter().map(|f| f.key.variant.as_str()).collect();
        assert_eq!(variants, ["all_reduce,2", "all_reduce,8"]);
        assert!(out.collective.iter().all(|f| f.key.kernel == "x_graph" && f.heldout_ape[0] < 3.0));
    }
}
