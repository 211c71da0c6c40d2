//! Which layers attend to a sliding window. Files say how wide it is and only newer ones say where;
//! the rest is llama.cpp's own knowledge (`load_arch_hparams` of each model, `set_swa_pattern`).

use super::metadata::Metadata;
use crate::spec::SpecError;

/// Every n-th layer sees everything, by architecture, where the file does not say.
const PERIODS: [(&str, u64); 12] = [
    ("afmoe", 4),
    ("cohere2", 4),
    ("exaone-moe", 4),
    ("exaone4", 4),
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma3n", 5),
    ("gpt-oss", 2),
    ("llama4", 4),
    ("olmo2", 4),
    ("plamo3", 8),
    ("smallthinker", 4),
];

/// Chunk of Llama 4's local layers, which files do not carry.
const LLAMA4_CHUNK: u64 = 8192;

/// The window of each layer, and what had to be assumed.
pub(super) fn windows(
    metadata: &Metadata,
    architecture: &str,
    layers: u32,
) -> Result<(Vec<Option<u32>>, Option<String>), SpecError> {
    let none = vec![None; layers as usize];
    let key = format!("{architecture}.attention.sliding_window");
    let given = metadata.number(&key)?;
    let width = if architecture == "llama4" && given.is_none() { Some(LLAMA4_CHUNK) } else { given };
    let longest = metadata.number(&format!("{architecture}.context_length"))?.unwrap_or(u64::MAX);
    let Some(window) = width.filter(|w| (1..longest).contains(w)).and_then(|w| u32::try_from(w).ok()) else {
        return Ok((none, None));
    };
    let pattern = format!("{architecture}.attention.sliding_window_pattern");
    let known = PERIODS.iter().find(|(name, _)| *name == architecture).map(|(_, n)| *n);
    let local: Vec<bool> = if let Some(list) = metadata.integers(&pattern) {
        list.iter().cycle().take(layers as usize).map(|n| *n != 0).collect()
    } else if let Some(period) = metadata.number(&pattern)?.or(known) {
        // Full attention comes last in each period, in SmallThinker first.
        let full = if architecture == "smallthinker" { 0 } else { period.saturating_sub(1) };
        (0..u64::from(layers)).map(|i| period == 0 || i % period != full).collect()
    } else {
        let note = format!(
            "`{key}` = {window}, but which layers it means is not known; \
             all are taken for full attention, as llama.cpp runs them"
        );
        return Ok((none, Some(note)));
    };
    Ok((local.into_iter().map(|is_local| is_local.then_some(window)).collect(), None))
}
