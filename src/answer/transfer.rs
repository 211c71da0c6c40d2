//! How far kernel models of one accelerator hold for another: every accelerator with operator tables predicted
//! as if its own calibration did not exist, by relatives near and far and by defaults.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::statistics::{Data, OrderStatistics};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::kernels::Kernels;
use super::validate::{Predictor, Scores};
use crate::calibrate::samples::Table;
use crate::calibrate::statistics::Errors;
use crate::spec::catalog::{self, Directories, Kind};
use crate::spec::{Accelerator, SpecError};
use crate::time::{Coefficients, Device, Hardware, OperatorClass, Trust, kinship};

/// Stands for every accelerator, donor or data type.
pub(super) const ANY: &str = "*";

/// The file that `just transfer` writes.
const EMBEDDED: &str = include_str!("../../calibration/defaults/transfer.csv");

/// First line of the file of [`Transfer`]s.
pub const TRANSFER_HEADER: &str =
    "trust,gpu,donor,operator,dtype,n,median_ape,mape,p90_ape,bias,log_q10,log_q50,log_q90";

/// Errors of one operator and data type on one accelerator, predicted by one donor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// What the donor is to the accelerator; as [`Trust::key`] names it.
    pub trust: String,
    /// Accelerator predicted, or `*` for all.
    pub gpu: String,
    /// Accelerator whose calibration predicts, or the set of defaults, or `*`.
    pub donor: String,
    /// Operator; or the class of operators of predictions, over all its data types.
    pub operator: String,
    /// Data types, or `*`.
    pub dtype: String,
    /// Samples.
    pub n: usize,
    /// Median absolute percentage error.
    pub median_ape: f64,
    /// Mean absolute percentage error.
    pub mape: f64,
    /// 90 % quantile of the absolute percentage error.
    pub p90_ape: f64,
    /// Mean signed percentage error.
    pub bias: f64,
    /// 10 % quantile of ln(measured / predicted).
    pub log_q10: f64,
    /// Median of ln(measured / predicted).
    pub log_q50: f64,
    /// 90 % quantile of ln(measured / predicted).
    pub log_q90: f64,
}

impl Transfer {
    /// The line of the file.
    #[must_use]
    pub fn line(&self) -> String {
        let percent = [self.median_ape, self.mape, self.p90_ape, self.bias].map(|v| format!("{v:.1}"));
        let logs = [self.log_q10, self.log_q50, self.log_q90].map(|v| format!("{v:.3}"));
        format!(
            "{},{},{},{},{},{},{},{}",
            self.trust,
            self.gpu,
            self.donor,
            self.operator,
            self.dtype,
            self.n,
            percent.join(","),
            logs.join(",")
        )
    }
}

/// A donor with what it is to the target.
struct Donor {
    trust: Trust,
    name: String,
    predicts: Predicts,
}

enum Predicts {
    Fits(Box<Kernels>),
    Defaults(Box<Device>),
}

/// Everything that could predict a target: its own calibration, the nearest of every degree of kinship, the
/// defaults of its family where they were fitted on another member, and defaults that were judged.
fn donors(target: &Accelerator, directories: &Directories) -> Result<Vec<Donor>, SpecError> {
    let mut nearest: BTreeMap<Trust, (f64, Accelerator)> = BTreeMap::new();
    for file in catalog::files(Kind::Calibrations, directories)? {
        let Ok(donor) = catalog::accelerator(&file.header.id, directories) else { continue };
        let Some((trust, far)) = kinship(target, &donor) else { continue };
        let best = nearest.entry(trust).or_insert_with(|| (far, donor.clone()));
        if far < best.0 {
            *best = (far, donor);
        }
    }
    let mut all = vec![];
    for (trust, (_, donor)) in nearest {
        if let Some(kernels) = Kernels::in_force(&donor, directories)? {
            all.push(Donor { trust, name: donor.id, predicts: Predicts::Fits(Box::new(kernels)) });
        }
    }
    let broken = |e: crate::time::CoefficientError| SpecError::Usage(e.to_string());
    let own = Coefficients::default_for(&target.architecture).map_err(broken)?;
    let (mut fitted, mut judged) = (None, None);
    if own.fitted_on.is_empty() {
        judged = Some(own);
    } else if !own.fitted_on.contains(&target.id) {
        fitted = Some(own);
    }
    if judged.is_none() {
        judged = Some(Coefficients::default_for("").map_err(broken)?);
    }
    for (set, trust) in [(fitted, Trust::FamilyDefault), (judged, Trust::Default)] {
        if let Some(set) = set {
            let name = set.name.clone();
            let predicts = Predicts::Defaults(Box::new(Device::with(target, set)));
            all.push(Donor { trust, name, predicts });
        }
    }
    Ok(all)
}

/// (Predicted, measured) pairs by trust, accelerator, donor, operator and data type.
type Pairs = BTreeMap<(Trust, String, String, &'static str, String), Vec<(f64, f64)>>;

/// Predicts the samples of every accelerator by its nearest relatives of every degree and by defaults. Returns the
/// errors of each and, under `*`, of all accelerators together. `done` is called after each table.
///
/// # Errors
/// When a table is of no operator known or holds a broken row, or a calibration cannot be read.
pub fn leave_one_out(
    tables: &[(Accelerator, Vec<std::path::PathBuf>)],
    directories: &Directories,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Transfer>, SpecError> {
    let mut all = Pairs::new();
    for (target, files) in tables {
        let donors = donors(target, directories)?;
        let predictors: Vec<Predictor<'_>> = donors
            .iter()
            .map(|d| match &d.predicts {
                Predicts::Fits(kernels) => Predictor::Fits(&kernels.calibration),
                Predicts::Defaults(device) => Predictor::Defaults(device),
            })
            .collect();
        let hardware = Hardware::of(target);
        let scored: Vec<_> = files
            .par_iter()
            .map(|file| {
                let mut scores = Scores::new(&hardware, &predictors);
                scores.table(&Table::read(file)?)?;
                done();
                Ok(scores.pairs)
            })
            .collect::<Result<_, SpecError>>()?;
        for ((i, operator, dtype, _), scored) in scored.into_iter().flatten() {
            let Some(donor) = donors.get(i) else { continue };
            let dtype = canonical(&dtype);
            let class = OperatorClass::of_samples(operator, &dtype);
            let own = (donor.trust, target.id.clone(), donor.name.clone(), operator, dtype.clone());
            let every = (donor.trust, ANY.to_owned(), ANY.to_owned(), operator, dtype);
            let of_class = |gpu: &str, name: &str| {
                class.map(|c| (donor.trust, gpu.to_owned(), name.to_owned(), c.key(), ANY.to_owned()))
            };
            let classes = [of_class(&target.id, &donor.name), of_class(ANY, ANY)];
            for key in [own, every].into_iter().chain(classes.into_iter().flatten()) {
                all.entry(key).or_default().extend(&scored.pairs);
            }
        }
    }
    Ok(all
        .into_iter()
        .filter_map(|((trust, gpu, donor, operator, dtype), pairs)| {
            let errors = Errors::of(&pairs)?;
            let mut logs = Data::new(pairs.iter().map(|(p, m)| (m / p).ln()).collect::<Vec<f64>>());
            let [log_q10, log_q50, log_q90] = [0.1, 0.5, 0.9].map(|q| logs.quantile(q));
            Some(Transfer {
                trust: trust.key().into(),
                gpu,
                donor,
                operator: operator.into(),
                dtype,
                n: errors.n,
                median_ape: errors.median_ape,
                mape: errors.mape,
                p90_ape: errors.p90_ape,
                bias: errors.bias,
                log_q10,
                log_q50,
                log_q90,
            })
        })
        .collect())
}

/// One name for formats that share kernels: `bfloat16` and `float16` are `bf16`.
fn canonical(dtype: &str) -> String {
    dtype.replace("bfloat16", "bf16").replace("float16", "bf16").replace("fp16", "bf16")
}

/// The errors in the binary.
///
/// # Errors
/// When the embedded file is broken, which a test excludes.
pub fn embedded_transfers() -> Result<Vec<Transfer>, SpecError> {
    csv::Reader::from_reader(EMBEDDED.as_bytes()).deserialize().collect::<Result<_, _>>().map_err(|e| {
        SpecError::Syntax {
            file: "calibration/defaults/transfer.csv".into(),
            format: "CSV",
            message: e.to_string(),
        }
    })
}

/// 10 % and 90 % quantiles of ln(measured / predicted) of a class of operators at a degree of trust: those found on this
/// very accelerator where its own calibration predicts, else those over all accelerators; none where no table decides.
#[must_use]
pub(super) fn spread(trust: Trust, gpu: &str, class: OperatorClass) -> Option<[f64; 2]> {
    type Key = (String, String, String);
    static SPREADS: LazyLock<BTreeMap<Key, [f64; 2]>> = LazyLock::new(|| {
        let kept = |t: &Transfer| t.dtype == ANY && (t.gpu == ANY || t.trust == Trust::Fitted.key());
        let all = embedded_transfers().unwrap_or_default();
        all.into_iter().filter(kept).map(|t| ((t.trust, t.gpu, t.operator), [t.log_q10, t.log_q90])).collect()
    });
    let of = |trust: Trust, gpu: &str| {
        SPREADS.get(&(trust.key().to_owned(), gpu.to_owned(), class.key().to_owned())).copied()
    };
    match trust {
        // what a user's own file is worth nobody has measured: as much as one of ours
        Trust::Given => of(Trust::Fitted, ANY),
        _ => of(trust, gpu).or_else(|| of(trust, ANY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_reads_back() {
        let all = embedded_transfers().unwrap();
        let mut text = format!("{TRANSFER_HEADER}\n");
        for line in all.iter().map(Transfer::line) {
            text.push_str(&line);
            text.push('\n');
        }
        assert_eq!(text, EMBEDDED);
    }

    #[test]
    fn a_matrix_product_is_known_worse_the_farther_its_fit_comes_from() {
        let width = |trust| spread(trust, ANY, OperatorClass::Gemm16).map(|[low, high]| high - low).unwrap();
        let [own, chip, family] = [Trust::Fitted, Trust::SameChip, Trust::SameFamily].map(width);
        assert!(own < chip && chip < family, "{own} {chip} {family}");
        assert_eq!(
            spread(Trust::Given, "h100-sxm", OperatorClass::Link),
            spread(Trust::Fitted, ANY, OperatorClass::Link)
        );
        assert_ne!(
            spread(Trust::Fitted, "a100-sxm-80", OperatorClass::Experts),
            spread(Trust::Fitted, ANY, OperatorClass::Experts)
        );
        assert_eq!(spread(Trust::Fitted, ANY, OperatorClass::Recurrent), None);
    }
}
