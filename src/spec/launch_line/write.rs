//! A deployment as the line that starts it, which [`super::parse`] reads back.

use crate::spec::deployment::EngineKind;
use crate::spec::{DataType, Deployment};

/// The words that start a server of this deployment; none of engines that have no server of their own.
///
/// Number formats that an engine makes at start from any checkpoint are flags; 4-bit formats are the checkpoint's, and `model` has
/// to be one.
#[must_use]
pub fn write(model: &str, deployment: &Deployment) -> Option<Vec<String>> {
    let (start, names): (&[&str], Names) = match deployment.engine.kind {
        EngineKind::Vllm => (&["vllm", "serve"], VLLM),
        EngineKind::Sglang => (&["python3", "-m", "sglang.launch_server", "--model-path"], SGLANG),
        EngineKind::Trtllm => (&["trtllm-serve", "serve"], TRTLLM),
        EngineKind::Llamacpp => (&["llama-server", "-m"], LLAMACPP),
        EngineKind::Lmdeploy => (&["lmdeploy", "serve", "api_server"], LMDEPLOY),
        EngineKind::Fastllm => (&["ftllm", "server"], FASTLLM),
        EngineKind::Transformers | EngineKind::TransformersCompiled | EngineKind::Ideal => return None,
    };
    let mut words: Vec<String> = start.iter().map(|w| (*w).to_owned()).collect();
    words.push(model.to_owned());
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value.filter(|_| !flag.is_empty()) {
            words.extend([flag.to_owned(), value]);
        }
    };
    let p = deployment.parallelism;
    let degree = |n: u32| (n > 1).then(|| n.to_string());
    add(names.tp, degree(p.tp));
    add(names.pp, degree(p.pp));
    add(names.dp, degree(p.dp));
    add(names.ep, degree(p.ep));
    let named = |format: Option<DataType>| format.map(|d| d.name().to_owned());
    add(names.dtype, named(deployment.data_type));
    add(names.quantization, named(deployment.quantization).filter(|f| f == "fp8"));
    add(names.kv_cache, named(deployment.kv_cache_data_type));
    // llama.cpp's context is that of all its slots together
    let slots = match deployment.engine.kind {
        EngineKind::Llamacpp => u64::from(deployment.max_num_seqs.unwrap_or(1)),
        _ => 1,
    };
    add(names.length, deployment.max_model_len.map(|n| (n * slots).to_string()));
    add(names.sequences, deployment.max_num_seqs.map(|n| n.to_string()));
    add(names.batched, deployment.max_num_batched_tokens.map(|n| n.to_string()));
    add(names.block, deployment.block_size.map(|n| n.to_string()));
    add(names.share, deployment.gpu_memory_utilization.map(|n| n.to_string()));
    let mut switch = |flag: &str, on: bool| {
        if on && !flag.is_empty() {
            words.push(flag.to_owned());
        }
    };
    // vLLM has a switch instead of a degree
    switch(names.all_experts, p.ep > 1);
    switch(names.eager, deployment.enforce_eager);
    Some(words)
}

/// An engine's names of flags; empty where it has none.
#[derive(Clone, Copy)]
struct Names {
    tp: &'static str,
    pp: &'static str,
    dp: &'static str,
    ep: &'static str,
    all_experts: &'static str,
    dtype: &'static str,
    quantization: &'static str,
    kv_cache: &'static str,
    length: &'static str,
    sequences: &'static str,
    batched: &'static str,
    block: &'static str,
    share: &'static str,
    eager: &'static str,
}

/// No flag at all.
const NONE: Names = Names {
    tp: "",
    pp: "",
    dp: "",
    ep: "",
    all_experts: "",
    dtype: "",
    quantization: "",
    kv_cache: "",
    length: "",
    sequences: "",
    batched: "",
    block: "",
    share: "",
    eager: "",
};

const VLLM: Names = Names {
    tp: "--tensor-parallel-size",
    pp: "--pipeline-parallel-size",
    dp: "--data-parallel-size",
    all_experts: "--enable-expert-parallel",
    dtype: "--dtype",
    quantization: "--quantization",
    kv_cache: "--kv-cache-dtype",
    length: "--max-model-len",
    sequences: "--max-num-seqs",
    batched: "--max-num-batched-tokens",
    block: "--block-size",
    share: "--gpu-memory-utilization",
    eager: "--enforce-eager",
    ..NONE
};

const SGLANG: Names = Names {
    tp: "--tp-size",
    pp: "--pp-size",
    dp: "--dp-size",
    ep: "--ep-size",
    dtype: "--dtype",
    quantization: "--quantization",
    kv_cache: "--kv-cache-dtype",
    length: "--context-length",
    sequences: "--max-running-requests",
    batched: "--chunked-prefill-size",
    block: "--page-size",
    share: "--mem-fraction-static",
    eager: "--disable-cuda-graph",
    ..NONE
};

const TRTLLM: Names = Names {
    tp: "--tp_size",
    pp: "--pp_size",
    ep: "--ep_size",
    length: "--max_seq_len",
    sequences: "--max_batch_size",
    batched: "--max_num_tokens",
    ..NONE
};

const LLAMACPP: Names = Names { kv_cache: "-ctk", length: "-c", sequences: "-np", batched: "-b", ..NONE };

const LMDEPLOY: Names = Names {
    tp: "--tp",
    dp: "--dp",
    ep: "--ep",
    dtype: "--dtype",
    length: "--session-len",
    sequences: "--max-batch-size",
    batched: "--max-prefill-token-num",
    block: "--cache-block-seq-len",
    share: "--cache-max-entry-count",
    ..NONE
};

const FASTLLM: Names = Names { sequences: "--max_batch", ..NONE };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::launch_line::parse;
    use crate::spec::{Engine, Parallelism};

    #[test]
    fn what_is_written_reads_back() {
        for (kind, name) in EngineKind::ALL {
            let deployment = Deployment {
                parallelism: Parallelism { tp: 4, ..Parallelism::ONE },
                max_model_len: Some(4096),
                max_num_seqs: Some(64),
                ..Deployment::single(Engine::newest(kind))
            };
            let Some(words) = write("org/model", &deployment) else {
                assert!(kind.is_library() || kind == EngineKind::Ideal);
                continue;
            };
            let line = parse(&words.join(" ")).unwrap().unwrap();
            assert_eq!((line.engine, line.model.as_str()), (kind, "org/model"), "{name}");
            let has = |flag: &str, value: &str| line.flags.windows(2).any(|w| w[0] == flag && w[1] == value);
            assert!(has("--max-num-seqs", "64"), "{name}: {line:?}");
            assert!(kind == EngineKind::Fastllm || has("--max-model-len", "4096"), "{name}: {line:?}");
            let splits = !matches!(kind, EngineKind::Llamacpp | EngineKind::Fastllm);
            assert!(!splits || has("--tensor-parallel-size", "4"), "{name}: {line:?}");
            assert!(line.dropped.is_empty(), "{name}: {line:?}");
        }
    }
}
