//! Tables of all operators → one calibration.

use rayon::prelude::*;
use std::collections::BTreeSet;

use super::fit::{FitError, Refusal};
use super::probe::cpu::ENGINE;
use super::samples::Table;
use super::{collective, decode_attention, experts, gemm, latent, prefill_attention, quantise};
use crate::spec::SpecError;
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey, Fitted};

/// Largest median error in percent on shapes left out: the worst class of the tables that ship has 37.
const MOST_MEDIAN_APE: f64 = 50.0;
/// The error of samples too few to leave some out.
const UNKNOWN_APE: f64 = 1e4;

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

/// Attention of a CPU.
const CPU_ATTENTION: Operator =
    Operator { name: "cpu_attention", columns: &["batch", "n_heads"], fit: figures };

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
        // of the attention of a CPU the rate is all that is fitted
        Some(name) if table.engine == ENGINE && name.ends_with("_attention") => Some(&CPU_ATTENTION),
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
        let mut refused = (operator.fit)(table, hardware, &mut own)?;
        if !table.probed {
            refused.extend(without_scattered(&mut own));
            refused.extend(unknown_types(operator.name, table, &own, &refused));
        }
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

/// Takes out classes that the form does not follow: noise, or several kernels in one. An error that is not known, of
/// samples too few to leave some out, does not count.
fn without_scattered(own: &mut Calibration) -> Vec<Refusal> {
    let scattered = |f: &Fitted| (MOST_MEDIAN_APE..UNKNOWN_APE).contains(&f.heldout_ape[1]);
    own.take(scattered)
        .into_iter()
        .map(|f| (f.key, FitError::Scattered { median_ape: f.heldout_ape[1] }))
        .collect()
}

/// Data types of products and experts that no class has come of: names that are not known.
fn unknown_types(operator: &str, table: &Table, own: &Calibration, refused: &[Refusal]) -> Vec<Refusal> {
    if !["gemm", "experts"].contains(&operator) {
        return vec![];
    }
    let known: BTreeSet<&str> = own
        .classes()
        .iter()
        .flat_map(|(_, list)| list.iter().map(|f| f.key.data_type.as_str()))
        .chain(refused.iter().map(|(key, _)| key.data_type.as_str()))
        .collect();
    let found: BTreeSet<&str> = table.records().map(|record| record.text("dtype")).collect();
    let key = |data_type: &str| ClassKey {
        engine: table.engine.clone(),
        data_type: data_type.to_owned(),
        kernel: String::new(),
        variant: String::new(),
    };
    found.difference(&known).map(|name| (key(name), FitError::UnknownType)).collect()
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
    fn noise_and_unknown_types_are_refused() {
        let directories = crate::spec::catalog::Directories::default();
        let hardware = Hardware::of(&crate::spec::catalog::accelerator("h100-sxm", &directories).unwrap());
        let mut text = "m,n,k,dtype,kernel,latency_us\n".to_owned();
        for i in 0..120_u64 {
            let (m, n) = (1 << (i % 12), 1024 * (1 + i % 7));
            // of four kernels, one two hundred times as slow as another, at random
            let us = (8.0 + 0.01 * m as f64) * [1.0, 5.0, 30.0, 200.0][(crate::work::mix(i) % 4) as usize];
            text += &format!("{m},{n},4096,bfloat16,x,{us}\n{m},{n},4096,fp6,x,5\n");
        }
        let table = Table::parse(&text, "x.csv", "vllm-1.0").unwrap();
        let mut out = Calibration::default();
        let refused = fit_tables(&[table], &hardware, &mut out, |_| ()).unwrap();
        assert!(out.gemm.is_empty());
        let found: Vec<_> = refused.iter().map(|r| (r.key.data_type.as_str(), &r.reason)).collect();
        assert!(
            matches!(found[..], [("bfloat16", FitError::Scattered { .. }), ("fp6", FitError::UnknownType)]),
            "{found:?}"
        );
    }

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
