//! Figures in a log.

use super::{EngineKind, StartupLog};

/// Tokens in a block where no line says.
const BLOCK: u64 = 16;

/// Reads what a line says of memory.
pub(super) fn read(line: &str, log: &mut StartupLog) {
    let largest = |slot: &mut Option<f64>, found: Option<f64>| {
        if let Some(value) = found.filter(|v| (0.0..1e5).contains(v)) {
            *slot = Some(slot.map_or(value, |known| known.max(value)));
        }
    };
    let smallest = |slot: &mut Option<f64>, found: Option<f64>| {
        if let Some(value) = found.filter(|v| v.abs() < 1e5) {
            *slot = Some(slot.map_or(value, |known| known.min(value)));
        }
    };
    // "GB" of old versions are GiB: bytes over 2³⁰
    for phrase in
        ["Loading model weights took ", "Model loading took ", "model weights take ", "Actual usage is "]
    {
        largest(&mut log.weights_gib, number_after(line, phrase));
    }
    if line.contains("Load weight end") || line.contains("load_weight_end") {
        largest(&mut log.weights_gib, number_after(line, "mem usage="));
    }
    largest(&mut log.activation_gib, number_after(line, "PyTorch activation peak memory takes "));
    largest(&mut log.activation_gib, number_before(line, " GiB for peak activation"));
    largest(&mut log.non_torch_gib, number_after(line, "non_torch_memory takes "));
    largest(&mut log.non_torch_gib, number_before(line, " GiB for non-torch memory"));
    if line.contains("Graph capturing finished") {
        log.cuda_graph_gib = number_after(line, "took ").or(log.cuda_graph_gib);
    }
    if log.cuda_graph_gib.is_none() {
        log.cuda_graph_gib = number_after(line, "Estimated CUDA graph memory: ");
    }
    smallest(&mut log.kv_cache_gib, number_after(line, "Available KV cache memory: "));
    smallest(&mut log.kv_cache_gib, number_after(line, "the rest of the memory reserved for KV Cache is "));
    for phrase in ["total_gpu_memory (", "has a total capacity of "] {
        log.total_gib = number_after(line, phrase).filter(|v| *v > 0.0).or(log.total_gib);
    }
    if let Some(free) = after(line, "Free memory on device") {
        log.total_gib = free.split_once('/').and_then(|(_, t)| leading_number(t)).or(log.total_gib);
    }
    tokens(line, log);
    if let Some(after) = after(line, "Maximum concurrency for ") {
        let found = number_after(after, "per request: ").filter(|v| v.is_finite());
        log.max_concurrency = found.or(log.max_concurrency);
    }
    backend(line, log);
    gpu(line, log);
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded below
fn tokens(line: &str, log: &mut StartupLog) {
    let whole = |value: Option<f64>| value.filter(|v| (0.0..1e12).contains(v)).map(|v| v as u64);
    let logged = whole(number_after(line, "GPU KV cache size: "));
    let pool =
        line.contains("KV Cache is allocated").then(|| whole(number_after(line, "#tokens: "))).flatten();
    let pool = pool.or(whole(number_after(line, "max_total_num_tokens=")));
    if let Some(found) = logged.or(pool) {
        log.kv_cache_tokens = Some(found);
        return;
    }
    for phrase in ["# GPU blocks: ", "# cuda blocks: "] {
        if let Some(blocks) = whole(number_after(line, phrase)).filter(|_| log.kv_cache_tokens.is_none()) {
            let size = log.flags.iter().find(|(flag, _)| *flag == "--block-size");
            let size = size.and_then(|(_, v)| v.as_ref()?.parse().ok()).unwrap_or(BLOCK);
            log.kv_cache_tokens = blocks.checked_mul(size);
        }
    }
}

/// `Using FLASH_ATTN attention backend`, `Using Flash Attention backend on V1 engine.`
fn backend(line: &str, log: &mut StartupLog) {
    let name = line.strip_prefix("Using ").or_else(|| after(line, "] Using "));
    if let Some((name, _)) = name.and_then(|n| n.split_once(" backend")) {
        let name = name.strip_suffix(" attention").unwrap_or(name);
        let is_attention = ["attn", "attention", "flash", "mla", "triton", "xformers"]
            .iter()
            .any(|word| name.to_ascii_lowercase().contains(word));
        if is_attention && name.len() < 40 {
            log.attention_backend = Some(name.to_owned());
        }
    }
}

/// `device_name=NVIDIA_H100_80GB_HBM3` of a kernel's configuration, `GPU 0: NVIDIA A100-SXM4-80GB` of a report.
fn gpu(line: &str, log: &mut StartupLog) {
    let configured = after(line, "device_name=").map(|rest| {
        let end = rest.find([',', '.', ' ', ']']).unwrap_or(rest.len());
        rest[..end].replace('_', " ")
    });
    let reported = after(line, "GPU 0: ").map(|rest| rest.split(" (UUID").next().unwrap_or(rest).to_owned());
    let found = configured.or(reported).map(|name| name.trim().to_owned());
    if let Some(name) = found.filter(|n| (3..60).contains(&n.len()) && n.starts_with(char::is_alphabetic)) {
        log.gpu.get_or_insert(name);
    }
}

/// Requests that ran and tokens per second that were generated, of a line of statistics.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded
pub(super) fn load(line: &str) -> Option<(u32, f64)> {
    let rate = number_after(line, "Avg generation throughput: ").filter(|r| *r > 0.0 && *r < 1e9)?;
    let running = number_after(line, "Running: ").filter(|n| *n >= 1.0 && *n < 1e6)?;
    let waiting = number_after(line, "Waiting: ").or_else(|| number_after(line, "Pending: ")).unwrap_or(0.0);
    (waiting == 0.0).then_some((running as u32, rate))
}

/// The load that most lines tell of, with their median rate.
pub(super) fn commonest(loads: Vec<(u32, f64)>) -> Option<(u32, f64)> {
    let mut by_running: std::collections::BTreeMap<u32, Vec<f64>> = std::collections::BTreeMap::new();
    for (running, rate) in loads {
        by_running.entry(running).or_default().push(rate);
    }
    let (running, mut rates) =
        by_running.into_iter().max_by_key(|(running, rates)| (rates.len(), *running))?;
    rates.sort_by(f64::total_cmp);
    Some((running, *rates.get(rates.len() / 2)?))
}

/// What stands behind a phrase.
pub(super) fn after<'a>(line: &'a str, phrase: &str) -> Option<&'a str> {
    line.split_once(phrase).map(|(_, rest)| rest)
}

/// The number behind a phrase; commas between thousands.
pub(super) fn number_after(line: &str, phrase: &str) -> Option<f64> {
    leading_number(after(line, phrase)?)
}

pub(super) fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && !"-.,".contains(c)).unwrap_or(text.len());
    text[..end].replace(',', "").trim_end_matches('.').parse().ok()
}

/// The number before a phrase.
pub(super) fn number_before(line: &str, phrase: &str) -> Option<f64> {
    let (before, _) = line.split_once(phrase)?;
    let start = before
        .rfind(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
    before[start..].parse().ok()
}

/// Marks the engine that a line is of.
pub(super) fn engine(log: &mut StartupLog, kind: EngineKind) {
    log.engine.get_or_insert(kind);
}
