//! Configurations that describe no autoregressive language model.

use super::Fields;
use crate::spec::SpecError;

const DIFFUSION: &str = "an image or video diffusion model";
const ENCODER: &str = "a text encoder";
const ENCODER_DECODER: &str = "an encoder–decoder model";
const IMAGE: &str = "an image encoder";
const IMAGE_TEXT: &str = "an image–text embedding model";
const SPEECH: &str = "a speech or audio model";
const CLASSIFIER: &str = "a classifier";
const OTHER: &str = "a model of something else than text";

/// `model_type` → what it is.
const OTHERS: &[(&str, &str)] = &[
    ("albert", ENCODER),
    ("align", IMAGE_TEXT),
    ("altclip", IMAGE_TEXT),
    ("audio-spectrogram-transformer", SPEECH),
    ("autoformer", OTHER),
    ("bark", SPEECH),
    ("bart", ENCODER_DECODER),
    ("beit", IMAGE),
    ("bert", ENCODER),
    ("big_bird", ENCODER),
    ("blenderbot", ENCODER_DECODER),
    ("blip", IMAGE_TEXT),
    ("camembert", ENCODER),
    ("canine", ENCODER),
    ("chinese_clip", IMAGE_TEXT),
    ("clap", SPEECH),
    ("clip", IMAGE_TEXT),
    ("clip_text_model", IMAGE_TEXT),
    ("clip_vision_model", IMAGE),
    ("clipseg", IMAGE),
    ("convbert", ENCODER),
    ("convnext", IMAGE),
    ("convnextv2", IMAGE),
    ("data2vec-audio", SPEECH),
    ("deberta", ENCODER),
    ("deberta-v2", ENCODER),
    ("deit", IMAGE),
    ("detr", IMAGE),
    ("dinov2", IMAGE),
    ("dinov3_vit", IMAGE),
    ("distilbert", ENCODER),
    ("dpr", ENCODER),
    ("efficientnet", IMAGE),
    ("electra", ENCODER),
    ("encodec", SPEECH),
    ("encoder-decoder", ENCODER_DECODER),
    ("ernie", ENCODER),
    ("esm", OTHER),
    ("flaubert", ENCODER),
    ("flava", IMAGE_TEXT),
    ("groupvit", IMAGE_TEXT),
    ("grounding-dino", IMAGE),
    ("hubert", SPEECH),
    ("informer", OTHER),
    ("jina_clip", IMAGE_TEXT),
    ("layoutlm", ENCODER),
    ("layoutlmv2", ENCODER),
    ("layoutlmv3", ENCODER),
    ("led", ENCODER_DECODER),
    ("longformer", ENCODER),
    ("longt5", ENCODER_DECODER),
    ("m2m_100", ENCODER_DECODER),
    ("marian", ENCODER_DECODER),
    ("mask2former", IMAGE),
    ("mbart", ENCODER_DECODER),
    ("metaclip_2", IMAGE_TEXT),
    ("mimi", SPEECH),
    ("mobilebert", ENCODER),
    ("mobilenet_v2", IMAGE),
    ("mobilevit", IMAGE),
    ("modernbert", ENCODER),
    ("mpnet", ENCODER),
    ("mra", ENCODER),
    ("mt5", ENCODER_DECODER),
    ("musicgen", SPEECH),
    ("mvp", ENCODER_DECODER),
    ("new", ENCODER),
    ("nllb-moe", ENCODER_DECODER),
    ("nomic_bert", ENCODER),
    ("nystromformer", ENCODER),
    ("owlv2", IMAGE_TEXT),
    ("owlvit", IMAGE_TEXT),
    ("parakeet_ctc", SPEECH),
    ("patchtst", OTHER),
    ("pegasus", ENCODER_DECODER),
    ("plbart", ENCODER_DECODER),
    ("prophetnet", ENCODER_DECODER),
    ("regnet", IMAGE),
    ("rembert", ENCODER),
    ("resnet", IMAGE),
    ("roberta", ENCODER),
    ("roberta-prelayernorm", ENCODER),
    ("roformer", ENCODER),
    ("rt_detr", IMAGE),
    ("sam", IMAGE),
    ("sam2", IMAGE),
    ("seamless_m4t", SPEECH),
    ("segformer", IMAGE),
    ("siglip", IMAGE_TEXT),
    ("siglip2", IMAGE_TEXT),
    ("siglip_vision_model", IMAGE),
    ("speech_to_text", SPEECH),
    ("speecht5", SPEECH),
    ("squeezebert", ENCODER),
    ("swin", IMAGE),
    ("swinv2", IMAGE),
    ("switch_transformers", ENCODER_DECODER),
    ("t5", ENCODER_DECODER),
    ("t5gemma", ENCODER_DECODER),
    ("timesformer", IMAGE),
    ("timm_wrapper", IMAGE),
    ("udop", ENCODER_DECODER),
    ("umt5", ENCODER_DECODER),
    ("unispeech", SPEECH),
    ("univnet", SPEECH),
    ("videomae", IMAGE),
    ("vision-encoder-decoder", ENCODER_DECODER),
    ("vision-text-dual-encoder", IMAGE_TEXT),
    ("vit", IMAGE),
    ("vit_mae", IMAGE),
    ("vitdet", IMAGE),
    ("vits", SPEECH),
    ("wav2vec2", SPEECH),
    ("wav2vec2-bert", SPEECH),
    ("wav2vec2-conformer", SPEECH),
    ("wavlm", SPEECH),
    ("whisper", SPEECH),
    ("x-clip", IMAGE_TEXT),
    ("xlm", ENCODER),
    ("xlm-roberta", ENCODER),
    ("xlm-roberta-xl", ENCODER),
    ("xlnet", ENCODER),
    ("xmod", ENCODER),
    ("yolos", IMAGE),
    ("yoso", ENCODER),
];

/// Class-name endings of models that score text instead of writing it.
const CLASSIFIERS: [&str; 5] = [
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForImageClassification",
    "ForMultipleChoice",
];

/// Refuses what generates no text token by token.
///
/// # Errors
/// [`SpecError::NotALanguageModel`] with the model type or class found.
pub(crate) fn check(root: &Fields<'_>) -> Result<(), SpecError> {
    let refuse = |name: &str, what| {
        let architecture = name.escape_debug().take(80).collect();
        Err(SpecError::NotALanguageModel { file: root.file().into(), architecture, what })
    };
    if let Some(class) = root.text("_class_name")? {
        return refuse(class, DIFFUSION);
    }
    let model_type = root.text("model_type")?;
    if let Some((name, what)) = OTHERS.iter().find(|(name, _)| Some(*name) == model_type) {
        return refuse(name, what);
    }
    let classes = root.texts("architectures")?.unwrap_or_default();
    if let Some(class) = classes.iter().find(|class| CLASSIFIERS.iter().any(|end| class.ends_with(end))) {
        return refuse(class, CLASSIFIER);
    }
    if let Some(class) = classes.iter().find(|class| class.ends_with("ForMaskedLM")) {
        return refuse(class, ENCODER);
    }
    if root.flag("is_encoder_decoder", false)? {
        return refuse(model_type.unwrap_or("is_encoder_decoder"), ENCODER_DECODER);
    }
    Ok(())
}
