//! Products of block-quantised weights as ggml (llama.cpp) runs them: at few rows on the vector units,
//! every weight dequantised in registers as it streams past; at many rows on the matrix units.
//!
//! Few rows (m ≤ 8), for W weights of Q bytes in all:
//! t = t_k·kernels + (t_m³ + t_u³ + t_v³)^(1/3), with
//! t_m = Q/(e·B) the memory at its achievable share, t_u = Q/(u·N·f) the bytes that N multiprocessors keep in
//! flight at a clock of f (Little's law: latency × bandwidth, and the latency of a load is one of clocks; what holds HBM
//! parts back, whose memory is faster than their mat-vec kernels ask), t_v = W·(o + (m − 1)·r)/P_v the vector units at o operations a weight of a type and
//! r more a row.
//!
//! Many rows: t = t_k·kernels + (t_m³ + t_c³)^(1/3), t_c = 2·(m + m₀ + w·N/c·min(m, 128))·W/(e_c·P): matrix units at
//! P with fp16 sums where the hardware doubles for them, by instructions of single warps; c columns of tiles 128 wide on N multiprocessors.
//! Up to 8 rows the faster of the two runs.
//!
//! Attention: bytes at a share of the bandwidth and FLOPs at a share of the vector rate (decode); FLOPs at a
//! share of the matrix rate (prefill) or, without flash attention, a number of bytes for every score.
//!
//! Source: derivation; coefficients from `foretoken calibrate --from-results`. Not modelled: which of a
//! file's tensors deviate from its main type beyond what the format counts; host processors that share layers.

use super::Coefficient;
use crate::spec::DataType;
use crate::time::Hardware;
use crate::time::line::Bound;
use crate::work::{Expanded, Operator, Shape};

/// Most rows that mat-vec kernels take (`MMVQ_MAX_BATCH_SIZE` in ggml-cuda, 8 in Metal and Vulkan too).
const MOST_ROWS: f64 = 8.0;
/// Edge of an output tile of the matrix kernels.
const TILE: f64 = 128.0;
/// Exponent by which the limits blend.
const BLEND: f64 = 3.0;

/// Places of the coefficients in [`COEFFICIENTS`].
mod at {
    pub const MEMORY: usize = 0;
    pub const UNIT: usize = 1;
    pub const KERNEL: usize = 2;
    pub const SPLIT: usize = 3;
    pub const OPS: usize = 4; // five type groups
    pub const ROW_OPS: usize = 9;
    pub const MATMUL_16: usize = 10;
    pub const MATMUL_Q: usize = 11;
    pub const EXPERTS: usize = 12;
    pub const WAVE: usize = 13;
    pub const EXTRA_ROWS: usize = 14;
    pub const FLASH_DECODE: usize = 15; // share of bandwidth, share of vector rate
    pub const PLAIN_DECODE: usize = 17;
    pub const FLASH_PREFILL: usize = 19;
    pub const SCORE_BYTES: usize = 20;
    pub const PASSES: usize = 21;
}

/// Coefficients, in the order in which a vector holds them. Starts are where a fit without rows stays.
/// No memory gives more than 95 % of its peak to reads: refresh and row changes take the rest.
pub const COEFFICIENTS: &[Coefficient] = &[
    Coefficient::new("memory_share", 0.3, 0.95, 0.85),
    Coefficient::new("multiprocessor_bytes_per_clock", 1.0, 40.0, 8.0),
    Coefficient::new("kernel_us", 0.1, 40.0, 2.5),
    Coefficient::new("split_kernel_us", 0.01, 20.0, 1.0),
    Coefficient::new("operations_16_bit", 0.05, 60.0, 2.0),
    Coefficient::new("operations_q8", 0.05, 60.0, 2.0),
    Coefficient::new("operations_q4_q5", 0.05, 60.0, 3.0),
    Coefficient::new("operations_k", 0.05, 60.0, 4.0),
    Coefficient::new("operations_i", 0.05, 60.0, 6.0),
    Coefficient::new("operations_row", 0.05, 60.0, 1.5),
    Coefficient::new("matrix_share_16_bit", 0.02, 1.0, 0.5),
    Coefficient::new("matrix_share_quantised", 0.02, 1.0, 0.4),
    Coefficient::new("matrix_share_experts", 0.02, 1.0, 0.5),
    Coefficient::new("tail_waves", 0.01, 5.0, 0.3),
    Coefficient::new("extra_rows", 1.0, 500.0, 30.0),
    Coefficient::new("flash_decode_memory_share", 0.05, 1.0, 0.6),
    Coefficient::new("flash_decode_vector_share", 0.005, 1.0, 0.1),
    Coefficient::new("plain_decode_memory_share", 0.05, 1.0, 0.4),
    Coefficient::new("plain_decode_vector_share", 0.005, 1.0, 0.1),
    Coefficient::new("flash_prefill_matrix_share", 0.01, 1.0, 0.25),
    Coefficient::new("bytes_per_score", 0.5, 80.0, 12.0),
    Coefficient::new("elementwise_passes", 0.5, 20.0, 3.0),
];

/// Place of a storage format among the groups of types that dequantise alike: 16 bit, 8 bit, one scale a
/// block of 32, K-quants (scales of scales), I-quants and 4-bit floats (look-up tables: `kvalues_iq4nl`, `kvalues_mxfp4`).
fn group(weights: DataType) -> usize {
    use DataType as D;
    match weights {
        D::Fp32 | D::Bf16 | D::Fp16 => 0,
        D::Q8_0 | D::Int8 | D::Fp8 | D::Fp8Block | D::Mxfp8 => 1,
        D::Q4_0 | D::Q4_1 | D::Q5_0 | D::Q5_1 | D::Int4 => 2,
        D::Q6K | D::Q5K | D::Q4K | D::Q5KM | D::Q4KM | D::Q3K | D::Q2K => 3,
        _ => 4,
    }
}

/// How the kernels were built and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Fused attention: nothing of the scores is written to memory.
    pub flash: bool,
    /// Layers are split over several accelerators, which rules out captured graphs.
    pub split: bool,
}

fn blend(times: &[f64]) -> f64 {
    let longest = times.iter().copied().fold(0.0, f64::max);
    if longest <= 0.0 {
        return 0.0;
    }
    longest * times.iter().map(|t| (t / longest).powf(BLEND)).sum::<f64>().powf(1.0 / BLEND)
}

/// Rates of the hardware that the kernels meet.
struct Rates<'a> {
    c: &'a [f64],
    hardware: &'a Hardware,
    /// Vector operations per second.
    vector: f64,
    /// Matrix operations per second, sums in 16 bit where that is faster.
    matrix: f64,
}

impl Rates<'_> {
    fn memory(&self, bytes: f64, share: f64) -> f64 {
        bytes / (share * self.hardware.bandwidth)
    }

    fn in_flight(&self, bytes: f64) -> f64 {
        let units = self.hardware.multiprocessors;
        if units > 0.0 { bytes / (self.c[at::UNIT] * self.hardware.clock * units) } else { 0.0 }
    }

    /// A product of `weights` weights in `bytes` bytes by `rows` rows, `tiles` output tiles wide.
    fn product(
        &self,
        kind: DataType,
        weights: f64,
        bytes: f64,
        rows: f64,
        columns: f64,
        experts: bool,
    ) -> f64 {
        let c = self.c;
        let memory = self.memory(bytes, c[at::MEMORY]);
        let share = c[if group(kind) == 0 { at::MATMUL_16 } else { at::MATMUL_Q }]
            * if experts { c[at::EXPERTS] } else { 1.0 };
        // a wave in part costs a share w of a whole one, N tiles of at most 128 rows
        let tail = c[at::WAVE] * self.hardware.multiprocessors / (columns / TILE).max(1.0) * rows.min(TILE);
        let matrix = 2.0 * (rows + tail + c[at::EXTRA_ROWS]) * weights / (share * self.matrix);
        let product = blend(&[memory, matrix]);
        if rows > MOST_ROWS {
            return product;
        }
        let operations = c[at::OPS + group(kind)] + (rows - 1.0).max(0.0) * c[at::ROW_OPS];
        product.min(blend(&[memory, self.in_flight(bytes), weights * operations / self.vector]))
    }
}

/// Seconds of one execution and what bounds it; none for operators that ggml has no own form for here.
#[must_use]
pub fn seconds(
    c: &[f64],
    operator: &Operator,
    hardware: &Hardware,
    setting: Setting,
) -> Option<(f64, Bound)> {
    let half = hardware.peak(hardware.half());
    let math = hardware.peak(operator.math);
    // a card without 16-bit arithmetic multiplies in what it has
    let known = |rates: [f64; 3]| rates.into_iter().find(|rate| *rate > 0.0);
    let vector = known([hardware.peak(DataType::Fp32), half, math])?;
    let matrix = known([hardware.warp_matrix_share * half.max(hardware.half_accumulate), math, vector])?;
    let rates = Rates { c, hardware, vector, matrix };
    let bytes = operator.traffic.memory().0;
    let flops = operator.flops.0;
    let decode = |memory: usize| {
        blend(&[
            rates.memory(bytes, c[memory]),
            rates.in_flight(bytes),
            flops / (c[memory + 1] * rates.vector),
        ])
    };
    let busy = match operator.shape {
        Shape::Gemm { m, n, .. } => rates.product(operator.weights, flops / (2.0 * m), bytes, m, n, false),
        Shape::Experts { copies, active, width, .. } => {
            let rows = (copies / active).max(1.0);
            let weights = flops / (2.0 * copies) * active;
            rates.product(operator.weights, weights, bytes, rows, width * active, true)
        }
        Shape::DecodeAttention { .. } | Shape::LatentDecode { .. } => {
            decode(if setting.flash { at::FLASH_DECODE } else { at::PLAIN_DECODE })
        }
        Shape::PrefillAttention { head_dim, .. } | Shape::LatentPrefill(Expanded { head_dim, .. }) => {
            if setting.flash {
                flops / (c[at::FLASH_PREFILL] * rates.matrix)
            } else {
                let scores = flops / (4.0 * head_dim);
                blend(&[
                    flops / (c[at::MATMUL_16] * rates.matrix),
                    rates.memory(scores * c[at::SCORE_BYTES], c[at::MEMORY]),
                ])
            }
        }
        Shape::Elementwise if operator.traffic.host.0 <= 0.0 => {
            rates.memory(bytes * c[at::PASSES], c[at::MEMORY])
        }
        _ => return None,
    };
    let kernel = c[at::KERNEL] + if setting.split { c[at::SPLIT] } else { 0.0 };
    let fixed = 1e-6 * kernel * operator.launches;
    let roofline = if math > 0.0 { flops / math } else { 0.0 };
    let memory = bytes / hardware.bandwidth;
    let total = fixed + busy.max(roofline);
    let bound = if fixed > busy {
        Bound::Latency
    } else if memory > 0.5 * busy {
        Bound::Memory
    } else {
        Bound::Compute
    };
    Some((total, bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};
    use crate::units::{Bytes, Flops};
    use crate::work::Traffic;

    fn gpu(name: &str) -> Hardware {
        Hardware::of(&catalog::accelerator(name, &Directories::default()).unwrap())
    }

    fn product(weights: DataType, m: f64) -> Operator {
        let (n, k) = (4096.0, 4096.0);
        Operator {
            shape: Shape::Gemm { m, n, k },
            weights,
            math: DataType::Fp16,
            flops: Flops(2.0 * m * n * k),
            traffic: Traffic { weights: Bytes(n * k * weights.bytes()), ..Traffic::default() },
            ..Operator::elementwise("x", DataType::Fp16, 0.0, 1.0)
        }
    }

    const ALONE: Setting = Setting { flash: true, split: false };

    fn starts() -> Vec<f64> {
        COEFFICIENTS.iter().map(|c| c.start).collect()
    }

    #[test]
    fn names_stand_where_the_form_looks_for_them() {
        for (place, name) in [
            (at::MEMORY, "memory_share"),
            (at::UNIT, "multiprocessor_bytes_per_clock"),
            (at::KERNEL, "kernel_us"),
            (at::SPLIT, "split_kernel_us"),
            (at::OPS, "operations_16_bit"),
            (at::OPS + 4, "operations_i"),
            (at::ROW_OPS, "operations_row"),
            (at::MATMUL_16, "matrix_share_16_bit"),
            (at::MATMUL_Q, "matrix_share_quantised"),
            (at::EXPERTS, "matrix_share_experts"),
            (at::WAVE, "tail_waves"),
            (at::EXTRA_ROWS, "extra_rows"),
            (at::FLASH_DECODE, "flash_decode_memory_share"),
            (at::PLAIN_DECODE, "plain_decode_memory_share"),
            (at::FLASH_PREFILL, "flash_prefill_matrix_share"),
            (at::SCORE_BYTES, "bytes_per_score"),
            (at::PASSES, "elementwise_passes"),
        ] {
            assert_eq!(COEFFICIENTS[place].name, name);
        }
        assert_eq!(COEFFICIENTS.len(), at::PASSES + 1);
    }

    #[test]
    fn one_row_by_hand() {
        let (mut c, hardware) = (starts(), gpu("rtx-4090"));
        c[at::EXTRA_ROWS] = 300.0; // far from where matrix units would win
        // 4096² weights of 16 bit: 33.55 MB; memory 39.16 us, 128 × 8 bytes × 2.52 GHz 13.00 us, 2 operations on 82.6 T 0.41 us
        let expected: f64 = 2.5 + (39.16_f64.powi(3) + 13.00_f64.powi(3) + 0.41_f64.powi(3)).cbrt();
        let (found, bound) = seconds(&c, &product(DataType::Fp16, 1.0), &hardware, ALONE).unwrap();
        assert!((found * 1e6 / expected - 1.0).abs() < 2e-3, "{found} {expected}");
        assert_eq!(bound, Bound::Memory);
    }

    #[test]
    fn more_rows_never_take_less() {
        let c = starts();
        for name in ["rtx-4090", "h100-pcie", "m2-ultra", "epyc-9654", "p40"] {
            let hardware = gpu(name);
            for weights in [DataType::Fp16, DataType::Q8_0, DataType::Q4KM, DataType::Iq2Xs] {
                let mut last = 0.0;
                for m in 1..2000 {
                    let (now, _) = seconds(&c, &product(weights, f64::from(m)), &hardware, ALONE).unwrap();
                    assert!(now >= last, "{name} {weights} {m}");
                    last = now;
                }
            }
        }
    }

    #[test]
    fn dequantising_binds_where_vector_units_are_slow() {
        let mut c = starts();
        c[at::OPS + 3] = 60.0;
        c[at::EXTRA_ROWS] = 300.0;
        let hardware = gpu("m2-ultra");
        let (_, k) = seconds(&c, &product(DataType::Q4KM, 1.0), &hardware, ALONE).unwrap();
        let (_, half) = seconds(&c, &product(DataType::Fp16, 1.0), &hardware, ALONE).unwrap();
        assert_eq!((k, half), (Bound::Compute, Bound::Memory));
    }
}
