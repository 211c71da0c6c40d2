//! Small pieces that readers with unlike layers share.

use super::Fields;
use crate::spec::SpecError;
use crate::spec::model::{FeedForward, LayerGroup, Mixer};

/// One layer.
pub(crate) fn layer(mixer: Mixer, feed_forward: FeedForward, norm_parameters: u64) -> LayerGroup {
    LayerGroup { count: 1, mixer, feed_forward, norm_parameters, other_parameters: 0 }
}

/// The entries of a list with one text a layer, when it is there. Further entries, which some
/// configurations keep for multi-token-prediction layers, are cut off.
///
/// # Errors
/// When the list is shorter than the number of layers.
pub(crate) fn texts<'a>(
    fields: &Fields<'a>,
    key: &'a str,
    layers: u32,
) -> Result<Option<Vec<&'a str>>, SpecError> {
    let Some(mut list) = fields.texts(key)? else { return Ok(None) };
    check_length(fields, key, list.len(), layers)?;
    list.truncate(layers as usize);
    Ok(Some(list))
}

/// The entries of a list with one number a layer, when it is there.
///
/// # Errors
/// When the list is shorter than the number of layers.
pub(crate) fn counts<'a>(
    fields: &Fields<'a>,
    key: &'a str,
    layers: u32,
) -> Result<Option<Vec<u32>>, SpecError> {
    let Some(mut list) = fields.counts(key)? else { return Ok(None) };
    check_length(fields, key, list.len(), layers)?;
    list.truncate(layers as usize);
    Ok(Some(list))
}

fn check_length<'a>(fields: &Fields<'a>, key: &'a str, found: usize, layers: u32) -> Result<(), SpecError> {
    if found >= layers as usize {
        return Ok(());
    }
    let problem = format!("has {found} entries for {layers} layers");
    Err(fields.wrong(key, &problem, "give one entry a layer"))
}

/// A size that may be written as "auto", which stands for `automatic`.
///
/// # Errors
/// When it is neither.
pub(crate) fn size_or_auto<'a>(fields: &Fields<'a>, key: &'a str, automatic: u32) -> Result<u32, SpecError> {
    if fields.value(key).is_some_and(|v| v == "auto") {
        return Ok(automatic);
    }
    fields.size_or(key, automatic)
}

/// A sum of products of sizes, Σ Π, that stops at the largest integer instead of overflowing; the
/// model's validation refuses what comes near it.
pub(crate) fn elements(terms: &[&[u64]]) -> u64 {
    let product = |factors: &&[u64]| factors.iter().copied().fold(1, u64::saturating_mul);
    terms.iter().map(product).fold(0, u64::saturating_add)
}
