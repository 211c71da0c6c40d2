//! Memory on paper.

use serde_json::json;

use super::board::memory_parts as parts;
use super::terminal::{PARTS, stack_line};
use super::{Report, Section, bytes_gib, count, percent};
use crate::memory::MemoryReport;
use crate::spec::{Accelerator, Deployment, Formats, GraphBudget, ModelSpec};

/// Width of the bar in characters.
const BAR: usize = 60;

/// Lays out a memory report.
#[must_use]
pub fn memory(
    model: &ModelSpec,
    accelerator: &Accelerator,
    deployment: &Deployment,
    formats: &Formats,
    answer: &MemoryReport,
) -> Report {
    // the answer has those of the model
    let warnings = answer.warnings.clone();
    let json = json!({
        "schema_version": 1,
        "inputs": {
            "model": model.id,
            "gpu": accelerator.id,
            "num_gpus": deployment.parallelism.accelerators(),
            "engine": deployment.engine.to_string(),
            "tensor_parallel_size": deployment.parallelism.tp,
            "pipeline_parallel_size": deployment.parallelism.pp,
            "data_parallel_size": deployment.parallelism.dp,
            "expert_parallel_size": deployment.parallelism.ep,
            "weight_dtype": formats.main(model).weights.name(),
            "activation_dtype": formats.activations.name(),
            "kv_cache_dtype": formats.kv_cache.name(),
            "enforce_eager": deployment.enforce_eager,
            "cpu_offload_bytes": deployment.cpu_offload_bytes,
        },
        "memory": answer,
        "warnings": warnings,
    });
    let verdict = match (&answer.reason, answer.fits) {
        (_, true) => "fits".to_owned(),
        (Some(reason), false) => format!("DOES NOT FIT: {reason}"),
        (None, false) => "DOES NOT FIT".to_owned(),
    };
    let heading = vec![
        format!(
            "{} on {}× {}, {}: {verdict}",
            model.id,
            deployment.parallelism.accelerators(),
            accelerator.id,
            deployment.engine
        ),
        String::new(),
        bar(answer),
    ];
    let mut sections = vec![budget(answer), capacity(answer)];
    if !answer.levers.is_empty() {
        sections.push(levers(answer));
    }
    let mut footer: Vec<String> =
        answer.vllm_log.iter().map(|line| format!("vLLM would log: {line}")).collect();
    footer.extend(answer.assumptions.iter().cloned());
    Report { heading, sections, footer, warnings, json, ..Report::default() }
}

/// One line to scale: what fills the accelerator; a dot is free.
fn bar(answer: &MemoryReport) -> String {
    let parts: Vec<(f64, char)> = parts(answer).into_iter().map(|(_, bytes)| bytes).zip(PARTS).collect();
    format!(" |{}|", stack_line(&parts, answer.capacity_bytes_per_gpu.0, BAR, '·'))
}

fn budget(answer: &MemoryReport) -> Section {
    let capacity = answer.capacity_bytes_per_gpu.0;
    let mut section = Section::new("", &["per accelerator", "", "of memory", ""]);
    for ((name, bytes), mark) in parts(answer).into_iter().zip(PARTS) {
        let note = match answer.settings.cuda_graphs {
            GraphBudget::Outside if name == "CUDA graphs" => "captured outside the share",
            _ => "",
        };
        section.row([format!("{mark} {name}"), bytes_gib(bytes), percent(bytes / capacity), note.into()]);
    }
    section.row([
        "= usable".into(),
        bytes_gib(answer.usable_bytes_per_gpu.0),
        percent(answer.usable_bytes_per_gpu.0 / capacity),
        format!("share {} of {}", answer.settings.gpu_memory_utilization, bytes_gib(capacity)),
    ]);
    if !answer.fits {
        let missing = answer.shortfall_bytes_per_gpu.0;
        section.row([
            "missing".into(),
            bytes_gib(missing),
            percent(missing / capacity),
            format!("for one request of {} tokens", count(answer.settings.max_model_len as f64)),
        ]);
    }
    section
}

fn capacity(answer: &MemoryReport) -> Section {
    let s = &answer.settings;
    let mut section = Section::new("", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    let [low, high] = answer.kv_cache_tokens_interval;
    row(
        "KV cache",
        format!(
            "{} tokens (80 %: {} – {}), {:.1} KiB a token, block {}",
            count(answer.kv_cache_tokens as f64),
            count(low as f64),
            count(high as f64),
            answer.kv_cache_bytes_per_token / 1024.0,
            answer.block_size
        ),
    );
    if answer.state_bytes_per_sequence.0 > 0.0 {
        row("state of a sequence", format!("{:.4} GiB", answer.state_bytes_per_sequence.gib()));
    }
    row(
        "requests at once",
        format!("{:.2} of {} tokens", answer.max_concurrency, count(s.max_model_len as f64)),
    );
    row("longest context", format!("{} tokens", count(answer.max_context_tokens as f64)));
    row("max-num-seqs", s.max_num_seqs.to_string());
    row("max-num-batched-tokens", s.max_num_batched_tokens.to_string());
    section
}

fn levers(answer: &MemoryReport) -> Section {
    let head = if answer.fits { "What would make more room" } else { "What would make it fit, or help" };
    let mut section = Section::new(head, &["", "flag", "gain per GPU", "KV tokens then", "fits", "but"]);
    for lever in &answer.levers {
        section.row([
            lever.name.to_owned(),
            lever.flag.clone(),
            bytes_gib(lever.gain_bytes_per_gpu.0),
            count(lever.kv_cache_tokens_after as f64),
            if lever.fits_after { "yes" } else { "no" }.into(),
            lever.note.to_owned(),
        ]);
    }
    section
}
