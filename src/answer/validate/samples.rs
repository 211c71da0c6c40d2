//! Operator samples against the kernel models in force: every class of a table by the fit that comes
//! closest to it.

use serde::Serialize;
use std::collections::BTreeMap;

use super::sample_operator::AsOperator;
use super::{KernelChoice, Skipped};
use crate::calibrate::fit::Row;
use crate::calibrate::samples::{Classes, Table};
use crate::calibrate::statistics::Errors;
use crate::calibrate::{
    collective, decode_attention, experts, gemm, latent, operators, prefill_attention, quantise,
};
use crate::spec::catalog::Directories;
use crate::spec::{Accelerator, SpecError};
use crate::time::calibration::{Calibration, ClassKey, Fitted, SLOWER};
use crate::time::forms::Form;
use crate::time::forms::collective::ThreeRegimes;
use crate::time::forms::decode_attention::DecodeAttentionForm;
use crate::time::forms::experts::GroupedGemm;
use crate::time::forms::gemm::{Gemm, SoftGemm};
use crate::time::forms::latent::LatentDecodeForm;
use crate::time::forms::latent_module::{LatentDecodeModuleForm, LatentPrefillModuleForm};
use crate::time::forms::prefill_attention::PrefillAttentionForm;
use crate::time::forms::quantise::CachedPass;
use crate::time::{Device, Hardware};

/// Errors of one operator, data type and engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleGroup {
    /// Operator, as [`Calibration::classes`] names it.
    pub operator: &'static str,
    /// Data types.
    pub dtype: String,
    /// Engine and version whose kernels were timed.
    pub engine: String,
    /// Engines and versions whose fits predicted.
    pub fitted_on: Vec<String>,
    /// Errors in percent.
    #[serde(flatten)]
    pub errors: Errors,
}

/// Samples against the kernel models in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleValidation {
    /// Accelerator that the samples were taken on.
    pub gpu: String,
    /// File of the kernel models.
    pub calibration: String,
    /// How near they are to this accelerator.
    pub trust: String,
    /// Errors by operator, data type and engine.
    pub groups: Vec<SampleGroup>,
    /// Samples of classes that no fit covers.
    pub skipped: Vec<Skipped>,
}

/// Compares all samples of the tables. Rows that calibration leaves out (timed on a warm cache, broken)
/// are left out here too.
///
/// # Errors
/// When a table is of no operator known or holds a broken row, or no kernel models are in force.
pub fn validate_samples(
    tables: &[Table],
    accelerator: &Accelerator,
    choice: &KernelChoice,
    directories: &Directories,
) -> Result<SampleValidation, SpecError> {
    let Some(kernels) = choice.of(accelerator, directories)? else {
        return Err(SpecError::Usage(format!(
            "no fitted kernel models are in force for {}: neither it nor a relative has a calibration; \
             give one with --calibration FILE (`foretoken calibrate --from-samples` makes one)",
            accelerator.id
        )));
    };
    let hardware = Hardware::of(accelerator);
    let predictors = [Predictor::Fits(&kernels.calibration)];
    let mut scores = Scores::new(&hardware, &predictors);
    for table in tables {
        scores.table(table)?;
    }
    let mut skipped: Vec<Skipped> =
        scores.uncovered.into_iter().map(|(reason, count)| Skipped { reason, count }).collect();
    skipped.sort_by_key(|s| std::cmp::Reverse(s.count));
    let groups = scores.pairs.into_iter().filter_map(|((_, operator, dtype, engine), scored)| {
        let mut fitted_on = scored.fitted_on;
        fitted_on.sort();
        Some(SampleGroup { operator, dtype, engine, fitted_on, errors: Errors::of(&scored.pairs)? })
    });
    Ok(SampleValidation {
        gpu: accelerator.id.clone(),
        trust: kernels.trust.words().to_owned(),
        groups: groups.collect(),
        calibration: kernels.file,
        skipped,
    })
}

/// Where an input lies in a residual grid.
type Point<I> = fn(&I) -> [f64; 3];

/// Where the fits of an operator stand.
type List = fn(&Calibration) -> &Vec<Fitted>;

/// What predicts.
#[derive(Debug, Clone, Copy)]
pub(in crate::answer) enum Predictor<'a> {
    /// The fits that come closest to each class.
    Fits(&'a Calibration),
    /// The coefficients of an architecture family, on this device.
    Defaults(&'a Device),
}

/// (Predicted, measured) pairs in seconds and whose fits predicted.
#[derive(Debug, Default)]
pub(in crate::answer) struct Scored {
    pub pairs: Vec<(f64, f64)>,
    fitted_on: Vec<String>,
}

/// Samples of one accelerator against one or more predictors.
pub(in crate::answer) struct Scores<'a> {
    hardware: &'a Hardware,
    predictors: &'a [Predictor<'a>],
    /// By predictor, operator, data type and engine.
    pub pairs: BTreeMap<(usize, &'static str, String, String), Scored>,
    uncovered: BTreeMap<String, usize>,
}

impl<'a> Scores<'a> {
    /// No samples yet.
    pub fn new(hardware: &'a Hardware, predictors: &'a [Predictor<'a>]) -> Self {
        Self { hardware, predictors, pairs: BTreeMap::new(), uncovered: BTreeMap::new() }
    }

    /// Adds a table.
    ///
    /// # Errors
    /// When it is of no operator known or holds a broken row.
    pub fn table(&mut self, table: &Table) -> Result<(), SpecError> {
        let hardware = self.hardware;
        match operators::operator(table) {
            Some(name @ "gemm") => {
                let point: Point<Gemm> = Gemm::point;
                let mut classes = gemm::classes(table, hardware)?;
                classes.retain(|key, rows| {
                    let launches = gemm::launch_floor(rows).is_some();
                    if launches {
                        self.skip(
                            format!("gemm {} {}: launches timed, not kernels", key.engine, key.data_type),
                            rows.len(),
                        );
                    }
                    !launches
                });
                self.classes::<SoftGemm>(name, classes, |c| &c.gemm, Some(point));
            }
            Some(name @ "quantise") => {
                self.classes::<CachedPass>(name, quantise::classes(table)?, |c| &c.quantise, None);
            }
            Some(name @ "collective") => {
                self.classes::<ThreeRegimes>(name, collective::classes(table)?, |c| &c.collective, None);
            }
            Some(name @ "decode_attention") => {
                let mut classes = decode_attention::classes(table, hardware)?;
                for rows in classes.values_mut() {
                    rows.retain(|r| r.input.is_beyond_cache(hardware));
                }
                self.classes::<DecodeAttentionForm>(name, classes, |c| &c.decode_attention, None);
            }
            Some(name @ "prefill_attention") => {
                let classes = prefill_attention::classes(table, hardware)?;
                self.classes::<PrefillAttentionForm>(name, classes, |c| &c.prefill_attention, None);
            }
            Some(name @ "experts") => {
                let mut classes = experts::classes(table, hardware)?;
                for rows in classes.values_mut() {
                    rows.retain(|r| r.input.hit <= 0.0);
                }
                self.classes::<GroupedGemm>(name, classes, |c| &c.experts, None);
            }
            Some("latent_kernel") => {
                let (decode, prefill) = latent::kernel_classes(table, hardware)?;
                self.classes::<LatentDecodeForm>("latent_decode", decode, |c| &c.latent_decode, None);
                self.classes::<PrefillAttentionForm>("latent_prefill", prefill, |c| &c.latent_prefill, None);
            }
            Some(name @ "latent_decode_module") => {
                let classes = latent::decode_module_classes(table, hardware)?;
                self.classes::<LatentDecodeModuleForm>(name, classes, |c| &c.latent_decode_module, None);
            }
            Some(name @ "latent_prefill_module") => {
                let classes = latent::prefill_module_classes(table, hardware)?;
                self.classes::<LatentPrefillModuleForm>(name, classes, |c| &c.latent_prefill_module, None);
            }
            Some(other) => self.skip(format!("{other}: not compared"), table.records().count()),
            None => return Err(operators::unknown(table)),
        }
        Ok(())
    }

    fn skip(&mut self, reason: String, samples: usize) {
        *self.uncovered.entry(reason).or_default() += samples;
    }

    /// Scores every class of a table by each predictor; `list` is where its fits stand, `point` where an input
    /// lies in the residual grid.
    fn classes<F: Form<Input: AsOperator>>(
        &mut self,
        operator: &'static str,
        classes: Classes<F::Input>,
        list: List,
        point: Option<Point<F::Input>>,
    ) {
        let (hardware, predictors) = (self.hardware, self.predictors);
        for (key, rows) in classes {
            for (i, predictor) in predictors.iter().enumerate() {
                let fitted = match predictor {
                    Predictor::Fits(calibration) => closest(list(calibration), &key),
                    Predictor::Defaults(_) => None,
                };
                let seconds = |input: &F::Input| match (predictor, fitted) {
                    (Predictor::Defaults(device), _) => Some(device.seconds(&input.operator(&key)?).0),
                    (_, Some(fitted)) => {
                        let grid = fitted.grid.as_ref().zip(point);
                        let factor = grid.map_or(1.0, |(g, p)| g.factor(p(input)));
                        Some(F::seconds(&fitted.c, input, hardware) * factor)
                    }
                    _ => None,
                };
                let predict = |row: &Row<F::Input>| Some((seconds(&row.input)?, row.seconds));
                let pairs: Vec<_> = rows.iter().filter(|r| r.seconds > 0.0).filter_map(predict).collect();
                if pairs.is_empty() {
                    let class = [operator, &key.data_type, &key.kernel, &key.variant]
                        .into_iter()
                        .filter(|w| !w.is_empty())
                        .collect::<Vec<_>>()
                        .join(" ");
                    self.skip(format!("{class}: no fit covers it"), rows.len());
                    continue;
                }
                let group = (i, operator, key.data_type.clone(), key.engine.clone());
                let scored = self.pairs.entry(group).or_default();
                scored.pairs.extend(pairs);
                if let Some(engine) = fitted.map(|f| &f.key.engine).filter(|e| !scored.fitted_on.contains(e))
                {
                    scored.fitted_on.push(engine.clone());
                }
            }
        }
    }
}

/// The fit that comes closest to a class: of its data type and variant, then of its engine and version, of
/// its engine, of its kernel, and of the least held-out error. None for a kernel that the fit of its own
/// engine's tables refused: no prediction uses it.
fn closest<'a>(fits: &'a [Fitted], wanted: &ClassKey) -> Option<&'a Fitted> {
    let engine = |key: &ClassKey| key.engine.split('-').next().unwrap_or_default().to_owned();
    let wide =
        |name: &str| name.replace("bfloat16", "bf16").replace("float16", "bf16").replace("fp16", "bf16");
    let fitting = |f: &&Fitted| {
        let slower = f.key.variant == SLOWER && f.key.kernel == wanted.kernel;
        wide(&f.key.data_type) == wide(&wanted.data_type) && (f.key.variant == wanted.variant || slower)
    };
    let found = fits.iter().filter(fitting).min_by(|a, b| {
        let rank = |f: &Fitted| {
            (
                f.key.engine != wanted.engine,
                engine(&f.key) != engine(wanted),
                f.key.kernel != wanted.kernel,
                f.key.data_type != wanted.data_type,
            )
        };
        rank(a).cmp(&rank(b)).then(a.heldout_ape[1].total_cmp(&b.heldout_ape[1]))
    })?;
    (found.key.engine != wanted.engine || found.key.kernel == wanted.kernel).then_some(found)
}
