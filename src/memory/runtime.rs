//! Memory outside PyTorch's tensors: CUDA context and libraries, collectives, CUDA graphs.

use crate::spec::deployment::Version;
use crate::spec::{Accelerator, Deployment, EngineDefaults, EngineKind, GraphBudget, ModelSpec};
use crate::units::Bytes;

/// What vLLM reports as non-torch memory, in GiB, beyond what was in use when it started.
///
/// Medians of start-up logs (llm-d-planner, Apache-2.0; public issues): one data-centre GPU 0.13 up to
/// 0.17 and 0.25 from 0.18 on, one consumer GPU 0.02–0.06; with tensor parallelism on H100 2.07 for two
/// ranks and 2.21 for four on 0.19 (NCCL, custom and FlashInfer all-reduce buffers), about 0.6 before
/// 0.18, and 0.25 in all on consumer cards. Every doubling beyond adds what the last one did.
pub(super) fn non_torch(accelerator: &Accelerator, deployment: &Deployment) -> Bytes {
    let p = deployment.parallelism;
    let recent = deployment.engine.version >= Version(0, 18);
    let alone = match (accelerator.memory().gib() > 36.0, recent) {
        (true, true) => 0.25,
        (true, false) => 0.13,
        (false, _) => 0.05,
    };
    let doublings = f64::from(p.tp).log2();
    let collectives = match (p.tp > 1, accelerator.memory().gib() > 36.0, recent) {
        (false, ..) => 0.0,
        (true, false, _) => 0.2,
        (true, true, true) => 1.83 + 0.13 * (doublings - 1.0),
        (true, true, false) => 0.5 + 0.1 * (doublings - 1.0),
    };
    let others = 0.3 * f64::from(u8::from(p.pp > 1) + u8::from(p.dp > 1));
    let gib = match deployment.engine.kind {
        EngineKind::Ideal => 0.0,
        EngineKind::Vllm => alone + collectives + others,
        // The whole context counts: these engines measure free memory after it was created. With tensor
        // parallelism SGLang leaves 2.0 GiB (Qwen3-235B-A22B-FP8 on 4 H100, vLLM issue 21348).
        EngineKind::Sglang | EngineKind::Trtllm | EngineKind::Lmdeploy | EngineKind::Fastllm => {
            0.9 + 1.1 * f64::from(p.tp > 1) + others
        }
        EngineKind::Llamacpp | EngineKind::Transformers | EngineKind::TransformersCompiled => 0.5,
    };
    Bytes::from_gib(gib)
}

/// Memory of captured CUDA graphs.
///
/// `(a + b·L + c·D + e·L_moe)·g` GiB with L layers (L_moe of them with routed experts) on this stage,
/// width D and the share g of 51 captured sizes: relative least squares over the 20 start-up logs of
/// vLLM 0.19 on H100, median error 5 %, leaving one log out 6 %, 90th percentile 26 %. The two logs of
/// cards below 36 GiB show 0.6 and 0.7 of that.
pub(super) fn graphs(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    settings: &EngineDefaults,
) -> Bytes {
    if settings.cuda_graphs == GraphBudget::None {
        return Bytes::ZERO;
    }
    let stage = 1.0 / f64::from(deployment.parallelism.pp);
    let layers = f64::from(model.layer_count()) * stage;
    let routed = model.layers.iter().filter(|g| g.feed_forward.experts().0 > 0);
    let routed = f64::from(routed.map(|g| g.count).sum::<u32>()) * stage;
    let sizes = (f64::from(settings.cuda_graph_sizes) / 51.0).min(1.0);
    let small = if accelerator.memory().gib() < 36.0 { 0.65 } else { 1.0 };
    let [a, b, c, e] = GRAPH_COEFFICIENTS;
    Bytes::from_gib((a + b * layers + c * f64::from(model.hidden_size) + e * routed) * sizes * small)
}

/// a, b, c, e of [`graphs`] in GiB.
const GRAPH_COEFFICIENTS: [f64; 4] = [0.286, 0.0100, 6.95e-5, 0.0058];
