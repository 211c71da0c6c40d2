//! Peak of activations that vLLM measures before it sizes the KV cache.
//!
//! vLLM runs the model once on `max_num_batched_tokens` dummy tokens, then samples for
//! `max_num_seqs` dummy requests (`GPUModelRunner.profile_run`), and takes the peak of what PyTorch
//! allocated beyond the weights. The terms below are the tensors alive at that peak; only the two
//! constants marked "fitted" are not read off the source.
//!
//! **Not modelled**: LoRA, speculative decoding, CUDA-graph pools (in [`super::runtime`]), the
//! attention workspaces of individual backends, expert-parallel dispatch buffers.

use super::experts;
use super::stage::Stage;
use crate::spec::deployment::Version;
use crate::spec::engine_defaults::uses_second_runner;
use crate::spec::model::{FeedForward, Mixer, Vision};
use crate::spec::{Accelerator, Deployment, EngineDefaults, EngineKind, Formats, ModelSpec};
use crate::units::Bytes;

const MIB: f64 = 1_048_576.0;

/// Bytes per logit that sorting in PyTorch holds besides its result (fitted: the version sweep of
/// Qwen3-14B shows 38.0 bytes per logit in all below 0.17; 18 of them are named tensors).
const SORT_TEMPORARIES: f64 = 20.0;

/// What the first forward pass holds beyond the named tensors in vLLM's first model runner on
/// Hopper (fitted: 42–50 MiB in the logs of CodeLlama-7B and Granite-3.3-8B, the two whose forward
/// pass and not the sampler is the peak).
const FORWARD_EXTRA: f64 = 46.0 * MIB;

/// What one profiling run holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Peak {
    /// The peak itself.
    pub bytes: Bytes,
    /// What reaches it.
    pub phase: &'static str,
}

/// Sizes that all terms share.
struct Run<'a> {
    model: &'a ModelSpec,
    deployment: &'a Deployment,
    formats: &'a Formats,
    settings: &'a EngineDefaults,
    accelerator: &'a Accelerator,
    version: Version,
    second_runner: bool,
    /// Tokens T of the dummy batch.
    tokens: f64,
    /// Width D.
    width: f64,
    /// Bytes a of an activation.
    element: f64,
}

/// Peak activation of one stage, by engine.
pub(super) fn peak(
    model: &ModelSpec,
    deployment: &Deployment,
    formats: &Formats,
    settings: &EngineDefaults,
    accelerator: &Accelerator,
    stage: &Stage,
) -> Peak {
    let run = Run::new(model, deployment, formats, settings, accelerator);
    match deployment.engine.kind {
        EngineKind::Vllm => run.profiled(stage),
        EngineKind::Ideal => Peak { bytes: Bytes::ZERO, phase: "none" },
        kind => {
            // fp32 logits: of a whole micro-batch for llama.cpp (its compute buffer), of the last token
            // of a prompt for transformers, of a decode batch for the others
            let rows = match kind {
                EngineKind::Llamacpp => settings.max_num_batched_tokens.min(512),
                EngineKind::Transformers | EngineKind::TransformersCompiled => settings.max_num_seqs,
                _ => settings.max_num_seqs.min(512),
            };
            let logits = f64::from(rows) * f64::from(model.vocab_size) * 4.0;
            let bytes = run.forward() + run.expert_workspace() + logits * f64::from(u8::from(stage.last));
            Peak { bytes: Bytes(bytes), phase: "forward pass" }
        }
    }
}
impl<'a> Run<'a> {
    fn new(
        model: &'a ModelSpec,
        deployment: &'a Deployment,
        formats: &'a Formats,
        settings: &'a EngineDefaults,
        accelerator: &'a Accelerator,
    ) -> Self {
        let paged = deployment.engine.kind == EngineKind::Vllm;
        // Other engines run their experts as vLLM's newest kernels do.
        let version = if paged { deployment.engine.version } else { Version(0, 19) };
        Self {
            model,
            deployment,
            formats,
            settings,
            accelerator,
            version,
            second_runner: uses_second_runner(model, version),
            tokens: f64::from(settings.max_num_batched_tokens),
            width: f64::from(model.hidden_size),
            element: formats.activations.bytes(),
        }
    }

    /// vLLM's profiling run.
    fn profiled(&self, stage: &Stage) -> Peak {
        let experts = self.expert_workspace();
        let stays = experts::workspace_stays(self.version, self.deployment, self.formats, self.accelerator);
        let kept = if stays { experts } else { 0.0 };
        let (encoder, held) = if stage.first { self.encoder() } else { (0.0, 0.0) };
        let held = held + self.blas_workspace();
        let candidates = [
            (encoder, "vision encoder"),
            (held + self.forward() + experts, "forward pass"),
            (held + self.latent_attention() + kept, "latent attention"),
            (if stage.last { held + self.sampler() + kept } else { 0.0 }, "sampler warm-up"),
        ];
        let (bytes, phase) =
            candidates.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, "forward pass"));
        Peak { bytes: Bytes(bytes), phase }
    }

    /// cuBLAS workspace that PyTorch allocates on first use: 32 MiB from compute capability 9.0 on,
    /// 8.1 MiB before (PyTorch `CUDABlas.cpp`, `parseChosenWorkspaceSize`).
    fn blas_workspace(&self) -> f64 {
        if self.is_large_nvidia() { 32.0 * MIB } else { 8.125 * MIB }
    }

    /// Hopper and the data-centre Blackwells.
    fn is_large_nvidia(&self) -> bool {
        matches!(self.accelerator.architecture.as_str(), "Hopper" | "Blackwell" | "Blackwell Ultra")
            && self.accelerator.memory().gib() > 60.0
    }

    /// Sampling for R = `max_num_seqs` rows of V logits.
    ///
    /// Alive at its peak: the hidden states of all tokens (T·D), those of the last ones and a random
    /// copy (2·R·D), and per logit
    /// - vLLM ≥ 0.17: 16-bit logits, fp32 logits, probabilities and exponential noise, 2 + 4 + 4 + 4
    ///   bytes (0.20 on: FlashInfer's masked logits instead of the noise), and up to 0.19 a row per
    ///   multiprocessor for the top-k/top-p kernel;
    /// - before: 16-bit and fp32 logits, sorted values and int64 indices, and what the sort itself needs,
    ///   2 + 4 + 4 + 8 + 20 bytes; but FlashInfer's 14 from 0.9 to 0.11 where it is installed, which is
    ///   taken for granted on data-centre devices (the official image has it);
    /// - before 0.8 (V0) the same sort, whose dummy requests ask for top-k and top-p
    ///   (`GPUModelRunnerBase.profile_run`: 1.26 GiB on one and on two ranks of Llama-3-8B, 1.42 for
    ///   Qwen2.5-7B); with chunked prefill fp32 logits only (0.22 GiB of Llama-3.1-8B with 2048 tokens);
    /// - the second model runner up to 0.28: the 16-bit logits only.
    fn sampler(&self) -> f64 {
        let rows = f64::from(self.settings.max_num_seqs);
        let vocab = f64::from(self.model.vocab_size);
        let hidden = (self.tokens + 2.0 * rows) * self.width * self.element;
        let flashinfer =
            (Version(0, 9)..Version(0, 12)).contains(&self.version) && self.accelerator.memory().gib() > 36.0;
        let logits = match self.version {
            v if v < Version(0, 8) && self.settings.chunked_prefill => 4.0,
            v if self.second_runner && v < Version(0, 29) => self.element,
            v if v < Version(0, 17) && !flashinfer => self.element + 4.0 + 4.0 + 8.0 + SORT_TEMPORARIES,
            _ => self.element + 4.0 + 4.0 + 4.0,
        };
        let triton = self.version >= Version(0, 17) && self.version < Version(0, 20) && rows >= 8.0;
        let multiprocessors = self.accelerator.multiprocessors.as_ref().map_or(108.0, |m| m.value);
        let buffer = if triton { multiprocessors.min(rows) * vocab * 4.0 } else { 0.0 };
        hidden + rows * vocab * logits + buffer
    }

    /// One layer on T tokens: the residual stream before and after attention (2·D), attention's
    /// output (A) and the widest point of the layer (for a gated block 2F from the projection and F
    /// from the activation).
    fn forward(&self) -> f64 {
        let tp = self.deployment.parallelism.tp;
        let d = u64::from(self.model.hidden_size);
        let widest = self
            .model
            .layers
            .iter()
            .map(|group| {
                let linears = group.mixer.linears(d);
                let attention = linears.last().map_or(0, |l| l.per_rank(tp).1) as f64;
                let input = linears.iter().take(linears.len().saturating_sub(1)).map(|l| l.per_rank(tp).0);
                let mixer = input.sum::<u64>() as f64 + attention;
                let feed_forward = match group.feed_forward {
                    FeedForward::None => 0.0,
                    FeedForward::Dense { intermediate_size, gated, .. } => {
                        block(intermediate_size, gated, tp)
                    }
                    FeedForward::Moe { experts, shared_intermediate_size, gated, .. } => {
                        // fp32 router logits; the shared experts' output is added to the routed ones'
                        2.0 * f64::from(experts) + block(shared_intermediate_size, gated, tp) + self.width
                    }
                };
                2.0 * self.width + attention + feed_forward.max(mixer)
            })
            .fold(0.0, f64::max);
        let extra = if self.second_runner || !self.is_large_nvidia() { 0.0 } else { FORWARD_EXTRA };
        self.tokens * widest * self.element + extra
    }

    /// Latent attention expands cached latents to keys and values when a prompt has a past. The
    /// profiling run allocates that for C = max(min(max(8·length, 4·R·b), 65,536), R·b) tokens with block b:
    /// C·heads·(d_nope + d_v) (vLLM `mla_attention.py`, `determine_chunked_prefill_workspace_size`).
    fn latent_attention(&self) -> f64 {
        let slots = u64::from(self.settings.max_num_seqs) * u64::from(self.settings.block_size.max(64));
        let rows = (8 * self.settings.max_model_len).max(4 * slots).min(65_536).max(slots) as f64;
        let expanded = |mixer: &Mixer| match *mixer {
            Mixer::Latent { heads, qk_nope_head_dim, v_head_dim, .. } => {
                let heads = f64::from(heads) / f64::from(self.deployment.parallelism.tp);
                let query = self.tokens * (2.0 * self.width + 3.0 * heads * f64::from(v_head_dim));
                rows * heads * f64::from(qk_nope_head_dim + v_head_dim) + query
            }
            _ => 0.0,
        };
        self.model.layers.iter().map(|g| expanded(&g.mixer)).fold(0.0, f64::max) * self.element
    }

    /// Intermediate results of the routed experts, of the layer where they are largest.
    fn expert_workspace(&self) -> f64 {
        let d = u64::from(self.model.hidden_size);
        let of = |feed_forward| {
            experts::workspace(feed_forward, d, self.tokens, self.version, self.deployment, self.formats)
        };
        self.model.layers.iter().map(|g| of(&g.feed_forward)).fold(0.0, f64::max)
    }

    /// The vision encoder's own peak, and what stays alive after it: pixels and embeddings of as many
    /// images of the largest size as the token budget takes (at least one).
    ///
    /// The encoder's peak is residual, norm and both sides of an MLP of four times its width: eleven
    /// times its width per patch (derived here; towers differ).
    fn encoder(&self) -> (f64, f64) {
        let skips = self.version < Version(0, 8) || (self.second_runner && self.version < Version(0, 28));
        let Some(vision) = self.model.vision.as_ref().filter(|_| !skips) else { return (0.0, 0.0) };
        let tokens = self.largest_image(vision);
        let images = (self.tokens / tokens).floor().clamp(1.0, f64::from(self.settings.max_num_seqs));
        let merge = f64::from(vision.merge_size);
        let patches = images * tokens * merge * merge;
        // Qwen's patches hold two frames; Qwen3-VL adds the features of three inner layers to each token.
        let family = self.model.architecture.as_str();
        let frames = if family.starts_with("qwen") { 2.0 } else { 1.0 };
        let levels = if family.starts_with("qwen3_vl") { 4.0 } else { 1.0 };
        let pixels = patches * frames * 3.0 * f64::from(vision.patch_size).powi(2) * self.element;
        let embeddings = images * tokens * levels * self.width * self.element;
        let encoder = patches * 11.0 * f64::from(vision.hidden_size) * self.element;
        (pixels + encoder + self.blas_workspace(), pixels + embeddings)
    }

    /// Tokens of the largest image. Where the size is not fixed: Pixtral's towers take 1540 pixels, 55 × 55
    /// merged patches; the processors of Qwen's up to 16,384 tokens; tiled towers are taken to fill the
    /// token budget with one image.
    fn largest_image(&self, vision: &Vision) -> f64 {
        let family = self.model.architecture.as_str();
        match vision.tokens_per_image {
            Some(tokens) => f64::from(tokens.max(1)),
            None if family.starts_with("qwen") => 16_384.0,
            None if family.contains("mistral") || family == "pixtral" => 3025.0,
            None => self.tokens.max(1.0),
        }
    }
}

/// Elements per token at the widest point of a feed-forward block: the up-projection's output and
/// the activation's.
fn block(intermediate: u64, gated: bool, tp: u32) -> f64 {
    intermediate as f64 / f64::from(tp) * if gated { 3.0 } else { 2.0 }
}
