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
const TEXT_DIFFUSION: &str = "a diffusion language model, which writes no token after the other";

/// `model_type` → what it is.
const OTHERS: &[(&str, &str)] = &[
    ("a2d-qwen3", TEXT_DIFFUSION),
    ("albert", ENCODER),
    ("align", IMAGE_TEXT),
    ("altclip", IMAGE_TEXT),
    ("audio-spectrogram-transformer", SPEECH),
    ("autoformer", OTHER),
    ("bark", SPEECH),
    ("bart", ENCODER_DECODER),
    ("beit", IMAGE),
    ("bert", ENCODER),
    ("bert-generation", ENCODER),
    ("bidirectional_pplx_qwen3", ENCODER),
    ("big_bird", ENCODER),
    ("bigbird_pegasus", ENCODER_DECODER),
    ("blenderbot", ENCODER_DECODER),
    ("blenderbot-small", ENCODER_DECODER),
    ("blip", IMAGE_TEXT),
    ("camembert", ENCODER),
    ("canine", ENCODER),
    ("chatterbox", SPEECH),
    ("chinese_clip", IMAGE_TEXT),
    ("clap", SPEECH),
    ("clip", IMAGE_TEXT),
    ("clip_text_model", IMAGE_TEXT),
    ("clip_vision_model", IMAGE),
    ("clipseg", IMAGE),
    ("convbert", ENCODER),
    ("convnext", IMAGE),
    ("convnextv2", IMAGE),
    ("csm", SPEECH),
    ("data2vec-audio", SPEECH),
    ("data2vec-text", ENCODER),
    ("data2vec-vision", IMAGE),
    ("deberta", ENCODER),
    ("deberta-v2", ENCODER),
    ("deit", IMAGE),
    ("detr", IMAGE),
    ("dia", SPEECH),
    ("diffuqwen35", TEXT_DIFFUSION),
    ("diffusion_gemma", TEXT_DIFFUSION),
    ("dinov2", IMAGE),
    ("dinov3_vit", IMAGE),
    ("distilbert", ENCODER),
    ("dpr", ENCODER),
    ("Dream", TEXT_DIFFUSION),
    ("efficientnet", IMAGE),
    ("electra", ENCODER),
    ("embedding_gemma2", ENCODER),
    ("encodec", SPEECH),
    ("encoder-decoder", ENCODER_DECODER),
    ("ernie", ENCODER),
    ("esm", OTHER),
    ("evo2", OTHER),
    ("flaubert", ENCODER),
    ("flava", IMAGE_TEXT),
    ("florence2", IMAGE_TEXT),
    ("grounding-dino", IMAGE),
    ("groupvit", IMAGE_TEXT),
    ("hubert", SPEECH),
    ("hyenadna", OTHER),
    ("informer", OTHER),
    ("jina_clip", IMAGE_TEXT),
    ("kyutai_speech_to_text", SPEECH),
    ("layoutlm", ENCODER),
    ("layoutlmv2", ENCODER),
    ("layoutlmv3", ENCODER),
    ("led", ENCODER_DECODER),
    ("llada", TEXT_DIFFUSION),
    ("llada2_moe", TEXT_DIFFUSION),
    ("llama_bidirec", ENCODER),
    ("longformer", ENCODER),
    ("longt5", ENCODER_DECODER),
    ("m2m_100", ENCODER_DECODER),
    ("marian", ENCODER_DECODER),
    ("mask2former", IMAGE),
    ("mbart", ENCODER_DECODER),
    ("megatron-bert", ENCODER),
    ("metaclip_2", IMAGE_TEXT),
    ("mimi", SPEECH),
    ("mobilebert", ENCODER),
    ("mobilenet_v2", IMAGE),
    ("mobilevit", IMAGE),
    ("modernbert", ENCODER),
    ("moshi", SPEECH),
    ("mpnet", ENCODER),
    ("mra", ENCODER),
    ("mt5", ENCODER_DECODER),
    ("musicgen", SPEECH),
    ("musicgen_melody", SPEECH),
    ("mvp", ENCODER_DECODER),
    ("nemotron_labs_diffusion", TEXT_DIFFUSION),
    ("new", ENCODER),
    ("nllb-moe", ENCODER_DECODER),
    ("nomic_bert", ENCODER),
    ("nystromformer", ENCODER),
    ("omnivoice", SPEECH),
    ("owlv2", IMAGE_TEXT),
    ("owlvit", IMAGE_TEXT),
    ("parakeet_ctc", SPEECH),
    ("parler_tts", SPEECH),
    ("patchtst", OTHER),
    ("pegasus", ENCODER_DECODER),
    ("pix2struct", ENCODER_DECODER),
    ("plbart", ENCODER_DECODER),
    ("progen", OTHER),
    ("prophetnet", ENCODER_DECODER),
    ("qwen3_tts", SPEECH),
    ("regnet", IMAGE),
    ("rembert", ENCODER),
    ("resnet", IMAGE),
    ("roberta", ENCODER),
    ("roberta-prelayernorm", ENCODER),
    ("roc_bert", ENCODER),
    ("roformer", ENCODER),
    ("rt_detr", IMAGE),
    ("sam", IMAGE),
    ("sam2", IMAGE),
    ("sdar", TEXT_DIFFUSION),
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
    ("t5gemma2", ENCODER_DECODER),
    ("timesformer", IMAGE),
    ("timm_wrapper", IMAGE),
    ("trocr", ENCODER_DECODER),
    ("udop", ENCODER_DECODER),
    ("umt5", ENCODER_DECODER),
    ("unispeech", SPEECH),
    ("univnet", SPEECH),
    ("vibevoice", SPEECH),
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

/// Language models of layers that nothing here describes.
const UNKNOWN_LAYERS: &[(&str, &str)] = &[
    ("blt", "layers on patches of bytes"),
    ("hrm_text", "layers that run many times for one token"),
    ("huginn_raven", "layers that run many times for one token"),
    ("ouro", "layers that run many times for one token"),
    ("recurrent_gemma", "gated linear recurrences"),
    ("retnet", "retention layers"),
    ("rwkv", "RWKV layers"),
    ("rwkv5", "RWKV layers"),
    ("rwkv6", "RWKV layers"),
    ("rwkv7", "RWKV layers"),
    ("xlstm", "xLSTM layers"),
    ("zamba", "attention layers that are shared between Mamba layers"),
    ("zamba2", "attention layers that are shared between Mamba layers"),
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
    if let Some((name, what)) = UNKNOWN_LAYERS.iter().find(|(name, _)| Some(*name) == model_type) {
        return Err(not_modelled(root, name, (*what).to_owned()));
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

/// The error about a language model with layers of a kind that nothing here describes.
fn not_modelled(fields: &Fields<'_>, name: &str, what: String) -> SpecError {
    let architecture = name.escape_debug().take(80).collect();
    SpecError::NotModelled { file: fields.file().into(), architecture, what }
}

/// Keys that only models with layers beside attention have, by their beginning.
const OTHER_LAYERS: [&str; 9] =
    ["mamba_", "ssm_", "linear_attn", "linear_key", "linear_num", "lru_", "rnn_", "rwkv", "time_mix"];

/// Keys that list a kind for each layer.
const KINDS: [&str; 4] = ["layer_types", "layers_block_type", "block_types", "attn_layer_types"];

/// Refuses an architecture that is not known and whose fields name layers that are no attention: read as a
/// transformer it would be wrong in its cache and its time.
///
/// # Errors
/// [`SpecError::NotModelled`] with the kind of layer or the key.
pub(crate) fn only_attention(fields: &Fields<'_>, model_type: &str) -> Result<(), SpecError> {
    let attention = |kind: &str| {
        ["attention", "full", "sliding", "chunked", "local", "global"].iter().any(|k| kind.contains(k))
    };
    for key in KINDS {
        let Some(kinds) = fields.value(key).and_then(serde_json::Value::as_array) else { continue };
        let mut kinds = kinds.iter().filter_map(serde_json::Value::as_str);
        if let Some(kind) = kinds.find(|k| !attention(k) || k.contains("linear")) {
            let shown: String = kind.escape_debug().take(40).collect();
            return Err(not_modelled(fields, model_type, format!("layers of kind `{shown}` ({key})")));
        }
    }
    let named =
        |key: &&str| OTHER_LAYERS.iter().any(|beginning| key.starts_with(beginning)) && fields.has(key);
    match fields.keys().find(named) {
        Some(key) => {
            let shown: String = key.escape_debug().take(40).collect();
            Err(not_modelled(fields, model_type, format!("layers that are no attention (`{shown}`)")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::hf::read_config;

    /// A made-up architecture with the usual sizes and `more`.
    fn message(model_type: &str, more: &str) -> Option<String> {
        let text = format!(
            r#"{{"model_type": "{model_type}", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 16, "vocab_size": 10{more}}}"#
        );
        read_config(&text, "config.json").err().map(|e| e.to_string())
    }

    #[test]
    fn layers_that_nobody_described_are_named() {
        for (more, named) in [
            (
                r#", "layer_types": ["full_attention", "linear_attention"]"#,
                "`linear_attention` (layer_types)",
            ),
            (r#", "layers_block_type": ["mamba", "attention"]"#, "`mamba` (layers_block_type)"),
            (r#", "mamba_d_state": 16"#, "`mamba_d_state`"),
        ] {
            let message = message("unheard_of", more).unwrap();
            assert!(message.contains(named) && message.contains("`unheard_of`"), "{message}");
        }
        assert_eq!(
            message("unheard_of", r#", "layer_types": ["full_attention", "sliding_attention"]"#),
            None
        );
        assert!(message("rwkv7", "").unwrap().contains("RWKV layers"));
        assert!(message("llada", "").unwrap().contains("diffusion language model"));
    }
}
