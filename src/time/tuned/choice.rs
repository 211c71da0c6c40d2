//! Which fits of a calibration stand in for an engine's kernels.

use super::{Attention, Exchange, Product};
use crate::spec::{DataType, EngineKind};
use crate::time::calibration::{Calibration, Fitted, SLOWER};
use crate::time::forms::collective::for_ranks;
use crate::time::forms::experts::listed;
use crate::time::forms::gemm::SoftGemm;
use crate::work::Collective;

/// Whose tables stand in for an engine's, best first. Kernels of llama.cpp on GPUs are its own and in no table; on a CPU
/// the calibration measures their like.
pub(super) fn preference(engine: EngineKind) -> &'static [&'static str] {
    match engine {
        EngineKind::Vllm => &["measured", "vllm", "sglang", "trtllm"],
        EngineKind::Sglang => &["measured", "sglang", "vllm", "trtllm"],
        EngineKind::Trtllm => &["measured", "trtllm", "vllm", "sglang"],
        EngineKind::Lmdeploy | EngineKind::Fastllm => &["measured", "vllm", "trtllm", "sglang"],
        EngineKind::Transformers | EngineKind::TransformersCompiled => &["measured", "vllm", "sglang"],
        EngineKind::Llamacpp => &["measured-cpu"],
        EngineKind::Ideal => &[],
    }
}

/// The engine of samples that our own kernels and libraries gave on a GPU.
const PROBED: &str = "measured";

/// Libraries whose collectives every engine falls back to.
const LIBRARIES: [&str; 3] = ["nccl", "rccl", "oneccl"];

/// True for an engine whose tables predictions look for.
#[must_use]
pub fn is_looked_for(engine: &str) -> bool {
    let engines = EngineKind::ALL.iter().flat_map(|(kind, _)| preference(*kind));
    engines.chain(&LIBRARIES).any(|name| engine.starts_with(name))
}

/// Ranks for which collectives are made ready; others are interpolated when asked.
const RANKS: [u32; 8] = [2, 4, 8, 16, 32, 64, 72, 128];

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
        (DataType::Fp8 | DataType::Fp8Block, DataType::Bf16 | DataType::Fp16) => &["fp8_wo"],
        (DataType::Int4, DataType::Bf16 | DataType::Fp16) => &["int4_wo"],
        (DataType::Fp32, DataType::Fp32) => &["float32"],
        // a CPU's loops over other blocks are q8_0's with less to read; tables of GPUs have neither
        (w, DataType::Bf16 | DataType::Fp16) if w.is_gguf() => &["q8_0"],
        _ => &[],
    }
}

/// Names that operator tables use for experts of these formats.
pub(super) fn expert_names(weights: DataType, math: DataType) -> &'static [&'static str] {
    match (weights, math) {
        (DataType::Mxfp4, DataType::Bf16 | DataType::Fp16) => &["w4a16_mxfp4"],
        (DataType::Mxfp4, DataType::Fp8) => &["w4a8_mxfp4_mxfp8", "w4a8_mxfp4_fp8"],
        _ => gemm_names(weights, math),
    }
}

/// For every pair of formats the best fit of a class, by the names that tables use.
pub(super) fn products(
    list: &[Fitted],
    engine: EngineKind,
    names: fn(DataType, DataType) -> &'static [&'static str],
) -> Vec<Product> {
    let mut all = vec![];
    for &weights in DataType::ALL {
        for &math in DataType::ALL {
            let found = names(weights, math).iter().find_map(|name| {
                let of_name = |f: &Fitted| f.key.data_type == *name && f.key.variant != SLOWER;
                // quantised weights are read by an engine's own kernels, which ours only stand in for
                let own = |f: &Fitted| of_name(f) && !(name.ends_with("_wo") && f.key.engine == PROBED);
                best(list, engine, own).or_else(|| best(list, engine, of_name))
            });
            if let Some(f) = found {
                let (c, grid) = (f.c.clone(), f.grid.clone());
                let list = listed(&f.key.engine, &f.key.kernel);
                all.push(Product { weights, math, c, grid, quantising: 0.0, list });
            }
        }
    }
    all
}

/// The matrix products, with how much of their latency is the quantisation of activations: the excess over
/// the latency of the 16-bit product of the same engine.
pub(super) fn matrix_products(list: &[Fitted], engine: EngineKind) -> Vec<Product> {
    let mut all = products(list, engine, gemm_names);
    let plain = all.iter().find(|p| p.math == DataType::Bf16 && p.weights == p.math).map(|p| p.c.clone());
    for product in all.iter_mut().filter(|p| p.math.bytes() < 2.0) {
        let excess =
            SoftGemm::latency(&product.c) - plain.as_deref().map_or(f64::INFINITY, SoftGemm::latency);
        product.quantising = excess.max(0.0);
    }
    all
}

/// Head size and window of a variant: `hd128`, `hd64,window`.
fn variant(text: &str) -> Option<(f64, bool)> {
    let (head, rest) = text.split_once(',').unwrap_or((text, ""));
    Some((head.strip_prefix("hd")?.parse().ok()?, rest == "window"))
}

/// For every head size, window and cache format the best kernel; 16-bit arithmetic before 8-bit.
pub(super) fn attention(list: &[Fitted], engine: EngineKind) -> Vec<Attention> {
    let mut all: Vec<Attention> = vec![];
    let mut variants: Vec<&str> = list.iter().map(|f| f.key.variant.as_str()).collect();
    variants.sort_unstable();
    variants.dedup();
    for (eight_bit_cache, names) in [(false, ["bf16/bf16", "fp16/fp16"]), (true, ["bf16/fp8", "fp8/fp8"])] {
        for text in &variants {
            let Some((head_dim, window)) = variant(text) else { continue };
            let found = names
                .iter()
                .find_map(|name| best(list, engine, |f| f.key.data_type == *name && f.key.variant == *text));
            if let Some(f) = found {
                all.push(Attention { eight_bit_cache, head_dim, window, c: f.c.clone() });
            }
        }
    }
    all
}

/// Latent kernels for a 16-bit and an 8-bit cache. An 8-bit one that was not timed with 128 heads can be
/// far off, so that both are taken only where the error on shapes left out is below half.
pub(super) fn latent(list: &[Fitted], engine: EngineKind) -> [Option<Vec<f64>>; 2] {
    [["bf16/bf16", "fp16/fp16"], ["bf16/fp8", "fp8/fp8"]].map(|names| {
        let sound = |f: &Fitted, name: &str| f.key.data_type == name && f.heldout_ape[1] < 50.0;
        names.iter().find_map(|name| best(list, engine, |f| sound(f, name))).map(|f| f.c.clone())
    })
}

pub(super) fn exchanges(calibration: &Calibration, engine: EngineKind) -> Vec<Exchange> {
    let kinds = [
        (Collective::AllReduce, "all_reduce"),
        (Collective::AllGather, "all_gather"),
        (Collective::AllToAll, "all_to_all"),
    ];
    let mut all = vec![];
    for (kind, name) in kinds {
        let ranks =
            |f: &Fitted| f.key.variant.split_once(',').filter(|(n, _)| *n == name)?.1.parse::<u32>().ok();
        let from = |source: &str| -> Vec<(f64, Vec<f64>)> {
            let mut best: std::collections::BTreeMap<u32, &Fitted> = std::collections::BTreeMap::new();
            for fitted in calibration.collective.iter().filter(|f| f.key.engine.starts_with(source)) {
                let Some(n) = ranks(fitted) else { continue };
                let known = best.entry(n).or_insert(fitted);
                if fitted.heldout_ape[1] < known.heldout_ape[1] {
                    *known = fitted;
                }
            }
            best.into_iter().map(|(n, f)| (f64::from(n), f.c.clone())).collect()
        };
        // llama.cpp copies between devices itself and calls no library
        let libraries: &[&str] = if engine == EngineKind::Llamacpp { &[] } else { &LIBRARIES };
        let sources = preference(engine).iter().chain(libraries);
        let Some(fits) = sources.map(|s| from(s)).find(|fits| !fits.is_empty()) else { continue };
        let ready = RANKS
            .iter()
            .filter_map(|n| {
                let known: Vec<(f64, &[f64])> = fits.iter().map(|(n, c)| (*n, c.as_slice())).collect();
                Some((*n, for_ranks(&known, f64::from(*n))?))
            })
            .collect();
        all.push(Exchange { kind, fits, ready });
    }
    all
}
