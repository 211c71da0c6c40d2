//! How the engine of a measured run was launched, where its publication says so.

use serde::Deserialize;
use std::sync::LazyLock;

use super::MeasuredRow;
use crate::spec::{DataType, Deployment, EngineKind, Load, SpecError, Workload};

/// Rows in flight at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Seqs {
    Number(u32),
    Named(Named),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    /// As many as the run's concurrency.
    Concurrency,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    engine: String,
    model: Option<String>,
    gpu: Option<String>,
    weight_dtype: Option<String>,
    input_len: Option<u64>,
    output_len: Option<u64>,
    tp_below: Option<u32>,
    tp: Option<u32>,
    unversioned: Option<bool>,
    ranks: Option<bool>,
    concurrency_from: Option<u32>,
    max_num_seqs: Option<Seqs>,
    max_num_batched_tokens: Option<u32>,
    tokens_like_prompt: Option<u32>,
    kv_cache_dtype: Option<DataType>,
    asynchronous: Option<bool>,
    receive_interval: Option<u32>,
    batch_wait: Option<(u32, f64)>,
    rank_wait: Option<u32>,
    expert_ranks: Option<bool>,
    attention_ranks: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    #[serde(rename = "rule")]
    rules: Vec<Rule>,
}

/// Version of the file's form.
const SCHEMA: u32 = 1;

static INFERENCEX: LazyLock<File> = LazyLock::new(|| {
    // a test holds that the embedded file is sound
    let read = toml::from_str(include_str!("../../../calibration/recipes/inferencex.toml")).ok();
    read.filter(|file: &File| file.schema == SCHEMA).unwrap_or_default()
});

/// Tokens beyond prompt and output that the harness lets a request have (`--max-model-len`).
const SPARE_TOKENS: u64 = 256;

/// Publication and engine whose scripts fill a batch with one prompt: LLM-Inference-Bench runs TensorRT-LLM on a single
/// word repeated, the same in every row (`generate_input` of its `run_power.py` and `run_precision_bench.py`), and vLLM
/// on random tokens.
const ONE_PROMPT: (&str, &str) = ("argonne", "trtllm");

/// True when all requests of a row were one prompt, decoded greedily: by the column `prompts` (`identical`), or by what
/// the publication's scripts do.
pub(super) fn repeats_one_prompt(row: MeasuredRow<'_>) -> bool {
    match row.text("prompts") {
        "" => (row.text("source"), row.text("engine")) == ONE_PROMPT,
        named => named == "identical",
    }
}

/// Sets what the publication of a row says of its launch. Rows that name no source are taken to come from the
/// harness whose columns they have.
pub(super) fn apply(row: MeasuredRow<'_>, model: &str, workload: &Workload, deployment: &mut Deployment) {
    let source = row.text("source");
    if !(source.is_empty() || source.starts_with("inferencex")) {
        return;
    }
    let concurrency = match workload.load {
        Load::Concurrency(n) => n,
        _ => return,
    };
    deployment.max_model_len = Some(workload.input_len + workload.output_len + SPARE_TOKENS);
    let tp = deployment.parallelism.tp;
    for rule in &INFERENCEX.rules {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|w| w == value);
        let applies = rule.engine == deployment.engine.kind.name()
            && rule.model.as_ref().is_none_or(|m| model.contains(m.as_str()))
            && is(&rule.gpu, row.text("gpu"))
            && is(&rule.weight_dtype, row.text("weight_dtype"))
            && rule.input_len.is_none_or(|n| n == workload.input_len)
            && rule.output_len.is_none_or(|n| n == workload.output_len)
            && rule.tp_below.is_none_or(|n| tp < n)
            && rule.tp.is_none_or(|n| tp == n)
            && rule.unversioned.is_none_or(|u| u == row.text("engine_version").is_empty())
            && rule.ranks.is_none_or(|r| r == (deployment.parallelism.dp > 1))
            && rule.concurrency_from.is_none_or(|n| concurrency >= n);
        if applies {
            rule.set(concurrency, workload, deployment);
        }
    }
}

impl Rule {
    fn set(&self, concurrency: u32, workload: &Workload, deployment: &mut Deployment) {
        match &self.max_num_seqs {
            Some(Seqs::Number(n)) => deployment.max_num_seqs = Some(*n),
            Some(Seqs::Named(Named::Concurrency)) => deployment.max_num_seqs = Some(concurrency),
            None => {}
        }
        if let Some(least) = self.tokens_like_prompt {
            let input = u32::try_from(workload.input_len).unwrap_or(u32::MAX);
            let tokens = concurrency.saturating_add(input).saturating_add(64).div_ceil(64).saturating_mul(64);
            // versions before 1.2 had no smallest budget
            let old = deployment.engine.kind == EngineKind::Trtllm
                && deployment.engine.version < crate::spec::deployment::Version(1, 2);
            deployment.max_num_batched_tokens = Some(if old { tokens } else { tokens.max(least) });
        }
        // a rule of the script's turns what the row names as tensor parallelism into ranks
        let p = &mut deployment.parallelism;
        let all = p.tp * p.dp;
        if self.attention_ranks == Some(true) {
            (p.tp, p.dp, p.ep) = (1, all, all);
        } else if self.expert_ranks == Some(true) {
            p.ep = all;
        }
        let set = |slot: &mut Option<u32>, value: Option<u32>| {
            if value.is_some() {
                *slot = value;
            }
        };
        set(&mut deployment.max_num_batched_tokens, self.max_num_batched_tokens);
        let flags = &mut deployment.scheduling;
        set(&mut flags.receive_interval, self.receive_interval);
        set(&mut flags.rank_wait, self.rank_wait);
        flags.batch_wait = self.batch_wait.or(flags.batch_wait);
        flags.asynchronous = self.asynchronous.or(flags.asynchronous);
        if deployment.kv_cache_data_type.is_none() {
            deployment.kv_cache_data_type = self.kv_cache_dtype;
        }
    }
}

/// Launch settings that a row states itself, which win over what its publication is known for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Stated {
    max_num_batched_tokens: Option<u32>,
    max_num_seqs: Option<u32>,
    max_model_len: Option<u64>,
    gpu_memory_utilization: Option<f64>,
    offloads: bool,
}

impl Stated {
    /// Reads them.
    ///
    /// # Errors
    /// When a cell holds what its column cannot.
    pub(super) fn of(row: MeasuredRow<'_>) -> Result<Self, SpecError> {
        Ok(Self {
            max_num_batched_tokens: row.whole("max_num_batched_tokens", 1)?,
            max_num_seqs: row.whole("max_num_seqs", 1)?,
            max_model_len: row.whole("max_model_len", 1)?.map(u64::from),
            gpu_memory_utilization: row.share("gpu_memory_utilization")?,
            offloads: !matches!(row.text("kv_offload_cpu"), "" | "0" | "0.0" | "false" | "False"),
        })
    }

    /// Sets them. Whoever serves an open loop has made room for its requests, and seldom for a model's longest.
    ///
    /// # Errors
    /// Why the row cannot be compared.
    pub(super) fn apply(&self, workload: &Workload, deployment: &mut Deployment) -> Result<(), String> {
        if self.offloads {
            return Err("kv_offload_cpu: runs that keep KV cache in host memory are not compared".into());
        }
        if matches!(workload.load, Load::Rate { .. }) {
            let length = workload.input_len + workload.output_len + SPARE_TOKENS;
            deployment.max_model_len = deployment.max_model_len.or(Some(length));
        }
        deployment.max_model_len = self.max_model_len.or(deployment.max_model_len);
        deployment.max_num_batched_tokens = self.max_num_batched_tokens.or(deployment.max_num_batched_tokens);
        deployment.max_num_seqs = self.max_num_seqs.or(deployment.max_num_seqs);
        deployment.gpu_memory_utilization = self.gpu_memory_utilization.or(deployment.gpu_memory_utilization);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_recipes_are_sound() {
        assert_eq!(INFERENCEX.schema, SCHEMA);
        assert!(INFERENCEX.rules.len() > 10);
        for rule in &INFERENCEX.rules {
            assert!(EngineKind::ALL.iter().any(|(_, name)| *name == rule.engine), "{rule:?}");
            assert!(rule.max_num_batched_tokens.is_none() || rule.tokens_like_prompt.is_none(), "{rule:?}");
        }
    }
}
