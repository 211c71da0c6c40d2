//! Parameter counts to the unit, against the totals that Hugging Face states for the files
//! (`tests/fixtures/params.csv`). Where a total counts something else than parameters, the
//! difference is derived here and must be met to the unit as well.
#![allow(clippy::unwrap_used)]

#[path = "common/configs.rs"]
mod configs;

use configs::CONFIGS;
use foretoken::spec::ModelSpec;
use foretoken::spec::model::{Mixer, TensorClass};

/// Rows without a configuration at hand: the counts cannot be checked.
const WITHOUT_CONFIGURATION: [&str; 2] = ["ibm-granite/granite-4.0-h-tiny", "nvidia/GLM-5-NVFP4"];

/// Totals that are no counts of the file: one stated in round billions, and one that fits no
/// combination of packed weights and scales. There the model must count like its unquantised sibling.
const NO_COUNT: [(&str, &str); 2] = [
    ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"),
    ("nvidia/GLM-5.2-NVFP4", "zai-org/GLM-5.2"),
];

/// What the stated total has more (or less) than the parameters, with the reason.
fn difference(name: &str, spec: &ModelSpec) -> Option<(i64, &'static str)> {
    let u = i64::from;
    let layers = u(spec.layer_count());
    let (v, d) = (u(spec.vocab_size), u(spec.hidden_size));
    let experts = class(spec, TensorClass::Experts);
    let mtp = class(spec, TensorClass::Mtp);
    Some(match name {
        // A causal mask of 2048² and the frequencies of 24 or 32 rotary dimensions in every layer.
        "EleutherAI/gpt-neox-20b" => (layers * (2048 * 2048 + 24 / 2), "mask and rotary buffers"),
        "EleutherAI/pythia-12b" | "EleutherAI/pythia-6.9b" => {
            (layers * (2048 * 2048 + 32 / 2), "mask and rotary buffers")
        }
        "openai-community/gpt2" => (layers * 1024 * 1024, "mask buffers"),
        "meta-llama/Llama-2-7b-hf" => (layers * 128 / 2, "rotary frequencies"),
        "Qwen/Qwen3-0.6B" | "Qwen/Qwen3-1.7B" => (v * d, "the tied output projection is stored as well"),
        "tiiuae/falcon-180B" => (v * d, "the tied output projection is stored as well"),
        // No files to count: 12·D²·L + V·D, without positions, biases and norms.
        "facebook/opt-6.7b" => (12 * d * d * layers + v * d - total(spec), "an estimate"),
        // V·D + L·(3·D·F + D·h·96), the three other projections of latent attention left out.
        "openbmb/MiniCPM3-4B" => (v * d + layers * (3 * d * 6400 + d * 40 * 96) - total(spec), "an estimate"),
        // GLM-4.5, of the same shape, stores them.
        "zai-org/GLM-4.6" => (-2 * v * d, "no copies of the embeddings in the MTP layer"),
        // The configuration at hand is the language model's, with 64 rows of embedding less.
        "google/gemma-3-12b-it" => (gemma3_tower(d) + 64 * d, "the vision tower"),
        "MiniMaxAI/MiniMax-M2.5" | "deepseek-ai/DeepSeek-V3" => {
            (block_scales(spec), "scales of 128 × 128 blocks")
        }
        // Two 4-bit weights a byte; neither scales nor routing corrections are counted.
        "nvidia/MiniMax-M2.5-NVFP4" | "nvidia/MiniMax-M2.7-NVFP4" => {
            (-experts / 2 - layers * 256, "packed experts")
        }
        "nvidia/GLM-5.1-NVFP4" => (-experts / 2 - (layers - 3) * 256 - mtp, "packed experts, no MTP layer"),
        "nvidia/MiniMax-M3-NVFP4" => (-experts / 2, "packed experts"),
        "nvidia/Qwen3.5-122B-A10B-NVFP4" => (-experts / 2 - mtp, "packed experts, no MTP layer"),
        "nvidia/Qwen3.6-27B-NVFP4" => (
            -(class(spec, TensorClass::Mlp) + v * d) / 2 - mtp,
            "packed MLP and output projection, no MTP layer",
        ),
        // Two weights a byte and a scale per 16: 7/16 less.
        "nvidia/Qwen3-235B-A22B-NVFP4" => (
            -(experts + class(spec, TensorClass::Attention)) * 7 / 16,
            "packed linear layers and their scales",
        ),
        "nvidia/DeepSeek-V3.2-NVFP4" => {
            let outputs = layers * d * (128 * 128); // o_proj alone of attention
            let dense = class(spec, TensorClass::Mlp) + class(spec, TensorClass::SharedExperts);
            (-(experts + dense + outputs) * 7 / 16, "packed linear layers and their scales")
        }
        "nvidia/DeepSeek-V4-Flash-NVFP4" => (deepseek_v4_flash(spec), "packed experts and their scales"),
        _ => return None,
    })
}

/// SigLIP So400m at 896 pixels (27 layers of 1152, 4304 wide, 64² patches of 14 pixels) and the
/// projection to the language model.
fn gemma3_tower(d: i64) -> i64 {
    let (w, f) = (1152, 4304);
    let layer = 4 * (w * w + w) + (2 * w * f + f + w) + 4 * w;
    let embeddings = (3 * 14 * 14 + 1) * w + 64 * 64 * w;
    embeddings + 27 * layer + 2 * w + (w * d + w)
}

/// One fp32 scale per 128 × 128 block of every linear layer but router and output projection, and of
/// the last layer once more for multi-token prediction.
fn block_scales(spec: &ModelSpec) -> i64 {
    let d = u64::from(spec.hidden_size);
    let blocks = |inputs: u64, outputs: u64| (inputs.div_ceil(128) * outputs.div_ceil(128)) as i64;
    let mut sum = 0;
    let mut last = 0;
    for group in &spec.layers {
        let linears = group.mixer.linears(d).into_iter().chain(group.feed_forward.linears(d));
        let linears: i64 =
            linears.filter(|l| l.class != TensorClass::Router).map(|l| blocks(l.inputs, l.outputs)).sum();
        let (experts, _) = group.feed_forward.experts();
        let width = group.feed_forward.expert_parameters(d) / 3 / d;
        last = linears + i64::from(experts) * 3 * blocks(d, width);
        sum += i64::from(group.count) * last;
    }
    sum + if spec.mtp.is_some() { last } else { 0 }
}

/// Experts of 43 layers in NVFP4 (7/16 less), those of the MTP layer in MXFP4 (15/32 less), and the
/// fp8 block scales of everything else: per layer the five projections of attention and three of the
/// shared expert, 21 indexers, and the two input projections of the MTP layer.
fn deepseek_v4_flash(spec: &ModelSpec) -> i64 {
    let experts = class(spec, TensorClass::Experts);
    let attention = 8 * 32 + 256 * 8 + 4 * 32 + 64 * 32 + 32 * 64;
    let shared = 3 * 16 * 32;
    let scales = 44 * (attention + shared) + 21 * (64 * 8) + 2 * (32 * 32);
    -experts * 7 / 16 - experts / 43 * 15 / 32 + scales
}

fn total(spec: &ModelSpec) -> i64 {
    spec.parameters().total as i64
}

fn class(spec: &ModelSpec, class: TensorClass) -> i64 {
    spec.parameters().by_class.get(&class).map_or(0, |n| *n as i64)
}

#[test]
fn every_published_count_is_met() {
    let mut reader = csv::Reader::from_path("tests/fixtures/params.csv").unwrap();
    let mut wrong = vec![];
    let mut rows = 0;
    for row in reader.records() {
        let row = row.unwrap();
        let (name, stated): (&str, i64) = (&row[0], row[1].parse().unwrap());
        if WITHOUT_CONFIGURATION.contains(&name) {
            continue;
        }
        rows += 1;
        let spec = configs::read(name);
        let expected = match NO_COUNT.iter().find(|(n, _)| *n == name) {
            Some((_, sibling)) => total(&configs::read(sibling)),
            None => stated - difference(name, &spec).map_or(0, |(more, _)| more),
        };
        let found = total(&spec);
        // Rows of that status differ from a plain count in small buffers that nobody named.
        let slack = if &row[2] == "within 0.01%" && difference(name, &spec).is_none() { 2e-4 } else { 0.0 };
        if (found - expected).abs() as f64 > slack * expected as f64 {
            wrong.push(format!("{name}: {found}, expected {expected}, differs by {}", found - expected));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(rows, 134);
}

#[test]
fn every_configuration_reads() {
    let mut read = 0;
    for file in std::fs::read_dir(CONFIGS).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().replacen("__", "/", 1);
        if name == "nvidia/NVIDIA-Nemotron-Nano-9B-v2" {
            let text = std::fs::read_to_string(&path).unwrap();
            let error = foretoken::spec::hf::read_config(&text, "config.json").unwrap_err().to_string();
            assert!(error.contains("hybrid_override_pattern"), "{error}");
            continue;
        }
        let spec = configs::read(&name);
        assert!(spec.layer_count() > 0 && spec.parameters().total > 100_000_000, "{name}");
        assert!(spec.parameters().active <= spec.parameters().total, "{name}");
        read += 1;
    }
    assert!(read >= 228, "{read} configurations read");
}

#[test]
fn active_parameters_are_the_published_ones() {
    // Published with one decimal (or none), embeddings included unless said otherwise.
    for (name, published, tolerance) in [
        ("mistralai/Mixtral-8x7B-v0.1", 12.9e9, 0.01),
        ("Qwen/Qwen3-30B-A3B", 3.3e9, 0.02),
        ("Qwen/Qwen3-235B-A22B", 22e9, 0.02),
        ("deepseek-ai/DeepSeek-V3", 37e9, 0.02),
        ("openai/gpt-oss-120b", 5.13e9 + 201_088.0 * 2880.0, 0.01), // without the embedding table
        ("openai/gpt-oss-20b", 3.61e9 + 201_088.0 * 2880.0, 0.01),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 17e9, 0.02),
        ("microsoft/Phi-3.5-MoE-instruct", 6.6e9, 0.02),
        ("databricks/dbrx-base", 36e9, 0.02),
        ("MiniMaxAI/MiniMax-M2", 10e9, 0.15),
        ("baidu/ERNIE-4.5-21B-A3B-PT", 3e9, 0.15),
        ("zai-org/GLM-4.5", 32e9, 0.06),
        ("moonshotai/Kimi-K2-Instruct", 32e9, 0.03),
    ] {
        let active = configs::read(name).parameters().active as f64;
        assert!(
            (active / published - 1.0).abs() <= tolerance,
            "{name}: {active:.4e}, published {published:.4e}"
        );
    }
}

#[test]
fn windows_fall_on_the_right_layers() {
    let windows = |name: &str| -> Vec<(u32, Option<u32>)> {
        let mut all: Vec<_> =
            configs::read(name).layers.iter().map(|g| (g.count, g.mixer.window())).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(windows("mistralai/Mistral-7B-v0.1"), [(32, Some(4096))]);
    assert_eq!(
        windows("LGAI-EXAONE/K-EXAONE-236B-A23B").iter().map(|(n, w)| n * w.unwrap_or(0)).sum::<u32>(),
        36 * 128
    );
    assert_eq!(windows("mistralai/Mistral-7B-Instruct-v0.3"), [(32, None)]);
    assert_eq!(windows("Qwen/Qwen2.5-7B"), [(28, None)]); // use_sliding_window is false
    assert_eq!(windows("google/gemma-2-9b"), [(21, None), (21, Some(4096))]);
    assert_eq!(windows("google/gemma-3-27b-it"), [(10, None), (52, Some(1024))]);
    assert_eq!(windows("openai/gpt-oss-20b"), [(12, None), (12, Some(128))]);
    assert_eq!(windows("microsoft/Phi-3.5-mini-instruct"), [(32, None)]); // longer than any position
    assert_eq!(windows("meta-llama/Llama-4-Scout-17B-16E-Instruct"), [(12, None), (36, Some(8192))]);
}

#[test]
fn reused_picks_cost_nothing() {
    let indexers: Vec<(u32, bool)> = configs::read("zai-org/GLM-5.2")
        .layers
        .iter()
        .filter_map(|g| match g.mixer {
            Mixer::Latent { indexer: Some(indexer), .. } => Some((g.count, indexer.reused)),
            _ => None,
        })
        .collect();
    let reused: u32 = indexers.iter().filter(|(_, reused)| *reused).map(|(count, _)| count).sum();
    assert_eq!((indexers.iter().map(|(count, _)| count).sum::<u32>(), reused), (78, 57));
}
