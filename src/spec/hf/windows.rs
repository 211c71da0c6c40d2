//! Which layers attend to a sliding window.

use super::{Fields, layers};
use crate::spec::SpecError;

/// The rule of an architecture where the configuration lists no `layer_types`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Windows {
    /// A `sliding_window` key is ignored.
    None,
    /// Every layer, where `sliding_window` is given (and `use_sliding_window` is not false).
    All,
    /// Layers from `max_window_layers` on, only where `use_sliding_window` is true (Qwen).
    OptIn,
    /// Every n-th layer is full, the others see a window: n from `sliding_window_pattern`, else
    /// this default; the window from `sliding_window`, else this default.
    Alternating {
        /// n of the architecture's class.
        every: u32,
        /// Window of the architecture's class, in tokens.
        window: u32,
    },
    /// Attention in chunks of `attention_chunk_size`, but for every fourth layer (Llama 4). A chunk
    /// bounds the cache as a window does; a token sees half of it on average, which is not modelled.
    Chunked,
}

/// The window of each layer. A window that the longest position does not exceed is none.
///
/// # Errors
/// When a window makes no sense or `layer_types` does not have one entry a layer.
pub(crate) fn per_layer(
    fields: &Fields<'_>,
    rule: Windows,
    count: u32,
) -> Result<Vec<Option<u32>>, SpecError> {
    let allowed = fields.optional_flag("use_sliding_window")?;
    let longest = fields.positions("max_position_embeddings")?.unwrap_or(u64::MAX);
    let (key, default) = match rule {
        Windows::None => return Ok(vec![None; count as usize]),
        Windows::Chunked => ("attention_chunk_size", Some(8192)),
        Windows::Alternating { window, .. } => ("sliding_window", Some(window)),
        Windows::All | Windows::OptIn => ("sliding_window", None),
    };
    let given = match fields.value(key).map(serde_json::Value::as_i64) {
        Some(Some(-1 | 0)) => None, // how some configurations write "no window"
        Some(_) => fields.optional_size(key)?,
        None => default,
    };
    let on = match rule {
        Windows::OptIn => allowed == Some(true),
        _ => allowed != Some(false),
    };
    let Some(window) = given.filter(|w| on && u64::from(*w) < longest) else {
        return Ok(vec![None; count as usize]);
    };
    if let Some(types) = layers::texts(fields, "layer_types", count)? {
        let local = |t: &str| t.starts_with("sliding") || t.starts_with("chunked") || t.starts_with("local");
        return Ok(types.into_iter().map(|t| local(t).then_some(window)).collect());
    }
    let is_local: Box<dyn Fn(u32) -> bool> = match rule {
        Windows::OptIn => {
            let first = fields.count_or("max_window_layers", 0)?;
            Box::new(move |i| i >= first)
        }
        Windows::Alternating { every, .. } => match fields.value("sliding_window_pattern") {
            // EXAONE writes the layers of one round: "LLLG".
            Some(serde_json::Value::String(round)) if !round.is_empty() => {
                let local: Vec<bool> = round.chars().map(|kind| kind == 'L').collect();
                Box::new(move |i| local[i as usize % local.len()])
            }
            _ => {
                let every = fields.size_or("sliding_window_pattern", every)?;
                Box::new(move |i| (i + 1) % every != 0)
            }
        },
        Windows::Chunked => Box::new(|i| (i + 1) % 4 != 0),
        _ => Box::new(|_| true),
    };
    Ok((0..count).map(|i| is_local(i).then_some(window)).collect())
}
