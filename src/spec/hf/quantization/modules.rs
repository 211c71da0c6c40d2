//! Which classes of weights a list of module patterns covers. Patterns are names
//! (`model.layers.3.self_attn`), globs (`*.mlp.shared_expert.*`) or the simple regular expressions
//! of compressed-tensors (`re:.*mlp\.(gate|up)_proj.*`).

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::model::{FeedForward, Mixer, ModelSpec, TensorClass};

/// One module of each class under the names that model families give it, below `layers.N.`.
const NAMES: Names = &[
    (
        TensorClass::Attention,
        &["self_attn.o_proj", "self_attn.q_a_proj", "attn.o_proj", "attention.o_proj", "mixer.o_proj"],
    ),
    (TensorClass::LinearAttention, &["linear_attn.out_proj", "mixer.out_proj", "mamba.out_proj"]),
    (TensorClass::LmHead, &["lm_head"]),
    (TensorClass::Mlp, &["mlp.down_proj", "feed_forward.down_proj", "ffn.w2", "mlp.fc2", "mixer.down_proj"]),
    (
        TensorClass::Experts,
        &[
            "mlp.experts.0.down_proj",
            "block_sparse_moe.experts.0.w2",
            "ffn.experts.0.w2",
            "mixer.experts.0.down_proj",
            "feed_forward.experts.down_proj",
            "experts.0.down_proj",
        ],
    ),
    (
        TensorClass::SharedExperts,
        &[
            "mlp.shared_experts.down_proj",
            "mlp.shared_expert.down_proj",
            "block_sparse_moe.shared_experts.down_proj",
            "ffn.shared_experts.w2",
            "mixer.shared_experts.down_proj",
            "feed_forward.shared_expert.down_proj",
        ],
    ),
];

/// Gemma 4 keeps its experts beside the dense block, which counts as a shared expert.
const NAMES_BESIDE: Names = &[
    (TensorClass::Attention, &["self_attn.o_proj"]),
    (TensorClass::Mlp, &["mlp.down_proj"]),
    (TensorClass::Experts, &["experts.0.down_proj", "moe.experts.0.down_proj"]),
    (TensorClass::SharedExperts, &["mlp.down_proj"]),
];

/// The names of a model's modules.
pub(super) fn names(spec: &ModelSpec) -> Names {
    if spec.architecture.starts_with("gemma4") { NAMES_BESIDE } else { NAMES }
}

/// One module of each class, below `layers.N.`.
pub(super) type Names = &'static [(TensorClass, &'static [&'static str])];

/// How many layers of the model have weights of each class.
pub(super) fn layers_by_class(spec: &ModelSpec) -> BTreeMap<TensorClass, u32> {
    let mut counts = BTreeMap::new();
    for group in &spec.layers {
        let mut add = |class| *counts.entry(class).or_insert(0) += group.count;
        match group.mixer {
            Mixer::None => {}
            Mixer::GroupedQuery { .. }
            | Mixer::Latent { .. }
            | Mixer::Cross { .. }
            | Mixer::Compressed { .. } => add(TensorClass::Attention),
            _ => add(TensorClass::LinearAttention),
        }
        match group.feed_forward {
            FeedForward::None => {}
            FeedForward::Dense { .. } => add(TensorClass::Mlp),
            FeedForward::Moe { shared_intermediate_size, .. } => {
                add(TensorClass::Experts);
                if shared_intermediate_size > 0 {
                    add(TensorClass::SharedExperts);
                }
            }
        }
    }
    counts
}

/// How many layers' weights of each class the patterns cover; `u32::MAX` for "wherever there are any".
pub(super) fn covered<'a>(
    names: Names,
    patterns: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<TensorClass, u32> {
    let mut layers: BTreeMap<TensorClass, BTreeSet<u32>> = BTreeMap::new();
    let mut everywhere = BTreeSet::new();
    for pattern in patterns.into_iter().flat_map(alternatives) {
        let (layer, below) = split(&pattern);
        for (class, names) in names {
            if names.iter().any(|name| matches(below, name, layer)) {
                match layer {
                    Layer::Number(_) if *class == TensorClass::LmHead => {}
                    Layer::Number(n) => {
                        layers.entry(*class).or_default().insert(n);
                    }
                    Layer::Any | Layer::Nowhere => {
                        everywhere.insert(*class);
                    }
                }
            }
        }
    }
    let mut counts: BTreeMap<TensorClass, u32> =
        layers.into_iter().map(|(class, set)| (class, set.len() as u32)).collect();
    counts.extend(everywhere.into_iter().map(|class| (class, u32::MAX)));
    counts
}

/// What a pattern says about the layer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layer {
    Number(u32),
    Any,
    Nowhere,
}

/// Splits `model.layers.3.self_attn` into the layer and what stands below it.
fn split(pattern: &str) -> (Layer, &str) {
    let Some((_, rest)) = pattern.split_once("layers.") else { return (Layer::Nowhere, pattern) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, below) = rest.split_at(digits);
    match number.parse() {
        Ok(number) => (Layer::Number(number), below.strip_prefix('.').unwrap_or(below)),
        Err(_) => (Layer::Any, below.strip_prefix("*.").unwrap_or(below)),
    }
}

/// True when the pattern covers the module. Below a layer it must start at the module's start;
/// without a layer it may name any component of the path.
fn matches(pattern: &str, name: &str, layer: Layer) -> bool {
    if pattern.is_empty() {
        return layer != Layer::Nowhere;
    }
    if pattern.contains('*') {
        let text = format!("model.layers.0.{name}");
        return if layer == Layer::Nowhere { glob(pattern, &text) } else { glob(pattern, name) };
    }
    let prefix = |text: &str| text.strip_prefix(pattern).is_some_and(|r| r.is_empty() || r.starts_with('.'));
    prefix(name) || layer == Layer::Nowhere && name.match_indices('.').any(|(i, _)| prefix(&name[i + 1..]))
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let mut last = "";
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = part;
    }
    rest.is_empty() || last.is_empty() || text.ends_with(last)
}

/// A pattern as globs: a regular expression loses its escapes, and its first group of alternatives
/// is written out.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(expression) = pattern.strip_prefix("re:") else { return vec![pattern.to_owned()] };
    let plain = expression.replace(".*", "*").replace("\\d+", "*").replace('\\', "");
    let plain = plain.trim_matches(['^', '$']);
    match plain.split_once('(').and_then(|(a, r)| r.split_once(')').map(|(choices, b)| (a, choices, b))) {
        Some((a, choices, b)) => choices.split('|').map(|choice| format!("{a}{choice}{b}")).collect(),
        None => vec![plain.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TensorClass::{Attention, Experts, LmHead, Mlp, SharedExperts};

    fn of(patterns: &[&str]) -> Vec<(TensorClass, u32)> {
        covered(NAMES, patterns.iter().copied()).into_iter().collect()
    }

    #[test]
    fn a_layer_counts_once_and_norms_do_not_count() {
        let patterns =
            ["model.layers.0.self_attn*", "model.layers.0.self_attn.o_proj", "model.layers.1.self_attn"];
        assert_eq!(of(&patterns), [(Attention, 2)]);
        assert_eq!(of(&["model.layers.0.self_attn.k_norm", "model.layers.0.mlp.gate"]), []);
        assert_eq!(of(&["lm_head"]), [(LmHead, u32::MAX)]);
        assert_eq!(of(&["model.layers.7.mlp.shared_experts*"]), [(SharedExperts, 1)]);
    }

    #[test]
    fn a_whole_layer_covers_every_class_of_a_layer() {
        assert_eq!(of(&["model.layers.0*"]).len(), NAMES.len() - 1);
    }

    #[test]
    fn patterns_without_a_layer_hold_everywhere() {
        assert_eq!(
            of(&["re:.*self_attn.*", "*.mlp.shared_expert.*"]),
            [(Attention, u32::MAX), (SharedExperts, u32::MAX)]
        );
        assert_eq!(of(&[r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]), [(Mlp, u32::MAX)]);
        assert_eq!(of(&["model.layers.*.self_attn"]), [(Attention, u32::MAX)]);
        assert_eq!(of(&["experts"]), [(Experts, u32::MAX)]);
        assert_eq!(of(&["gate", "vision_tower", "e_score_correction_bias"]), []);
    }
}
