//! The vision tower and projector of a configuration. Counts follow the transformers modelling
//! classes of the same `model_type` (Kimi: vLLM `kimi_k25_vit.py`); a tower that nobody described is
//! estimated as a plain vision transformer, with a warning.

mod generic;
mod moon;
mod parts;
mod patches;
mod qwen;
mod towers;

use super::Fields;
use crate::spec::SpecError;
use crate::spec::model::{ModelSpec, Vision};
use parts::Tower;

/// Reads the tower of one kind from its own object and the width of the language model.
type Reader = fn(&Tower<'_>) -> Result<Vision, SpecError>;

/// `model_type` of the whole model → reader.
const TOWERS: &[(&str, Reader)] = &[
    ("qwen2_vl", qwen::qwen2),
    ("qwen2_5_vl", qwen::qwen2_5),
    ("qwen3_vl", qwen::qwen3),
    ("qwen3_vl_moe", qwen::qwen3),
    ("qwen3_5", qwen::qwen3),
    ("qwen3_5_moe", qwen::qwen3),
    ("gemma3", towers::gemma3),
    ("gemma4", towers::gemma4),
    ("llama4", towers::llama4),
    ("mllama", towers::mllama),
    ("mistral3", towers::pixtral),
    ("ministral3", towers::pixtral),
    ("kimi_k25", moon::moon),
    ("kimi_k3", moon::moon),
    ("minimax_m3_vl", towers::minimax),
    ("step3p7", towers::step),
    ("llava", towers::clip),
    ("llava_next", patches::llava_next),
    ("internvl", towers::internvl),
    ("glm4v", towers::glm4v),
    ("glm4v_moe", towers::glm4v),
    ("glm46v", towers::glm4v),
    ("glmga", towers::glm4v),
    ("qwen2_5_omni", qwen::qwen2_5),
    ("qwen2_5_omni_thinker", qwen::qwen2_5),
    ("exaone4_5", qwen::qwen2_5),
    ("glm5_next", patches::glm5),
    ("internvl_chat", patches::internvl_chat),
    ("ernie4_5_moe_vl", patches::ernie),
    ("ernie4_5_vl_moe", patches::ernie),
    ("lfm2_vl", patches::lfm2),
    ("minicpmv", patches::minicpm),
    ("minicpmo", patches::minicpm),
];

/// Models that always have a tower, read with the sizes of the released checkpoints where the
/// configuration holds the language model only.
const ALWAYS: [&str; 5] = ["qwen2_5_vl", "gemma3", "llama4", "mistral3", "step3p7"];

/// Classes of those models without the tower.
const TEXT_ONLY: [&str; 3] = ["Gemma3ForCausalLM", "Llama4ForCausalLM", "MistralForCausalLM"];

/// Adds the tower that the outermost object describes to `spec`.
///
/// # Errors
/// When a size of the tower makes no sense.
pub(crate) fn attach(root: &Fields<'_>, spec: &mut ModelSpec) -> Result<(), SpecError> {
    let name = root.text("model_type")?.unwrap_or(&spec.architecture).to_owned();
    let reader = TOWERS.iter().find(|(n, _)| *n == name).map(|(_, read)| *read);
    // Omni models keep the tower beside the language model inside of the thinker.
    let holder = root.nested("thinker_config")?.unwrap_or_else(|| root.clone());
    let own = match holder.nested("vision_config")? {
        Some(own) => Some(own),
        None => holder.nested("vit_config")?,
    };
    let text_hidden = spec.hidden_size;
    let tower = |fields: Fields<'_>| -> Result<_, SpecError> {
        let tower = Tower { fields, root: root.clone(), text_hidden: text_hidden.into() };
        Ok(match reader {
            Some(read) => Some(read(&tower)?),
            None => generic::estimate(&tower),
        })
    };
    match own {
        Some(own) => {
            spec.vision = tower(own)?;
            match (&spec.vision, reader) {
                (Some(_), None) => spec.warnings.push("vision tower estimated as a plain transformer".into()),
                (None, _) => {
                    spec.warnings.push("vision tower not counted: its sizes have unknown names".into())
                }
                _ => {}
            }
        }
        None if ALWAYS.contains(&name.as_str()) => {
            let classes = root.texts("architectures")?.unwrap_or_default();
            if classes.iter().all(|class| !TEXT_ONLY.contains(class)) {
                spec.vision = tower(root.empty())?;
                spec.warnings
                    .push(format!("no vision_config; counted the tower of the released {name} models"));
            }
        }
        None => {}
    }
    if holder.nested("audio_config")?.is_some() {
        spec.warnings.push("audio encoder not counted".into());
    }
    Ok(())
}
