//! A tower that nobody described, taken for a plain vision transformer.

use super::parts::{Block, Tower, linear, sum};
use crate::spec::model::Vision;

/// A plain tower with a two-layer projector, when the usual names give its sizes.
pub(super) fn estimate(tower: &Tower<'_>) -> Option<Vision> {
    let fields = &tower.fields;
    let first = |keys: &[&'static str]| {
        keys.iter().find_map(|key| fields.value(key).and_then(serde_json::Value::as_u64)).filter(|n| *n > 0)
    };
    let small = |n: u64| u32::try_from(n).ok().filter(|n| *n <= 1_000_000);
    let width = first(&["embed_dim", "hidden_size", "width"]).and_then(small)?;
    let layers = first(&["depth", "num_hidden_layers", "num_layers", "layers"]).and_then(small)?;
    let patch = first(&["patch_size"]).and_then(small).unwrap_or(14);
    let heads = first(&["num_heads", "num_attention_heads", "heads"]).and_then(small).unwrap_or(16);
    let feed_forward = first(&["intermediate_size"]).and_then(small).map_or(4 * u64::from(width), u64::from);
    let merge = first(&["spatial_merge_size"]).and_then(small).unwrap_or(2);
    let h = u64::from(width);
    let positions = first(&["image_size"]).map_or(0, |side| (side / u64::from(patch)).saturating_pow(2));
    let parts = [
        linear(3 * u64::from(patch).pow(2), h, true),
        positions.saturating_mul(h),
        Block::plain(h, feed_forward).parameters(layers.into()),
        linear(h, tower.text_hidden, true),
        linear(tower.text_hidden, tower.text_hidden, true),
    ];
    Some(Vision {
        parameters: sum(&parts),
        layers,
        hidden_size: width,
        heads,
        patch_size: patch,
        merge_size: merge,
        tokens_per_image: None,
    })
}
