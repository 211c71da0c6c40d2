//! Deployments that no engine would start: refused before anything is computed, with what would work.

use super::model::{FeedForward, Mixer};
use super::{DataType, Deployment, EngineKind, ModelSpec, Parallelism, SpecError};
use crate::spec::model::TensorClass;

/// Vocabulary rows are padded to a multiple of this before they are divided over tensor-parallel
/// ranks (vLLM and SGLang, `vocab_parallel_embedding.py`, `DEFAULT_VOCAB_PADDING_SIZE`).
pub const VOCABULARY_PADDING: u64 = 64;

/// Largest tensor-parallel degree that is offered as an alternative.
const LARGEST_TP: u32 = 64;

/// Refuses a deployment that the engine itself would refuse for this model.
///
/// # Errors
/// [`SpecError::Usage`] that names the flag, its value, what it clashes with and the values that work.
pub fn check_deployment(model: &ModelSpec, deployment: &Deployment) -> Result<(), SpecError> {
    check_degrees(model, deployment)?;
    check_budgets(deployment)?;
    check_formats(deployment)?;
    // Rescaled positions count, but Gemma 3's length already includes them (vLLM `_get_and_verify_max_len`).
    let stretched = model.rotary_positions.filter(|_| !model.architecture.starts_with("gemma3"));
    if let (Some(length), Some(longest)) =
        (deployment.max_model_len, model.max_position_embeddings.max(stretched))
        && length > longest
        && deployment.engine.kind != EngineKind::Ideal
    {
        return Err(SpecError::Usage(format!(
            "--max-model-len {length} is longer than the {longest} positions {} was made for; lower it \
             (vLLM goes beyond only with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1, with wrong output for absolute positions)",
            model.id
        )));
    }
    Ok(())
}

fn check_degrees(model: &ModelSpec, deployment: &Deployment) -> Result<(), SpecError> {
    let Parallelism { tp, pp, dp, ep } = deployment.parallelism;
    let usage = |message: String| Err(SpecError::Usage(message));
    for (flag, degree) in [
        ("--tensor-parallel-size", tp),
        ("--pipeline-parallel-size", pp),
        ("--data-parallel-size", dp),
        ("--expert-parallel-size", ep),
    ] {
        if degree == 0 || degree > 65_536 {
            return usage(format!("{flag} {degree} must lie in 1..=65536"));
        }
    }
    let layers = model.layer_count();
    if pp > layers {
        return usage(format!(
            "--pipeline-parallel-size {pp} is more than the {layers} layers of {}",
            model.id
        ));
    }
    if ep > 1 {
        let experts = model.layers.iter().map(|g| g.feed_forward.experts().0).max().unwrap_or(0);
        if experts == 0 {
            return usage(format!("--expert-parallel-size {ep}: {} has no experts; leave it out", model.id));
        }
        let ranks = u64::from(tp) * u64::from(dp);
        if !ranks.is_multiple_of(u64::from(ep)) {
            return usage(format!(
                "--expert-parallel-size {ep} does not divide tensor × data parallel = {tp} × {dp} = {ranks} ranks"
            ));
        }
        if let Some(group) = model.layers.iter().find(|g| !g.feed_forward.experts().0.is_multiple_of(ep)) {
            let experts = group.feed_forward.experts().0;
            let works = listed((1..=experts).filter(|e| experts.is_multiple_of(*e)));
            return usage(format!(
                "--expert-parallel-size {ep} does not divide the {experts} experts of {}; {works} do",
                model.id
            ));
        }
    }
    // llama.cpp splits whole layers, so any number of devices will do.
    if deployment.engine.kind == EngineKind::Llamacpp {
        return Ok(());
    }
    match indivisible(model, deployment, tp) {
        None => Ok(()),
        Some(what) => {
            let works = listed((1..=LARGEST_TP).filter(|&t| indivisible(model, deployment, t).is_none()));
            usage(format!("--tensor-parallel-size {tp} does not divide {what} of {}; {works} do", model.id))
        }
    }
}

/// What tensor parallelism over `tp` ranks cannot divide, in words; none when it divides everything.
fn indivisible(model: &ModelSpec, deployment: &Deployment, tp: u32) -> Option<String> {
    let divides = |n: u64| n.is_multiple_of(u64::from(tp));
    let refuse = |n: u64, what: &str| (!divides(n)).then(|| format!("the {n} {what}"));
    for group in &model.layers {
        let problem = match group.mixer {
            Mixer::GroupedQuery { heads, kv_heads, .. } | Mixer::Cross { heads, kv_heads, .. } => {
                // KV heads are divided, or replicated when there are fewer than ranks.
                let kv = !divides(kv_heads.into()) && !tp.is_multiple_of(kv_heads);
                refuse(heads.into(), "attention heads")
                    .or_else(|| kv.then(|| format!("(nor is divided by) the {kv_heads} key–value heads")))
            }
            Mixer::Latent { heads, .. } | Mixer::Compressed { heads, .. } => {
                refuse(heads.into(), "attention heads")
            }
            Mixer::KimiDelta { heads, .. } | Mixer::Lightning { heads, .. } => {
                refuse(heads.into(), "linear-attention heads")
            }
            Mixer::ShortConv { width, .. } => refuse(width.into(), "convolution channels"),
            Mixer::GatedDeltaNet { key_heads, value_heads, .. } => {
                refuse(key_heads.into(), "linear-attention key heads")
                    .or_else(|| refuse(value_heads.into(), "linear-attention value heads"))
            }
            Mixer::Mamba2 { heads, .. } => refuse(heads.into(), "state-space heads"),
            Mixer::Mamba1 { inner_size, .. } => refuse(inner_size.into(), "state-space channels"),
            Mixer::None => None,
        };
        let problem = problem.or_else(|| match group.feed_forward {
            FeedForward::Dense { intermediate_size, .. } => refuse(intermediate_size, "feed-forward columns"),
            FeedForward::Moe { intermediate_size, shared_intermediate_size, .. } => {
                refuse(shared_intermediate_size, "shared-expert columns")
                    .or_else(|| indivisible_expert(model, deployment, tp, intermediate_size))
            }
            FeedForward::None => None,
        });
        if problem.is_some() {
            return problem;
        }
    }
    let vocabulary = u64::from(model.vocab_size).next_multiple_of(VOCABULARY_PADDING);
    refuse(vocabulary, "rows of the (padded) vocabulary")
}

/// One expert is cut into `tp·dp/ep` parts; block-quantised ones only at block borders.
fn indivisible_expert(model: &ModelSpec, deployment: &Deployment, tp: u32, columns: u64) -> Option<String> {
    let Parallelism { dp, ep, .. } = deployment.parallelism;
    let parts = (u64::from(tp) * u64::from(dp) / u64::from(ep)).max(1);
    if !columns.is_multiple_of(parts) {
        return Some(format!("the {columns} columns of an expert, in {parts} parts,"));
    }
    let format = deployment.quantization.unwrap_or_else(|| model.checkpoint.format(TensorClass::Experts));
    (format == DataType::Fp8Block && !(columns / parts).is_multiple_of(128)).then(|| {
        format!("the {columns} columns of an expert into multiples of the 128 that one fp8 scale covers, as")
    })
}

fn check_budgets(deployment: &Deployment) -> Result<(), SpecError> {
    let usage = |message: String| Err(SpecError::Usage(message));
    if let Some(share) = deployment.gpu_memory_utilization
        && !(share > 0.0 && share <= 1.0)
    {
        return usage(format!("--gpu-memory-utilization {share} must lie in (0, 1], such as 0.9"));
    }
    for (flag, value) in [
        ("--max-model-len", deployment.max_model_len),
        ("--max-num-seqs", deployment.max_num_seqs.map(u64::from)),
        ("--max-num-batched-tokens", deployment.max_num_batched_tokens.map(u64::from)),
        ("--block-size", deployment.block_size.map(u64::from)),
    ] {
        if let Some(value) = value
            && !(1..=100_000_000).contains(&value)
        {
            return usage(format!("{flag} {value} must lie in 1..=100000000"));
        }
    }
    if let (EngineKind::Vllm, Some(seqs), Some(tokens)) =
        (deployment.engine.kind, deployment.max_num_seqs, deployment.max_num_batched_tokens)
        && tokens < seqs
    {
        return usage(format!(
            "--max-num-batched-tokens {tokens} is below --max-num-seqs {seqs}; vLLM wants a token for every sequence"
        ));
    }
    Ok(())
}

/// `--dtype` is for what is not quantised; GGUF types in the KV cache are llama.cpp's.
fn check_formats(deployment: &Deployment) -> Result<(), SpecError> {
    if let Some(wanted) = deployment.data_type
        && !matches!(wanted, DataType::Bf16 | DataType::Fp16 | DataType::Fp32)
    {
        return Err(SpecError::Usage(format!(
            "--dtype {wanted} must be bf16, fp16 or fp32; {wanted} weights are asked for with --quantization {wanted}"
        )));
    }
    if let Some(cache) = deployment.kv_cache_data_type.filter(|c| c.is_gguf())
        && !matches!(deployment.engine.kind, EngineKind::Llamacpp | EngineKind::Ideal)
    {
        return Err(SpecError::Usage(format!(
            "--kv-cache-dtype {cache} is a type of llama.cpp, not of {}; use fp8 or bf16, or --engine llamacpp",
            deployment.engine.kind.name()
        )));
    }
    Ok(())
}

fn listed(values: impl Iterator<Item = u32>) -> String {
    let all: Vec<String> = values.map(|v| v.to_string()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Engine;

    fn model() -> ModelSpec {
        ModelSpec::from_toml(
            r#"
            id = "toy"
            architecture = "mixtral"
            hidden_size = 4096
            vocab_size = 32000
            max_position_embeddings = 8192
            embedding = {}
            checkpoint = { data_type = "bf16", quantized = { experts = "fp8_block" } }
            [[layers]]
            count = 4
            mixer = { kind = "grouped_query", heads = 32, kv_heads = 8, head_dim = 128 }
            feed_forward = { kind = "moe", experts = 8, top_k = 2, intermediate_size = 1536, gated = true }
            "#,
            "toy.toml",
        )
        .unwrap()
    }

    fn refusal(change: impl Fn(&mut Deployment)) -> String {
        let mut deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
        change(&mut deployment);
        check_deployment(&model(), &deployment).map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn what_works_is_named() {
        assert_eq!(refusal(|_| ()), "");
        assert_eq!(refusal(|d| d.parallelism.tp = 4), "");
        let text = refusal(|d| d.parallelism.tp = 3);
        assert_eq!(
            text,
            "--tensor-parallel-size 3 does not divide the 32 attention heads of toy; 1, 2, 4 do"
        );
        // 1536 / 8 = 192 columns are one and a half blocks of 128
        assert!(refusal(|d| d.parallelism.tp = 8).contains("128"));
        // with one whole expert a rank there is nothing to cut
        assert_eq!(refusal(|d| (d.parallelism.tp, d.parallelism.ep) = (8, 8)), "");
    }

    #[test]
    fn experts_and_stages() {
        assert!(refusal(|d| d.parallelism.pp = 5).contains("4 layers"));
        assert!(refusal(|d| (d.parallelism.dp, d.parallelism.ep) = (3, 3)).contains("1, 2, 4, 8 do"));
        assert!(refusal(|d| d.parallelism.ep = 2).contains("1 × 1 = 1 ranks"));
        assert!(refusal(|d| d.parallelism.dp = 0).contains("--data-parallel-size 0"));
    }

    #[test]
    fn formats() {
        assert!(refusal(|d| d.data_type = Some(DataType::Int4)).contains("--quantization int4"));
        assert_eq!(refusal(|d| d.data_type = Some(DataType::Fp16)), "");
        assert!(refusal(|d| d.kv_cache_data_type = Some(DataType::Q8_0)).contains("--engine llamacpp"));
        assert_eq!(refusal(|d| d.kv_cache_data_type = Some(DataType::Fp8)), "");
    }

    #[test]
    fn budgets() {
        assert!(refusal(|d| d.max_model_len = Some(9000)).contains("VLLM_ALLOW_LONG_MAX_MODEL_LEN"));
        assert!(refusal(|d| d.gpu_memory_utilization = Some(1.2)).contains("(0, 1]"));
        assert!(refusal(|d| d.gpu_memory_utilization = Some(f64::NAN)).contains("(0, 1]"));
        assert!(refusal(|d| d.max_num_seqs = Some(0)).contains("--max-num-seqs 0"));
        assert!(
            refusal(|d| (d.max_num_seqs, d.max_num_batched_tokens) = (Some(64), Some(32))).contains("below")
        );
    }
}
