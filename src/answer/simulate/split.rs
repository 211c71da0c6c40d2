//! Prefill and decode in pools of their own: the link between them and what is said of it.

use serde::Serialize;
use std::str::FromStr;

use super::super::estimate::{Inputs, Question};
use crate::serving::{CacheBytes, Link, LocalPrefill, Summary};
use crate::spec::model::Mixer;
use crate::spec::{Accelerator, Formats, ModelSpec, SpecError};
use crate::units::parse_bandwidth;

/// The decode pool of a disaggregated deployment.
#[derive(Debug, Clone, Copy)]
pub struct SplitQuestion<'a> {
    /// The same model where it generates.
    pub decode: Question<'a>,
    /// Decode replicas.
    pub replicas: u32,
    /// How the KV cache gets there.
    pub link: KvLink,
    /// Time before its first byte arrives.
    pub latency_s: f64,
    /// Layers are sent while later ones are computed.
    pub overlapped: bool,
    /// Prompts that the decode pool computes itself.
    pub local: LocalPrefill,
    /// Look for the highest rate of every way to split so many replicas.
    pub search: Option<u32>,
}

/// What carries a KV cache from one replica to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KvLink {
    /// The accelerators' scale-up link.
    NvLink,
    /// A network adapter of 400 Gb/s beside every accelerator, read and written directly. Source: NVIDIA's DGX H100, H200
    /// and B200 datasheets (eight single-port ConnectX-7 for eight GPUs).
    Rdma,
    /// One Ethernet port of 100 Gb/s (IEEE 802.3bj) for all accelerators of a replica.
    Tcp,
    /// So many bytes a second between two replicas.
    Given(f64),
}

/// Bytes a second of one 400 Gb/s adapter.
const ADAPTER: f64 = 400e9 / 8.0;
/// Bytes a second of one 100 Gb/s port.
const PORT: f64 = 100e9 / 8.0;

impl FromStr for KvLink {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.to_ascii_lowercase().as_str() {
            "nvlink" => Ok(Self::NvLink),
            "rdma" | "infiniband" => Ok(Self::Rdma),
            "tcp" | "ethernet" => Ok(Self::Tcp),
            _ => parse_bandwidth(text).ok().map(|b| b.0).filter(|b| *b > 0.0).map(Self::Given).ok_or_else(
                || {
                    SpecError::Usage(format!(
                        "`{text}` is no link; give nvlink, rdma, tcp or a bandwidth above 0 like 40GB/s"
                    ))
                },
            ),
        }
    }
}

impl KvLink {
    /// The name used in flags and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NvLink => "nvlink",
            Self::Rdma => "rdma",
            Self::Tcp => "tcp",
            Self::Given(_) => "given",
        }
    }

    /// Bytes a second between a prefill and a decode replica that hold a request on so many accelerators. Every
    /// accelerator of the smaller side sends or receives its own part. These are the datasheets' rates: an upper limit.
    ///
    /// # Errors
    /// When an accelerator has no scale-up link.
    pub fn bytes_per_s(self, sides: [&Accelerator; 2], ranks: [u32; 2]) -> Result<f64, SpecError> {
        let pairs = f64::from(ranks[0].min(ranks[1]).max(1));
        match self {
            Self::Given(rate) => Ok(rate),
            Self::Rdma => Ok(pairs * ADAPTER),
            Self::Tcp => Ok(PORT),
            Self::NvLink => {
                let of = |a: &Accelerator| {
                    a.interconnect_gb_per_s.as_ref().map(|s| 1e9 * s.value).ok_or_else(|| {
                        SpecError::Missing {
                            file: a.id.clone(),
                            key: "interconnect_gb_per_s".into(),
                            fix: "it has no scale-up link; give --kv-link rdma, tcp or a bandwidth".into(),
                        }
                    })
                };
                Ok(pairs * of(sides[0])?.min(of(sides[1])?))
            }
        }
    }
}

/// What the cache of one sequence takes: every layer's elements up to its window, and recurrent states.
pub(super) fn cache_bytes(model: &ModelSpec, formats: &Formats) -> CacheBytes {
    let mut all = CacheBytes::default();
    for group in &model.layers {
        let count = f64::from(group.count);
        let bytes = count * formats.kv_cache.bytes();
        all.fixed += count * group.mixer.state_bytes() as f64;
        let per_token = bytes * group.mixer.kv_elements_per_token() as f64;
        match group.mixer {
            Mixer::Compressed { head_dim, window, ratio, .. } if ratio > 0 => {
                all.growing.push((bytes * f64::from(head_dim), f64::from(window)));
                all.growing.push((per_token, f64::INFINITY));
            }
            _ => {
                let window = group.mixer.window().map_or(f64::INFINITY, f64::from);
                all.growing.push((per_token, window));
            }
        }
    }
    all.growing.retain(|(bytes, _)| *bytes > 0.0);
    all
}

/// The two pools of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disaggregation {
    /// The decode pool as it was understood.
    pub decode: Inputs,
    /// Replicas that compute prompts.
    pub prefill_replicas: u32,
    /// Replicas that generate.
    pub decode_replicas: u32,
    /// The link.
    pub link: LinkUse,
    /// What the prefill pool did.
    pub prefill: PoolUse,
}

/// The link between the pools.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkUse {
    /// What it is.
    pub name: &'static str,
    /// Bytes a second between two replicas.
    pub bytes_per_s: f64,
    /// Time before the first byte arrives.
    pub latency_s: f64,
    /// Layers are sent while later ones are computed.
    pub overlapped: bool,
    /// Bytes of the mean prompt's cache.
    pub bytes_per_request: f64,
    /// Share of the time in which a prefill replica sends.
    pub busy: f64,
    /// What transfers added to TTFT.
    pub added_s: Summary,
}

/// What a pool did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PoolUse {
    /// Share of the time in iterations, mean of the replicas.
    pub busy: f64,
    /// Mean share of the KV pool in use while it worked.
    pub kv_cache_mean: f64,
    /// Largest share in use.
    pub kv_cache_peak: f64,
    /// Times that a prompt lost its KV cache.
    pub preemptions: u64,
    /// Iterations.
    pub iterations: u64,
}

/// The highest rate of one way to split the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SplitRate {
    /// Replicas that compute prompts; those that do both where there are no others.
    pub prefill_replicas: u32,
    /// Replicas that generate.
    pub decode_replicas: u32,
    /// Accelerators of all.
    pub num_gpus: u32,
    /// Highest request rate at which the limits hold.
    pub highest_rate_per_s: f64,
    /// And accelerator.
    pub highest_rate_per_s_per_gpu: f64,
}

impl Link {
    /// The link of a question between its pools.
    ///
    /// # Errors
    /// When an accelerator lacks it.
    pub(super) fn of(prefill: &Question<'_>, split: &SplitQuestion<'_>) -> Result<Self, SpecError> {
        let decode = &split.decode;
        let ranks = [prefill, decode].map(|q| q.deployment.parallelism.tp * q.deployment.parallelism.pp);
        let formats = Formats::resolve(decode.model, decode.deployment, decode.accelerator)?;
        Ok(Self {
            bytes_per_s: split.link.bytes_per_s([prefill.accelerator, decode.accelerator], ranks)?,
            latency_s: split.latency_s,
            overlapped_layers: if split.overlapped { prefill.model.layer_count() } else { 0 },
            cache: cache_bytes(prefill.model, &formats),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn links_by_name_and_by_number() {
        let none = Directories::default();
        let gpu = |id: &str| catalog::accelerator(id, &none).unwrap();
        let (h100, l40s) = (gpu("h100-sxm"), gpu("l40s"));
        let rate = |text: &str, sides, ranks| text.parse::<KvLink>().unwrap().bytes_per_s(sides, ranks);
        assert_eq!(rate("rdma", [&h100, &h100], [4, 2]).unwrap(), 100e9);
        assert_eq!(rate("TCP", [&h100, &l40s], [4, 8]).unwrap(), 12.5e9);
        assert_eq!(rate("40GB/s", [&h100, &l40s], [4, 8]).unwrap(), 40e9);
        assert!(rate("nvlink", [&h100, &h100], [4, 4]).unwrap() >= 4.0 * 450e9);
        let error = rate("nvlink", [&h100, &l40s], [1, 1]).unwrap_err().to_string();
        assert!(error.contains("l40s") && error.contains("--kv-link"), "{error}");
        for bad in ["", "wire", "0GB/s", "-1GB/s", "40GB"] {
            assert!(bad.parse::<KvLink>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cache_is_that_of_its_layers() {
        let none = Directories::default();
        let gpu = catalog::accelerator("h100-sxm", &none).unwrap();
        let bytes = |name: &str, tokens: f64| {
            let model = catalog::model(name, &none).unwrap();
            let deployment =
                crate::spec::Deployment::single(crate::spec::Engine::newest(crate::spec::EngineKind::Vllm));
            let formats = Formats::resolve(&model, &deployment, &gpu).unwrap();
            let exact: f64 = model
                .layers
                .iter()
                .map(|g| {
                    let each = g.mixer.cache_elements(tokens) * formats.kv_cache.bytes()
                        + g.mixer.state_bytes() as f64;
                    f64::from(g.count) * each
                })
                .sum();
            let found = cache_bytes(&model, &formats).of(tokens);
            assert!((found / exact - 1.0).abs() < 2e-3, "{name}: {found} {exact}");
            found
        };
        // 2 · 8 heads · 128 · 2 bytes · 32 layers
        assert!((bytes("llama-3.1-8b", 1000.0) - 131_072_000.0).abs() < 1.0);
        for name in ["gemma-2-9b-it", "deepseek-v3", "qwen3-next-80b-a3b-instruct", "gpt-oss-120b"] {
            bytes(name, 100_000.0);
        }
    }
}
