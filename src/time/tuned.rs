//! A calibration ready for prediction: for every operator class the one fit that this engine's
//! kernels come closest to.

mod choice;

pub use choice::is_looked_for;
use choice::{attention, exchanges, expert_names, latent, matrix_products, preference, products};

use super::Hardware;
use super::calibration::Calibration;
use super::forms::collective::{Message, ThreeRegimes, for_ranks};
use super::forms::decode_attention::{DecodeAttention, DecodeAttentionForm};
use super::forms::experts::{Configuration, ExpertLayer, GroupedGemm};
use super::forms::gemm::{Gemm, Widths};
use super::forms::latent::{LatentDecode, LatentDecodeForm};
use super::forms::prefill_attention::{PrefillAttention, PrefillAttentionForm};
use super::forms::{Cell, Form, Grid};
use super::line::Bound;
use crate::spec::{DataType, EngineKind};
use crate::work::{Collective, Expanded, Operator, Shape};

/// Coefficients of matrix products of two formats with their residual grid.
#[derive(Debug, Clone, PartialEq)]
struct Product {
    weights: DataType,
    math: DataType,
    c: Vec<f64>,
    grid: Option<Grid>,
    /// Seconds of latency beyond the engine's 16-bit product: what quantising the activations took, as
    /// it was timed.
    quantising: f64,
    /// The engine in whose list the kernel looks its tiles up.
    list: Option<EngineKind>,
}

/// A product of two widths that runs with any number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layer {
    n: f64,
    k: f64,
    /// Position among the products.
    product: usize,
    widths: Widths,
    cell: Option<Cell>,
}

/// Coefficients of an attention kernel.
#[derive(Debug, Clone, PartialEq)]
struct Attention {
    eight_bit_cache: bool,
    head_dim: f64,
    window: bool,
    c: Vec<f64>,
}

/// Fits of one collective, ready for the usual numbers of ranks.
#[derive(Debug, Clone, PartialEq)]
struct Exchange {
    kind: Collective,
    fits: Vec<(f64, Vec<f64>)>,
    ready: Vec<(u32, Vec<f64>)>,
}

/// The fits in force for one engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuned {
    products: Vec<Product>,
    /// Products of a plan, ready for any number of rows.
    layers: Vec<Layer>,
    decode: Vec<Attention>,
    prefill: Vec<Attention>,
    latent_decode: [Option<Vec<f64>>; 2],
    latent_prefill: [Option<Vec<f64>>; 2],
    experts: Vec<Product>,
    exchanges: Vec<Exchange>,
}

/// Position of a cache format in a pair of 16-bit and 8-bit kernels.
fn cache_index(cache: DataType) -> Option<usize> {
    match cache {
        DataType::Bf16 | DataType::Fp16 => Some(0),
        DataType::Fp8 | DataType::Int8 => Some(1),
        _ => None,
    }
}

/// The kernel for a head size: the same window and cache if there are such, then the nearest head size.
fn nearest(list: &[Attention], head_dim: f64, window: bool, cache: DataType) -> Option<&Attention> {
    let eight_bit = cache_index(cache)? == 1;
    let same =
        |a: &&Attention| a.eight_bit_cache == eight_bit && a.window == window && a.head_dim == head_dim;
    if let Some(own) = list.iter().find(same) {
        return Some(own);
    }
    list.iter().filter(|a| a.eight_bit_cache == eight_bit).min_by(|a, b| {
        let far = |x: &Attention| (x.window != window, (x.head_dim / head_dim).ln().abs());
        let ((aw, ad), (bw, bd)) = (far(a), far(b));
        aw.cmp(&bw).then(ad.total_cmp(&bd))
    })
}

impl Tuned {
    /// Chooses the fits for an engine.
    #[must_use]
    pub fn new(calibration: &Calibration, engine: EngineKind) -> Self {
        if preference(engine).is_empty() {
            return Self::default();
        }
        Self {
            products: matrix_products(&calibration.gemm, engine),
            layers: vec![],
            experts: products(&calibration.experts, engine, expert_names),
            decode: attention(&calibration.decode_attention, engine),
            prefill: attention(&calibration.prefill_attention, engine),
            latent_decode: latent(&calibration.latent_decode, engine),
            latent_prefill: latent(&calibration.latent_prefill, engine),
            exchanges: exchanges(calibration, engine),
        }
    }

    /// True when no fit is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Seconds of one execution and what bounds it; none where no fit covers the operator. `kernel` is the
    /// latency in seconds of one small kernel inside a graph.
    #[must_use]
    pub fn seconds(&self, operator: &Operator, hardware: &Hardware, kernel: f64) -> Option<(f64, Bound)> {
        let seconds = match operator.shape {
            Shape::Gemm { m, n, k } => self.product(operator, [m, n, k], hardware, kernel)?,
            Shape::DecodeAttention { rows, context, heads, kv_heads, head_dim, window, cache } => {
                let window = window.is_finite().then_some(window);
                let input = DecodeAttention {
                    rows,
                    context,
                    heads,
                    kv_heads,
                    head_dim,
                    window,
                    kv_bytes: cache.bytes(),
                    math: operator.math,
                    warm: false,
                };
                let fit = nearest(&self.decode, head_dim, window.is_some(), cache)?;
                DecodeAttentionForm::seconds(&fit.c, &input, hardware)
            }
            Shape::PrefillAttention {
                requests,
                new_tokens,
                past_tokens,
                heads,
                kv_heads,
                head_dim,
                window,
                cache,
                averaged,
            } => {
                let window = window.is_finite().then_some(window);
                let input = PrefillAttention {
                    requests,
                    new_tokens,
                    past_tokens,
                    heads,
                    kv_heads,
                    head_dim,
                    window,
                    kv_bytes: cache.bytes(),
                    math: operator.math,
                    averaged,
                };
                let fit = nearest(&self.prefill, head_dim, window.is_some(), cache)?;
                PrefillAttentionForm::seconds(&fit.c, &input, hardware)
            }
            Shape::Experts { tokens, top_k, copies, active, local, tiles, width, intermediate, gated } => {
                let (weights, math) = (operator.weights, operator.math);
                let found = self.experts.iter().find(|p| p.weights == weights && p.math == math)?;
                let mut input = ExpertLayer {
                    tokens,
                    top_k,
                    copies,
                    active,
                    local,
                    tiles,
                    width,
                    intermediate,
                    gated,
                    weights,
                    math,
                    hit: 0.0,
                    configuration: Configuration::Own,
                };
                input.configuration = Configuration::of(found.list, &input, hardware);
                GroupedGemm::seconds(&found.c, &input, hardware)
            }
            Shape::LatentDecode { rows, context, heads, rank, rope, cache } => {
                let c = self.latent_decode.get(cache_index(cache)?)?.as_ref()?;
                let (kv_bytes, math) = (cache.bytes(), operator.math);
                let input = LatentDecode { rows, context, heads, rank, rope, kv_bytes, math, warm: false };
                LatentDecodeForm::seconds(c, &input, hardware)
            }
            Shape::LatentPrefill(expanded) => self.expanded(&expanded, operator.math, hardware)?,
            Shape::Collective { kind, ranks } => {
                return self
                    .exchange(kind, ranks, operator.traffic.link.0, hardware)
                    .map(|t| (t, Bound::Link));
            }
            _ => return None,
        };
        Some((seconds, bound(operator, hardware, seconds)))
    }

    /// Seconds of prefill over an expanded latent, where a fit covers it: the kernel reads keys and values in 16 bit.
    #[must_use]
    pub fn expanded(&self, x: &Expanded, math: DataType, hardware: &Hardware) -> Option<f64> {
        let c = self.latent_prefill.get(cache_index(x.cache)?)?.as_ref()?;
        let input = PrefillAttention {
            requests: x.requests,
            new_tokens: x.new_tokens,
            past_tokens: x.past_tokens,
            heads: x.heads,
            kv_heads: x.heads,
            head_dim: x.head_dim,
            window: None,
            kv_bytes: 2.0,
            math,
            averaged: x.averaged,
        };
        Some(PrefillAttentionForm::seconds(c, &input, hardware))
    }

    /// Tables time the quantisation of activations as the engine's host starts it, some of them outside a
    /// graph (TensorRT-LLM's tensor-wise fp8: 10 µs on H200). In serving it is one more small kernel.
    fn product(
        &self,
        operator: &Operator,
        [m, n, k]: [f64; 3],
        hardware: &Hardware,
        kernel: f64,
    ) -> Option<f64> {
        let product =
            self.products.iter().position(|p| p.weights == operator.weights && p.math == operator.math)?;
        let built;
        let layer = match self.layers.iter().find(|l| l.n == n && l.k == k && l.product == product) {
            Some(ready) => ready,
            None => {
                built = self.layer(product, [n, k], hardware)?;
                &built
            }
        };
        let found = &self.products[product];
        let factor = match (&found.grid, &layer.cell) {
            (Some(grid), Some(cell)) => cell.factor(grid, m),
            _ => 1.0,
        };
        let outside = (found.quantising - kernel).max(0.0);
        Some((layer.widths.seconds(m) - outside) * factor)
    }

    fn layer(&self, product: usize, [n, k]: [f64; 2], hardware: &Hardware) -> Option<Layer> {
        let Product { weights, math, ref c, ref grid, .. } = self.products[product];
        let widths = Widths::new(c, &Gemm { m: 1.0, n, k, weights, math }, hardware)?;
        Some(Layer { n, k, product, widths, cell: grid.as_ref().map(|g| g.cell(n, k)) })
    }

    /// The same with what does not depend on the rows worked out for the products among some operators.
    #[must_use]
    pub(super) fn ready_for(mut self, operators: &[Operator], hardware: &Hardware) -> Self {
        for operator in operators {
            let Shape::Gemm { n, k, .. } = operator.shape else { continue };
            let of = |p: &Product| p.weights == operator.weights && p.math == operator.math;
            let Some(product) = self.products.iter().position(of) else { continue };
            if !self.layers.iter().any(|l| l.n == n && l.k == k && l.product == product) {
                let layer = self.layer(product, [n, k], hardware);
                self.layers.extend(layer);
            }
        }
        self
    }

    fn exchange(&self, kind: Collective, ranks: u32, bytes: f64, hardware: &Hardware) -> Option<f64> {
        let exchange = self.exchanges.iter().find(|e| e.kind == kind)?;
        let message = Message::of(kind, f64::from(ranks), bytes);
        if let Some((_, c)) = exchange.ready.iter().find(|(n, _)| *n == ranks) {
            return Some(ThreeRegimes::seconds(c, &message, hardware));
        }
        let known: Vec<(f64, &[f64])> = exchange.fits.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        Some(ThreeRegimes::seconds(&for_ranks(&known, f64::from(ranks))?, &message, hardware))
    }
}

/// What an operator waits for: by the datasheet arithmetic or memory, and latency when both together
/// explain less than half of the time.
fn bound(operator: &Operator, hardware: &Hardware, seconds: f64) -> Bound {
    let compute = operator.flops.0 / hardware.peak(operator.math);
    let memory = operator.traffic.memory().0 / hardware.bandwidth;
    if compute.max(memory) < 0.3 * seconds {
        Bound::Latency
    } else if compute > memory {
        Bound::Compute
    } else {
        Bound::Memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_gpu_hold_nothing_of_llama_cpp() {
        let text = include_str!("../../calibration/h100-sxm.toml");
        let calibration = Calibration::from_toml(text, "h100-sxm.toml").unwrap();
        assert!(Tuned::new(&calibration, EngineKind::Llamacpp).is_empty());
        assert!(!Tuned::new(&calibration, EngineKind::Vllm).is_empty());
    }
}
