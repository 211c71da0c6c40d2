//! Inner loops of the CPU benchmarks: those of llama.cpp, whose times they stand in for, because no maintained crate has them.
//! Row products go the way of `vec_dot`: f16 × f16 widened to f32, and Q8_0 blocks of 32 signed bytes with one f16 scale,
//! multiplied as integers. Products of several rows go in tiles of four rows by four columns, as its `sgemm.cpp` does
//! (llamafile's tinyBLAS), attention row by row with a softmax of its own.
//!
//! Unsafe is calling a function compiled for instructions that were just looked up.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod x86;

/// A block of GGUF's Q8_0: 32 values q·d.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Block {
    /// Scale d as the bits of an f16.
    pub scale: u16,
    /// Values q.
    pub values: [i8; 32],
}

/// Bits of an f16 as f32; neither infinity nor NaN. Shifting the fields into place leaves the exponent 112 too small.
#[inline(always)]
pub(super) const fn half(bits: u16) -> f32 {
    let bits = bits as u32;
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// Every f16 as f32 by its bits. llama.cpp on x86-64 looks the scales of row products up (`ggml_lookup_fp16_to_fp32`), in its
/// AVX-512 build too, though one instruction would convert them; weights on their way through push the table out of the first
/// cache, which costs a quarter of the bandwidth.
#[cfg(target_arch = "x86_64")]
static HALVES: [f32; 1 << 16] = {
    let mut table = [0.0; 1 << 16];
    let mut bits = 0;
    while bits < 1 << 16 {
        table[bits] = half(bits as u16);
        bits += 1;
    }
    table
};

/// Values added in parallel, so that no chain of additions limits the loop.
const LANES: usize = 64;

#[inline(always)]
fn sum_lanes(data: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for chunk in data.chunks_exact(LANES) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn triad_lanes(a: &mut [f32], b: &[f32], c: &[f32], s: f32) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + s * c;
    }
}

#[inline(always)]
fn dot_half_lanes(a: &[u16], b: &[u16]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += half(*a) * half(*b);
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn dot_block(a: &Block, b: &Block) -> f32 {
    let pairs = a.values.iter().zip(&b.values);
    let sum: i32 = pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    half(a.scale) * half(b.scale) * sum as f32
}

/// Largest value of 32 over 127 is the scale; ties away from zero. As llama.cpp's `quantize_row_q8_0`.
#[inline(always)]
fn quantise_lanes(from: &[f32], to: &mut [Block]) {
    for (values, block) in from.chunks_exact(32).zip(to) {
        let most = values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        block.scale = gemm::f16::from_f32(most / 127.0).to_bits();
        for (value, q) in values.iter().zip(&mut block.values) {
            let scaled = value * inverse;
            #[allow(clippy::cast_possible_truncation)] // at most 127
            let whole = (scaled + 0.5_f32.copysign(scaled)) as i32 as i8;
            *q = whole;
        }
    }
}

/// e^x for x ≤ 0 in f32, relative error below 1e-5 and what it is at −87 below: 2^(x·log₂ e) as a whole power and a polynomial of the rest r,
/// |r| ≤ ½, by the series of e^(r·ln 2) to the sixth power.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let scaled = x.max(-87.0) * std::f32::consts::LOG2_E;
    // 1.5·2²³: adding it leaves the nearest whole number in the low bits
    let shifted = scaled + 12_582_912.0;
    let t = (scaled - (shifted - 12_582_912.0)) * std::f32::consts::LN_2;
    let series =
        1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t / 720.0)))));
    f32::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Softmax of scores scaled by `by`, without its division: what is multiplied by it is divided at the end.
#[inline(always)]
fn softmax_lanes(scores: &mut [f32], by: f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; 16];
    for chunk in scores.chunks_exact(16) {
        for (most, score) in most.iter_mut().zip(chunk) {
            *most = most.max(*score);
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; 16];
    for chunk in scores.chunks_exact_mut(16) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp((*score - most) * by);
            *sum += *score;
        }
    }
    sums.iter().sum()
}

/// Products of four rows with up to four columns, by row.
pub(super) type Tile = [[f32; 4]; 4];

/// Functions for the instructions of this processor. Lengths are multiples of 32.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// Sum of an array: reads it.
    pub sum: fn(&[f32]) -> f32,
    /// a = b + s·c.
    pub triad: fn(&mut [f32], &[f32], &[f32], f32),
    /// Σ aᵢ·bᵢ of f16 values.
    pub dot_half: fn(&[u16], &[u16]) -> f32,
    /// Product of a row of blocks with a column of blocks.
    pub dot_blocks: fn(&[Block], &[Block]) -> f32,
    /// Products of four rows of so many f16 values with two or four columns, given one after another.
    pub tile_half: fn(&[u16], &[u16], usize, &mut Tile),
    /// The same of blocks.
    pub tile_blocks: fn(&[Block], &[Block], usize, &mut Tile),
    /// f32 → Q8_0.
    pub quantise: fn(&[f32], &mut [Block]),
    /// f32 → f16.
    pub narrow: fn(&[f32], &mut [u16]),
    /// Scores → their exponentials, and the sum of these.
    pub softmax: fn(&mut [f32], f32) -> f32,
    /// Which instructions.
    pub name: &'static str,
}

fn tile_plain<T>(rows: &[T], columns: &[T], length: usize, out: &mut Tile, dot: impl Fn(&[T], &[T]) -> f32) {
    for (row, sums) in rows.chunks_exact(length).zip(out.iter_mut()) {
        for (column, sum) in columns.chunks_exact(length).zip(sums.iter_mut()) {
            *sum = dot(row, column);
        }
    }
}

fn dot_blocks_plain(a: &[Block], b: &[Block]) -> f32 {
    a.iter().zip(b).map(|(a, b)| dot_block(a, b)).sum()
}

/// What every processor can.
const PLAIN: Kernels = Kernels {
    sum: |data| sum_lanes(data),
    triad: |a, b, c, s| triad_lanes(a, b, c, s),
    dot_half: |a, b| dot_half_lanes(a, b),
    dot_blocks: dot_blocks_plain,
    tile_half: |rows, columns, length, out| {
        tile_plain(rows, columns, length, out, dot_half_lanes);
    },
    tile_blocks: |rows, columns, length, out| tile_plain(rows, columns, length, out, dot_blocks_plain),
    quantise: |from, to| quantise_lanes(from, to),
    narrow: |from, to| {
        for (from, to) in from.iter().zip(to) {
            *to = gemm::f16::from_f32(*from).to_bits();
        }
    },
    softmax: |scores, by| softmax_lanes(scores, by),
    name: "portable",
};

/// The fastest set that this processor has.
pub(super) fn kernels() -> Kernels {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let vnni = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw");
        if avx2 && vnni {
            return x86::VNNI;
        }
        if avx2 {
            return x86::AVX2;
        }
    }
    PLAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8)]
        {
            assert!((half(bits) / value - 1.0).abs() < 1e-6, "{bits:x}");
        }
        assert_eq!(half(0), 0.0);
    }

    #[test]
    fn exponentials() {
        for i in 0..1000 {
            let x = -0.09 * i as f32;
            let error = (f64::from(exp(x)) - f64::from(x.max(-87.0)).exp()).abs();
            assert!(error <= 1e-5 * f64::from(x.max(-87.0)).exp(), "{x} {error}");
        }
        let mut scores: Vec<f32> = (0..32).map(|i| i as f32 / 8.0).collect();
        let sum = softmax_lanes(&mut scores, 0.5);
        let wanted: f32 = (0..32).map(|i| ((i as f32 - 31.0) / 16.0).exp()).sum();
        assert!((sum / wanted - 1.0).abs() < 1e-5);
    }

    #[test]
    fn quantised_values_are_near_what_they_were() {
        let from: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut to = vec![Block { scale: 0, values: [0; 32] }; 2];
        quantise_lanes(&from, &mut to);
        for (i, value) in from.iter().enumerate() {
            let back = half(to[i / 32].scale) * f32::from(to[i / 32].values[i % 32]);
            assert!((back - value).abs() < 0.5 / 127.0 + 1e-3, "{value} {back}");
        }
    }

    #[test]
    fn every_set_computes_the_same() {
        let mut random = fastrand::Rng::with_seed(3);
        // 0x2c00..0x3800: 1/16 to 1/2
        let halves: Vec<u16> =
            (0..8 * 64).map(|_| random.u16(0x2c00..0x3800) | (random.u16(..2) << 15)).collect();
        let blocks: Vec<Block> = (0..64)
            .map(|_| Block {
                scale: random.u16(0x2000..0x3000),
                values: std::array::from_fn(|_| random.i8(-127..=127)),
            })
            .collect();
        let floats: Vec<f32> = (0..256).map(|_| random.f32() - 0.5).collect();
        let plain = PLAIN;
        for found in sets() {
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-3 * b.abs().max(1.0);
            let (a, b) = (&halves[..128], &halves[128..256]);
            assert!(close((found.dot_half)(a, b), (plain.dot_half)(a, b)), "{}", found.name);
            let (a, b) = (&blocks[..8], &blocks[8..16]);
            assert!(close((found.dot_blocks)(a, b), (plain.dot_blocks)(a, b)), "{}", found.name);
            for columns in [2, 4] {
                let (mut a, mut b) = ([[0.0; 4]; 4], [[0.0; 4]; 4]);
                (found.tile_blocks)(&blocks[..32], &blocks[32..32 + 8 * columns], 8, &mut a);
                (plain.tile_blocks)(&blocks[..32], &blocks[32..32 + 8 * columns], 8, &mut b);
                assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| close(*a, *b)));
                let (mut a, mut b) = ([[0.0; 4]; 4], [[0.0; 4]; 4]);
                (found.tile_half)(&halves[..256], &halves[256..256 + 64 * columns], 64, &mut a);
                (plain.tile_half)(&halves[..256], &halves[256..256 + 64 * columns], 64, &mut b);
                assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| close(*a, *b)));
            }
            let (mut a, mut b) = (vec![0; 256], vec![0; 256]);
            (found.narrow)(&floats, &mut a);
            (plain.narrow)(&floats, &mut b);
            assert_eq!(a, b, "{}", found.name);
            let (mut a, mut b) = (floats.clone(), floats.clone());
            let sums = [(found.softmax)(&mut a, 0.3), (plain.softmax)(&mut b, 0.3)];
            assert!(close(sums[0], sums[1]) && a.iter().zip(&b).all(|(a, b)| close(*a, *b)));
        }
    }

    /// Every set that this processor runs.
    fn sets() -> Vec<Kernels> {
        #[cfg(target_arch = "x86_64")]
        if kernels().name == x86::VNNI.name {
            return vec![x86::VNNI, x86::AVX2];
        }
        vec![kernels()]
    }
}
