//! Multi-token-prediction modules of a configuration. A module is a projection of the joined
//! embedding and hidden state (2d → d), some norms, and one or more layers; some checkpoints store
//! copies of the embedding and the output projection in it. Shapes follow the draft models of vLLM
//! (`*_mtp.py`); which tables are stored follows the tensor counts of the published checkpoints.

use super::layers::elements;
use super::{Fields, deepseek_v4, delta, nemotron_h};
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer, ModelSpec, Mtp};

/// Keys for the number of modules, in the order in which they are tried.
const COUNTS: [&str; 3] = ["num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"];

/// One module.
struct Module {
    layers: Vec<LayerGroup>,
    /// Norms of the hidden width outside the layers.
    norms: u64,
    /// Copies of embedding and output projection that it stores.
    tables: u64,
    /// Further elements.
    other: u64,
}

impl Module {
    fn new(layers: Vec<LayerGroup>, norms: u64) -> Self {
        Self { layers, norms, tables: 0, other: 0 }
    }
}

/// Adds the modules that the checkpoint stores to `spec`, whose language model has been read from `fields`.
///
/// # Errors
/// When a size makes no sense.
pub(crate) fn attach(fields: &Fields<'_>, spec: &mut ModelSpec) -> Result<(), SpecError> {
    let key = COUNTS.into_iter().find(|key| fields.has(key));
    let given = key.map(|key| fields.count_or(key, 0)).transpose()?;
    let (count, module) = match (given, assumed(&spec.architecture)) {
        (Some(0), _) | (None, None) => return Ok(()),
        (Some(count), _) => (count, module(fields, spec)?),
        (None, Some(why)) => {
            let module = module(fields, spec)?;
            if module.is_some() {
                spec.warnings.push(format!(
                    "no num_nextn_predict_layers; counted one multi-token-prediction module, {why}"
                ));
            }
            (1, module)
        }
    };
    let Some(module) = module else {
        spec.warnings.push(format!(
            "multi-token prediction is named ({count}) but not counted: checkpoints of {} hold none, or its shape is not known",
            spec.architecture
        ));
        return Ok(());
    };
    let d = u64::from(spec.hidden_size);
    let vocabulary = u64::from(spec.vocab_size);
    let (total, active) = module.layers.iter().fold((0, 0), |(total, active), group| {
        let (more, touched) = group.parameters(d);
        (total + more, active + touched)
    });
    let outside = 2 * d * d + module.norms * d + module.other;
    spec.mtp = Some(Mtp {
        layers: count,
        parameters: elements(&[
            &[count.into(), total],
            &[count.into(), outside],
            &[count.into(), module.tables, vocabulary, d],
        ]),
        active_parameters: active + outside,
    });
    Ok(())
}

/// Why a configuration of this architecture that does not mention modules is taken to have one.
fn assumed(architecture: &str) -> Option<&'static str> {
    match architecture {
        "qwen3_next" => Some("as Qwen3-Next Instruct and Thinking store (Qwen3-Coder-Next has none)"),
        "ernie4_5_moe" => Some("as the released ERNIE 4.5 text models store"),
        "longcat_flash" => Some("as LongCat-Flash stores"),
        "deepseek_v32" => Some("as DeepSeek-V3.2 stores"),
        _ => None,
    }
}

/// The module of an architecture; none where the configuration may name modules that the published
/// checkpoints do not contain (MiniMax-M3), or where the shape is not known.
fn module(fields: &Fields<'_>, spec: &ModelSpec) -> Result<Option<Module>, SpecError> {
    let last = || spec.layers.last().map(|g| LayerGroup { count: 1, ..g.clone() }).into_iter().collect();
    Ok(Some(match spec.architecture.as_str() {
        "deepseek_v3" | "deepseek_v32" | "kimi_k2" | "kimi_k25" | "glm4_moe" => {
            Module { tables: 2, ..Module::new(last(), 3) }
        }
        // The module has an indexer of its own even where layers share one (GLM-5.2).
        "glm_moe_dsa" => Module::new(with_indexer(spec), 3),
        "glm4_moe_lite" | "mimo" | "hy_v3" | "bailing_hybrid" => Module::new(last(), 3),
        "deepseek_v4" | "deepseek_ref" => {
            let layer = deepseek_v4::block(fields, 0, false)?;
            Module { other: deepseek_v4::head_connection(fields)?, ..Module::new(vec![layer], 3) }
        }
        "qwen3_next" | "qwen3_5" | "qwen3_5_text" | "qwen3_5_moe" | "qwen3_5_moe_text" => {
            let mixer = delta::qwen_attention(fields)?;
            let layers = spec.layers.last().map(|g| LayerGroup { count: 1, mixer, ..g.clone() });
            let tables = u64::from(fields.flag("mtp_use_dedicated_embeddings", false)?);
            Module { tables, ..Module::new(layers.into_iter().collect(), 3) }
        }
        "exaone_moe" | "exaone4_5_text" => Module::new(dense_layer(spec, |_| true), 3),
        // One of its sparse latent layers; 0.03 % of the published count is not explained by it.
        "glm5_next" | "glm5_next_text" => {
            let latent = |g: &&LayerGroup| matches!(g.mixer, Mixer::Latent { .. });
            let sparse = |g: &&LayerGroup| g.feed_forward.experts().0 > 0;
            let group = spec.layers.iter().filter(latent).find(sparse);
            Module::new(group.map(|g| LayerGroup { count: 1, ..g.clone() }).into_iter().collect(), 3)
        }
        "ernie4_5_moe" => Module::new(dense_layer(spec, |_| true), 2),
        "longcat_flash" => Module { tables: 1, ..Module::new(dense_layer(spec, |_| true), 3) },
        // Dense behind windowed attention, each with an output projection of its own.
        "step3p5" | "step3p7" => {
            let windowed = |mixer: &Mixer| mixer.window().is_some();
            Module { tables: 1, ..Module::new(dense_layer(spec, windowed), 3) }
        }
        "nemotron_h" => match nemotron_h::mtp_layers(fields)? {
            Some(layers) => Module::new(layers, 3),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// The last layer, with an indexer that computes its own picks.
fn with_indexer(spec: &ModelSpec) -> Vec<LayerGroup> {
    let sparse = |g: &&LayerGroup| matches!(g.feed_forward, FeedForward::Moe { .. });
    let own = |g: &&LayerGroup| match &g.mixer {
        Mixer::Latent { indexer: Some(indexer), .. } => !indexer.reused,
        _ => true,
    };
    let group = spec.layers.iter().filter(sparse).find(own).or(spec.layers.last());
    group.map(|g| LayerGroup { count: 1, ..g.clone() }).into_iter().collect()
}

/// A layer of the first mixer that fits, with the model's dense feed-forward part.
fn dense_layer(spec: &ModelSpec, fits: impl Fn(&Mixer) -> bool) -> Vec<LayerGroup> {
    let is_dense = |g: &&LayerGroup| matches!(g.feed_forward, FeedForward::Dense { .. });
    let dense = spec.layers.iter().find(is_dense).map(|g| g.feed_forward.clone());
    let layer = spec.layers.iter().find(|g| fits(&g.mixer));
    let both = layer.zip(dense);
    both.map(|(g, feed_forward)| LayerGroup { count: 1, feed_forward, ..g.clone() }).into_iter().collect()
}
