//! Prefill and decode in pools of their own.

use clap::Args;

use super::super::args::{DeploymentArgs, duration, positive_u32};
use crate::answer::KvLink;
use crate::serving::LocalPrefill;
use crate::spec::SpecError;
use crate::units::Seconds;

/// The decode pool; everything else of the deployment is the prefill pool.
#[derive(Debug, Args)]
pub(super) struct SplitArgs {
    /// Prefill and decode in pools of their own: so many replicas generate, and --replicas compute prompts.
    #[arg(long, value_parser = positive_u32, value_name = "N", help_heading = "Disaggregation")]
    pub decode_replicas: Option<u32>,
    /// Accelerator of the decode pool [default: that of --gpu].
    #[arg(long, value_name = "GPU", requires = "decode_replicas", help_heading = "Disaggregation")]
    decode_gpu: Option<String>,
    /// Tensor parallel degree of the decode pool [default: the prefill pool's].
    #[arg(long, visible_alias = "decode-tensor-parallel-size", value_parser = positive_u32, value_name = "N", requires = "decode_replicas", help_heading = "Disaggregation")]
    decode_tp: Option<u32>,
    /// Pipeline parallel degree of the decode pool.
    #[arg(long, value_parser = positive_u32, value_name = "N", requires = "decode_replicas", help_heading = "Disaggregation")]
    decode_pp: Option<u32>,
    /// Data parallel degree of the decode pool.
    #[arg(long, value_parser = positive_u32, value_name = "N", requires = "decode_replicas", help_heading = "Disaggregation")]
    decode_dp: Option<u32>,
    /// Expert parallel degree of the decode pool.
    #[arg(long, value_parser = positive_u32, value_name = "N", requires = "decode_replicas", help_heading = "Disaggregation")]
    decode_ep: Option<u32>,
    /// What carries the KV cache: nvlink (the accelerators' own link), rdma (400 Gb/s an accelerator), tcp (100 Gb/s a
    /// replica), or a measured bandwidth between two replicas like 40GB/s.
    #[arg(long, value_parser = link, default_value = "rdma", value_name = "LINK", requires = "decode_replicas", help_heading = "Disaggregation")]
    pub kv_link: KvLink,
    /// Time before the first byte arrives.
    #[arg(long, value_parser = duration, default_value = "0ms", value_name = "TIME", requires = "decode_replicas", help_heading = "Disaggregation")]
    kv_latency: Seconds,
    /// Layers are sent while later ones are computed.
    #[arg(long, requires = "decode_replicas", help_heading = "Disaggregation")]
    pub kv_overlap: bool,
    /// Prompts of up to so many tokens are computed where they generate (conditional disaggregation).
    #[arg(long, value_parser = positive_u32, value_name = "TOKENS", requires = "decode_replicas", help_heading = "Disaggregation")]
    local_prefill_tokens: Option<u32>,
    /// So are all prompts while the prefill replica in turn has so many requests.
    #[arg(long, value_parser = positive_u32, value_name = "N", requires = "decode_replicas", help_heading = "Disaggregation")]
    local_prefill_queue: Option<u32>,
    /// Look for the highest rate that keeps the limits of every way to split --replicas and --decode-replicas, and of as
    /// many that do both.
    #[arg(long, requires = "decode_replicas", help_heading = "Disaggregation")]
    pub find_split: bool,
}

fn link(text: &str) -> Result<KvLink, String> {
    text.parse().map_err(|e: SpecError| e.to_string())
}

impl SplitArgs {
    /// The deployment of the decode pool.
    pub(super) fn deployment(&self, prefill: &DeploymentArgs) -> DeploymentArgs {
        let degrees = [self.decode_tp, self.decode_pp, self.decode_dp, self.decode_ep];
        prefill.elsewhere(self.decode_gpu.as_deref(), degrees)
    }

    /// Prompts that the decode pool computes itself.
    pub(super) fn local(&self) -> LocalPrefill {
        LocalPrefill { tokens: self.local_prefill_tokens.unwrap_or(0), queue: self.local_prefill_queue }
    }

    pub(super) fn latency_s(&self) -> f64 {
        self.kv_latency.0
    }
}
