//! Metrics of money.

use super::{MetricExplanation, ToolDefinition};

pub(super) const METRICS: &[MetricExplanation] = &[
    MetricExplanation {
        name: "cost",
        aliases: &["cost-per-million-tokens", "usd-per-million-tokens", "price"],
        title: "cost per million tokens",
        definition: "What the hours of the accelerators cost, over the tokens that they make: prompt and generated ones \
                     apart, each with its phase's share of the time.",
        formula: "10⁶ · accelerators · $/h / 3600 · (phase's share of a second) / (its tokens per second)",
        unit: "US dollars per million prompt or generated tokens",
        tools: &[
            ToolDefinition {
                tool: "APIs",
                key: "$ per 1M input / output tokens",
                definition: "a price, not a cost; prompts read from a cache often have a third one",
            },
            ToolDefinition {
                tool: "InferenceX",
                key: "cost per million tokens",
                definition: "$/h · accelerators / tokens per hour at the throughput measured, all tokens alike",
            },
        ],
        note: "At one request in flight a token costs tens of times what it costs on a full deployment: say which load \
               is meant. `foretoken cost` answers for four.",
        source: "docs/COST.md",
    },
    MetricExplanation {
        name: "duty",
        aliases: &["utilization", "utilisation", "duty-cycle"],
        title: "duty",
        definition: "Hours in which the deployment is used, over the hours that are paid for.",
        formula: "used hours / paid hours; costs that stand are divided by it, electricity is not",
        unit: "share, 0 to 1",
        tools: &[],
        note: "Not the load: a deployment that idles through the night at full traffic by day has half the duty and a \
               load of one. `--utilization` names the duty too.",
        source: "docs/COST.md",
    },
    MetricExplanation {
        name: "load",
        aliases: &["capacity", "saturation"],
        title: "load",
        definition: "Requests per second over what the replicas can do when they are never short of requests.",
        formula: "λ / (replicas · X), X the saturated rate of one",
        unit: "share, 0 to 1",
        tools: &[],
        note: "Waiting grows without end as it nears 1. What is left of the capacity within limits of latency is less \
               than 1.",
        source: "docs/COST.md",
    },
];
