//! A calibration ready for prediction: for every operator class the one fit that this engine's
//! kernels come closest to.

use super::Hardware;
use super::calibration::{Calibration, Fitted};
use super::forms::gemm::{Gemm, SoftGemm};
use super::forms::{Form, Grid};
use super::line::Bound;
use crate::spec::{DataType, EngineKind};
use crate::work::{Operator, Shape};

/// Whose tables stand in for an engine's, best first. Kernels of llama.cpp are its own and in no table.
fn preference(engine: EngineKind) -> &'static [&'static str] {
    match engine {
        EngineKind::Vllm => &["measured", "vllm", "sglang", "trtllm"],
        EngineKind::Sglang => &["measured", "sglang", "vllm", "trtllm"],
        EngineKind::Trtllm => &["measured", "trtllm", "sglang", "vllm"],
        EngineKind::Transformers => &["measured", "vllm"],
        EngineKind::Llamacpp | EngineKind::Ideal => &[],
    }
}

/// Coefficients of one kernel with its residual grid.
#[derive(Debug, Clone, PartialEq)]
struct Kernel {
    c: Vec<f64>,
    grid: Option<Grid>,
}

impl From<&Fitted> for Kernel {
    fn from(fitted: &Fitted) -> Self {
        Self { c: fitted.c.clone(), grid: fitted.grid.clone() }
    }
}

/// The fits in force for one engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuned {
    gemm: Vec<(DataType, DataType, Kernel)>,
}

/// The best fit of a class for an engine among those that `accept`: by preference of engine, then by
/// the smallest held-out median error.
fn best(list: &[Fitted], engine: EngineKind, accept: impl Fn(&Fitted) -> bool) -> Option<&Fitted> {
    preference(engine).iter().find_map(|name| {
        list.iter()
            .filter(|f| f.key.engine.starts_with(name) && accept(f))
            .min_by(|a, b| a.heldout_ape[1].total_cmp(&b.heldout_ape[1]))
    })
}

/// Names that operator tables use for a product of these formats.
fn gemm_names(weights: DataType, math: DataType) -> &'static [&'static str] {
    match (weights, math) {
        (DataType::Bf16 | DataType::Fp16, DataType::Bf16 | DataType::Fp16) => &["bfloat16", "float16"],
        (DataType::Fp8, DataType::Fp8) => &["fp8", "fp8_static"],
        (DataType::Fp8Block | DataType::Mxfp8, DataType::Fp8) => &["fp8_block", "fp8"],
        (DataType::Nvfp4, DataType::Nvfp4) => &["nvfp4"],
        (DataType::Mxfp4, DataType::Mxfp4) => &["mxfp4", "nvfp4"],
        (DataType::Int8, DataType::Int8) => &["int8", "sq"],
        (DataType::Int8, DataType::Bf16 | DataType::Fp16) => &["int8_wo"],
        (DataType::Int4, DataType::Bf16 | DataType::Fp16) => &["int4_wo"],
        _ => &[],
    }
}

impl Tuned {
    /// Chooses the fits for an engine.
    #[must_use]
    pub fn new(calibration: &Calibration, engine: EngineKind) -> Self {
        let mut gemm = vec![];
        for weights in DataType::ALL {
            for math in DataType::ALL {
                let found = gemm_names(*weights, *math)
                    .iter()
                    .find_map(|name| best(&calibration.gemm, engine, |f| f.key.data_type == *name));
                if let Some(fitted) = found {
                    gemm.push((*weights, *math, Kernel::from(fitted)));
                }
            }
        }
        Self { gemm }
    }

    /// True when no fit is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gemm.is_empty()
    }

    /// Seconds of one execution and what bounds it; none where no fit covers the operator.
    #[must_use]
    pub fn seconds(&self, operator: &Operator, hardware: &Hardware) -> Option<(f64, Bound)> {
        match operator.shape {
            Shape::Gemm { m, n, k } => {
                let (_, _, kernel) =
                    self.gemm.iter().find(|(w, x, _)| *w == operator.weights && *x == operator.math)?;
                let input = Gemm { m, n, k, weights: operator.weights, math: operator.math };
                let factor = kernel.grid.as_ref().map_or(1.0, |g| g.factor(input.point()));
                Some((SoftGemm::seconds(&kernel.c, &input, hardware) * factor, bound(operator, hardware)))
            }
            _ => None,
        }
    }
}

/// What an operator waits for by the datasheet: arithmetic or memory.
fn bound(operator: &Operator, hardware: &Hardware) -> Bound {
    let compute = operator.flops.0 / hardware.peak(operator.math);
    let memory = operator.traffic.memory().0 / hardware.bandwidth;
    if compute > memory { Bound::Compute } else { Bound::Memory }
}
