//! Routed experts: two grouped products with what surrounds them.

use super::{Coefficient, Form, Hardware, blend};
use crate::spec::{DataType, EngineKind};
use crate::work::TILE_ROWS;

/// A loss that makes no difference.
const NO_LOSS: f64 = 1e-3;
/// Width of a tile's columns.
const TILE_COLUMNS: f64 = 128.0;

/// Where a kernel's tiles come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configuration {
    /// From the kernel itself.
    Own,
    /// From a list of measured ones, which has this shape.
    Measured,
    /// From a rule for all shapes that the list lacks.
    Default,
}

impl Configuration {
    /// That of a shape on a kernel which looks its tiles up in an engine's list, if it does.
    #[must_use]
    pub fn of(list: Option<EngineKind>, x: &ExpertLayer, hardware: &Hardware) -> Self {
        match list {
            None => Self::Own,
            Some(engine) if hardware.is_configured(engine, x.weights, x.local, x.intermediate) => {
                Self::Measured
            }
            Some(_) => Self::Default,
        }
    }
}

/// The engine in whose list a kernel of an operator table looks its tiles up: vLLM's and SGLang's `fused_moe` in
/// Triton. Other kernels, those of OpenAI's Triton library too, choose themselves.
#[must_use]
pub fn listed(engine: &str, kernel: &str) -> Option<EngineKind> {
    let triton = kernel.ends_with("fused_moe") || kernel.contains("triton");
    let own = kernel.contains("oaitriton");
    [(EngineKind::Vllm, "vllm"), (EngineKind::Sglang, "sglang")]
        .into_iter()
        .find(|(_, name)| triton && !own && engine.starts_with(name))
        .map(|(kind, _)| kind)
}

/// The experts of a layer on the busiest rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertLayer {
    /// Tokens T entering the layer, of all ranks that share the experts.
    pub tokens: f64,
    /// Experts per token k.
    pub top_k: f64,
    /// Copies of tokens N on this rank.
    pub copies: f64,
    /// Experts A of this rank that at least one token is routed to.
    pub active: f64,
    /// Experts E_l held by this rank.
    pub local: f64,
    /// Tiles R of [`TILE_ROWS`] rows on this rank.
    pub tiles: [f64; 4],
    /// Width H in and out.
    pub width: f64,
    /// Width I of an expert on this rank.
    pub intermediate: f64,
    /// A gate beside the up-projection.
    pub gated: bool,
    /// Format of the weights.
    pub weights: DataType,
    /// Format in which it multiplies.
    pub math: DataType,
    /// Share of the weights found in the last-level cache: 0 in serving, where between two executions all other
    /// layers pass through it.
    pub hit: f64,
    /// Where the kernel's tiles come from.
    pub configuration: Configuration,
}

/// t = t₀ + t_e·E_l/128 + min over tile rows r of Σ_j [c_j(r)^p + m_j^p]^(1/p) + Q_l/(c_q·B) + Q_k/(c_r·B).
///
/// The sum runs over up (N_1 = g·I, K_1 = H) and down (N_2 = H, K_2 = I), g = 2 with a gate.
/// c_j(r) = ⌈R(r)·⌈N_j/128⌉/SMs⌉·SMs·2·r·128·(K_j + k₀)·(1 + c_t·(128/r − 1))/(e_c·P): whole waves of tiles.
/// m_j = (A·N_j·K_j·w + N·(K_j·a + 2·N_j))/(e_b·B·(1 + (l − 1)·hit)): active weights once, activations.
/// Q_l = N·(4H + 4gI + 4I) + 4TH local permutation, activation and sum; Q_k = T·k·(4H + 4gI + 4I) the same over
/// all copies, remote ones included. The tile rule bounds r from below. A shape that the list of measured
/// configurations lacks runs at e_c/(1 + d_c) and e_b/(1 + d_b); one that it has is bound to no rule. Source: KERNELS
/// section 1 (moe10); the lists, which tell apart shapes of the same work that differ by a factor of two.
#[derive(Debug, Clone, Copy)]
pub struct GroupedGemm;

impl Form for GroupedGemm {
    type Input = ExpertLayer;

    const COEFFICIENTS: &'static [Coefficient] = &[
        Coefficient::new("compute", 0.02, 1.0, 0.5),
        Coefficient::new("memory", 0.05, 1.0, 0.85),
        Coefficient::new("latency_us", 1.0, 2000.0, 30.0),
        Coefficient::new("blend", 1.0, 10.0, 2.0),
        Coefficient::new("prologue", 1.0, 3000.0, 100.0),
        Coefficient::new("small_tile_loss", 1e-3, 2.0, 0.1),
        Coefficient::new("local_traffic", 0.1, 100.0, 2.0),
        Coefficient::new("routed_traffic", 0.1, 100.0, 3.0),
        Coefficient::new("experts_us", 0.01, 60.0, 0.5),
        Coefficient::new("cache", 1.0, 6.0, 1.5),
        Coefficient::choice("tile_rule", &[1.0, 2.0, 3.0]),
        Coefficient::new("default_compute_loss", NO_LOSS, 4.0, 0.5).refining(),
        Coefficient::new("default_memory_loss", NO_LOSS, 4.0, 0.2).refining(),
    ];

    fn seconds(c: &[f64], x: &ExpertLayer, hardware: &Hardware) -> f64 {
        let &[
            compute,
            memory,
            latency,
            p,
            prologue,
            tile_loss,
            local,
            routed,
            per_expert,
            cache,
            rule,
            ref slower @ ..,
        ] = c
        else {
            return f64::NAN;
        };
        let [compute, memory] = match (x.configuration, slower) {
            (Configuration::Default, [a, b]) => [compute / (1.0 + a), memory / (1.0 + b)],
            _ => [compute, memory],
        };
        let up = if x.gated { 2.0 * x.intermediate } else { x.intermediate };
        let products = [(up, x.width), (x.width, x.intermediate)];
        let bandwidth = memory * hardware.bandwidth * (1.0 + (cache - 1.0) * x.hit);
        let reads = products.map(|(n, k)| {
            let bytes = x.active * n * k * x.weights.bytes() + x.copies * (k * x.math.bytes() + 2.0 * n);
            bytes / bandwidth
        });
        let sms = hardware.multiprocessors;
        let mut best = f64::INFINITY;
        let least = if x.configuration == Configuration::Measured { 0.0 } else { least_rows(rule, x) };
        for (rows, tiles) in TILE_ROWS.into_iter().zip(x.tiles).filter(|(rows, _)| *rows >= least) {
            let rate = compute * hardware.peak(x.math) / (1.0 + tile_loss * (128.0 / rows - 1.0));
            let multiply = products.map(|(n, k)| {
                let blocks = tiles * (n / TILE_COLUMNS).ceil();
                let slots = if sms > 0.0 { (blocks / sms).ceil() * sms } else { blocks };
                slots * 2.0 * rows * TILE_COLUMNS * (k + prologue) / rate
            });
            let pairs = || multiply.into_iter().zip(reads);
            // the blend is at least the larger of the two; its powers are what costs here
            if pairs().map(|(m, r)| m.max(r)).sum::<f64>() < best {
                best = best.min(pairs().map(|(m, r)| blend(m, r, p)).sum());
            }
        }
        let per_copy = 4.0 * (x.width + up + x.intermediate);
        let moved =
            (x.copies * per_copy + 4.0 * x.tokens * x.width) / local + x.tokens * x.top_k * per_copy / routed;
        (latency + per_expert * x.local / 128.0) * 1e-6 + best + moved / hardware.bandwidth
    }
}

/// Fewest rows of a tile that a kernel uses. By rule 1 it takes what is fastest; Triton's look their tiles up by
/// size: rule 2 from 64 rows on where there are more tokens than experts held, rule 3 by the tokens alone.
/// Source: the default tiles of vLLM's and SGLang's `fused_moe` (Apache-2.0), by version.
fn least_rows(rule: f64, x: &ExpertLayer) -> f64 {
    if rule < 1.5 {
        0.0
    } else if rule < 2.5 {
        if x.tokens > x.local { 64.0 } else { 0.0 }
    } else {
        match x.tokens {
            t if t > 512.0 => 128.0,
            t if t > 96.0 => 64.0,
            t if t > 32.0 => 32.0,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};
    use crate::work::{Router, Routing, RoutingTable};

    const C: [f64; 13] = [0.6, 0.85, 30.0, 2.0, 200.0, 0.2, 2.0, 1.0, 1.0, 1.5, 1.0, 1.0, 0.5];

    fn hardware() -> Hardware {
        Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).unwrap())
    }

    fn layer(table: &RoutingTable, router: &Router, tokens: f64) -> ExpertLayer {
        let load = table.load(tokens);
        ExpertLayer {
            tokens,
            top_k: router.top_k.into(),
            copies: load.copies,
            active: load.active,
            local: router.local(),
            tiles: load.tiles,
            width: 2048.0,
            intermediate: 768.0,
            gated: true,
            weights: DataType::Bf16,
            math: DataType::Bf16,
            hit: 0.0,
            configuration: Configuration::Own,
        }
    }

    #[test]
    fn by_hand() {
        // one expert, 128 copies, H = 128, I = 64 with a gate: one tile of 128 rows a product on 132 SMs
        let x = ExpertLayer {
            tokens: 128.0,
            top_k: 1.0,
            copies: 128.0,
            active: 1.0,
            local: 1.0,
            tiles: [8.0, 4.0, 2.0, 1.0],
            width: 128.0,
            intermediate: 64.0,
            gated: true,
            weights: DataType::Bf16,
            math: DataType::Bf16,
            hit: 0.0,
            configuration: Configuration::Own,
        };
        let c = [0.5, 0.5, 10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 12.8, 2.0, 1.0, 1.0, 1.0];
        // k₀ = 1, c_t = 1: rows r lose 128/r, so all rows give the same wave: 132·2·128·128·(K + 1)/(0.5·989.4e12)
        let multiply = 132.0 * 2.0 * 128.0 * 128.0 * ((128.0 + 1.0) + (64.0 + 1.0)) / (0.5 * 989.4e12);
        // up 128·128·2 + 128·(128·2 + 256), down 128·64·2 + 128·(64·2 + 256) bytes at half of 3.35 TB/s
        let read = (32768.0 + 65536.0 + 16384.0 + 49152.0) / (0.5 * 3.35e12);
        // per copy 4·128 + 4·128 + 4·64; local also 4·128·128; routed all 128 copies
        let moved = (128.0 * 1280.0 + 65536.0 + 128.0 * 1280.0) / 3.35e12;
        let expected = 10e-6 + 12.8e-6 / 128.0 + multiply + read + moved;
        let t = GroupedGemm::seconds(&c, &x, &hardware());
        assert!((t / expected - 1.0).abs() < 1e-9, "{t} {expected}");
    }

    #[test]
    fn never_falls_with_tokens_nor_below_the_roofline() {
        let hardware = hardware();
        for (ranks, rule) in [(1, 1.0), (8, 1.0), (1, 2.0), (8, 2.0), (1, 3.0)] {
            let c = {
                let mut c = C;
                c[10] = rule;
                c
            };
            let router = Router { experts: 128, top_k: 8, ranks };
            let table = RoutingTable::new(router, Routing::Uniform);
            let mut before = 0.0;
            for step in 0..170 {
                let x = layer(&table, &router, (f64::from(step) * 0.1).exp2());
                let t = GroupedGemm::seconds(&c, &x, &hardware);
                let flops = 6.0 * x.copies * x.width * x.intermediate;
                let bytes = 6.0 * x.active * x.width * x.intermediate;
                assert!(t >= before && t > flops / hardware.peak(x.math) && t > bytes / hardware.bandwidth);
                before = t;
            }
        }
    }
}
