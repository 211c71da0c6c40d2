//! Powers of positive numbers, where forms of kernel time spend their time.
//!
//! `f64::powf` is exact to the last bit and takes twice as long; a prediction needs nine digits. No libm is asked,
//! so that fits come out the same on every platform. Tables of 128 entries as in Tang, "Table-driven implementation
//! of the logarithm function" (ACM TOMS 16, 1990) and "… of the exponential function" (ACM TOMS 15, 1989).

use std::f64::consts::LN_2;

/// Entries of a table, and bits of their index.
const ENTRIES: usize = 128;
const BITS: u32 = 7;
/// Added and taken away again, it rounds to the nearest whole number: 1.5·2⁵².
const ROUNDING: f64 = 6_755_399_441_055_744.0;

/// For every part of [1, 2) the inverse of its middle c and log₂ c.
static LOGARITHMS: [(f64, f64); ENTRIES] = logarithms();
/// 2^(i/128).
static POWERS: [f64; ENTRIES] = powers();

/// x^p for a finite x, 0 where x is not positive; |p·log₂ x| below 1,000. Relative error below 1e-12.
#[must_use]
#[inline]
pub fn power(x: f64, p: f64) -> f64 {
    if x < f64::MIN_POSITIVE { 0.0 } else { exp2(p * log2(x)) }
}

/// e^x for |x| below 690. Relative error below 1e-12.
#[must_use]
#[inline]
pub fn exp(x: f64) -> f64 {
    const LOG2_E: f64 = log2(std::f64::consts::E);
    exp2(x * LOG2_E)
}

/// The least whole number that is not below x, for 0 ≤ x < 2⁵¹: without a call where the processor that the binary is
/// built for has no instruction for it.
#[must_use]
#[inline]
pub fn ceil(x: f64) -> f64 {
    let nearest = (x + ROUNDING) - ROUNDING;
    if nearest < x { nearest + 1.0 } else { nearest }
}

/// Natural logarithm of a positive, normal number; absolute error below 1e-13 for |ln x| < 100.
#[must_use]
#[inline]
pub fn ln(x: f64) -> f64 {
    LN_2 * log2(x)
}

/// Logarithm to base 2 of a positive, normal number: exponent, log₂ of the middle c of the mantissa's part and
/// ln(1 + r)/ln 2 of the rest r = m/c − 1, |r| ≤ 1/256, by its series.
#[must_use]
#[inline]
pub const fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    #[allow(clippy::cast_possible_wrap)] // eleven bits
    let exponent = ((bits >> 52) as i64 - 1023) as f64;
    let (inverse, logarithm) = LOGARITHMS[(bits >> (52 - BITS)) as usize % ENTRIES];
    let r = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52) * inverse - 1.0;
    let r2 = r * r;
    let series = r + r2 * ((r * (1.0 / 3.0) - 0.5) + r2 * (r * 0.2 - 0.25));
    (exponent + logarithm) + series * (1.0 / LN_2)
}

/// 2^y for |y| below 1,000: whole part into the exponent, 128ths from the table, e^t of the rest |t| ≤ ln 2/256.
#[inline]
fn exp2(y: f64) -> f64 {
    let scaled = y.clamp(-1000.0, 1000.0) * ENTRIES as f64;
    let whole = (scaled + ROUNDING) - ROUNDING;
    let t = (scaled - whole) * (LN_2 / ENTRIES as f64);
    let t2 = t * t;
    let series = 1.0 + t + t2 * ((0.5 + t * (1.0 / 6.0)) + t2 * (1.0 / 24.0));
    #[allow(clippy::cast_possible_truncation)] // clamped above
    let whole = whole as i64;
    #[allow(clippy::cast_sign_loss)] // the sign stays in the bits, which are masked and shifted
    let (index, exponent) = (whole as usize % ENTRIES, (((whole >> BITS) + 1023) as u64) << 52);
    series * POWERS[index] * f64::from_bits(exponent)
}

const fn logarithms() -> [(f64, f64); ENTRIES] {
    let mut table = [(0.0, 0.0); ENTRIES];
    let mut i = 0;
    while i < ENTRIES {
        let middle = 1.0 + (i as f64 + 0.5) / ENTRIES as f64;
        // ln m = 2·artanh((m − 1)/(m + 1)), a third at most (DLMF 4.6.4)
        let s = (middle - 1.0) / (middle + 1.0);
        let (mut term, mut sum, mut odd) = (s, 0.0, 1.0);
        while odd < 40.0 {
            sum += term / odd;
            term *= s * s;
            odd += 2.0;
        }
        table[i] = (1.0 / middle, 2.0 * sum / LN_2);
        i += 1;
    }
    table
}

const fn powers() -> [f64; ENTRIES] {
    let mut table = [1.0; ENTRIES];
    let mut i = 0;
    while i < ENTRIES {
        let t = i as f64 / ENTRIES as f64 * LN_2;
        let (mut term, mut sum, mut n) = (1.0, 0.0, 1.0);
        while n < 25.0 {
            sum += term;
            term *= t / n;
            n += 1.0;
        }
        table[i] = sum;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library() {
        for i in -3000..3000 {
            let x = 10f64.powf(f64::from(i) * 0.01 + 0.00123);
            assert!((ln(x) - x.ln()).abs() < 1e-13, "{x}");
            for p in [-1.3, 0.05, 0.5, 1.0, 1.7, 4.0, 9.99] {
                assert!((power(x, p) / x.powf(p) - 1.0).abs() < 1e-12, "{x} {p}");
            }
        }
        for i in 0..100_000 {
            let x = f64::from(i) * 0.37;
            assert_eq!(ceil(x), x.ceil());
            assert_eq!(exp(-x * 1e-3), power(std::f64::consts::E, -x * 1e-3));
        }
        assert_eq!([ceil(7.0), ceil(1e15 + 0.5), ceil(1e-300)], [7.0, 1e15 + 1.0, 1.0]);
        assert_eq!(power(0.0, 2.0), 0.0);
        assert!((power(1.0, 3.3) - 1.0).abs() < 1e-14 && (power(2.0, 3.0) - 8.0).abs() < 1e-13);
    }
}
