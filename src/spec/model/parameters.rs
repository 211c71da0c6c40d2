//! Parameter counts, to the unit.

use serde::Serialize;
use std::collections::BTreeMap;

use super::{ModelSpec, TensorClass};

/// Parameter counts of a model. Quantisation scales, rotary and mask buffers and tables stored
/// twice are no parameters and are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Everything in the checkpoint: language model, vision tower, multi-token-prediction layers.
    pub total: u64,
    /// What one token touches: everything of the language model but the experts it is not routed to
    /// (embedding table included, vision tower and multi-token prediction not).
    pub active: u64,
    /// Token and position embeddings, and the output projection when it is not tied.
    pub embedding: u64,
    /// Vision tower and projector.
    pub vision: u64,
    /// Multi-token-prediction layers.
    pub mtp: u64,
    /// The total by tensor class.
    pub by_class: BTreeMap<TensorClass, u64>,
}

impl ModelSpec {
    /// Counts the parameters.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let d = u64::from(self.hidden_size);
        let vocab = u64::from(self.vocab_size);
        let e = &self.embedding;
        let mut by_class = BTreeMap::new();
        let mut add = |class, n: u64| *by_class.entry(class).or_insert(0) += n;
        add(TensorClass::Embedding, vocab * d + e.position_parameters + e.per_layer_parameters);
        if !e.tied {
            add(TensorClass::LmHead, vocab * d);
        }
        add(TensorClass::Small, e.norm_parameters + if e.lm_head_bias { vocab } else { 0 });
        let mut idle = 0;
        for group in &self.layers {
            let count = u64::from(group.count);
            for linear in group.mixer.linears(d).iter().chain(&group.feed_forward.linears(d)) {
                add(linear.class, count * linear.parameters());
            }
            let small = group.norm_parameters
                + group.other_parameters
                + group.mixer.other_parameters(d)
                + group.feed_forward.other_parameters();
            add(TensorClass::Small, count * small);
            let (experts, top_k) = group.feed_forward.experts();
            let expert = group.feed_forward.expert_parameters(d);
            add(TensorClass::Experts, count * u64::from(experts) * expert);
            idle += count * u64::from(experts - top_k.min(experts)) * expert;
        }
        let language: u64 = by_class.values().sum();
        let vision = self.vision.as_ref().map_or(0, |v| v.parameters);
        let mtp = self.mtp.as_ref().map_or(0, |m| m.parameters);
        if vision > 0 {
            by_class.insert(TensorClass::Vision, vision);
        }
        if mtp > 0 {
            by_class.insert(TensorClass::Mtp, mtp);
        }
        by_class.retain(|_, n| *n > 0);
        Parameters {
            total: language + vision + mtp,
            active: language - idle,
            embedding: by_class.get(&TensorClass::Embedding).copied().unwrap_or(0)
                + by_class.get(&TensorClass::LmHead).copied().unwrap_or(0),
            vision,
            mtp,
            by_class,
        }
    }
}
