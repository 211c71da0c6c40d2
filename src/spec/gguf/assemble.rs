//! A model from the header: layers in order, what stands outside them, precision and bytes.

use std::collections::BTreeMap;
use std::path::Path;

use super::block::Block;
use super::header::{Header, Tensor};
use super::notes::Notes;
use super::split::Joined;
use super::{layer, other_models, outside, precision, windows};
use crate::spec::model::LayerGroup;
use crate::spec::{ModelSpec, SpecError};

/// Most layers taken for real.
const MOST_LAYERS: u64 = 10_000;

/// The model that a header describes.
pub(super) fn model(joined: &Joined, file: &str) -> Result<ModelSpec, SpecError> {
    let Header { metadata, tensors, .. } = &joined.header;
    let architecture =
        metadata.text("general.architecture").ok_or_else(|| metadata.missing("general.architecture"))?;
    other_models::refuse(metadata, architecture)?;
    let size = |key: &str| {
        let key = format!("{architecture}.{key}");
        metadata.number(&key)?.ok_or_else(|| metadata.missing(&key))
    };
    let (blocks, hidden) = (size("block_count")?, size("embedding_length")?);
    let layers =
        u32::try_from(blocks).ok().filter(|_| (1..=MOST_LAYERS).contains(&blocks)).ok_or_else(|| {
            metadata.value_error(&format!("{architecture}.block_count"), blocks, "is no number of layers")
        })?;
    let ahead =
        metadata.number(&format!("{architecture}.nextn_predict_layers"))?.unwrap_or(0).min(blocks - 1);
    let first_mtp = layers - u32::try_from(ahead).unwrap_or(0);
    let mut notes = Notes::default();
    let (windows, note) = windows::windows(metadata, architecture, layers)?;
    notes.list.extend(note);

    let mut by_layer: BTreeMap<u32, BTreeMap<&str, &Tensor>> = BTreeMap::new();
    let mut others = BTreeMap::new();
    for tensor in tensors {
        match precision::layer_and_name(&tensor.name) {
            Some((index, name)) => _ = by_layer.entry(index).or_default().insert(name, tensor),
            None => _ = others.insert(tensor.name.as_str(), tensor),
        }
    }
    let mut groups: Vec<LayerGroup> = vec![];
    let mut recurrent = vec![];
    let mut mtp = None;
    let mut last: Option<Vec<LayerGroup>> = None;
    for index in 0..layers {
        let Some(rest) = by_layer.remove(&index) else {
            let stand_in = last.as_ref().filter(|_| !joined.missing.is_empty());
            let Some(stand_in) = stand_in else {
                return Err(metadata.missing(&format!("blk.{index}.attn_norm.weight")));
            };
            add(&mut groups, stand_in);
            recurrent.push(false);
            continue;
        };
        if index >= first_mtp {
            mtp = Some(outside::prediction(mtp, rest, metadata, architecture)?);
            continue;
        }
        let window = windows.get(index as usize).copied().flatten();
        let block = Block { index, metadata, architecture, hidden, rest, taken: 0 };
        let layer = layer::layer(block, window)?;
        for remark in layer.remarks {
            notes.about_layer(remark);
        }
        recurrent.push(layer.groups.iter().any(|g| g.mixer.state_bytes() > 0));
        add(&mut groups, &layer.groups);
        last = Some(layer.groups);
    }
    let (embedding, vocab) = outside::embedding(metadata, architecture, &others, hidden, &mut notes)?;
    let checkpoint =
        precision::precision(tensors, first_mtp, &recurrent, embedding.tied).map_err(|name| {
            metadata.value_error(
                "tensor type",
                name,
                "holds most of a class of weights, but is no weight format",
            )
        })?;
    let whole = joined.missing.is_empty();
    if !whole {
        notes.list.push(format!(
            "{} of the model's files are missing ({} …); layers in them are taken to look like the last one seen",
            joined.missing.len(),
            joined.missing.first().map_or("", String::as_str)
        ));
    }
    for (name, bytes) in &joined.truncated {
        notes
            .list
            .push(format!("{name} ends {bytes} bytes before its tensors do; is the download complete?"));
    }
    let narrow = |key: &str, value: u64| {
        u32::try_from(value).map_err(|_| metadata.value_error(key, value, "is no possible size"))
    };
    let spec = ModelSpec {
        id: Path::new(file).file_stem().map_or_else(|| file.into(), |s| s.to_string_lossy().into_owned()),
        hf_id: None,
        architecture: architecture.into(),
        hidden_size: narrow("embedding_length", hidden)?,
        vocab_size: narrow("vocabulary", vocab)?,
        max_position_embeddings: metadata
            .number(&format!("{architecture}.context_length"))?
            .filter(|n| *n > 0),
        rotary_positions: None,
        embedding,
        layers: groups,
        vision: None,
        mtp,
        checkpoint,
        checkpoint_bytes: whole.then(|| tensors.iter().map(Tensor::bytes).sum()),
        source: None,
        warnings: notes.into_warnings(),
    };
    spec.validate(file)?;
    Ok(spec)
}

/// Adds layers to the group of their like.
fn add(groups: &mut Vec<LayerGroup>, layers: &[LayerGroup]) {
    for layer in layers {
        let like = groups.iter_mut().find(|g| LayerGroup { count: layer.count, ..(*g).clone() } == *layer);
        match like {
            Some(group) => group.count += layer.count,
            None => groups.push(layer.clone()),
        }
    }
}
