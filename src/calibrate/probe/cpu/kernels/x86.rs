//! The loops for x86-64: AVX2 as Haswell and later have it, AVX-512 with VNNI as Ice Lake, Zen 4 and later do.
//!
//! Unsafe is calling a function compiled for instructions that were just looked up, and unaligned loads and stores of
//! slices whose length was just checked.

use super::{Block, HALVES, Kernels, Tile, quantise_lanes, softmax_lanes, sum_lanes, triad_lanes};
use std::arch::x86_64::{
    __m256, __m256i, __m512, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si128, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_set1_epi16, _mm_set1_epi64x, _mm_storeu_si128, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_dpbusd_epi32, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_permute_ps, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm512_add_ps, _mm512_cvtph_ps, _mm512_fmadd_ps,
    _mm512_reduce_add_ps, _mm512_setzero_ps,
};

macro_rules! set {
    (
        $name:ident, $module:ident, $label:literal, $features:literal,
        multiply: $multiply:expr,
        halves: $vector:ty, $lanes:literal, $zero:expr, $widen:expr, $fused:expr, $add:expr, $total:expr
    ) => {
        /// The loops compiled for these instructions.
        pub(super) const $name: Kernels = Kernels {
            // SAFETY: `kernels` hands this set out only where the features were found
            sum: |data| unsafe { $module::sum(data) },
            // SAFETY: as above
            triad: |a, b, c, s| unsafe { $module::triad(a, b, c, s) },
            // SAFETY: as above
            dot_half: |a, b| unsafe { $module::dot_half(a, b) },
            // SAFETY: as above
            dot_blocks: |a, b| unsafe { $module::dot_blocks(a, b) },
            // SAFETY: as above
            tile_half: |rows, columns, length, out| unsafe { $module::tile_half(rows, columns, length, out) },
            // SAFETY: as above
            tile_blocks: |rows, columns, length, out| unsafe {
                $module::tile_blocks(rows, columns, length, out)
            },
            // SAFETY: as above
            quantise: |from, to| unsafe { $module::quantise(from, to) },
            // SAFETY: as above
            narrow: |from, to| unsafe { $module::narrow(from, to) },
            // SAFETY: as above
            softmax: |scores, by| unsafe { $module::softmax(scores, by) },
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
            pub(super) fn quantise(from: &[f32], to: &mut [Block]) {
                quantise_lanes(from, to);
            }

            #[target_feature(enable = $features)]
            pub(super) fn softmax(scores: &mut [f32], by: f32) -> f32 {
                softmax_lanes(scores, by)
            }

            #[target_feature(enable = $features)]
            pub(super) fn narrow(from: &[f32], to: &mut [u16]) {
                for (from, to) in from.chunks_exact(8).zip(to.chunks_exact_mut(8)) {
                    // SAFETY: eight floats and eight halves; neither need be aligned
                    unsafe {
                        let halves = _mm256_cvtps_ph::<0>(_mm256_loadu_ps(from.as_ptr()));
                        _mm_storeu_si128(to.as_mut_ptr().cast(), halves);
                    }
                }
            }

            /// Four sums, so that no chain of additions limits the loop.
            #[target_feature(enable = $features)]
            pub(super) fn dot_half(a: &[u16], b: &[u16]) -> f32 {
                let length = a.len().min(b.len());
                let mut sums = [$zero; 4];
                let mut at = 0;
                while at + 4 * $lanes <= length {
                    for i in 0..4 {
                        sums[i] = $fused(widen(a, at + $lanes * i), widen(b, at + $lanes * i), sums[i]);
                    }
                    at += 4 * $lanes;
                }
                while at + $lanes <= length {
                    sums[0] = $fused(widen(a, at), widen(b, at), sums[0]);
                    at += $lanes;
                }
                $total($add($add(sums[0], sums[1]), $add(sums[2], sums[3])))
            }

            /// A vector of halves from `at` on as floats.
            #[inline]
            #[target_feature(enable = $features)]
            fn widen(halves: &[u16], at: usize) -> $vector {
                assert!(at + $lanes <= halves.len());
                // SAFETY: so many halves are there, and the load need not be aligned
                unsafe { $widen(halves.as_ptr().add(at)) }
            }

            #[target_feature(enable = $features)]
            pub(super) fn tile_half(rows: &[u16], columns: &[u16], length: usize, out: &mut Tile) {
                if columns.len() >= 4 * length {
                    halves::<4>(rows, columns, length, out);
                } else {
                    halves::<2>(rows, columns, length, out);
                }
            }

            /// GCC, which compiles llama.cpp's releases for Linux, writes all sums of this tile to the stack in every step, though
            /// nothing reads them there (seen in `gemm_bloc` of their AVX2 and AVX-512 libraries). The stores take as long as the
            /// arithmetic, so they are made here too.
            #[inline]
            #[target_feature(enable = $features)]
            fn halves<const C: usize>(rows: &[u16], columns: &[u16], length: usize, out: &mut Tile) {
                let (rows, columns) = (some::<4, _>(rows, length), some::<C, _>(columns, length));
                let mut sums = [[$zero; C]; 4];
                let mut stack = sums;
                let mut at = 0;
                while at + $lanes <= length {
                    let mut own = [$zero; 4];
                    for r in 0..4 {
                        own[r] = widen(rows[r], at);
                    }
                    for c in 0..C {
                        let column = widen(columns[c], at);
                        for r in 0..4 {
                            sums[r][c] = $fused(own[r], column, sums[r][c]);
                            // SAFETY: a place of this function's own
                            unsafe { std::ptr::write_volatile(&raw mut stack[r][c], sums[r][c]) };
                        }
                    }
                    at += $lanes;
                }
                for r in 0..4 {
                    for c in 0..C {
                        out[r][c] = $total(sums[r][c]);
                    }
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn bytes(block: &Block) -> __m256i {
                // SAFETY: a block holds 32 bytes, and the load need not be aligned
                unsafe { _mm256_loadu_si256(block.values.as_ptr().cast()) }
            }

            /// The scale eight times. Read into one lane only, it would wait for what the register held before.
            #[inline]
            #[target_feature(enable = $features)]
            fn scale(block: &Block) -> __m256 {
                _mm256_cvtph_ps(_mm_set1_epi16(block.scale.cast_signed()))
            }

            #[target_feature(enable = $features)]
            pub(super) fn dot_blocks(a: &[Block], b: &[Block]) -> f32 {
                let mut sum = _mm256_setzero_ps();
                for i in 0..a.len().min(b.len()) {
                    let by =
                        _mm256_set1_ps(HALVES[usize::from(a[i].scale)] * HALVES[usize::from(b[i].scale)]);
                    let (a, b) = (bytes(&a[i]), bytes(&b[i]));
                    // one operand without signs, the other with both
                    let products = $multiply(_mm256_sign_epi8(a, a), _mm256_sign_epi8(b, a));
                    sum = _mm256_fmadd_ps(by, _mm256_cvtepi32_ps(products), sum);
                }
                total(sum)
            }

            #[target_feature(enable = $features)]
            pub(super) fn tile_blocks(rows: &[Block], columns: &[Block], length: usize, out: &mut Tile) {
                if columns.len() >= 4 * length {
                    blocks::<4>(rows, columns, length, out);
                } else {
                    blocks::<2>(rows, columns, length, out);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn blocks<const C: usize>(rows: &[Block], columns: &[Block], length: usize, out: &mut Tile) {
                let (rows, columns) = (some::<4, _>(rows, length), some::<C, _>(columns, length));
                let mut sums = [[_mm256_setzero_ps(); C]; 4];
                for i in 0..length {
                    let mut own = [_mm256_setzero_si256(); 4];
                    let mut positive = own;
                    for r in 0..4 {
                        own[r] = bytes(&rows[r][i]);
                        positive[r] = _mm256_sign_epi8(own[r], own[r]);
                    }
                    // the scales of the four rows, twice, so that a shuffle within halves spreads each
                    let four = u64::from(rows[0][i].scale)
                        | u64::from(rows[1][i].scale) << 16
                        | u64::from(rows[2][i].scale) << 32
                        | u64::from(rows[3][i].scale) << 48;
                    let by = _mm256_cvtph_ps(_mm_set1_epi64x(four.cast_signed()));
                    for c in 0..C {
                        let column = bytes(&columns[c][i]);
                        let times = _mm256_mul_ps(by, scale(&columns[c][i]));
                        let spread = [
                            _mm256_permute_ps::<0x00>(times),
                            _mm256_permute_ps::<0x55>(times),
                            _mm256_permute_ps::<0xaa>(times),
                            _mm256_permute_ps::<0xff>(times),
                        ];
                        for r in 0..4 {
                            let products = $multiply(positive[r], _mm256_sign_epi8(column, own[r]));
                            sums[r][c] = _mm256_fmadd_ps(spread[r], _mm256_cvtepi32_ps(products), sums[r][c]);
                        }
                    }
                }
                for r in 0..4 {
                    for c in 0..C {
                        out[r][c] = total(sums[r][c]);
                    }
                }
            }
        }
    };
}

/// So many rows of `length`, which need no checks of bounds then. No closures: compiled for other instructions they would not be inlined.
#[inline(always)]
fn some<const C: usize, T>(all: &[T], length: usize) -> [&[T]; C] {
    let mut rows: [&[T]; C] = [&[]; C];
    let mut i = 0;
    while i < C {
        rows[i] = &all[i * length..][..length];
        i += 1;
    }
    rows
}

/// Sum of eight floats.
#[inline]
#[target_feature(enable = "avx2")]
fn total(sum: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

set!(
    AVX2, avx2, "AVX2", "avx2,fma,f16c",
    multiply: |a, b| _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)),
    halves: __m256, 8, _mm256_setzero_ps(), |p: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_fmadd_ps, _mm256_add_ps, total
);
set!(
    VNNI, vnni, "AVX-512 VNNI", "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
    multiply: |a, b| _mm256_dpbusd_epi32(_mm256_setzero_si256(), a, b),
    halves: __m512, 16, _mm512_setzero_ps(), |p: *const u16| _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())), _mm512_fmadd_ps, _mm512_add_ps,
    _mm512_reduce_add_ps
);
