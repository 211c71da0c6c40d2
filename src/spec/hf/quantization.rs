//! The precision of a checkpoint: `torch_dtype` and `quantization_config`, decided per class of
//! weights. Sources: the configuration classes of transformers (`utils/quantization_config.py`),
//! compressed-tensors, `ModelOpt`'s export, Quark's export.

mod modules;
mod scheme;

use std::collections::BTreeMap;

use super::Fields;
use crate::spec::model::{Checkpoint, Mixer, ModelSpec, TensorClass};
use crate::spec::{DataType, SpecError};
use modules::Names;
use scheme::Scheme;

/// Keys that list modules left in the base type.
const IGNORED: [&str; 4] = ["modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers"];

/// Reads the precision of `spec` from the language model's object.
///
/// # Errors
/// When a data type or a quantisation makes no sense.
pub(crate) fn read(fields: &Fields<'_>, spec: &mut ModelSpec) -> Result<(), SpecError> {
    spec.checkpoint = Checkpoint::plain(data_type(fields)?);
    let root = fields.root();
    for holder in [&root, fields] {
        for key in ["quantization_config", "compression_config", "quantization"] {
            // Other tools write the last one as a word.
            if key == "quantization" && !holder.value(key).is_some_and(serde_json::Value::is_object) {
                continue;
            }
            if let Some(config) = holder.nested(key)? {
                return apply(&config, spec);
            }
        }
    }
    Ok(())
}

/// The type of unquantised tensors.
fn data_type(fields: &Fields<'_>) -> Result<DataType, SpecError> {
    for holder in [fields, &fields.root()] {
        if let Some(name) = holder.text("torch_dtype")?.filter(|name| *name != "auto") {
            let parsed = name.parse::<DataType>().ok();
            let plain = parsed
                .filter(|d| matches!(d, DataType::Fp32 | DataType::Bf16 | DataType::Fp16 | DataType::Fp8));
            return plain.map(|d| if d == DataType::Fp8 { DataType::Bf16 } else { d }).ok_or_else(|| {
                holder.wrong("torch_dtype", "names no data type", "write bfloat16, float16 or float32")
            });
        }
    }
    Ok(DataType::Bf16)
}

/// Applies a quantisation, be it `quantization_config` or the `quantization` object of a
/// `hf_quant_config.json`. Embeddings, router and vision tower stay as they are, the output
/// projection too unless it is named; a class whose module is left out in half of the layers or
/// more is taken as unquantised.
///
/// # Errors
/// When a value of it makes no sense.
pub(crate) fn apply(config: &Fields<'_>, spec: &mut ModelSpec) -> Result<(), SpecError> {
    let algorithm = config.text("quant_algo")?;
    let method = match (config.text("quant_method")?, algorithm) {
        (Some(method), _) => method,
        (None, Some(_)) => "modelopt",
        (None, None) if config.has("config_groups") => "compressed-tensors",
        // MLX writes bits and group size alone; a scale and a bias in 16 bit per group.
        (None, None) if config.has("bits") && config.has("group_size") => "mlx",
        (None, None) => return Ok(()),
    };
    let names = modules::names(spec);
    let rules = rules(config, names, method, algorithm)?;
    if rules.is_empty() {
        let shown: String = method.escape_debug().take(40).collect();
        spec.warnings.push(format!("quantisation `{shown}` is not known; weights are taken as unquantised"));
        return Ok(());
    }
    let checkpoint = &mut spec.checkpoint;
    checkpoint.method = Some(method.to_owned());
    checkpoint.kv_cache = kv_cache(config)?;
    let mut ignored: Vec<&str> = vec![];
    for key in IGNORED.into_iter().filter(|key| *key != "ignore" || method != "fp8") {
        ignored.extend(config.texts(key)?.unwrap_or_default());
    }
    if ignored.iter().any(|p| p.starts_with("mtp") || p.contains(".mtp")) {
        ignored.push("mtp");
    }
    let ignored_layers = modules::covered(names, ignored.iter().copied());
    // Kimi calls its linear attention `self_attn` too.
    let delta = spec.layers.iter().any(|g| matches!(g.mixer, Mixer::KimiDelta { .. }));
    for (class, layers) in modules::layers_by_class(spec) {
        let named =
            if delta && class == TensorClass::LinearAttention { TensorClass::Attention } else { class };
        let within = |counts: &BTreeMap<TensorClass, u32>| {
            counts.get(&named).copied().unwrap_or(0) >= layers.div_ceil(2)
        };
        let chosen = rules.iter().find(|r| r.layers.as_ref().is_none_or(within));
        if let Some(rule) = chosen.filter(|_| !within(&ignored_layers)) {
            spec.checkpoint.quantized.insert(class, rule.scheme.weights);
        }
    }
    // Engines keep the multi-token-prediction layers in the format of the experts only where the
    // whole checkpoint is in one 8-bit format.
    let uniform = rules.iter().find(|r| r.layers.is_none()).map(|r| r.scheme.weights);
    if let Some(weights) = uniform.filter(|w| matches!(w, DataType::Fp8 | DataType::Fp8Block))
        && !ignored.contains(&"mtp")
        && spec.mtp.is_some()
    {
        spec.checkpoint.quantized.insert(TensorClass::Mtp, weights);
    }
    // The output projection only where it is named: by AutoGPTQ's switch or among the targets.
    let switched = config.flag("lm_head", false)?;
    let named = |r: &&Rule| r.layers.as_ref().map_or(switched, |l| l.contains_key(&TensorClass::LmHead));
    if let Some(rule) = rules.iter().find(named) {
        spec.checkpoint.quantized.insert(TensorClass::LmHead, rule.scheme.weights);
    }
    // One value for all classes: the fewest bits; wider classes multiply in their own format.
    let used = |r: &&Rule| spec.checkpoint.quantized.values().any(|w| *w == r.scheme.weights);
    let narrowest = rules
        .iter()
        .filter(used)
        .min_by(|a, b| a.scheme.weights.bytes().total_cmp(&b.scheme.weights.bytes()));
    if let Some(rule) = narrowest {
        spec.checkpoint.activations = rule.scheme.activations;
        spec.checkpoint.group_size = rule.scheme.group_size.filter(|_| rule.scheme.weights == DataType::Int4);
    }
    Ok(())
}

/// A scheme and the layers of each class it holds for; none means all.
struct Rule {
    scheme: Scheme,
    layers: Option<BTreeMap<TensorClass, u32>>,
}

impl Rule {
    fn all(scheme: Scheme) -> Vec<Self> {
        vec![Self { scheme, layers: None }]
    }
}

/// The schemes of a quantisation, those for some modules first.
fn rules(
    config: &Fields<'_>,
    names: Names,
    method: &str,
    algorithm: Option<&str>,
) -> Result<Vec<Rule>, SpecError> {
    let mut rules = listed_layers(config, names)?;
    // Experts requantised in a checkpoint that was 8-bit before; the groups do not speak of the rest.
    let requantised = method == "fp8" && !rules.is_empty();
    if let Some(groups) = config.nested("config_groups")?.filter(|_| !requantised) {
        for name in groups.keys() {
            let Some(group) = groups.nested(name)? else { continue };
            let Some(scheme) = scheme::of_group(&group)? else { continue };
            let targets = group.texts("targets")?.unwrap_or_default();
            let everything = targets.is_empty() || targets.contains(&"Linear");
            let layers = (!everything).then(|| modules::covered(names, targets.iter().copied()));
            rules.push(Rule { scheme, layers });
        }
        rules.sort_by_key(|r| r.layers.is_none());
    }
    if !rules.is_empty() {
        if requantised {
            rules.push(Rule { scheme: Scheme::both(DataType::Fp8Block), layers: None });
        }
        return Ok(rules);
    }
    if let Some(scheme) = algorithm.and_then(scheme::of_algorithm) {
        return Ok(Rule::all(scheme));
    }
    Ok(match method {
        "fp8" if config.has("weight_block_size") => {
            let mut rules = Rule::all(Scheme::both(DataType::Fp8Block));
            // DeepSeek V4 keeps its experts in 4 bit, with a power-of-two scale per 32.
            if config.root().text("expert_dtype")? == Some("fp4") {
                let experts = BTreeMap::from([(TensorClass::Experts, u32::MAX)]);
                let scheme = Scheme { activations: Some(DataType::Fp8), ..Scheme::both(DataType::Mxfp4) };
                rules.insert(0, Rule { scheme, layers: Some(experts) });
            }
            rules
        }
        "fp8" | "fbgemm_fp8" => Rule::all(Scheme::both(DataType::Fp8)),
        "awq" | "gptq" | "auto-round" | "auto_round" | "intel/auto-round" | "autoround" | "gptq_marlin"
        | "awq_marlin" | "mlx" => Rule::all(scheme::of_bits(config)?),
        "mxfp4" => {
            let experts = BTreeMap::from([(TensorClass::Experts, u32::MAX)]);
            vec![Rule { scheme: Scheme::weight_only(DataType::Mxfp4, None), layers: Some(experts) }]
        }
        "bitsandbytes" if config.flag("load_in_8bit", false)? => Rule::all(Scheme::both(DataType::Int8)),
        "bitsandbytes" => Rule::all(Scheme::weight_only(DataType::Int4, Some(64))),
        "eetq" => Rule::all(Scheme::weight_only(DataType::Int8, None)),
        "bitnet" => Rule::all(Scheme {
            activations: Some(DataType::Int8),
            ..Scheme::weight_only(DataType::Ternary, None)
        }),
        "quark" => quark(config)?.map_or_else(Vec::new, Rule::all),
        "torchao" => torchao(config).map_or_else(Vec::new, Rule::all),
        _ => vec![],
    })
}

/// Modules that are named one by one with their algorithm (`quantized_layers` of `ModelOpt` mixtures).
fn listed_layers(config: &Fields<'_>, names: Names) -> Result<Vec<Rule>, SpecError> {
    let Some(layers) = config.nested("quantized_layers")? else { return Ok(vec![]) };
    let mut by_algorithm: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in layers.keys() {
        if let Some(layer) = layers.nested(name)?
            && let Some(algorithm) = layer.text("quant_algo")?
        {
            by_algorithm.entry(algorithm).or_default().push(name);
        }
    }
    let rule = |(algorithm, listed): (&str, Vec<&str>)| {
        let scheme = scheme::of_algorithm(algorithm)?;
        Some(Rule { scheme, layers: Some(modules::covered(names, listed)) })
    };
    Ok(by_algorithm.into_iter().filter_map(rule).collect())
}

/// Quark: `global_quant_config` with a data type for weights and one for inputs.
fn quark(config: &Fields<'_>) -> Result<Option<Scheme>, SpecError> {
    let Some(global) = config.nested("global_quant_config")? else { return Ok(None) };
    let format = |key| -> Result<Option<DataType>, SpecError> {
        let Some(tensor) = global.nested(key)? else { return Ok(None) };
        let group = tensor.optional_size("group_size").unwrap_or(None);
        Ok(match tensor.text("dtype")? {
            Some("fp8_e4m3" | "fp8_e5m2") => Some(DataType::Fp8),
            Some("fp4" | "mxfp4") if group != Some(16) => Some(DataType::Mxfp4),
            Some("fp4") => Some(DataType::Nvfp4),
            Some("int8") => Some(DataType::Int8),
            Some("int4" | "uint4") => Some(DataType::Int4),
            _ => None,
        })
    };
    let activations = format("input_tensors")?;
    Ok(format("weight")?.map(|weights| Scheme { weights, activations, group_size: None }))
}

/// torchao names its schemes by class; the name says bits and sides.
fn torchao(config: &Fields<'_>) -> Option<Scheme> {
    let name = config.value("quant_type")?.to_string().to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    Some(match () {
        () if has("int4weightonly") || has("int4_weight_only") => Scheme::weight_only(DataType::Int4, None),
        () if has("int8weightonly") || has("int8_weight_only") => Scheme::weight_only(DataType::Int8, None),
        () if has("int8dynamic") || has("int8_dynamic") => Scheme::both(DataType::Int8),
        () if has("float8weightonly") => Scheme::weight_only(DataType::Fp8, None),
        () if has("float8") => Scheme::both(DataType::Fp8),
        () => return None,
    })
}

/// KV-cache type that the checkpoint asks for: `kv_cache_scheme` as bits or name, or `kv_cache_quant_algo`.
fn kv_cache(config: &Fields<'_>) -> Result<Option<DataType>, SpecError> {
    let name = match config.value("kv_cache_scheme") {
        Some(value) if value.is_object() => {
            let Some(scheme) = config.nested("kv_cache_scheme")? else { return Ok(None) };
            let float = scheme.text("type")? != Some("int");
            return Ok(match scheme.size_or("num_bits", 8)? {
                8 if float => Some(DataType::Fp8),
                8 => Some(DataType::Int8),
                _ => None,
            });
        }
        Some(_) => config.text("kv_cache_scheme")?,
        None => config.text("kv_cache_quant_algo")?,
    };
    Ok(name.filter(|n| n.eq_ignore_ascii_case("fp8")).map(|_| DataType::Fp8))
}
