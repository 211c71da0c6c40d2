//! llama.cpp's own kernels: coefficients of [`matvec`](super::forms::matvec) by architecture family,
//! transferred to devices and families without measurements.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

use super::forms::matvec::{self, COEFFICIENTS, Setting};
use super::{Bound, CoefficientError, Hardware};
use crate::spec::Accelerator;
use crate::work::Operator;

/// Launches that a stream holds before the host waits.
const LAUNCH_QUEUE: f64 = 1024.0;

/// Copies of a step's inputs in ggml's scheduler.
const INPUT_COPIES: f64 = 4.0;

const FILE: &str = "calibration/defaults/llamacpp.toml";

/// Quantiles of measured over predicted times that were left out of a fit: 10 % and 90 %.
pub type Spread = [f64; 2];

/// Errors on rows left out of a fit, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Rows.
    pub n: usize,
    /// Mean absolute error.
    pub mape: f64,
    /// Median absolute error.
    pub median: f64,
    /// 90 % quantile of the absolute error.
    pub p90: f64,
    /// Mean error.
    pub bias: f64,
}

/// Coefficients of one architecture family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Name of the family.
    pub name: String,
    /// Architectures it is for; none for all others.
    pub architectures: Vec<String>,
    /// Measured times fitted on.
    pub rows: usize,
    /// Coefficients by name.
    pub c: BTreeMap<String, f64>,
    /// Spread of decode steps left out.
    pub decode: Spread,
    /// Spread of prefills left out.
    pub prefill: Spread,
    /// Errors by what was left out: `decode_by_gpu`, `prefill_by_model` …
    #[serde(default)]
    pub left_out: BTreeMap<String, LeftOut>,
}

/// All families.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Families {
    /// Version of the format.
    pub schema: u32,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Where the measurements came from, with licence.
    pub source: String,
    /// The families; the one without architectures is for all others.
    pub family: Vec<Family>,
}

impl Families {
    /// The embedded coefficients.
    ///
    /// # Errors
    /// When the embedded file is broken, which a test excludes.
    pub fn embedded() -> Result<Self, CoefficientError> {
        Self::from_toml(include_str!("../../calibration/defaults/llamacpp.toml"), FILE)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is no such file, or a coefficient is missing, unknown or outside its bounds.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, CoefficientError> {
        let broken = |message: String| CoefficientError::Syntax { file: file.into(), message };
        let parsed: Self = toml::from_str(text).map_err(|e| broken(e.message().to_owned()))?;
        if parsed.schema != 1 {
            return Err(CoefficientError::Schema { file: file.into(), schema: parsed.schema });
        }
        for family in &parsed.family {
            if let Some(unknown) = family.c.keys().find(|k| !COEFFICIENTS.iter().any(|c| c.name == **k)) {
                return Err(broken(format!("{}: no coefficient is called `{unknown}`", family.name)));
            }
            for c in COEFFICIENTS {
                let Some(&value) = family.c.get(c.name) else {
                    return Err(broken(format!("{}: `{}` is missing", family.name, c.name)));
                };
                if !(0.99 * c.low..=1.01 * c.high).contains(&value) {
                    let key = format!("{}.{}", family.name, c.name);
                    return Err(CoefficientError::Range {
                        file: file.into(),
                        key,
                        value,
                        range: "the bounds of src/time/forms/matvec.rs",
                    });
                }
            }
        }
        Ok(parsed)
    }

    /// The file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = format!(
            "# Kernels of llama.cpp by architecture family: coefficients of src/time/forms/matvec.rs, in the units of their\n\
             # names (`operations_*`: vector operations a weight). `decode` and `prefill` are the 10 % and 90 % quantiles of\n\
             # measured over predicted on rows left out. Written by `foretoken calibrate --from-results`.\n\
             schema = {}\ntool_version = {:?}\nsource = {:?}\n",
            self.schema, self.tool_version, self.source
        );
        for f in &self.family {
            let _ = write!(
                out,
                "\n[[family]]\nname = {:?}\narchitectures = {:?}\nrows = {}\ndecode = {:.3?}\nprefill = {:.3?}\n\n[family.c]\n",
                f.name, f.architectures, f.rows, f.decode, f.prefill
            );
            for c in COEFFICIENTS {
                let _ = writeln!(out, "{} = {:.4}", c.name, f.c.get(c.name).copied().unwrap_or(c.start));
            }
            if !f.left_out.is_empty() {
                out.push_str("\n[family.left_out]\n");
            }
            for (name, e) in &f.left_out {
                let _ = writeln!(
                    out,
                    "{name} = {{ n = {}, mape = {:.1}, median = {:.1}, p90 = {:.1}, bias = {:.1} }}",
                    e.n, e.mape, e.median, e.p90, e.bias
                );
            }
        }
        out
    }

    /// The family of an architecture, else the one for all others.
    #[must_use]
    pub fn of(&self, architecture: &str) -> Option<&Family> {
        let own = self.family.iter().find(|f| f.architectures.iter().any(|a| a == architecture));
        own.or_else(|| self.family.iter().find(|f| f.architectures.is_empty()))
    }
}

/// llama.cpp's kernels on one accelerator.
#[derive(Debug, Clone, PartialEq)]
pub struct Ggml {
    c: Vec<f64>,
    setting: Setting,
    /// The architecture's family was measured.
    pub measured: bool,
    /// Spread of decode steps left out.
    pub decode: Spread,
    /// Spread of prefills left out.
    pub prefill: Spread,
    /// Family and what it was fitted to.
    pub source: String,
}

impl Ggml {
    /// The embedded coefficients for an accelerator.
    ///
    /// # Errors
    /// When the embedded file is broken, which a test excludes.
    pub fn of(accelerator: &Accelerator, setting: Setting) -> Result<Self, CoefficientError> {
        let families = Families::embedded()?;
        let Some(family) = families.of(&accelerator.architecture) else {
            let architecture = accelerator.architecture.clone();
            return Err(CoefficientError::NoSet { file: FILE.into(), architecture });
        };
        let measured = !family.architectures.is_empty();
        let whose = if measured { "family" } else { "no measured family:" };
        Ok(Self {
            c: family.vector(),
            setting,
            measured,
            decode: family.decode,
            prefill: family.prefill,
            source: format!("llama.cpp kernels, {whose} {}: {}", family.name, families.source),
        })
    }

    /// Prompt steps that a pipeline over devices has under way at a time, c.
    ///
    /// One host thread feeds all devices, and a stream takes about 1,000 launches before the thread waits: a step whose
    /// stage alone fills it holds the next one back. With `layers` a stage and n launches a layer c = 1,024/(n·layers), at
    /// least 1 and at most the 4 copies of its inputs that the scheduler keeps. n = 13 + a + 7·w: norms, positions,
    /// cache, residuals and activation; a = 10 for attention in products (two of 4 launches, softmax, copy) or 1 fused; a
    /// product of w = 3 with its conversions to and from 16 bit, 4 with weights to dequantise first.
    /// Sources: `GGML_SCHED_MAX_COPIES` and pull request 6017 of ggml-org/llama.cpp; the queue: NVIDIA's developer
    /// forum, thread 68937; launches counted in `build_llama` and `ggml_cuda_op_mul_mat_cublas`.
    #[must_use]
    pub fn steps_in_flight(&self, layers: f64, dequantised: bool) -> f64 {
        let attention = if self.setting.flash { 1.0 } else { 10.0 };
        let launches = 13.0 + attention + 7.0 * if dequantised { 4.0 } else { 3.0 };
        (LAUNCH_QUEUE / (launches * layers.max(1.0))).clamp(1.0, INPUT_COPIES)
    }

    /// Seconds of one execution and what bounds it; none for operators without an own form.
    #[must_use]
    pub fn seconds(&self, operator: &Operator, hardware: &Hardware) -> Option<(f64, Bound)> {
        matvec::seconds(&self.c, operator, hardware, self.setting)
    }
}

impl Family {
    /// Coefficients in the order of the form.
    #[must_use]
    pub fn vector(&self) -> Vec<f64> {
        COEFFICIENTS.iter().map(|c| self.c.get(c.name).copied().unwrap_or(c.start)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_reads_back_and_covers_every_architecture() {
        let families = Families::embedded().unwrap();
        assert_eq!(Families::from_toml(&families.to_toml(), "again").unwrap(), families);
        assert!(families.of("Ada").is_some_and(|f| f.rows > 0));
        assert!(families.of("never heard of").is_some_and(|f| f.architectures.is_empty()));
    }

    #[test]
    fn a_full_launch_queue_holds_the_next_step_back() {
        let gpu =
            crate::spec::catalog::accelerator("a40", &crate::spec::catalog::Directories::default()).unwrap();
        let plain = Ggml::of(&gpu, Setting { flash: false, split: true }).unwrap();
        // 44 launches a layer of 16 bit, 51 where weights are dequantised
        assert!((plain.steps_in_flight(16.0, false) - 1024.0 / 704.0).abs() < 1e-12);
        assert!((plain.steps_in_flight(16.0, true) - 1024.0 / 816.0).abs() < 1e-12);
        assert!((plain.steps_in_flight(40.0, true) - 1.0).abs() < 1e-12);
        assert!((plain.steps_in_flight(2.0, true) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn broken_files_are_refused_with_the_key() {
        let text = Families::embedded().unwrap().to_toml();
        let missing = text.replacen("kernel_us", "colonel_us", 1);
        let outside = text.replacen("\nmemory_share = 0.", "\nmemory_share = 7.", 1);
        for (text, needle) in [(missing, "colonel_us"), (outside, "memory_share"), ("x".into(), "a.toml")] {
            let message = Families::from_toml(&text, "a.toml").unwrap_err().to_string();
            assert!(message.contains(needle), "{message}");
        }
    }
}
