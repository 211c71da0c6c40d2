//! Inner loops of the CPU benchmarks: those that the `gemm` crate does not have. Row products go the way of llama.cpp's
//! `vec_dot`: f16 × f16 widened to f32, and Q8_0 blocks of 32 signed bytes with one f16 scale, multiplied as integers.
//!
//! Unsafe is calling a function compiled for instructions that were just looked up, and unaligned loads from slices
//! whose length the loop keeps to.
#![allow(unsafe_code)]

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
pub(super) fn half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

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

/// Products of four rows with two columns.
pub(super) type Tile = [[f32; 2]; 4];

/// Functions for the instructions of this processor.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// Sum of an array: reads it.
    pub sum: fn(&[f32]) -> f32,
    /// a = b + s·c.
    pub triad: fn(&mut [f32], &[f32], &[f32], f32),
    /// Σ aᵢ·bᵢ of f16 values.
    pub dot_half: fn(&[u16], &[u16]) -> f32,
    /// Products of four rows of blocks with `N` columns of blocks, as a tile: rows are given one after another.
    pub tile: fn(&[Block], &[Block], usize, &mut Tile),
    /// Product of a row of blocks with a column of blocks.
    pub dot_blocks: fn(&[Block], &[Block]) -> f32,
    /// Which instructions.
    pub name: &'static str,
}

fn tile_plain(rows: &[Block], columns: &[Block], blocks: usize, out: &mut Tile) {
    for (row, sums) in rows.chunks_exact(blocks).zip(out.iter_mut()) {
        for (column, sum) in columns.chunks_exact(blocks).zip(sums.iter_mut()) {
            *sum = row.iter().zip(column).map(|(a, b)| dot_block(a, b)).sum();
        }
    }
}

/// What every processor can.
const PLAIN: Kernels = Kernels {
    sum: |data| sum_lanes(data),
    triad: |a, b, c, s| triad_lanes(a, b, c, s),
    dot_half: |a, b| dot_half_lanes(a, b),
    tile: tile_plain,
    dot_blocks: |a, b| a.iter().zip(b).map(|(a, b)| dot_block(a, b)).sum(),
    name: "portable",
};

/// The fastest set that this processor has.
pub(super) fn kernels() -> Kernels {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let vnni = is_x86_feature_detected!("avx512vnni")
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Block, Kernels, Tile, sum_lanes, triad_lanes};
    use std::arch::x86_64::{
        __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32,
        _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps, _mm256_castps256_ps128,
        _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_dpbusd_epi32, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    };

    macro_rules! set {
        ($name:ident, $module:ident, $label:literal, $features:literal, $multiply:expr) => {
            /// The same loops compiled for these instructions.
            pub(super) const $name: Kernels = Kernels {
                // SAFETY: `kernels` hands this set out only where the features were found
                sum: |data| unsafe { $module::sum(data) },
                // SAFETY: as above
                triad: |a, b, c, s| unsafe { $module::triad(a, b, c, s) },
                // SAFETY: as above
                dot_half: |a, b| unsafe { $module::dot_half(a, b) },
                // SAFETY: as above
                tile: |rows, columns, blocks, out| unsafe { $module::tile(rows, columns, blocks, out) },
                // SAFETY: as above
                dot_blocks: |a, b| unsafe { $module::dot_blocks(a, b) },
                name: $label,
            };

            mod $module {
                use super::*;

                #[target_feature(enable = $features)]
                pub(super) fn sum(data: &[f32]) -> f32 {
                    sum_lanes(data)
                }

                #[target_feature(enable = $features)]
                pub(super) fn triad(a: &mut [f32], b: &[f32], c: &[f32], s: f32) {
                    triad_lanes(a, b, c, s);
                }

                #[target_feature(enable = $features)]
                pub(super) fn dot_half(a: &[u16], b: &[u16]) -> f32 {
                    let mut sums = [_mm256_setzero_ps(); 4];
                    for (a, b) in a.chunks_exact(32).zip(b.chunks_exact(32)) {
                        for (i, sum) in sums.iter_mut().enumerate() {
                            *sum =
                                _mm256_fmadd_ps(wide(&a[8 * i..8 * i + 8]), wide(&b[8 * i..8 * i + 8]), *sum);
                        }
                    }
                    let [a, b, c, d] = sums;
                    total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
                }

                #[target_feature(enable = $features)]
                fn wide(halves: &[u16]) -> __m256 {
                    assert!(halves.len() >= 8);
                    // SAFETY: eight halves are 16 bytes, and the load need not be aligned
                    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
                }

                #[target_feature(enable = $features)]
                fn bytes(block: &Block) -> __m256i {
                    // SAFETY: a block holds 32 bytes, and the load need not be aligned
                    unsafe { _mm256_loadu_si256(block.values.as_ptr().cast()) }
                }

                /// Eight partial sums of the products of two blocks: one operand without signs, the other with both.
                #[target_feature(enable = $features)]
                fn multiply(a: __m256i, b: __m256i) -> __m256 {
                    _mm256_cvtepi32_ps($multiply(_mm256_sign_epi8(a, a), _mm256_sign_epi8(b, a)))
                }

                #[target_feature(enable = $features)]
                pub(super) fn dot_blocks(a: &[Block], b: &[Block]) -> f32 {
                    let mut sum = _mm256_setzero_ps();
                    for (a, b) in a.iter().zip(b) {
                        let scale = _mm256_set1_ps(scale(a) * scale(b));
                        sum = _mm256_fmadd_ps(scale, multiply(bytes(a), bytes(b)), sum);
                    }
                    total(sum)
                }

                #[target_feature(enable = $features)]
                fn scale(block: &Block) -> f32 {
                    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(block.scale))))
                }

                #[target_feature(enable = $features)]
                pub(super) fn tile(rows: &[Block], columns: &[Block], blocks: usize, out: &mut Tile) {
                    let (rows, columns) = (&rows[..4 * blocks], &columns[..2 * blocks]);
                    let mut sums = [[_mm256_setzero_ps(); 2]; 4];
                    for i in 0..blocks {
                        let column = [&columns[i], &columns[blocks + i]];
                        let (values, scales) = (column.map(|c| bytes(c)), column.map(|c| scale(c)));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let row = &rows[r * blocks + i];
                            let (own, by) = (bytes(row), scale(row));
                            for (sum, (value, scale)) in sums.iter_mut().zip(values.iter().zip(scales)) {
                                *sum =
                                    _mm256_fmadd_ps(_mm256_set1_ps(by * scale), multiply(own, *value), *sum);
                            }
                        }
                    }
                    for (out, sums) in out.iter_mut().zip(sums) {
                        *out = sums.map(|s| total(s));
                    }
                }

                #[target_feature(enable = $features)]
                fn total(sum: __m256) -> f32 {
                    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
                    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
                }
            }
        };
    }

    set!(AVX2, avx2, "AVX2", "avx2,fma,f16c", |a, b| {
        _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))
    });
    set!(VNNI, vnni, "AVX-512 VNNI", "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni", |a, b| {
        _mm256_dpbusd_epi32(_mm256_setzero_si256(), a, b)
    });
}

/// A product of M × K activations by N rows of K weights, all in rows one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub threads: usize,
}

/// `out` = `activations` · `weights`ᵀ in f32 by the crate `gemm`.
pub(super) fn multiply_floats(shape: Shape, activations: &[f32], weights: &[f32], out: &mut [f32]) {
    multiply(shape, activations, weights, out, [0.0, 1.0]);
}

/// The same in f16, given as bits.
pub(super) fn multiply_halves(shape: Shape, activations: &[u16], weights: &[u16], out: &mut [u16]) {
    let [m, n, k] = [shape.m, shape.n, shape.k];
    assert!(activations.len() >= m * k && weights.len() >= n * k && out.len() >= m * n);
    // SAFETY: f16 is its bits, and the lengths were just checked
    unsafe {
        product(
            shape,
            activations.as_ptr().cast(),
            weights.as_ptr().cast(),
            out.as_mut_ptr().cast(),
            [gemm::f16::ZERO, gemm::f16::ONE],
        );
    }
}

fn multiply<T: 'static>(shape: Shape, activations: &[T], weights: &[T], out: &mut [T], zero_one: [T; 2]) {
    let [m, n, k] = [shape.m, shape.n, shape.k];
    assert!(activations.len() >= m * k && weights.len() >= n * k && out.len() >= m * n);
    // SAFETY: the lengths were just checked
    unsafe { product(shape, activations.as_ptr(), weights.as_ptr(), out.as_mut_ptr(), zero_one) }
}

/// # Safety
/// The pointers must be valid for M·K, N·K and M·N elements.
#[allow(clippy::cast_possible_wrap)] // sizes of benchmarks
unsafe fn product<T: 'static>(shape: Shape, a: *const T, w: *const T, out: *mut T, [zero, one]: [T; 2]) {
    let Shape { m, n, k, threads } = shape;
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let (row, along, wide) = (k as isize, 1, n as isize);
    // SAFETY: by the caller; strides are those of rows one after another
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            along,
            wide,
            false,
            a,
            along,
            row,
            w,
            row,
            along,
            zero,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
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
    fn every_set_computes_the_same() {
        let mut random = fastrand::Rng::with_seed(3);
        // 0x2c00..0x3800: 1/16 to 1/2
        let halves: Vec<u16> =
            (0..256).map(|_| random.u16(0x2c00..0x3800) | (random.u16(..2) << 15)).collect();
        let blocks: Vec<Block> = (0..48)
            .map(|_| Block {
                scale: random.u16(0x2000..0x3000),
                values: std::array::from_fn(|_| random.i8(-127..=127)),
            })
            .collect();
        let (found, plain) = (kernels(), PLAIN);
        let close = |a: f32, b: f32| (a - b).abs() <= 1e-3 * b.abs().max(1.0);
        assert!(close(
            (found.dot_half)(&halves[..128], &halves[128..]),
            (plain.dot_half)(&halves[..128], &halves[128..])
        ));
        assert!(close(
            (found.dot_blocks)(&blocks[..8], &blocks[8..16]),
            (plain.dot_blocks)(&blocks[..8], &blocks[8..16])
        ));
        let (mut a, mut b) = ([[0.0; 2]; 4], [[0.0; 2]; 4]);
        (found.tile)(&blocks[..32], &blocks[32..], 8, &mut a);
        (plain.tile)(&blocks[..32], &blocks[32..], 8, &mut b);
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!(close(*a, *b), "{a} {b}");
        }
    }
}
