//! GGUF files that hold something else than a language model.

use super::metadata::Metadata;
use crate::spec::SpecError;

const VISION: &str = "a vision or audio encoder with its projector";
const ENCODER: &str = "a text encoder";
const ENCODER_DECODER: &str = "an encoder–decoder model";
const DIFFUSION: &str = "a diffusion model";
const SPEECH: &str = "an audio decoder";

const OTHERS: &[(&str, &str)] = &[
    ("bert", ENCODER),
    ("clip", VISION),
    ("diffusion-gemma", DIFFUSION),
    ("dream", DIFFUSION),
    ("eurobert", ENCODER),
    ("flux", DIFFUSION),
    ("gemma-embedding", ENCODER),
    ("jina-bert-v2", ENCODER),
    ("jina-bert-v3", ENCODER),
    ("llada", DIFFUSION),
    ("llada-moe", DIFFUSION),
    ("modern-bert", ENCODER),
    ("neo-bert", ENCODER),
    ("nomic-bert", ENCODER),
    ("nomic-bert-moe", ENCODER),
    ("rnd1", DIFFUSION),
    ("sd3", DIFFUSION),
    ("sdxl", DIFFUSION),
    ("t5", ENCODER_DECODER),
    ("t5encoder", ENCODER),
    ("wan", DIFFUSION),
    ("wavtokenizer-dec", SPEECH),
];

/// Values of `general.type` that are no model.
const KINDS: [(&str, &str); 3] =
    [("adapter", "a LoRA adapter"), ("imatrix", "an importance matrix"), ("mmproj", VISION)];

/// Refuses by name what generates no text token by token.
pub(super) fn refuse(metadata: &Metadata, architecture: &str) -> Result<(), SpecError> {
    let kind = metadata.text("general.type").unwrap_or("model");
    let what = KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .or_else(|| OTHERS.iter().find(|(name, _)| *name == architecture));
    match what {
        Some((_, what)) => Err(SpecError::NotALanguageModel {
            file: metadata.file().into(),
            architecture: architecture.into(),
            what,
        }),
        None => Ok(()),
    }
}
