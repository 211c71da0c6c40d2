//! Coefficients per operator class, read from `calibration/*.toml`.

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::soft_roofline::{SoftRoofline, TwoRegime};
use crate::spec::DataType;
use crate::work::{Operator, Shape};

/// Classes of operators that share a kernel-time model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorClass {
    /// Matrix products in 16 (or 32) bit.
    Gemm16,
    /// Matrix products in fp8 or int8, activation quantisation included.
    Gemm8,
    /// Matrix products in fp8 with block scales.
    Gemm8Block,
    /// Matrix products in nvfp4 or mxfp4.
    Gemm4,
    /// Quantised weights, 16-bit arithmetic.
    GemmWeightOnly,
    /// Routed experts.
    Experts,
    /// Attention of prefill chunks.
    PrefillAttention,
    /// Attention of decode rows.
    DecodeAttention,
    /// Latent attention of prefill chunks.
    LatentPrefill,
    /// Latent attention of decode rows.
    LatentDecode,
    /// Linear attention and state space.
    Recurrent,
    /// Bandwidth-only kernels.
    Elementwise,
    /// Collectives.
    Link,
}

impl OperatorClass {
    /// Class of an operator.
    #[must_use]
    pub fn of(operator: &Operator) -> Self {
        match operator.shape {
            Shape::Gemm { .. } => match (operator.weights, operator.math) {
                (DataType::Fp8Block | DataType::Mxfp8, DataType::Fp8) => Self::Gemm8Block,
                (_, DataType::Fp8 | DataType::Int8) => Self::Gemm8,
                (_, DataType::Nvfp4 | DataType::Mxfp4) => Self::Gemm4,
                (DataType::Bf16 | DataType::Fp16 | DataType::Fp32, _) => Self::Gemm16,
                _ => Self::GemmWeightOnly,
            },
            Shape::Experts { .. } => Self::Experts,
            Shape::PrefillAttention { .. } | Shape::SparsePrefill { .. } | Shape::Indexer => {
                Self::PrefillAttention
            }
            Shape::DecodeAttention { .. } => Self::DecodeAttention,
            Shape::LatentPrefill(_) => Self::LatentPrefill,
            Shape::LatentDecode { .. } => Self::LatentDecode,
            Shape::Recurrent { .. } => Self::Recurrent,
            Shape::Elementwise => Self::Elementwise,
            Shape::Collective { .. } => Self::Link,
        }
    }

    /// The class that an operator and data type of a calibration belong to; none for those that predictions take
    /// apart otherwise (whole modules, quantisation alone).
    #[must_use]
    pub fn of_samples(operator: &str, data_type: &str) -> Option<Self> {
        Some(match (operator, data_type) {
            ("gemm", "fp8_block") => Self::Gemm8Block,
            ("gemm", "fp8" | "fp8_static" | "int8" | "sq") => Self::Gemm8,
            ("gemm", "nvfp4" | "mxfp4") => Self::Gemm4,
            ("gemm", "int4_wo" | "int8_wo" | "fp8_wo") => Self::GemmWeightOnly,
            ("gemm", _) => Self::Gemm16,
            ("experts", _) => Self::Experts,
            ("prefill_attention", _) => Self::PrefillAttention,
            ("decode_attention", _) => Self::DecodeAttention,
            ("latent_prefill", _) => Self::LatentPrefill,
            ("latent_decode", _) => Self::LatentDecode,
            ("collective", _) => Self::Link,
            _ => return None,
        })
    }

    /// The name used in files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Gemm16 => "gemm_16",
            Self::Gemm8 => "gemm_8",
            Self::Gemm8Block => "gemm_8_block",
            Self::Gemm4 => "gemm_4",
            Self::GemmWeightOnly => "gemm_weight_only",
            Self::Experts => "experts",
            Self::PrefillAttention => "prefill_attention",
            Self::DecodeAttention => "decode_attention",
            Self::LatentPrefill => "latent_prefill",
            Self::LatentDecode => "latent_decode",
            Self::Recurrent => "recurrent",
            Self::Elementwise => "elementwise",
            Self::Link => "link",
        }
    }
}

/// Coefficients of one accelerator family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// Name of the set.
    pub name: String,
    /// Architectures it is for; none for the generic set.
    pub architectures: Vec<String>,
    /// Where the numbers came from; printed with every line.
    pub source: String,
    /// Accelerators whose operator tables they were fitted to; none where they were judged.
    #[serde(default)]
    pub fitted_on: Vec<String>,
    /// 10 % and 90 % quantiles of ln(measured / predicted) of whole runs on members of a family without operator
    /// tables; none where no run is known.
    #[serde(default)]
    pub log_spread: Option<[f64; 2]>,
    gemm_16: SoftRoofline,
    gemm_8: SoftRoofline,
    gemm_8_block: SoftRoofline,
    gemm_4: SoftRoofline,
    gemm_weight_only: SoftRoofline,
    experts: SoftRoofline,
    prefill_attention: SoftRoofline,
    decode_attention: SoftRoofline,
    recurrent: SoftRoofline,
    elementwise: SoftRoofline,
    pub(super) link: TwoRegime,
    /// Time of one chunk of a recurrent scan beyond its arithmetic and traffic, in microseconds: the chunks of a
    /// sequence wait for each other.
    pub chunk_us: f64,
    /// Time in which the host starts one kernel without CUDA graphs, in microseconds.
    pub host_launch_us: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    set: Vec<Coefficients>,
}

/// A calibration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CoefficientError {
    /// Not the TOML it should be.
    #[error("{file}: not valid calibration TOML: {message}")]
    Syntax {
        /// Which file.
        file: String,
        /// Where and what.
        message: String,
    },
    /// Made for another version of this tool.
    #[error(
        "{file}: `schema` = {schema}: this version reads schema 1; make the file anew with `foretoken calibrate`"
    )]
    Schema {
        /// Which file.
        file: String,
        /// What it says.
        schema: u32,
    },
    /// A coefficient outside what physics allows.
    #[error("{file}: `{key}` = {value}: must lie in {range}; correct it or calibrate anew")]
    Range {
        /// Which file.
        file: String,
        /// Set and coefficient.
        key: String,
        /// The value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// No set for this architecture and no generic one.
    #[error("{file}: no set for architecture {architecture} and none without architectures; add one")]
    NoSet {
        /// Which file.
        file: String,
        /// The accelerator's architecture.
        architecture: String,
    },
}

impl Coefficients {
    /// The embedded defaults of an architecture family.
    ///
    /// # Errors
    /// When the embedded file is broken, which a test excludes.
    pub fn default_for(architecture: &str) -> Result<Self, CoefficientError> {
        Self::from_toml(
            include_str!("../../calibration/defaults/default.toml"),
            "calibration/defaults/default.toml",
            architecture,
        )
    }

    /// The set of an architecture family out of a file of sets.
    ///
    /// # Errors
    /// When the file is broken or holds no set that fits.
    pub fn from_toml(text: &str, file: &str, architecture: &str) -> Result<Self, CoefficientError> {
        let parsed: File = toml::from_str(text)
            .map_err(|e| CoefficientError::Syntax { file: file.into(), message: e.message().to_owned() })?;
        if parsed.schema != 1 {
            return Err(CoefficientError::Schema { file: file.into(), schema: parsed.schema });
        }
        let mut generic = None;
        for set in parsed.set {
            set.validate(file)?;
            if set.architectures.iter().any(|a| a == architecture) {
                return Ok(set);
            }
            if set.architectures.is_empty() {
                generic = Some(set);
            }
        }
        generic
            .ok_or_else(|| CoefficientError::NoSet { file: file.into(), architecture: architecture.into() })
    }

    /// Efficiencies in (0, 1], p ≥ 1, latencies ≥ 0: so that no time falls below the roofline.
    fn validate(&self, file: &str) -> Result<(), CoefficientError> {
        let range = |key: &str, value: f64, range: &'static str, ok: bool| {
            if ok {
                return Ok(());
            }
            Err(CoefficientError::Range {
                file: file.into(),
                key: format!("{}.{key}", self.name),
                value,
                range,
            })
        };
        for (key, form) in self.forms() {
            for (part, value) in [("compute", form.compute), ("memory", form.memory)] {
                range(&format!("{key}.{part}"), value, "(0, 1]", value > 0.0 && value <= 1.0)?;
            }
            range(&format!("{key}.blend"), form.blend, "[1, 20]", (1.0..=20.0).contains(&form.blend))?;
            let latency = form.latency_us;
            range(&format!("{key}.latency_us"), latency, "[0, 1e6]", (0.0..=1e6).contains(&latency))?;
        }
        let link = &self.link;
        for (key, value) in [("efficiency", link.efficiency), ("one_shot", link.one_shot)] {
            range(&format!("link.{key}"), value, "(0, 1]", value > 0.0 && value <= 1.0)?;
        }
        for (key, value) in [
            ("link.latency_us", link.latency_us),
            ("link.latency_per_rank_us", link.latency_per_rank_us),
            ("link.second_us", link.second_us),
            ("chunk_us", self.chunk_us),
            ("host_launch_us", self.host_launch_us),
        ] {
            range(key, value, "[0, 1e6]", (0.0..=1e6).contains(&value))?;
        }
        Ok(())
    }

    fn forms(&self) -> [(&'static str, &SoftRoofline); 10] {
        [
            ("gemm_16", &self.gemm_16),
            ("gemm_8", &self.gemm_8),
            ("gemm_8_block", &self.gemm_8_block),
            ("gemm_4", &self.gemm_4),
            ("gemm_weight_only", &self.gemm_weight_only),
            ("experts", &self.experts),
            ("prefill_attention", &self.prefill_attention),
            ("decode_attention", &self.decode_attention),
            ("recurrent", &self.recurrent),
            ("elementwise", &self.elementwise),
        ]
    }

    /// The form of a class; elementwise for collectives, which have [`TwoRegime`].
    #[must_use]
    pub fn form(&self, class: OperatorClass) -> &SoftRoofline {
        match class {
            OperatorClass::Gemm16 => &self.gemm_16,
            OperatorClass::Gemm8 => &self.gemm_8,
            OperatorClass::Gemm8Block => &self.gemm_8_block,
            OperatorClass::Gemm4 => &self.gemm_4,
            OperatorClass::GemmWeightOnly => &self.gemm_weight_only,
            OperatorClass::Experts => &self.experts,
            OperatorClass::PrefillAttention | OperatorClass::LatentPrefill => &self.prefill_attention,
            OperatorClass::DecodeAttention | OperatorClass::LatentDecode => &self.decode_attention,
            OperatorClass::Recurrent => &self.recurrent,
            OperatorClass::Elementwise | OperatorClass::Link => &self.elementwise,
        }
    }

    /// The same with what was measured of this very device: the cost of a launch, the share of the bandwidth that
    /// copying reaches, and on a CPU, where no kernel is launched, the cost of sharing work out as the latency of all and
    /// the rates of attention, as long as memory allows them. `peak` is that of 16-bit products.
    #[must_use]
    pub fn measured(mut self, found: &Measured, bandwidth: f64, peak: f64, cpu: bool) -> Self {
        if let Some(copy) = found.bandwidth_bytes_per_s.get("copy") {
            self.elementwise.memory = (copy / bandwidth).clamp(0.01, 1.0);
        }
        if let Some(us) = found.launch_us {
            self.host_launch_us = us;
        }
        if cpu {
            let us = found.launch_us.unwrap_or(0.0);
            let rate = |phase: &str| found.attention_flops_per_s.get(phase).map(|rate| rate / peak);
            for (form, share) in
                [(&mut self.decode_attention, rate("decode")), (&mut self.prefill_attention, rate("prefill"))]
            {
                if let Some(share) = share.filter(|s| s.is_finite()) {
                    *form =
                        SoftRoofline { compute: share.clamp(1e-3, 1.0), memory: 1.0, blend: 20.0, ..*form };
                }
            }
            for form in [
                &mut self.experts,
                &mut self.prefill_attention,
                &mut self.decode_attention,
                &mut self.recurrent,
                &mut self.elementwise,
            ] {
                form.latency_us = us;
            }
        }
        self
    }

    /// The same hardware without any loss: full peaks, no latencies, hard overlap.
    #[must_use]
    pub fn ideal(&self) -> Self {
        let perfect = SoftRoofline { compute: 1.0, memory: 1.0, latency_us: 0.0, blend: 20.0 };
        Self {
            name: "ideal".into(),
            source: "datasheet limits, no losses".into(),
            gemm_16: perfect,
            gemm_8: perfect,
            gemm_8_block: perfect,
            gemm_4: perfect,
            gemm_weight_only: perfect,
            experts: perfect,
            prefill_attention: perfect,
            decode_attention: perfect,
            recurrent: perfect,
            elementwise: perfect,
            link: TwoRegime {
                efficiency: 1.0,
                latency_us: 0.0,
                latency_per_rank_us: 0.0,
                one_shot: 1.0,
                second_us: 0.0,
            },
            chunk_us: 0.0,
            host_launch_us: 0.0,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_defaults_are_sound() {
        assert_eq!(Coefficients::default_for("Hopper").unwrap().name, "hopper");
        assert_eq!(Coefficients::default_for("never heard of").unwrap().name, "generic");
    }

    #[test]
    fn an_efficiency_above_one_is_refused() {
        let text = include_str!("../../calibration/defaults/default.toml")
            .replace("compute = 0.78", "compute = 1.78");
        let error = Coefficients::from_toml(&text, "x.toml", "Hopper").unwrap_err().to_string();
        assert!(error.contains("hopper.gemm_16.compute") && error.contains("1.78"), "{error}");
    }
}
