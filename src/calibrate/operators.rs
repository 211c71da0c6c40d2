//! Tables of all operators → one calibration.

use rayon::prelude::*;

use super::fit::{FitError, Refusal};
use super::samples::Table;
use super::{collective, decode_attention, experts, gemm, latent, prefill_attention, quantise};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey};

/// Fits a table into a calibration and returns what it refused.
type Fit = fn(&Table, &Hardware, &mut Calibration) -> Result<Vec<Refusal>, SpecError>;

/// An operator with the columns that tell its tables from others'.
struct Operator {
    name: &'static str,
    /// All are there.
    columns: &'static [&'static str],
    fit: Fit,
}

/// Tables of figures that no class of kernels is fitted to: they stand in the calibration as they were measured.
fn figures(_: &Table, _: &Hardware, _: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    Ok(vec![])
}

/// Operators by their columns, the more particular first.
const OPERATORS: &[Operator] = &[
    Operator { name: "launch", columns: &["mode", "latency_us"], fit: figures },
    Operator { name: "stream", columns: &["kind", "bytes", "threads"], fit: figures },
    Operator { name: "sustained", columns: &["m", "dtype", "duration_s"], fit: figures },
    Operator { name: "gemm", columns: &["m", "n", "k", "dtype"], fit: gemm::fit },
    Operator { name: "quantise", columns: &["m", "k", "quant_dtype"], fit: quantise::fit },
    Operator {
        name: "experts",
        columns: &["tokens", "hidden", "inter", "topk", "moe_ep"],
        fit: experts::fit,
    },
    Operator { name: "collective", columns: &["gpus", "elements", "dtype"], fit: collective::fit },
    Operator {
        name: "decode_attention",
        columns: &["batch", "step", "n_kv_heads", "head_dim"],
        fit: decode_attention::fit,
    },
    Operator {
        name: "prefill_attention",
        columns: &["batch", "isl", "n_kv_heads", "head_dim"],
        fit: prefill_attention::fit,
    },
    Operator {
        name: "latent_decode_module",
        columns: &["batch", "step", "n_heads", "kv_dtype", "gemm_dtype"],
        fit: latent::fit_decode_module,
    },
    Operator {
        name: "latent_prefill_module",
        columns: &["batch", "isl", "prefix", "n_heads", "kv_dtype", "gemm_dtype"],
        fit: latent::fit_prefill_module,
    },
    // decode and prefill in one table or two: rows with a past are decode
    Operator {
        name: "latent_kernel",
        columns: &["batch_size", "isl", "step", "num_heads", "mla_dtype", "kv_cache_dtype"],
        fit: latent::fit_kernels,
    },
];

/// A class that has no fit, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Its operator, as [`Calibration::classes`] names it.
    pub operator: &'static str,
    /// The class.
    pub key: ClassKey,
    /// Why.
    pub reason: FitError,
}

/// The name of the operator whose samples a table holds; none when its columns fit none.
#[must_use]
pub fn operator(table: &Table) -> Option<&'static str> {
    recognise(table).map(|o| o.name)
}

fn recognise(table: &Table) -> Option<&'static Operator> {
    match &table.operator {
        Some(name) => OPERATORS.iter().find(|o| o.name == name),
        None => OPERATORS.iter().find(|o| table.has(o.columns)),
    }
}

/// Fits every class of every table into `calibration`, tables side by side. Of two tables with
/// the same class the first counts. `done` is called after each table.
///
/// # Errors
/// When a table is of no operator known or holds a broken row.
pub fn fit_tables(
    tables: &[Table],
    hardware: &Hardware,
    calibration: &mut Calibration,
    done: impl Fn(&Table) + Sync,
) -> Result<Vec<Refused>, SpecError> {
    let fits = tables.par_iter().map(|table| {
        let operator = recognise(table).ok_or_else(|| unknown(table))?;
        let mut own = Calibration::default();
        let refused = (operator.fit)(table, hardware, &mut own)?;
        done(table);
        Ok((operator.name, own, refused))
    });
    let mut refused = vec![];
    for (operator, own, reasons) in fits.collect::<Result<Vec<_>, SpecError>>()? {
        refused.extend(reasons.into_iter().map(|(key, reason)| Refused { operator, key, reason }));
        let twice = calibration.merge(own);
        refused.extend(twice.into_iter().map(|(operator, key)| Refused {
            operator,
            key,
            reason: FitError::Duplicate,
        }));
    }
    refused.sort_by(|a, b| (a.operator, &a.key).cmp(&(b.operator, &b.key)));
    Ok(refused)
}

/// What to say of a table whose columns fit no operator.
#[must_use]
pub fn unknown(table: &Table) -> SpecError {
    let known: Vec<String> =
        OPERATORS.iter().map(|o| format!("{} ({})", o.name, o.columns.join(", "))).collect();
    SpecError::Missing {
        file: table.file.clone(),
        key: "columns of an operator".into(),
        fix: format!("known are {}", known.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_tell_the_operator() {
        let of = |header: &str| operator(&Table::parse(&format!("{header}\n"), "x.csv", "e").unwrap());
        assert_eq!(of("m,n,k,dtype,kernel,latency_us"), Some("gemm"));
        assert_eq!(of("m,k,quant_dtype,latency_us"), Some("quantise"));
        assert_eq!(of("op,dtype,gpus,elements,latency_us"), Some("collective"));
        assert_eq!(of("dtype,gpus,elements,kernel,latency_us"), Some("collective"));
        assert_eq!(of("a,b,latency_us"), None);
    }
}
