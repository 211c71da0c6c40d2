//! Flags of the servers in our words. Sources: vLLM `engine/arg_utils.py` and
//! `entrypoints/openai/cli_args.py`, SGLang `server_args.py`, TensorRT-LLM `commands/serve.py`,
//! llama.cpp `common/arg.cpp`, LMDeploy `cli/utils.py`, fastllm `docs/english_demo_arguments.md`.

use crate::spec::deployment::EngineKind;

/// What to do with a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Its value is the model.
    Model,
    /// Becomes this flag of ours, without a value.
    Switch(&'static str),
    /// Becomes this flag with the value as a plain number.
    Number(&'static str),
    /// Becomes this flag where the value is a number format that we know.
    Format(&'static str),
    /// Left out with its value, if one follows.
    Drop,
    /// Left out; has no value, so what follows may be the model.
    DropSwitch,
}

use Action::{Format, Model, Number, Switch};

type Table = [(&'static str, Action)];

const TP: Action = Number("--tensor-parallel-size");
const PP: Action = Number("--pipeline-parallel-size");
const DP: Action = Number("--data-parallel-size");
const EP: Action = Number("--expert-parallel-size");
const LENGTH: Action = Number("--max-model-len");
const SEQUENCES: Action = Number("--max-num-seqs");
const BATCHED: Action = Number("--max-num-batched-tokens");
const BLOCK: Action = Number("--block-size");
const SHARE: Action = Number("--gpu-memory-utilization");
const EAGER: Action = Switch("--enforce-eager");
const KV_CACHE: Action = Format("--kv-cache-dtype");
const QUANTIZATION: Action = Format("--quantization");
const DTYPE: Action = Format("--dtype");

const VLLM: &Table = &[
    ("--model", Model),
    ("--tensor-parallel-size", TP),
    ("-tp", TP),
    ("--pipeline-parallel-size", PP),
    ("-pp", PP),
    ("--data-parallel-size", DP),
    ("-dp", DP),
    ("--enable-expert-parallel", Switch("--enable-expert-parallel")),
    ("-ep", Switch("--enable-expert-parallel")),
    ("--max-model-len", LENGTH),
    ("--max-num-seqs", SEQUENCES),
    ("--max-num-batched-tokens", BATCHED),
    ("--block-size", BLOCK),
    ("--gpu-memory-utilization", SHARE),
    ("--kv-cache-dtype", KV_CACHE),
    ("--quantization", QUANTIZATION),
    ("-q", QUANTIZATION),
    ("--dtype", DTYPE),
    ("--enforce-eager", EAGER),
    ("--enable-prefix-caching", Switch("--enable-prefix-caching=true")),
    ("--no-enable-prefix-caching", Switch("--enable-prefix-caching=false")),
    ("--enable-chunked-prefill", Switch("--enable-chunked-prefill=true")),
    ("--no-enable-chunked-prefill", Switch("--enable-chunked-prefill=false")),
];

const SGLANG: &Table = &[
    ("--model-path", Model),
    ("--model", Model),
    ("--tensor-parallel-size", TP),
    ("--tp-size", TP),
    ("--tp", TP),
    ("--pipeline-parallel-size", PP),
    ("--pp-size", PP),
    ("--pp", PP),
    ("--data-parallel-size", DP),
    ("--dp-size", DP),
    ("--dp", DP),
    ("--expert-parallel-size", EP),
    ("--ep-size", EP),
    ("--ep", EP),
    ("--context-length", LENGTH),
    ("--max-running-requests", SEQUENCES),
    ("--chunked-prefill-size", BATCHED),
    ("--page-size", BLOCK),
    ("--mem-fraction-static", SHARE),
    ("--mem-fraction", SHARE),
    ("--kv-cache-dtype", KV_CACHE),
    ("--quantization", QUANTIZATION),
    ("--dtype", DTYPE),
    ("--disable-cuda-graph", EAGER),
    ("--disable-radix-cache", Switch("--enable-prefix-caching=false")),
    ("--disable-radix", Switch("--enable-prefix-caching=false")),
];

const TRTLLM: &Table = &[
    ("--model", Model),
    ("--tp-size", TP),
    ("--pp-size", PP),
    ("--ep-size", EP),
    ("--max-seq-len", LENGTH),
    ("--max-batch-size", SEQUENCES),
    ("--max-num-tokens", BATCHED),
    ("--free-gpu-memory-fraction", SHARE),
    ("--kv-cache-free-gpu-memory-fraction", SHARE),
    ("--kv-cache-dtype", KV_CACHE),
];

const LLAMACPP: &Table = &[
    ("-m", Model),
    ("--model", Model),
    ("-hf", Model),
    ("--hf-repo", Model),
    ("-c", LENGTH),
    ("--ctx-size", LENGTH),
    ("-np", SEQUENCES),
    ("--parallel", SEQUENCES),
    ("-ub", BATCHED),
    ("--ubatch-size", BATCHED),
    ("-ctk", KV_CACHE),
    ("--cache-type-k", KV_CACHE),
];

const LMDEPLOY: &Table = &[
    ("--tp", TP),
    ("--dp", DP),
    ("--ep", EP),
    ("--session-len", LENGTH),
    ("--max-batch-size", SEQUENCES),
    ("--max-prefill-token-num", BATCHED),
    ("--cache-block-seq-len", BLOCK),
    ("--cache-max-entry-count", SHARE),
    ("--dtype", DTYPE),
    ("--model-format", QUANTIZATION),
    ("--eager-mode", EAGER),
    ("--enable-prefix-caching", Switch("--enable-prefix-caching=true")),
];

const FASTLLM: &Table =
    &[("-p", Model), ("--path", Model), ("--dtype", QUANTIZATION), ("--max-batch", SEQUENCES)];

/// Flags without a value that people use and that cost nothing here.
const SWITCHES: &[&str] = &[
    "--async-scheduling",
    "--calculate-kv-scales",
    "--disable-custom-all-reduce",
    "--disable-fastapi-docs",
    "--disable-frontend-multiprocessing",
    "--disable-hybrid-kv-cache-manager",
    "--disable-log-requests",
    "--disable-log-stats",
    "--disable-overlap-schedule",
    "--disable-sliding-window",
    "--disable-uvicorn-access-log",
    "--enable-auto-tool-choice",
    "--enable-dp-attention",
    "--enable-dp-lm-head",
    "--enable-eplb",
    "--enable-log-requests",
    "--enable-lora",
    "--enable-metrics",
    "--enable-mixed-chunk",
    "--enable-reasoning",
    "--enable-server-load-tracking",
    "--enable-sleep-mode",
    "--enable-torch-compile",
    "--headless",
    "--jinja",
    "--language-model-only",
    "--log-requests",
    "--kv-unified",
    "-kvu",
    "--mlock",
    "--cont-batching",
    "-cb",
    "--no-mmap",
    "--return-tokens-as-token-ids",
    "--skip-server-warmup",
    "--skip-tokenizer-init",
    "--trust-remote-code",
    "--verbose",
    "-v",
];

/// What to do with a flag of this server; `name` has dashes for underscores.
pub(super) fn action(engine: EngineKind, name: &str) -> Action {
    let table = match engine {
        EngineKind::Sglang => SGLANG,
        EngineKind::Trtllm => TRTLLM,
        EngineKind::Llamacpp => LLAMACPP,
        EngineKind::Lmdeploy => LMDEPLOY,
        EngineKind::Fastllm => FASTLLM,
        EngineKind::Vllm
        | EngineKind::Transformers
        | EngineKind::TransformersCompiled
        | EngineKind::Ideal => VLLM,
    };
    match table.iter().find(|(known, _)| *known == name) {
        Some((_, action)) => *action,
        // vLLM's `--no-…` flags and optimisation levels (`-O3`) never take a value.
        None if SWITCHES.contains(&name) || name.starts_with("--no-") || name.starts_with("-O") => {
            Action::DropSwitch
        }
        None => Action::Drop,
    }
}
