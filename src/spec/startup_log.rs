//! What a server wrote when it started: model, settings, where the memory went, and why it gave up.
//!
//! Understood are logs of vLLM 0.2 to 0.2x (one engine or many workers, in containers or not, with colours, prefixes and time
//! stamps, cut by a terminal's width) and of SGLang. Nothing else in them is kept. Wording: vLLM `v1/worker/gpu_worker.py`,
//! `v1/core/kv_cache_utils.py`, `v1/engine/core.py`, `worker/worker.py`, `engine/llm_engine.py`, as quoted in its issues;
//! SGLang `server_args.py` and `model_runner.py`.

mod facts;
mod failure;
mod lines;
mod settings;

use serde::Serialize;
use std::io::Read;
use std::path::Path;

use super::catalog::name_elsewhere;
use super::{EngineKind, SpecError};
pub use failure::Failure;

/// Bytes of a log that are read: the start of a server is within them.
const MOST_BYTES: u64 = 64 << 20;

/// A start-up as the log tells it. Sizes are in GiB, of the accelerator that has least room.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct StartupLog {
    /// Engine: vLLM or SGLang.
    #[serde(skip)]
    pub engine: Option<EngineKind>,
    /// Its version as written.
    pub version: Option<String>,
    /// Model as it was asked for.
    pub model: Option<String>,
    /// Name of the accelerator, where a line has it.
    pub gpu: Option<String>,
    /// Settings as our flags with their values.
    #[serde(skip)]
    pub flags: Vec<(&'static str, Option<String>)>,
    /// Settings that have no effect here, or that are not understood.
    #[serde(skip)]
    pub dropped: Vec<String>,
    /// Attention backend.
    pub attention_backend: Option<String>,
    /// Memory that a program sees.
    pub total_gib: Option<f64>,
    /// Weights.
    pub weights_gib: Option<f64>,
    /// Peak of activations.
    pub activation_gib: Option<f64>,
    /// Memory outside the tensors.
    pub non_torch_gib: Option<f64>,
    /// CUDA graphs: as captured, else as estimated.
    pub cuda_graph_gib: Option<f64>,
    /// KV pool.
    pub kv_cache_gib: Option<f64>,
    /// Tokens in the KV pool.
    pub kv_cache_tokens: Option<u64>,
    /// Requests of the longest length that it holds.
    pub max_concurrency: Option<f64>,
    /// Requests that ran while tokens were generated at [`StartupLog::generation_tokens_per_s`].
    pub running_requests: Option<u32>,
    /// Generated tokens per second of the commonest load: the median of its lines.
    pub generation_tokens_per_s: Option<f64>,
    /// Why it did not start.
    pub failure: Option<Failure>,
}

impl StartupLog {
    /// Reads a text; none when nothing in it is of a start-up.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut log = Self::default();
        let mut loads = vec![];
        for line in lines::logical(text) {
            if line.contains("vLLM API server version") && log.weights_gib.is_some() {
                // the server was started once more
                log = Self::default();
                loads.clear();
            }
            settings::read(&line, &mut log);
            facts::read(&line, &mut log);
            loads.extend(facts::load(&line));
            if let Some(failure) = Failure::read(&line) {
                facts::engine(&mut log, EngineKind::Vllm);
                log.failure = Some(Failure::more_telling(log.failure.take(), failure));
            }
        }
        if let Some((running, rate)) = facts::commonest(loads) {
            (log.running_requests, log.generation_tokens_per_s) = (Some(running), Some(rate));
        }
        if let Some(Failure::Occupied { total_gib, .. } | Failure::OutOfMemory { total_gib, .. }) =
            log.failure
        {
            log.total_gib = log.total_gib.or(Some(total_gib));
        }
        if let Some(Failure::TooLong { max_model_len, .. }) = log.failure
            && !log.flags.iter().any(|(flag, _)| *flag == "--max-model-len")
        {
            log.set("--max-model-len", Some(max_model_len.to_string()));
        }
        (log != Self::default()).then_some(log)
    }

    /// Reads a file, or standard input where the path is `-`.
    ///
    /// # Errors
    /// When it cannot be read or is no log of a start-up.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        let name = path.display().to_string();
        let unreadable =
            |e: std::io::Error| SpecError::Unreadable { file: name.clone(), message: e.to_string() };
        let mut bytes = vec![];
        if name == "-" {
            std::io::stdin().lock().take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            let file = std::fs::File::open(path).map_err(unreadable)?;
            file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        Self::parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| {
            SpecError::Usage(format!(
                "{name}: no line of a vLLM or SGLang start-up was found; give the server's whole output from its start"
            ))
        })
    }

    /// The engine with its version as `--engine` takes it.
    #[must_use]
    pub fn engine_flag(&self) -> Option<String> {
        let name = self.engine?.name();
        let version = self.version.as_deref().and_then(|v| {
            let mut parts = v.split('.');
            let number = |part: Option<&str>| part.filter(|p| p.parse::<u32>().is_ok()).map(str::to_owned);
            Some(format!("{}.{}", number(parts.next())?, number(parts.next())?))
        });
        Some(version.map_or_else(|| name.to_owned(), |v| format!("{name}@{v}")))
    }

    /// The model by the name that a catalog may know.
    #[must_use]
    pub fn model_name(&self) -> Option<String> {
        self.model.as_deref().map(name_elsewhere).filter(|name| !name.is_empty())
    }

    /// All flags as arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let engine = self.engine_flag().map(|e| vec!["--engine".to_owned(), e]);
        let flags = self
            .flags
            .iter()
            .flat_map(|(flag, value)| std::iter::once((*flag).to_owned()).chain(value.clone()));
        engine.into_iter().flatten().chain(flags).collect()
    }

    /// Remembers a setting; the last one counts, as of two lines that say it.
    fn set(&mut self, flag: &'static str, value: Option<String>) {
        self.flags.retain(|(known, _)| *known != flag);
        self.flags.push((flag, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_flags() {
        let flag = |version: &str| {
            StartupLog {
                engine: Some(EngineKind::Vllm),
                version: Some(version.into()),
                ..StartupLog::default()
            }
            .engine_flag()
            .unwrap()
        };
        assert_eq!(flag("0.10.2.dev378+g4d7fe40fc"), "vllm@0.10");
        assert_eq!(flag("0.19.1rc1.dev301"), "vllm@0.19");
        assert_eq!(flag("dev"), "vllm");
    }
}
