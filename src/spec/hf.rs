//! Reader for the `config.json` of Hugging Face models. The frame parses, finds the language
//! model's object, refuses what is no language model and dispatches by `model_type`; a family
//! turns fields into layers.

mod classic;
mod decoder;
mod deepseek_v4;
mod delta;
mod dense;
mod ernie_vl;
mod experts;
mod fields;
mod gated;
mod gemma;
mod hybrids;
mod json;
mod latent;
mod layers;
mod mamba;
mod moe;
mod mtp;
mod nemotron_h;
mod quantization;
mod refuse;
mod rotary;
mod sparse;
mod unknown;
mod variants;
mod vision;
mod windows;

use std::path::Path;

use super::{ModelSpec, SpecError};
pub(crate) use fields::Fields;

/// Reads the language model's object of a configuration.
pub(crate) type Reader = fn(&Fields<'_>) -> Result<ModelSpec, SpecError>;

/// A `model_type` with its reader.
pub(crate) type Family = (&'static str, Reader);

/// All families, by room.
const FAMILIES: &[&[Family]] = &[
    dense::FAMILIES,
    classic::FAMILIES,
    moe::FAMILIES,
    latent::FAMILIES,
    delta::FAMILIES,
    mamba::FAMILIES,
    nemotron_h::FAMILIES,
    deepseek_v4::FAMILIES,
    gemma::FAMILIES,
    sparse::FAMILIES,
    variants::FAMILIES,
    gated::FAMILIES,
    hybrids::FAMILIES,
    ernie_vl::FAMILIES,
];

/// Objects that hold the language model of a multi-modal configuration, in the order in which they are tried.
const LANGUAGE_OBJECTS: [&str; 5] =
    ["text_config", "llm_config", "language_config", "thinker_config", "text_model_config"];

/// Reads a `config.json`. `file` names it in messages; the model is named after its repository
/// (`_name_or_path`) or else after the file's folder.
///
/// # Errors
/// When the text is no JSON object, describes no autoregressive language model, or lacks or
/// distorts a field that is needed; the message names the key, the value and the fix.
pub fn read_config(text: &str, file: &str) -> Result<ModelSpec, SpecError> {
    let map = json::parse(text, file)?;
    let root = Fields::new(&map, file);
    refuse::check(&root)?;
    let fields = language_fields(&root)?;
    let (outer, inner) = (architecture(&root)?, architecture(&fields)?);
    // A nested object describes itself best; its name may be generic, its parent's then is not.
    let named = [&inner, &outer].into_iter().flatten().find_map(|name| Some((name.clone(), reader(name)?)));
    let (architecture, mut spec) = match named {
        Some((name, read)) => (name, read(&fields)?),
        None => unknown::read(&fields, inner.or(outer))?,
    };
    // What follows multiplies these sizes.
    spec.validate(file)?;
    spec.architecture = architecture;
    spec.id = name_of(&root, file)?;
    spec.rotary_positions = rotary::positions(&fields, spec.max_position_embeddings)?;
    vision::attach(&root, &mut spec)?;
    mtp::attach(&fields, &mut spec)?;
    quantization::read(&fields, &mut spec)?;
    spec.validate(file)?;
    Ok(spec)
}

/// Applies a `hf_quant_config.json`, which `ModelOpt` writes beside a `config.json` that does not
/// mention the quantisation.
///
/// # Errors
/// When the text is no JSON object or a value of it makes no sense.
pub fn apply_quantization(spec: &mut ModelSpec, text: &str, file: &str) -> Result<(), SpecError> {
    let map = json::parse(text, file)?;
    let root = Fields::new(&map, file);
    let config = root.nested("quantization")?.unwrap_or(root);
    quantization::apply(&config, spec)
}

/// The reader of a `model_type`.
fn reader(name: &str) -> Option<Reader> {
    FAMILIES.iter().flat_map(|f| f.iter()).find(|(n, _)| *n == name).map(|(_, read)| *read)
}

/// The object of the language model, however deep it lies.
fn language_fields<'a>(root: &Fields<'a>) -> Result<Fields<'a>, SpecError> {
    let mut fields = root.clone();
    'deeper: for _ in 0..3 {
        for key in LANGUAGE_OBJECTS {
            if fields.has(key)
                && let Some(nested) = fields.nested(key)?
            {
                fields = nested;
                continue 'deeper;
            }
        }
        break;
    }
    Ok(fields)
}

/// `model_type`, or else the known one that the architecture's class name contains
/// (`Qwen2MoeForCausalLM` → `qwen2_moe`).
fn architecture(fields: &Fields<'_>) -> Result<Option<String>, SpecError> {
    if let Some(name) = fields.text("model_type")? {
        return Ok(Some(name.to_owned()));
    }
    let classes = fields.texts("architectures")?.unwrap_or_default();
    let Some(class) = classes.first() else { return Ok(None) };
    let end = ["For", "LMHead", "Model"].iter().filter_map(|end| class.find(end)).min();
    let stem = class.get(..end.unwrap_or(class.len())).unwrap_or(class).to_ascii_lowercase();
    let bare = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let known = FAMILIES.iter().flat_map(|f| f.iter()).find(|(name, _)| bare(name) == stem);
    Ok(known.map(|(name, _)| (*name).to_owned()))
}

/// A name for the model: its repository, else the folder of a `config.json`, else the file's stem.
fn name_of(root: &Fields<'_>, file: &str) -> Result<String, SpecError> {
    if let Some(name) = root.text("_name_or_path")?.filter(|n| n.contains('/') && !n.starts_with(['/', '.']))
    {
        return Ok(name.to_owned());
    }
    let path = Path::new(file);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).map(|f| f.to_string_lossy());
    Ok(match folder {
        Some(folder) if stem == "config" => folder.into_owned(),
        _ => stem.into_owned(),
    })
}

#[cfg(test)]
mod families_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_model_type_is_listed_once() {
        let names: Vec<&str> = FAMILIES.iter().flat_map(|f| f.iter()).map(|(name, _)| *name).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
    }

    #[test]
    fn the_class_names_a_model_type_that_is_missing() {
        for (class, model_type) in [
            ("Qwen2MoeForCausalLM", Some("qwen2_moe")),
            ("GPTNeoXForCausalLM", Some("gpt_neox")),
            ("GPT2LMHeadModel", Some("gpt2")),
            ("UnheardOfForCausalLM", None),
        ] {
            let text = format!(r#"{{"architectures": ["{class}"]}}"#);
            let map = json::parse(&text, "f").unwrap();
            assert_eq!(architecture(&Fields::new(&map, "f")).unwrap().as_deref(), model_type);
        }
    }
}
