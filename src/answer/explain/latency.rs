//! Metrics of waiting.

use super::{MetricExplanation, ToolDefinition};

const fn t(tool: &'static str, key: &'static str, definition: &'static str) -> ToolDefinition {
    ToolDefinition { tool, key, definition }
}

pub(super) const METRICS: &[MetricExplanation] = &[
    MetricExplanation {
        name: "ttft",
        aliases: &["time-to-first-token", "first-token-latency"],
        title: "time to first token",
        definition: "From sending a request to its first generated token: how long a user looks at nothing.",
        formula: "TTFT = queue + prefill + first-token overhead (+ network, where given)",
        unit: "ms",
        tools: &[
            t("vLLM bench", "ttft_ms", "request sent → first streamed chunk with a choice in it"),
            t("SGLang bench_serving", "ttft_ms", "request sent → first streamed chunk"),
            t("AIPerf", "time_to_first_token", "request sent → first response that is not empty"),
            t("GenAI-Perf", "time_to_first_token", "request sent → first response that is not empty"),
            t("GuideLLM", "time_to_first_token_ms", "request sent → first token"),
            t("LLMPerf", "ttft_s", "request sent → first chunk with content, in seconds"),
            t("TensorRT-LLM bench", "streaming_metrics.avg_ttft_ms", "inside the process, without HTTP"),
        ],
        note: "A first chunk that holds only the role comes before the first text; tools that count it show less. \
               Under load most of it is queueing.",
        source: "vLLM benchmarks/lib/endpoint_request_func.py; NVIDIA NIM benchmarking guide, metrics",
    },
    MetricExplanation {
        name: "tpot",
        aliases: &["time-per-output-token"],
        title: "time per output token",
        definition: "Mean time between the tokens of one request after the first: the pace of the text.",
        formula: "TPOT = (E2E − TTFT) / (N − 1) for N output tokens, N > 1",
        unit: "ms",
        tools: &[
            t(
                "vLLM bench",
                "tpot_ms",
                "(E2E − TTFT) / (N − 1); requests with N ≤ 1 are left out of the mean",
            ),
            t("SGLang bench_serving", "tpot_ms", "(E2E − TTFT) / (N − 1)"),
            t("AIPerf", "inter_token_latency", "(E2E − TTFT) / (N − 1), under the name of ITL"),
            t("GenAI-Perf", "inter_token_latency", "(E2E − TTFT) / (N − 1), under the name of ITL"),
            t("GuideLLM", "time_per_output_token_ms", "E2E / N: the first token is inside"),
            t("GuideLLM", "inter_token_latency_ms", "(last − first token) / (N − 1): the one to compare"),
            t("LLMPerf", "inter_token_latency_s", "E2E / N: the gaps are summed with the TTFT among them"),
            t("TensorRT-LLM bench", "streaming_metrics.avg_tpot_ms", "(end − first token) / (N − 1)"),
        ],
        note: "Division by N instead of N − 1 is 1 % less at N = 100 and half at N = 2; with the first token \
               inside, long prompts and short answers differ by any factor. --tpot-definition converts.",
        source: "vLLM benchmarks/serve.py (calculate_metrics); LLMPerf token_benchmark_ray.py",
    },
    MetricExplanation {
        name: "itl",
        aliases: &["inter-token-latency"],
        title: "inter-token latency",
        definition: "The single gaps between streamed tokens, as a distribution over all tokens of all requests.",
        formula: "ITLᵢ = tᵢ₊₁ − tᵢ; percentiles over the pooled gaps",
        unit: "ms",
        tools: &[
            t("vLLM bench", "itl_ms", "gaps between streamed chunks, pooled over all requests"),
            t("SGLang bench_serving", "itl_ms", "gaps between streamed chunks, pooled"),
            t("AIPerf", "inter_token_latency", "one mean a request, (E2E − TTFT) / (N − 1): vLLM's TPOT"),
            t("AIPerf", "inter_chunk_latency", "the single gaps: vLLM's ITL"),
            t("GuideLLM", "inter_token_latency_ms", "one mean a request, (last − first token) / (N − 1)"),
            t("LLMPerf", "inter_token_latency_s", "one mean a request, E2E / N"),
        ],
        note: "Pooled gaps weigh requests by their tokens, TPOT weighs them alike, so the means differ. A chunk of \
               several tokens (speculative decoding) is one gap.",
        source: "vLLM benchmarks/serve.py; AIPerf metrics reference",
    },
    MetricExplanation {
        name: "tbt",
        aliases: &["time-between-tokens"],
        title: "time between tokens",
        definition: "Another name for inter-token latency, used in papers (Sarathi-Serve, Mooncake).",
        formula: "TBTᵢ = tᵢ₊₁ − tᵢ",
        unit: "ms",
        tools: &[],
        note: "Papers bound its 99th percentile, since one stall is what a reader notices.",
        source: "arXiv 2403.02310 §2",
    },
    MetricExplanation {
        name: "e2e",
        aliases: &["e2el", "latency", "end-to-end-latency", "request-latency"],
        title: "end-to-end latency",
        definition: "From sending a request to its last token.",
        formula: "E2E = TTFT + (N − 1) · TPOT",
        unit: "ms or s",
        tools: &[
            t("vLLM bench", "e2el_ms", "request sent → last chunk; only with --percentile-metrics … e2el"),
            t("SGLang bench_serving", "e2e_latency_ms", "request sent → last chunk"),
            t("AIPerf", "request_latency", "request sent → last response with content"),
            t("GenAI-Perf", "request_latency", "request sent → last response"),
            t("GuideLLM", "request_latency", "request sent → end, in seconds"),
            t("LLMPerf", "end_to_end_latency_s", "request sent → end, in seconds"),
            t("TensorRT-LLM bench", "performance.avg_request_latency_ms", "inside the process"),
        ],
        note: "The identity holds for each request and for means over requests of equal N, not for percentiles.",
        source: "vLLM benchmarks/serve.py",
    },
    MetricExplanation {
        name: "normalized-latency",
        aliases: &["normalised-latency"],
        title: "normalised latency",
        definition: "End-to-end latency for each output token, queueing included: one number for a whole request.",
        formula: "E2E / N",
        unit: "ms per token",
        tools: &[
            t("LLMPerf", "inter_token_latency_s", "the same number under another name"),
            t("GuideLLM", "time_per_output_token_ms", "the same number under another name"),
        ],
        note: "It rises with load because queueing is inside; it is what the vLLM and Orca papers plot.",
        source: "arXiv 2309.06180 §6.1",
    },
];
