//! A step lowered to operators.

use super::operator::{Collective, Operator, Shape, Traffic};
use super::plan::{GroupPlan, LinearPlan, Plan};
use super::{Step, attention, experts, recurrent};
use crate::spec::model::TensorClass;
use crate::units::{Bytes, Flops};

/// Parts of a step: its operators fall into them without overlap, so that their times add up to the
/// step's, and each depends on little of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Everything that depends on the number of tokens alone, but the experts (and, where activations
    /// are sparse, on the share of decode rows).
    pub tokens: bool,
    /// Routed experts and the exchange of tokens: depends on the number of tokens alone.
    pub experts: bool,
    /// Attention cores and recurrent scans: depends on chunks, rows and contexts.
    pub core: bool,
    /// Output projection and sampler: depends on the number of sampled rows alone.
    pub head: bool,
}

impl Parts {
    /// No part.
    pub const NONE: Self = Self { tokens: false, experts: false, core: false, head: false };
    /// The whole step.
    pub const ALL: Self = Self { tokens: true, experts: true, core: true, head: true };
}

impl Plan {
    /// Appends the operators of one step of one data-parallel rank to `out`, in the order they run.
    /// The operators of all pipeline stages are listed: their sum is the latency of a step.
    pub fn lower(&self, step: &Step<'_>, out: &mut Vec<Operator>) {
        self.lower_parts(step, Parts::ALL, out);
    }

    /// True when [`Parts::core`] of a step is that of its chunks and that of its rows; a recurrent scan runs over
    /// both at once.
    #[must_use]
    pub fn core_is_additive(&self) -> bool {
        !self.groups.iter().any(recurrent::is_recurrent)
    }

    /// The same with some parts only.
    pub fn lower_parts(&self, step: &Step<'_>, parts: Parts, out: &mut Vec<Operator>) {
        let tokens = step.tokens();
        if tokens <= 0.0 {
            return;
        }
        let activation = self.activation.bytes();
        let row = tokens * self.hidden * activation;
        if parts.tokens {
            out.push(Operator::elementwise("embedding", self.activation, 2.0 * row, 1.0));
        }
        if parts.tokens && self.parallelism.tp > 1 {
            out.push(self.all_reduce("embedding_all_reduce", row, 1.0));
        }
        for group in &self.groups {
            self.lower_group(group, step, tokens, parts, out);
        }
        if parts.head {
            self.lower_head(step.sampled(), out);
        }
        if parts.tokens && self.parallelism.pp > 1 {
            let hops = f64::from(self.parallelism.pp - 1);
            out.push(
                Operator::collective("pipeline_send", Collective::SendReceive, self.activation, 2, row)
                    .repeated(hops),
            );
        }
        if parts.tokens {
            self.lower_offload(out);
        }
    }

    fn all_reduce(&self, label: &'static str, bytes: f64, repeat: f64) -> Operator {
        Operator::collective(label, Collective::AllReduce, self.activation, self.parallelism.tp, bytes)
            .repeated(repeat)
    }

    fn lower_group(
        &self,
        group: &GroupPlan,
        step: &Step<'_>,
        tokens: f64,
        parts: Parts,
        out: &mut Vec<Operator>,
    ) {
        if group.count <= 0.0 || attention::is_skipped(group) {
            return;
        }
        let first = out.len();
        let row = tokens * self.hidden * self.activation.bytes();
        let tp = self.parallelism.tp;
        for linear in &group.before {
            let part = if attention::follows_past(linear) { parts.core } else { parts.tokens };
            if let Some(tokens) = attention::linear_tokens(linear, step, tokens).filter(|_| part) {
                out.push(self.gemm(linear, tokens, 0.0));
            }
        }
        if parts.core {
            attention::lower(self, group, step, out);
            recurrent::lower(self, group, step, tokens, out);
        }
        let (after, feed_forward) = if parts.tokens {
            (group.after.as_slice(), group.feed_forward_linears.as_slice())
        } else {
            (&[][..], &[][..])
        };
        for linear in after {
            out.push(self.gemm(linear, tokens, 0.0));
        }
        if parts.tokens && tp > 1 && !group.after.is_empty() {
            out.push(self.all_reduce("attention_all_reduce", row, 1.0));
        }
        let decode_share = step.decode_rows() / tokens;
        for linear in feed_forward {
            let sparsity = if linear.class == TensorClass::Mlp {
                self.overrides.activation_sparsity * decode_share
            } else {
                0.0
            };
            let shared = linear.class == TensorClass::SharedExperts;
            let concurrent = shared && self.shared_beside_routed && step.prefill.is_empty();
            out.push(Operator { concurrent, ..self.gemm(linear, tokens, sparsity) });
        }
        if parts.experts {
            experts::lower(self, group, tokens, out);
        }
        let exchanges_experts = group.feed_forward.experts().0 > 0 && self.parallelism.dp > 1;
        if parts.tokens && tp > 1 && !group.feed_forward_linears.is_empty() && !exchanges_experts {
            out.push(self.all_reduce("feed_forward_all_reduce", row, 1.0));
        }
        if parts.tokens && group.elementwise_launches > 0.0 {
            out.push(Operator::elementwise(
                "elementwise",
                self.activation,
                tokens * group.elementwise_elements * self.activation.bytes(),
                group.elementwise_launches,
            ));
        }
        for operator in &mut out[first..] {
            operator.repeat *= group.count;
        }
    }

    /// One linear layer over so many tokens: 2·M·N·K operations; weights once, activations in and out.
    /// `sparsity` is the share of inputs that are zero, whose weight rows are not read.
    pub(super) fn gemm(&self, linear: &LinearPlan, tokens: f64, sparsity: f64) -> Operator {
        let (n, k) = (linear.n, linear.k);
        let kept = 1.0 - sparsity;
        Operator {
            label: linear.label,
            shape: Shape::Gemm { m: tokens, n, k },
            weights: linear.format.weights,
            math: linear.format.math,
            repeat: 1.0,
            flops: Flops(2.0 * tokens * n * k * kept),
            traffic: Traffic {
                weights: Bytes(linear.weight_bytes * kept),
                activations: Bytes(tokens * (k * linear.format.math.bytes() + n * self.activation.bytes())),
                ..Traffic::default()
            },
            launches: linear.factors,
            concurrent: false,
        }
    }

    /// Output projection of the sampled rows and the sampler over the whole vocabulary.
    fn lower_head(&self, sampled: f64, out: &mut Vec<Operator>) {
        if sampled <= 0.0 {
            return;
        }
        out.push(self.gemm(&self.lm_head, sampled, 0.0));
        let tp = self.parallelism.tp;
        if tp > 1 {
            let logits = sampled * self.vocab * self.activation.bytes();
            out.push(Operator::collective(
                "logits_gather",
                Collective::AllGather,
                self.activation,
                tp,
                logits,
            ));
        }
        // fp32 copy, softmax or argmax: about three passes over the logits
        out.push(Operator::elementwise("sampling", self.activation, 3.0 * sampled * self.vocab * 4.0, 4.0));
    }

    /// Weights kept in host memory cross the host link in every step, whatever the batch.
    fn lower_offload(&self, out: &mut Vec<Operator>) {
        let bytes = self.offloaded;
        if bytes > 0.0 {
            out.push(Operator {
                traffic: Traffic { host: Bytes(bytes), ..Traffic::default() },
                ..Operator::elementwise("offloaded_weights", self.activation, 0.0, 1.0)
            });
        }
    }
}
