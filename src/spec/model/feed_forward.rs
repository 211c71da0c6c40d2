//! The feed-forward half of a layer.

use serde::{Deserialize, Serialize};

use super::{Linear, Split, TensorClass, is_false, is_zero};

/// Feed-forward part of a layer. `gated` means gate, up and down projections (SwiGLU and kin),
/// otherwise up and down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FeedForward {
    /// None: the layer is a mixer only (Nemotron-H, Mamba).
    None,
    /// One dense block.
    Dense {
        /// Width F.
        intermediate_size: u64,
        /// Gate projection beside up and down.
        gated: bool,
        /// Biases on the projections.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
    },
    /// Mixture of experts, with shared experts (or a dense block in parallel) where there are any.
    Moe {
        /// Routed experts E.
        experts: u32,
        /// Experts per token k.
        top_k: u32,
        /// Width of one routed expert.
        intermediate_size: u64,
        /// Gate projection in the experts.
        gated: bool,
        /// Biases in the experts and the router.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
        /// Width of all shared experts together; 0 for none.
        #[serde(default, skip_serializing_if = "is_zero")]
        shared_intermediate_size: u64,
        /// The shared expert has a sigmoid gate (one row of `hidden_size`).
        #[serde(default, skip_serializing_if = "is_false")]
        shared_gate: bool,
        /// Experts work in a latent space of this width, with a projection down and one up (Nemotron-3).
        #[serde(default, skip_serializing_if = "is_zero")]
        latent_size: u64,
        /// Elements of routing-correction biases and other small router tensors.
        #[serde(default, skip_serializing_if = "is_zero")]
        router_other_parameters: u64,
        /// Further router outputs without weights behind them (LongCat's zero experts).
        #[serde(default, skip_serializing_if = "is_zero")]
        zero_experts: u64,
    },
}

impl FeedForward {
    /// Everything but the routed experts, in the order it runs.
    #[must_use]
    pub fn linears(&self, hidden_size: u64) -> Vec<Linear> {
        use TensorClass::{Mlp, Router, SharedExperts};
        let d = hidden_size;
        let block = |label: [&'static str; 2], class, f, gated: bool, bias| {
            [
                Linear::new(label[0], class, d, if gated { 2 * f } else { f }, Split::Columns)
                    .with_bias(bias),
                Linear::new(label[1], class, f, d, Split::Rows).with_bias(bias),
            ]
        };
        match *self {
            Self::None => vec![],
            Self::Dense { intermediate_size, gated, bias } => {
                let up = if gated { "gate_up_proj" } else { "up_proj" };
                block([up, "down_proj"], Mlp, intermediate_size, gated, bias).to_vec()
            }
            Self::Moe {
                experts,
                gated,
                bias,
                shared_intermediate_size,
                shared_gate,
                latent_size,
                zero_experts,
                ..
            } => {
                let router_outputs = u64::from(experts) + zero_experts;
                let mut all =
                    vec![Linear::new("router", Router, d, router_outputs, Split::Replicated).with_bias(bias)];
                if shared_intermediate_size > 0 {
                    let labels = ["shared_gate_up_proj", "shared_down_proj"];
                    all.extend(block(labels, SharedExperts, shared_intermediate_size, gated, false));
                }
                if shared_gate {
                    all.push(Linear::new("shared_gate", Router, d, 1, Split::Replicated));
                }
                if latent_size > 0 {
                    all.push(Linear::new(
                        "latent_down_proj",
                        SharedExperts,
                        d,
                        latent_size,
                        Split::Replicated,
                    ));
                    all.push(Linear::new("latent_up_proj", SharedExperts, latent_size, d, Split::Replicated));
                }
                all
            }
        }
    }

    /// Width at which the routed experts read and write: the hidden size, or the latent size.
    #[must_use]
    pub fn expert_width(&self, hidden_size: u64) -> u64 {
        match *self {
            Self::Moe { latent_size, .. } if latent_size > 0 => latent_size,
            _ => hidden_size,
        }
    }

    /// Parameters of one routed expert; 0 without experts.
    #[must_use]
    pub fn expert_parameters(&self, hidden_size: u64) -> u64 {
        let d = self.expert_width(hidden_size);
        match *self {
            Self::Moe { intermediate_size: f, gated, bias, .. } => {
                let up = if gated { 2 * f } else { f };
                d * up + f * d + if bias { up + d } else { 0 }
            }
            _ => 0,
        }
    }

    /// Routed experts and experts per token; (0, 0) for a dense layer.
    #[must_use]
    pub fn experts(&self) -> (u32, u32) {
        match *self {
            Self::Moe { experts, top_k, .. } => (experts, top_k),
            _ => (0, 0),
        }
    }

    /// Elements of small tensors.
    #[must_use]
    pub fn other_parameters(&self) -> u64 {
        match *self {
            Self::Moe { router_other_parameters, .. } => router_other_parameters,
            _ => 0,
        }
    }
}
