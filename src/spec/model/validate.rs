//! What no model can look like.

use super::{FeedForward, Mixer, ModelSpec};
use crate::spec::SpecError;

/// Largest width, head count or vocabulary taken for real.
const LARGEST: u64 = 100_000_000;

impl ModelSpec {
    /// Refuses shapes that no model has: zero or absurd sizes, heads that KV heads do not divide.
    ///
    /// # Errors
    /// Names the key, the value and what is wrong with it.
    pub fn validate(&self, file: &str) -> Result<(), SpecError> {
        let check = |key: &str, value: u64| {
            if (1..=LARGEST).contains(&value) {
                return Ok(());
            }
            Err(SpecError::Value {
                file: file.into(),
                key: key.into(),
                value: value.to_string(),
                problem: format!("must lie in 1..={LARGEST}"),
                fix: "correct the model file".into(),
            })
        };
        check("hidden_size", self.hidden_size.into())?;
        check("vocab_size", self.vocab_size.into())?;
        check("layers", self.layers.len() as u64)?;
        check("layers (count of all groups)", self.layers.iter().map(|g| u64::from(g.count)).sum::<u64>())?;
        for group in &self.layers {
            match group.mixer {
                Mixer::GroupedQuery { heads, kv_heads, head_dim, .. }
                | Mixer::Cross { heads, kv_heads, head_dim, .. } => {
                    check("heads", heads.into())?;
                    check("kv_heads", kv_heads.into())?;
                    check("head_dim", head_dim.into())?;
                    if heads % kv_heads != 0 {
                        return Err(SpecError::Value {
                            file: file.into(),
                            key: "kv_heads".into(),
                            value: kv_heads.to_string(),
                            problem: format!("does not divide the {heads} query heads"),
                            fix: "correct num_attention_heads or num_key_value_heads".into(),
                        });
                    }
                }
                Mixer::Latent { heads, kv_lora_rank, v_head_dim, .. } => {
                    check("heads", heads.into())?;
                    check("kv_lora_rank", kv_lora_rank.into())?;
                    check("v_head_dim", v_head_dim.into())?;
                }
                _ => {}
            }
            match group.feed_forward {
                FeedForward::Dense { intermediate_size, .. } => {
                    check("intermediate_size", intermediate_size)?;
                }
                FeedForward::Moe { experts, top_k, intermediate_size, .. } => {
                    check("experts", experts.into())?;
                    check("top_k", top_k.into())?;
                    check("intermediate_size (experts)", intermediate_size)?;
                    if top_k > experts {
                        return Err(SpecError::Value {
                            file: file.into(),
                            key: "top_k".into(),
                            value: top_k.to_string(),
                            problem: format!("more than the {experts} experts there are"),
                            fix: "correct num_experts_per_tok or the number of experts".into(),
                        });
                    }
                }
                FeedForward::None => {}
            }
        }
        Ok(())
    }
}
