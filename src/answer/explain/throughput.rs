//! Metrics of how much gets done.

use super::{MetricExplanation, ToolDefinition};

const fn t(tool: &'static str, key: &'static str, definition: &'static str) -> ToolDefinition {
    ToolDefinition { tool, key, definition }
}

pub(super) const METRICS: &[MetricExplanation] = &[
    MetricExplanation {
        name: "throughput",
        aliases: &["output-throughput", "tokens-per-second", "tps", "output-tokens-per-second"],
        title: "output throughput",
        definition: "Generated tokens of all requests in a second of wall time.",
        formula: "Σ N / duration; for a static batch of B: B · N / E2E",
        unit: "tokens/s",
        tools: &[
            t(
                "vLLM bench",
                "output_throughput",
                "Σ N / duration of the whole run; total_token_throughput adds prompts",
            ),
            t("SGLang bench_serving", "output_throughput", "Σ N / duration of the whole run"),
            t("AIPerf", "output_token_throughput", "Σ N / (last response − first request)"),
            t("GenAI-Perf", "output_token_throughput", "Σ N / (last response − first request)"),
            t("GuideLLM", "output_tokens_per_second", "rate over the benchmark's window"),
            t("LLMPerf", "request_output_throughput_token_per_s", "N / E2E of one request: a user's rate"),
            t("TensorRT-LLM bench", "performance.system_output_throughput_tok_s", "Σ N / duration"),
        ],
        note: "Warm-up and the tail, when requests run out, are inside the duration of most tools, so short runs \
               show less than the steady state. Some tools say throughput and mean prompt and output tokens.",
        source: "vLLM benchmarks/serve.py",
    },
    MetricExplanation {
        name: "tokens-per-second-per-user",
        aliases: &["per-user", "tps-per-user", "tps/user", "interactivity"],
        title: "output throughput of one user",
        definition: "How fast text appears to one user while it is generated.",
        formula: "1 / TPOT",
        unit: "tokens/s",
        tools: &[
            t("AIPerf", "output_token_throughput_per_user", "1 / inter_token_latency"),
            t("GenAI-Perf", "output_token_throughput_per_user", "1 / inter_token_latency"),
            t("LLMPerf", "request_output_throughput_token_per_s", "N / E2E: queueing and prefill are inside"),
        ],
        note: "A mean of 1/TPOT is not 1 over the mean of TPOT.",
        source: "AIPerf metrics reference",
    },
    MetricExplanation {
        name: "tokens-per-second-per-gpu",
        aliases: &["per-gpu", "tps-per-gpu", "tps/gpu"],
        title: "output throughput of one accelerator",
        definition: "Output throughput over all accelerators that work for it: what efficiency comparisons use.",
        formula: "Σ N / duration / accelerators",
        unit: "tokens/s",
        tools: &[
            t(
                "TensorRT-LLM bench",
                "performance.output_throughput_per_gpu_tok_s",
                "output throughput / world size",
            ),
            t(
                "InferenceX",
                "output_tput_per_gpu",
                "output throughput / GPUs; tput_per_gpu counts prompts, too",
            ),
        ],
        note: "With prefill on machines of its own, their accelerators count as well.",
        source: "TensorRT-LLM bench report; InferenceX process_result.py",
    },
    MetricExplanation {
        name: "prefill-throughput",
        aliases: &["prefill", "prompt-throughput", "prefill-tokens-per-second"],
        title: "prefill throughput",
        definition: "Prompt tokens processed in a second of prefill.",
        formula: "prompt tokens / prefill time",
        unit: "tokens/s",
        tools: &[
            t(
                "AIPerf",
                "prefill_throughput_per_user",
                "prompt tokens / TTFT: queueing and overheads are inside",
            ),
            t("llama-bench", "pp test, avg_ts", "prompt tokens / time of the prompt, batch 1"),
            t("SGLang bench_serving", "input_throughput", "Σ prompt tokens / duration of the whole run"),
        ],
        note: "Prompt tokens over the duration of a run say how many were served, not how fast prefill is.",
        source: "AIPerf metrics reference; llama.cpp tools/llama-bench",
    },
    MetricExplanation {
        name: "goodput",
        aliases: &["request-goodput"],
        title: "goodput",
        definition: "Requests in a second that meet every service-level objective at once.",
        formula: "#{requests: TTFT ≤ a and TPOT ≤ b and E2E ≤ c} / duration",
        unit: "requests/s",
        tools: &[
            t(
                "vLLM bench",
                "request_goodput",
                "--goodput ttft:500 tpot:50, in ms; a TPOT of N ≤ 1 counts as 0",
            ),
            t("AIPerf", "goodput", "--goodput \"time_to_first_token:500 inter_token_latency:50\""),
            t("GenAI-Perf", "request_goodput", "--goodput with the same words as AIPerf"),
        ],
        note: "Throughput rises on into overload; goodput falls there. A percentile bound (p99 TTFT ≤ a) asks \
               something else: each objective by itself.",
        source: "vLLM benchmarks/serve.py; arXiv 2401.09670 §2",
    },
    MetricExplanation {
        name: "concurrency",
        aliases: &["max-concurrency", "users"],
        title: "concurrency",
        definition: "Requests in flight: as a load (a closed loop keeps that many) or as a capacity (how many the \
                     KV cache holds).",
        formula: "mean in flight = request rate · E2E (Little); capacity = KV tokens / tokens of a request",
        unit: "requests",
        tools: &[
            t(
                "vLLM bench",
                "--max-concurrency",
                "a cap on the client's side; max_concurrent_requests is the peak seen",
            ),
            t("vLLM", "Maximum concurrency for N tokens per request", "KV-cache tokens / N at start-up"),
            t("SGLang bench_serving", "concurrency", "Σ E2E / duration: the mean that was reached"),
            t("AIPerf", "--concurrency", "requests kept in flight"),
            t("GuideLLM", "request_concurrency", "requests in flight over time"),
        ],
        note: "A cap is not reached when requests arrive more slowly than they finish.",
        source: "vLLM benchmarks/serve.py; J. D. C. Little, Operations Research 9 (1961)",
    },
];
