//! What a calibration of this machine changes: against the one that ships, and in three standard answers.

use serde::Serialize;
use statrs::statistics::{Data, OrderStatistics};

use super::{Kernels, Options, Question, estimate};
use crate::calibrate::gemm;
use crate::calibrate::samples::Table;
use crate::spec::catalog::{self, Directories};
use crate::spec::{Accelerator, Deployment, Engine, EngineKind, SpecError, Workload};
use crate::time::calibration::Calibration;
use crate::time::forms::Form;
use crate::time::forms::gemm::SoftGemm;
use crate::time::{Hardware, Trust};

/// Measured times of a class over those that the shipped calibration says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Data type.
    pub dtype: String,
    /// `reads` (few rows: the weights are read) or `multiplies` (many rows).
    pub regime: &'static str,
    /// Shapes compared.
    pub shapes: usize,
    /// Median of measured over shipped: 1.04 is 4 % slower.
    pub ratio: f64,
}

/// Classes that a run on the device did not fit, and the calibration that they stay with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// The calibration's file.
    pub from: String,
    /// How near it is to the device.
    pub trust: Trust,
    /// Classes, in words.
    pub classes: Vec<&'static str>,
}

/// What of a shipped calibration stays in force beside one that was just made.
#[must_use]
pub fn kept(fresh: &Calibration, shipped: &Kernels) -> Option<Kept> {
    let mut classes: Vec<&'static str> = vec![];
    for ((name, own), (_, theirs)) in fresh.classes().into_iter().zip(shipped.calibration.classes()) {
        let words = match name {
            "gemm" => "matrix products",
            "quantise" => "quantisation of activations",
            "experts" => "experts",
            "decode_attention" => "decode attention",
            "prefill_attention" => "prefill attention",
            "collective" => "collectives",
            _ => "latent attention",
        };
        if own.is_empty() && !theirs.is_empty() && !classes.contains(&words) {
            classes.push(words);
        }
    }
    (!classes.is_empty()).then(|| Kept { from: shipped.file.clone(), trust: shipped.trust, classes })
}

/// One question before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// In words.
    pub question: String,
    /// TTFT in seconds before; none where nothing could be said.
    pub ttft_before_s: Option<f64>,
    /// TTFT in seconds with the calibration.
    pub ttft_s: f64,
    /// TPOT in seconds before.
    pub tpot_before_s: Option<f64>,
    /// TPOT in seconds with the calibration.
    pub tpot_s: f64,
}

/// Rows of a product up to which reading the weights takes longest, and from which multiplying does, on any accelerator.
const READS: f64 = 8.0;
const MULTIPLIES: f64 = 1024.0;

/// Compares matrix products with the calibration that ships for this very accelerator; nothing where none does.
///
/// # Errors
/// When a table is broken.
pub fn compare(tables: &[Table], accelerator: &Accelerator) -> Result<Vec<Comparison>, SpecError> {
    let shipped = Kernels::in_force(accelerator, &Directories::default())?;
    let Some(shipped) = shipped.filter(|k| k.trust == Trust::Fitted) else { return Ok(vec![]) };
    let hardware = Hardware::of(accelerator);
    let mut found = vec![];
    for table in tables.iter().filter(|t| t.operator.as_deref() == Some("gemm")) {
        for (key, rows) in gemm::classes(table, &hardware)? {
            let fits = shipped.calibration.gemm.iter().filter(|f| f.key.data_type == key.data_type);
            let Some(fit) = fits.min_by(|a, b| a.heldout_ape[1].total_cmp(&b.heldout_ape[1])) else {
                continue;
            };
            for (regime, of) in [("reads", 0.0..=READS), ("multiplies", MULTIPLIES..=f64::INFINITY)] {
                let ratio = |x: &gemm::Sample| {
                    let factor = fit.grid.as_ref().map_or(1.0, |g| g.factor(x.input.point()));
                    x.seconds / (SoftGemm::seconds(&fit.c, &x.input, &hardware) * factor)
                };
                let ratios: Vec<f64> = rows.iter().filter(|r| of.contains(&r.input.m)).map(ratio).collect();
                if ratios.len() >= 3 {
                    let (shapes, dtype) = (ratios.len(), key.data_type.clone());
                    found.push(Comparison { dtype, regime, shapes, ratio: Data::new(ratios).median() });
                }
            }
        }
    }
    Ok(found)
}

/// Model, batch and engine of the standard questions; 1,024 tokens in, 128 out.
const GPU_QUESTIONS: [(&str, u32, EngineKind); 3] = [
    ("llama-3.1-8b", 1, EngineKind::Vllm),
    ("llama-3.1-8b", 32, EngineKind::Vllm),
    ("qwen3-30b-a3b", 8, EngineKind::Vllm),
];
const CPU_QUESTIONS: [(&str, u32, EngineKind); 3] = [
    ("llama-3.2-1b", 1, EngineKind::Llamacpp),
    ("llama-3.1-8b", 1, EngineKind::Llamacpp),
    ("qwen3-30b-a3b", 1, EngineKind::Llamacpp),
];

/// The standard questions with the kernels before and after.
#[must_use]
pub fn questions(accelerator: &Accelerator, before: Option<&Kernels>, after: &Kernels) -> Vec<Answered> {
    let cpu = accelerator.architecture == "CPU";
    let all = if cpu { CPU_QUESTIONS } else { GPU_QUESTIONS };
    let none = Directories::default();
    let ask = |(name, batch, engine): (&str, u32, EngineKind)| {
        let model = catalog::model(name, &none).ok()?;
        let mut deployment = Deployment::single(Engine::newest(engine));
        if cpu {
            deployment.quantization = "q8_0".parse().ok();
        }
        let workload = Workload::batch(1024, 128, batch);
        let options = Options::default();
        let answer = |kernels: Option<&Kernels>| {
            let (model, deployment, workload, options) = (&model, &deployment, &workload, &options);
            let latency = estimate(&Question { model, accelerator, deployment, workload, kernels, options })
                .ok()?
                .latency;
            Some((latency.ttft_s, latency.tpot_s))
        };
        let (was, (ttft_s, tpot_s)) = (answer(before), answer(Some(after))?);
        let format = if cpu { "q8_0" } else { "bf16" };
        Some(Answered {
            question: format!("{name} {format}, {}, batch {batch}, 1,024 in, 128 out", engine.name()),
            ttft_before_s: was.map(|w| w.0),
            ttft_s,
            tpot_before_s: was.map(|w| w.1),
            tpot_s,
        })
    };
    all.into_iter().filter_map(ask).collect()
}
