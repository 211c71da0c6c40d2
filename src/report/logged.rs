//! A start-up log beside the prediction, on paper.

use serde_json::json;

use super::{Report, Section, count, number};
use crate::answer::Logged;
use crate::spec::startup_log::{Failure, StartupLog};

impl Report {
    /// Adds what a log says, and why the server gave up if it did.
    pub fn add_log(&mut self, log: &StartupLog, figures: &[Logged]) {
        if let Some(failure) = &log.failure {
            self.heading.push(String::new());
            self.heading.extend(words(failure));
        }
        if !figures.is_empty() {
            self.sections.insert(self.sections.len().min(2), section(figures));
        }
        if let Some(map) = self.json.as_object_mut() {
            let mut value = serde_json::to_value(log).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.retain(|_, v| !v.is_null());
                fields.insert("beside".into(), json!(figures));
            }
            map.insert("log".into(), value);
        }
    }
}

fn section(figures: &[Logged]) -> Section {
    let mut section =
        Section::new("The log beside the prediction", &["", "log", "predicted", "log / predicted", ""]);
    for figure in figures {
        let (name, unit) = match figure.quantity {
            "weights_gib" => ("weights", "GiB"),
            "activation_gib" => ("activations (peak)", "GiB"),
            "non_torch_gib" => ("runtime", "GiB"),
            "cuda_graph_gib" => ("CUDA graphs", "GiB"),
            "kv_cache_gib" => ("KV cache", "GiB"),
            "kv_cache_tokens" => ("KV cache", "tokens"),
            _ => ("requests at once", ""),
        };
        let value = |v: f64| match unit {
            "GiB" => format!("{v:.2} GiB"),
            "tokens" => format!("{} tokens", count(v)),
            _ => format!("{v:.2}"),
        };
        section.row([
            name.to_owned(),
            value(figure.logged),
            value(figure.predicted),
            number(figure.ratio),
            if figure.normal { "normal" } else { "differs" }.to_owned(),
        ]);
    }
    section
}

/// Why the server gave up, and what is missing.
fn words(failure: &Failure) -> Vec<String> {
    match *failure {
        Failure::TooLong { max_model_len, needed_gib, available_gib, kv_cache_tokens, longest } => {
            let length = count(max_model_len as f64);
            let mut line = format!("The log: a request of {length} tokens has no room in the KV cache");
            if let (Some(needed), Some(available)) = (needed_gib, available_gib) {
                let missing = (needed - available).max(0.0);
                line += &format!(
                    ": it needs {needed} GiB, {available} GiB are left, {missing:.2} GiB are missing"
                );
            }
            if let Some(tokens) = longest.or(kv_cache_tokens) {
                line += &format!("; {} tokens fit (--max-model-len {tokens})", count(tokens as f64));
            }
            vec![line]
        }
        Failure::NoRoom => {
            vec!["The log: weights, activations and runtime left nothing for the KV cache".into()]
        }
        Failure::OutOfMemory { tried_gib, total_gib, free_gib } => vec![format!(
            "The log: CUDA ran out of memory: {tried_gib:.2} GiB were asked for, {free_gib:.2} of {total_gib} GiB were free"
        )],
        Failure::Occupied { free_gib, total_gib, wanted_gib } => {
            let share = (free_gib / total_gib * 100.0).floor() / 100.0;
            vec![
                format!(
                    "The log: something else holds the GPU: {free_gib} of {total_gib} GiB were free at the start, {wanted_gib} \
                     GiB are wanted, {:.2} GiB are missing",
                    wanted_gib - free_gib
                ),
                format!(
                    "End the other processes (nvidia-smi lists them), or take what is free: --gpu-memory-utilization {share}"
                ),
            ]
        }
    }
}
