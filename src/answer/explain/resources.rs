//! Metrics of how well the hardware is used.

use super::{MetricExplanation, ToolDefinition};

pub(super) const METRICS: &[MetricExplanation] = &[
    MetricExplanation {
        name: "mfu",
        aliases: &["model-flops-utilization", "model-flops-utilisation"],
        title: "model FLOPs utilisation",
        definition: "Share of the accelerators' peak arithmetic that a phase uses; telling for prefill, which is \
                     bound by arithmetic.",
        formula: "FLOPs of the model's operators / (time · dense peak of their data type · accelerators)",
        unit: "%",
        tools: &[],
        note: "Common shortcuts take 2 · parameters · tokens for the FLOPs and leave attention out, or divide by \
               the peak with sparsity, which halves the result.",
        source: "arXiv 2204.02311 (PaLM), appendix B",
    },
    MetricExplanation {
        name: "mbu",
        aliases: &["model-bandwidth-utilization", "model-bandwidth-utilisation"],
        title: "memory-bandwidth utilisation",
        definition: "Share of the peak memory bandwidth that a phase uses; telling for decode, which is bound by \
                     reading weights and KV cache.",
        formula: "(weights + KV cache read, bytes) / (TPOT · peak bandwidth · accelerators)",
        unit: "%",
        tools: &[],
        note: "Of a mixture of experts only the experts that the batch touches are read.",
        source: "Databricks, LLM Inference Performance Engineering: Best Practices (2023)",
    },
    MetricExplanation {
        name: "kv-cache",
        aliases: &["kv", "kv-cache-size", "kv-cache-tokens"],
        title: "KV cache",
        definition: "Memory for keys and values of the tokens seen so far; it bounds context times concurrency.",
        formula: "bytes per token = Σ over layers: KV heads · (key + value width) · bytes per element; \
                  latent attention: (rank + rotary width) · bytes; a window stops growing at its width",
        unit: "bytes per token, GiB, tokens",
        tools: &[
            ToolDefinition {
                tool: "vLLM",
                key: "GPU KV cache size: N tokens",
                definition: "blocks · block size, after weights, activations and graphs",
            },
            ToolDefinition {
                tool: "SGLang",
                key: "max_total_num_tokens",
                definition: "tokens of the pool, after weights and the reserve of --mem-fraction-static",
            },
            ToolDefinition {
                tool: "llama.cpp",
                key: "llama_kv_cache: size",
                definition: "bytes for the whole context given with -c, allocated at start-up",
            },
        ],
        note: "Tensor parallelism divides KV heads until one is left on a rank, then copies them; a latent is whole \
               on every rank.",
        source: "arXiv 2309.06180; vLLM v1/core/kv_cache_utils.py",
    },
];
