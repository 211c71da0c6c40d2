//! What a kernel-time form needs of an accelerator, looked up once.

use super::configurations::Configurations;
use crate::spec::{Accelerator, DataType, EngineKind};

/// Bandwidth of a host link where the accelerator's file names none: PCIe 3.0 x16 per direction.
const DEFAULT_HOST_LINK: f64 = 15.75e9;

/// Clock where the accelerator's file names none: about that of Apple's GPUs, of which no file does.
const DEFAULT_CLOCK: f64 = 1.4e9;

/// Mean share of the peak that `mma` reaches on H100, whose peak takes instructions of four warps (`wgmma`). Source: Luo et
/// al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture, arXiv 2402.13499.
const HOPPER_WARP_SHARE: f64 = 0.629;

/// Peaks and bandwidths of an accelerator in SI units; 0 where unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardware {
    peaks: [f64; DataType::ALL.len()],
    /// Peak of fp16 products with fp16 sums where it differs from that with fp32 sums.
    pub half_accumulate: f64,
    /// Share of the 16-bit matrix peak that instructions of a single warp reach (`mma.sync`).
    pub warp_matrix_share: f64,
    /// Peak memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// Streaming multiprocessors or compute units.
    pub multiprocessors: f64,
    /// Clock of the multiprocessors in Hz; the usual one where the accelerator's file names none.
    pub clock: f64,
    /// Last-level cache in bytes.
    pub cache: f64,
    /// Scale-up link in bytes per second and direction; the host link where there is none.
    pub link: f64,
    /// Host link in bytes per second and direction.
    pub host_link: f64,
    configurations: Configurations,
}

impl Hardware {
    /// Looks the values up.
    #[must_use]
    pub fn of(accelerator: &Accelerator) -> Self {
        let mut peaks = [0.0; DataType::ALL.len()];
        for (slot, data_type) in peaks.iter_mut().zip(DataType::ALL) {
            *slot = accelerator.peak(*data_type).map_or(0.0, |p| p.0);
        }
        let host_link = accelerator.pcie_bandwidth().map_or(DEFAULT_HOST_LINK, |b| b.0);
        Self {
            peaks,
            half_accumulate: accelerator.peak_tflops_fp16_accumulate.as_ref().map_or(0.0, |p| p.value * 1e12),
            warp_matrix_share: if accelerator.architecture == "Hopper" { HOPPER_WARP_SHARE } else { 1.0 },
            bandwidth: accelerator.memory_bandwidth().0,
            multiprocessors: accelerator.multiprocessors.as_ref().map_or(0.0, |m| m.value),
            clock: accelerator.boost_clock_mhz.as_ref().map_or(DEFAULT_CLOCK, |c| c.value * 1e6),
            cache: accelerator.l2_cache_mb.as_ref().map_or(0.0, |m| m.value * 1e6),
            link: accelerator.interconnect_bandwidth().map_or(host_link, |b| b.0),
            host_link,
            configurations: Configurations::of(&accelerator.id),
        }
    }

    /// True when the engine ships a measured launch configuration of its Triton kernel for so many experts of this
    /// width on a rank.
    #[must_use]
    pub fn is_configured(&self, engine: EngineKind, weights: DataType, experts: f64, width: f64) -> bool {
        self.configurations.hold(engine, weights, experts, width)
    }

    /// The 16-bit format it multiplies in: bf16, or fp16 where it has no bf16.
    #[must_use]
    pub fn half(&self) -> DataType {
        if self.peak(DataType::Bf16) > 0.0 { DataType::Bf16 } else { DataType::Fp16 }
    }

    /// True where the tensor cores multiply in NVIDIA's 4 bit: Blackwell and later.
    #[must_use]
    pub fn multiplies_in_4_bit(&self) -> bool {
        self.peak(DataType::Nvfp4) > 0.0
    }

    /// Query heads that a sparse latent kernel multiplies for so many: whole tiles of 64, of 128 on tensor cores
    /// that multiply in 4 bit. Source: `required_padding` in SGLang's NSA backend and the padding in vLLM's
    /// `flashmla_sparse`, which FlashMLA's kernels ask for.
    #[must_use]
    pub fn padded_heads(&self, heads: f64) -> f64 {
        let tile = if self.multiplies_in_4_bit() { 128.0 } else { 64.0 };
        (heads / tile).ceil() * tile
    }

    /// Peak operations per second of a data type; 0 where unknown.
    #[must_use]
    pub fn peak(&self, data_type: DataType) -> f64 {
        self.peaks[data_type as usize]
    }
}
