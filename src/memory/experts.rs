//! Routed experts: what their weights and their intermediate results take.

use crate::spec::deployment::Version;
use crate::spec::model::{FeedForward, TensorClass};
use crate::spec::{Accelerator, DataType, Deployment, EngineKind, Formats};

/// Parts into which each expert is cut.
fn parts(deployment: &Deployment) -> f64 {
    let p = deployment.parallelism;
    (f64::from(p.tp) * f64::from(p.dp) / f64::from(p.ep)).max(1.0)
}

/// Bytes on one rank of the two tensors that hold all experts of a layer: up (with gate) and down,
/// biases included.
pub(super) fn tensors(
    feed_forward: &FeedForward,
    hidden_size: u64,
    deployment: &Deployment,
    formats: &Formats,
    accelerator: &Accelerator,
) -> [f64; 2] {
    let FeedForward::Moe { experts, intermediate_size, gated, bias, .. } = *feed_forward else {
        return [0.0; 2];
    };
    let p = deployment.parallelism;
    let format = formats.of(TensorClass::Experts);
    let local = f64::from(experts) / f64::from(p.ep);
    let width = feed_forward.expert_width(hidden_size) as f64;
    let f = intermediate_size as f64 / parts(deployment);
    let halves = if gated { 2.0 } else { 1.0 };
    let kernel = Mxfp4::of(deployment, accelerator);
    let bytes = |outputs: f64, inputs: f64, [output_step, input_step]: [f64; 2]| {
        let padded = |size: f64, step: f64| (size / step).ceil() * step;
        let weights = outputs * inputs * format.bytes_per_weight;
        if format.weights != DataType::Mxfp4 {
            return weights;
        }
        match kernel {
            // four bits of weights in padded rows, the scales as they are
            Mxfp4::Triton => 0.5 * outputs * padded(inputs, 256.0) + outputs * inputs / 32.0,
            Mxfp4::Padded { .. } => {
                padded(outputs, output_step) * padded(inputs, input_step) * format.bytes_per_weight
            }
            Mxfp4::Plain => weights,
        }
    };
    let [hidden_step, inner_step] = match kernel {
        Mxfp4::Padded { hidden, inner } => [hidden, inner],
        _ => [1.0; 2],
    };
    let biases = |outputs: f64| if bias { outputs * formats.activations.bytes() } else { 0.0 };
    // gate and up are padded each
    let up = halves * (bytes(f, width, [inner_step, hidden_step]) + biases(f));
    let down = bytes(width, f, [hidden_step, inner_step]) + biases(width);
    [local * up, local * down]
}

/// How vLLM lays out MXFP4 experts.
#[derive(Debug, Clone, Copy)]
enum Mxfp4 {
    /// As in the checkpoint.
    Plain,
    /// Triton kernels on Hopper from 0.11 on: input width padded to 256. Derived from the 64.38 GiB that
    /// gpt-oss-120b takes on 0.14 (vLLM issue 33155), not from the source.
    Triton,
    /// Width and inner width padded to these multiples (`mxfp4_round_up_hidden_size_and_intermediate_size`):
    /// Marlin 256 and 128, the Blackwell kernels 256 both.
    Padded { hidden: f64, inner: f64 },
}

impl Mxfp4 {
    fn of(deployment: &Deployment, accelerator: &Accelerator) -> Self {
        if deployment.engine.kind != EngineKind::Vllm || accelerator.vendor != "NVIDIA" {
            return Self::Plain;
        }
        match accelerator.architecture.as_str() {
            "Hopper" if deployment.engine.version >= Version(0, 11) => Self::Triton,
            "Blackwell" | "Blackwell Ultra" => Self::Padded { hidden: 256.0, inner: 256.0 },
            _ => Self::Padded { hidden: 256.0, inner: 128.0 },
        }
    }
}

/// The intermediate results stay allocated after the first use: from 0.14 on (`WorkspaceManager`), but
/// for MXFP4 kernels that allocate within themselves (Triton on Hopper, the Blackwell ones).
pub(super) fn workspace_stays(
    version: Version,
    deployment: &Deployment,
    formats: &Formats,
    accelerator: &Accelerator,
) -> bool {
    let within = formats.of(TensorClass::Experts).weights == DataType::Mxfp4
        && matches!(accelerator.architecture.as_str(), "Hopper" | "Blackwell" | "Blackwell Ultra")
        && deployment.engine.kind == EngineKind::Vllm;
    version >= Version(0, 14) && !within
}

/// Bytes of the intermediate results of one layer's experts on `tokens` tokens of one rank.
///
/// T·k·(max(F, D) + max(2F, D)) elements (`TritonExperts`, `MarlinExperts` and `DeepGemmExperts`,
/// `workspace_shapes`, from 0.14 on), T being the tokens of all data-parallel ranks; before that
/// T·k·(F + max(2F, D)) and the output T·D (`fused_experts_impl`), in chunks of at most 32,768 tokens.
/// DeepGEMM (block-scaled fp8, default from 0.11 on) pads every expert's rows to 128, uses the former
/// sizes and, before 0.14, holds the permuted fp8 inputs beside them.
pub(super) fn workspace(
    feed_forward: &FeedForward,
    hidden_size: u64,
    tokens: f64,
    version: Version,
    deployment: &Deployment,
    formats: &Formats,
) -> f64 {
    let FeedForward::Moe { experts, top_k, intermediate_size, gated, .. } = *feed_forward else {
        return 0.0;
    };
    let p = deployment.parallelism;
    let tokens = (tokens * f64::from(p.dp)).min(32_768.0);
    let f = intermediate_size as f64 / parts(deployment);
    let d = feed_forward.expert_width(hidden_size) as f64;
    let n = if gated { 2.0 * f } else { f };
    let element = formats.activations.bytes();
    let deep_gemm =
        formats.of(TensorClass::Experts).weights == DataType::Fp8Block && version >= Version(0, 11);
    let padding = if deep_gemm { 127.0 * f64::from(experts / p.ep.max(1)) } else { 0.0 };
    let rows = tokens * f64::from(top_k) + padding;
    match (deep_gemm, version < Version(0, 14)) {
        (true, true) => rows * (f.max(d) + n.max(d)) * element + (rows + tokens) * d,
        (false, true) => (rows * (f + n.max(d)) + tokens * d) * element,
        (_, false) => rows * (f.max(d) + n.max(d)) * element,
    }
}
