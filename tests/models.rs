//! Finding models: paths, the catalog, the local Hugging Face cache; import and back.
#![allow(clippy::unwrap_used)]

use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::import::{Identity, import, to_toml};
use foretoken::spec::model::ModelSource;
use foretoken::spec::{ModelSpec, SpecError};
use std::fs;
use std::path::Path;

/// Shapes of a small Llama, made up.
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
    "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 4,
    "vocab_size": 1000, "max_position_embeddings": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}"#;

fn directory_with(path: &str, text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    directory
}

fn find(name: &str) -> Result<ModelSpec, SpecError> {
    catalog::model(name, &Directories::default())
}

/// A catalog of the user with entries of these ids, each of `org/<id as written>`.
fn own_catalog(names: &[&str]) -> (tempfile::TempDir, Directories) {
    let directory = directory_with("config.json", CONFIG);
    let models = directory.path().join("models");
    fs::create_dir(&models).unwrap();
    for name in names {
        let identity = Identity { hf_id: Some(format!("org/{name}")), ..Identity::default() };
        let spec = import(&directory.path().join("config.json"), identity).unwrap();
        fs::write(models.join(format!("{}.toml", spec.id)), to_toml(&spec).unwrap()).unwrap();
    }
    (directory, Directories { models: vec![models], ..Directories::default() })
}

#[test]
fn a_path_may_be_a_directory_or_a_file() {
    let directory = directory_with("tiny/config.json", CONFIG);
    let folder = directory.path().join("tiny");
    let spec = find(folder.to_str().unwrap()).unwrap();
    assert_eq!(find(folder.join("config.json").to_str().unwrap()).unwrap(), spec);
    assert_eq!((spec.id.as_str(), spec.layer_count()), ("tiny", 4));
}

#[test]
fn a_quantisation_beside_the_configuration_counts() {
    let directory = directory_with("tiny/config.json", CONFIG);
    let folder = directory.path().join("tiny");
    let text = r#"{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}"#;
    fs::write(folder.join("hf_quant_config.json"), text).unwrap();
    let checkpoint = find(folder.to_str().unwrap()).unwrap().checkpoint;
    assert_eq!(checkpoint.method.as_deref(), Some("modelopt"));
    assert_eq!(checkpoint.kv_cache, Some(foretoken::spec::DataType::Fp8));
}

#[test]
fn an_import_reads_back_unchanged() {
    let directory = directory_with("config.json", CONFIG);
    let source = ModelSource {
        repository: "somebody/something".into(),
        kind: "verbatim".into(),
        aliases: vec!["org/Tiny_1B-Chat".into()],
        ..Default::default()
    };
    let identity =
        Identity { id: None, hf_id: Some("org/Tiny_1B".into()), source: Some(source), ..Default::default() };
    let spec = import(&directory.path().join("config.json"), identity).unwrap();
    assert_eq!(spec.id, "tiny-1b");
    let text = to_toml(&spec).unwrap();
    assert_eq!(ModelSpec::from_toml(&text, "tiny-1b.toml").unwrap(), spec);
    assert!(text.starts_with("id = \"tiny-1b\"\nhf_id = \"org/Tiny_1B\"\n"), "{text}");
}

#[test]
fn other_repositories_of_an_entry_find_it() {
    let (kept, mut directories) = own_catalog(&[]);
    let source = ModelSource {
        repository: "somebody/something".into(),
        kind: "verbatim".into(),
        aliases: vec!["org/Tiny-1B-Chat".into()],
        ..Default::default()
    };
    let identity =
        Identity { id: None, hf_id: Some("org/Tiny-1B".into()), source: Some(source), ..Default::default() };
    let spec = import(&kept.path().join("config.json"), identity).unwrap();
    fs::write(kept.path().join("models/tiny.toml"), to_toml(&spec).unwrap()).unwrap();
    for name in ["org/Tiny-1B-Chat", "tiny-1b-chat", "tiny-1b"] {
        assert_eq!(catalog::model(name, &directories).unwrap().id, "tiny-1b", "{name}");
    }
    directories.models.clear();
    assert!(catalog::model("tiny-1b-chat", &directories).is_err());
}

#[test]
fn a_published_count_must_agree() {
    let named = CONFIG.replace("\"model_type\": \"llama\", ", "").replace("LlamaForCausalLM", "Unheard");
    let directory = directory_with("llama/config.json", &named);
    let path = directory.path().join("llama");
    let guessed = import(&path, Identity::default()).unwrap();
    assert!(!guessed.warnings.is_empty());
    let total = guessed.parameters().total;
    let with = |parameters| import(&path, Identity { parameters: Some(parameters), ..Identity::default() });
    assert!(with(total).unwrap().warnings.is_empty());
    assert!(with(total + 1).unwrap_err().to_string().contains("check both"));
}

#[test]
fn unusable_ids_are_refused() {
    let directory = directory_with("config.json", CONFIG);
    for id in ["", "../up", "a b", ".hidden", "ä"] {
        let identity = Identity { id: Some(id.into()), ..Identity::default() };
        assert!(matches!(import(&directory.path().join("config.json"), identity), Err(SpecError::Usage(_))));
    }
}

#[test]
fn catalog_names_resolve() {
    let (_kept, directories) = own_catalog(&["Tiny-1.5-1B", "Tiny-1.5-1B-Instruct", "Small-7b-hf"]);
    for (name, id) in [
        ("tiny-1.5-1b", "tiny-1.5-1b"),
        ("Tiny-1.5-1B", "tiny-1.5-1b"),
        ("org/Tiny-1.5-1B", "tiny-1.5-1b"),
        ("ORG/tiny-1.5-1b", "tiny-1.5-1b"),
        ("tiny1.5:1b", "tiny-1.5-1b"),
        ("small-7b", "small-7b-hf"),
    ] {
        assert_eq!(catalog::model(name, &directories).unwrap().id, id, "{name}");
    }
    match catalog::model("tiny", &directories) {
        Err(SpecError::Ambiguous { candidates, .. }) => assert_eq!(candidates.len(), 2),
        other => panic!("{other:?}"),
    }
    let message = catalog::model("someone/tiny-1.5-2b", &directories).unwrap_err().to_string();
    assert!(message.contains("did you mean `tiny-1.5-1b`") && message.contains("models list"), "{message}");
}

#[test]
fn the_local_cache_knows_repositories() {
    let path = "models--org--Cached-3B/snapshots/0123abc/config.json";
    let directory = directory_with(path, CONFIG);
    let directories = Directories { hf_caches: vec![directory.path().to_owned()], ..Directories::default() };
    let spec = catalog::model("org/Cached-3B", &directories).unwrap();
    assert_eq!((spec.id.as_str(), spec.hf_id.as_deref()), ("cached-3b", Some("org/Cached-3B")));

    let repository = directory.path().join("models--org--Cached-3B");
    fs::create_dir_all(repository.join("snapshots/zzz")).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "0123abc").unwrap();
    assert!(catalog::model("org/Cached-3B", &directories).is_ok());
    for name in ["org/Other", "../org/Cached-3B", "org/../x", "org/"] {
        assert!(catalog::model(name, &directories).is_err(), "{name}");
    }
}

/// A dot more is another model: `opt-1.3b` is not `opt-13b`.
#[test]
fn names_are_read_letter_for_letter_first() {
    for name in ["facebook/opt-1.3b", "facebook/opt-13b", "opt-1.3b", "opt-13b"] {
        let found = find(name).unwrap().id;
        assert!(name.ends_with(&found), "{name}: {found}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let message = find(empty.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(message.contains("config.json"), "{message}");
    for name in ["/dev/zero", "/nowhere", "nowhere.json", "nowhere.toml"] {
        assert!(matches!(find(name), Err(SpecError::Unreadable { .. })), "{name}");
    }
    for name in ["", "  ", "no-such-model-at-all", "🦀/🦀"] {
        assert!(matches!(find(name), Err(SpecError::Unknown { .. })), "{name:?}");
    }
    let huge = empty.path().join("huge.json");
    fs::File::create(&huge).unwrap().set_len(65 << 20).unwrap();
    assert!(find(huge.to_str().unwrap()).unwrap_err().to_string().contains("64 MiB"));
}

#[test]
fn every_file_of_the_catalog_parses_and_carries_its_name() {
    for file in catalog::files(catalog::Kind::Models, &Directories::default()).unwrap() {
        let spec = ModelSpec::from_toml(&file.text, &file.file).unwrap();
        assert_eq!(
            (&spec.id, spec.hf_id.as_deref().unwrap_or_default()),
            (&file.header.id, &*file.header.hf_id)
        );
        assert_eq!(Path::new(&file.file).file_stem().unwrap().to_str(), Some(&*spec.id));
        assert!(spec.source.is_some_and(|s| !s.repository.is_empty() && !s.kind.is_empty()), "{}", spec.id);
        assert_eq!(find(&spec.id).unwrap().id, spec.id);
        assert_eq!(find(&file.header.hf_id).unwrap().id, spec.id);
    }
}
