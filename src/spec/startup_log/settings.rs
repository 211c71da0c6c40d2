//! Settings in a log, as our flags.

use super::StartupLog;
use super::facts::{after, engine, leading_number, number_after};
use crate::spec::EngineKind;
use crate::spec::launch_line::known_format;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Degree,
    Format,
    Switch,
    Choice,
}

/// Keys of vLLM's configuration and arguments, and of SGLang's.
const KEYS: [(&str, &str, Kind); 30] = [
    ("tensor_parallel_size", "--tensor-parallel-size", Kind::Degree),
    ("tp_size", "--tensor-parallel-size", Kind::Degree),
    ("pipeline_parallel_size", "--pipeline-parallel-size", Kind::Degree),
    ("pp_size", "--pipeline-parallel-size", Kind::Degree),
    ("data_parallel_size", "--data-parallel-size", Kind::Degree),
    ("ep_size", "--expert-parallel-size", Kind::Degree),
    ("enable_expert_parallel", "--enable-expert-parallel", Kind::Switch),
    ("max_seq_len", "--max-model-len", Kind::Number),
    ("max_model_len", "--max-model-len", Kind::Number),
    ("context_length", "--max-model-len", Kind::Number),
    ("context_len", "--max-model-len", Kind::Number),
    ("max_num_seqs", "--max-num-seqs", Kind::Number),
    ("max_running_requests", "--max-num-seqs", Kind::Number),
    ("max_num_batched_tokens", "--max-num-batched-tokens", Kind::Number),
    ("chunked_prefill_size", "--max-num-batched-tokens", Kind::Number),
    ("block_size", "--block-size", Kind::Number),
    ("page_size", "--block-size", Kind::Number),
    ("gpu_memory_utilization", "--gpu-memory-utilization", Kind::Number),
    ("mem_fraction_static", "--gpu-memory-utilization", Kind::Number),
    ("enforce_eager", "--enforce-eager", Kind::Switch),
    ("disable_cuda_graph", "--enforce-eager", Kind::Switch),
    ("enable_prefix_caching", "--enable-prefix-caching", Kind::Choice),
    ("dtype", "--dtype", Kind::Format),
    ("quantization", "--quantization", Kind::Format),
    ("kv_cache_dtype", "--kv-cache-dtype", Kind::Format),
    ("model", "", Kind::Format),
    ("model_tag", "", Kind::Format),
    ("model_path", "", Kind::Format),
    ("speculative_config", "", Kind::Format),
    ("cpu_offload_gb", "", Kind::Format),
];

/// Reads what a line says of settings.
pub(super) fn read(line: &str, log: &mut StartupLog) {
    version(line, log);
    let vllm = ["with config: ", "non-default args: ", "args: Namespace("];
    let body = vllm.iter().find_map(|phrase| after(line, phrase));
    if let Some(body) = body {
        engine(log, EngineKind::Vllm);
        all(body, log);
    } else if let Some(body) = after(line, "ServerArgs(") {
        engine(log, EngineKind::Sglang);
        all(body, log);
    }
    if let Some(rest) = after(line, "Starting to load model ")
        && log.model.is_none()
    {
        let name = rest.trim_end_matches('.').trim();
        log.model = Some(name.to_owned()).filter(|n| !n.is_empty() && n.len() < 512 && !n.contains(' '));
    }
    if let Some(body) = after(line, "max_total_num_tokens=") {
        engine(log, EngineKind::Sglang);
        all(body, log);
    }
    if let Some(tokens) = number_after(line, "Chunked prefill is enabled with max_num_batched_tokens=") {
        number("--max-num-batched-tokens", tokens, log);
    }
    if let Some(length) = number_after(line, "Using max model len ") {
        number("--max-model-len", length, log);
    }
    let shares =
        ["gpu_memory_utilization (", "GPU memory utilization is (", "The current --gpu-memory-utilization="];
    if let Some(share) = shares.iter().find_map(|phrase| number_after(line, phrase)) {
        engine(log, EngineKind::Vllm);
        number("--gpu-memory-utilization", share, log);
    }
    if line.contains("Cudagraph is disabled under eager mode") {
        log.set("--enforce-eager", None);
    }
    if line.contains("Mamba cache mode is set to '") {
        log.set("--enable-prefix-caching", Some("true".into()));
    }
    if line.contains("GPU KV cache size: ") || line.contains("Available KV cache memory") {
        engine(log, EngineKind::Vllm);
    }
}

fn version(line: &str, log: &mut StartupLog) {
    let phrases = ["LLM engine (v", "vLLM API server version ", "█  version ", "sglang=="];
    for phrase in phrases {
        let Some(rest) = after(line, phrase) else { continue };
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !".+".contains(c)).unwrap_or(rest.len());
        let found = &rest[..end.min(40)];
        if found.starts_with(|c: char| c.is_ascii_digit()) {
            engine(log, if phrase == "sglang==" { EngineKind::Sglang } else { EngineKind::Vllm });
            log.version = Some(found.trim_end_matches('.').to_owned());
        }
    }
}

fn all(body: &str, log: &mut StartupLog) {
    for (key, flag, kind) in KEYS {
        let Some(value) = value(body, key).filter(|v| !v.is_empty() && *v != "None" && *v != "auto") else {
            continue;
        };
        match (key, kind) {
            ("model" | "model_tag" | "model_path", _) => log.model = Some(value.to_owned()),
            ("speculative_config" | "cpu_offload_gb", _) => {
                if value != "0" && value != "0.0" {
                    log.dropped.push(format!("--{}", key.replace('_', "-")));
                }
            }
            (_, Kind::Switch) => {
                if value == "True" {
                    log.set(flag, None);
                }
            }
            (_, Kind::Choice) => {
                if let "True" | "False" = value {
                    log.set(flag, Some(value.to_ascii_lowercase()));
                }
            }
            (_, Kind::Degree) => {
                if let Some(n) = leading_number(value).filter(|n| *n > 1.0) {
                    number(flag, n, log);
                }
            }
            (_, Kind::Number) => {
                if let Some(n) = leading_number(value) {
                    number(flag, n, log);
                }
            }
            (_, Kind::Format) => {
                let plain = value.strip_prefix("torch.").unwrap_or(value);
                match known_format(plain) {
                    Some(known) => log.set(flag, Some(known)),
                    None => log.dropped.push(format!("{flag} {plain} (as the checkpoint says)")),
                }
            }
        }
    }
    log.dropped.sort();
    log.dropped.dedup();
}

fn number(flag: &'static str, value: f64, log: &mut StartupLog) {
    let sound = if flag == "--gpu-memory-utilization" {
        value > 0.0 && value <= 1.0
    } else {
        (1.0..1e9).contains(&value)
    };
    if sound {
        log.set(flag, Some(value.to_string()));
    }
}

/// The value of `key=value` or `'key': value`, without quotes. A key within a longer word is none.
fn value<'a>(body: &'a str, key: &str) -> Option<&'a str> {
    for (at, _) in body.match_indices(key) {
        let before = body[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            continue;
        }
        let rest = &body[at + key.len()..];
        let rest =
            rest.strip_prefix('=').or_else(|| rest.strip_prefix("': ")).or_else(|| rest.strip_prefix("\": "));
        let Some(rest) = rest else { continue };
        let quoted =
            rest.strip_prefix('\'').map(|r| (r, '\'')).or_else(|| rest.strip_prefix('"').map(|r| (r, '"')));
        let found = match quoted {
            Some((inner, quote)) => inner.split(quote).next(),
            None => rest.split([',', ')', '}', ' ']).next(),
        };
        if let Some(found) = found.filter(|f| f.len() < 512) {
            return Some(found.trim());
        }
    }
    None
}
