//! Reading quantities as people write them: `80GB`, `24GiB`, `3.35TB/s`, `500ms`, `4k`.

use super::{Bytes, BytesPerSecond, Seconds};

/// A quantity that could not be read; names the text and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}; write it like {example}")]
pub struct UnitError {
    /// What was given.
    pub text: String,
    /// What kind of quantity was expected.
    pub expected: &'static str,
    /// How to write one.
    pub example: &'static str,
}

/// Splits `3.35TB/s` into the number and the unit. The number must be finite and not negative.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let c = bytes[end];
        // An exponent belongs to the number only when a digit (or a sign and a digit) follows.
        let exponent = (c == b'e' || c == b'E')
            && end > 0
            && match bytes.get(end + 1) {
                Some(b'+' | b'-') => bytes.get(end + 2).is_some_and(u8::is_ascii_digit),
                Some(d) => d.is_ascii_digit(),
                None => false,
            };
        let sign = (c == b'+' || c == b'-') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if c.is_ascii_digit() || c == b'.' || exponent || sign {
            end += 1;
        } else {
            break;
        }
    }
    let number: f64 = text[..end].parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number, text[end..].trim()))
}

/// Factor of a byte unit: decimal (`GB`) or binary (`GiB`), a bare number is bytes.
fn byte_factor(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" | "g" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        _ => return None,
    })
}

/// Bytes from `80GB`, `24GiB` or a bare number of bytes.
///
/// # Errors
/// When the number or the unit cannot be read.
pub fn parse_bytes(text: &str) -> Result<Bytes, UnitError> {
    split(text)
        .and_then(|(number, unit)| Some(Bytes(number * byte_factor(unit)?)))
        .filter(|b| b.0.is_finite())
        .ok_or_else(|| UnitError { text: text.into(), expected: "a size", example: "80GB or 24GiB" })
}

/// Bytes per second from `3.35TB/s` or `900GB/s`.
///
/// # Errors
/// When the number or the unit cannot be read.
pub fn parse_bandwidth(text: &str) -> Result<BytesPerSecond, UnitError> {
    split(text)
        .and_then(|(number, unit)| {
            let per_second = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("ps"))?;
            Some(BytesPerSecond(number * byte_factor(per_second)?))
        })
        .filter(|b| b.0.is_finite())
        .ok_or_else(|| UnitError {
            text: text.into(),
            expected: "a bandwidth",
            example: "3.35TB/s or 900GB/s",
        })
}

/// Seconds from `500ms`, `2s`, `80us`, `1.5min`, `2h`; a bare number is milliseconds, as in vLLM's flags.
///
/// # Errors
/// When the number or the unit cannot be read.
pub fn parse_duration(text: &str) -> Result<Seconds, UnitError> {
    split(text)
        .and_then(|(number, unit)| {
            let factor = match unit {
                "" | "ms" => 1e-3,
                "s" => 1.0,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                "min" | "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
            Some(Seconds(number * factor))
        })
        .filter(|s| s.0.is_finite())
        .ok_or_else(|| UnitError { text: text.into(), expected: "a duration", example: "500ms or 2s" })
}

/// A count that may carry `k` (1,000), `ki` (1,024) or `m` (1,000,000): `4k`, `8ki`, `128000`.
///
/// # Errors
/// When the number or the suffix cannot be read, or the result is no whole number.
pub fn parse_number(text: &str) -> Result<u64, UnitError> {
    split(text)
        .and_then(|(number, unit)| {
            let factor = match unit.to_ascii_lowercase().as_str() {
                "" => 1.0,
                "k" => 1e3,
                "ki" => 1024.0,
                "m" => 1e6,
                "mi" => 1024f64.powi(2),
                "b" | "g" => 1e9,
                _ => return None,
            };
            let value = number * factor;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            (value.fract() == 0.0 && value <= 1e15).then_some(value as u64)
        })
        .ok_or_else(|| UnitError { text: text.into(), expected: "a whole number", example: "4096 or 4k" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary() {
        assert_eq!(parse_bytes("80GB").unwrap().0, 80e9);
        assert_eq!(parse_bytes("24 GiB").unwrap().0, 24.0 * 1024f64.powi(3));
        assert_eq!(parse_bytes("1e9").unwrap().0, 1e9);
        assert!(parse_bytes("80 gigs").is_err());
        assert!(parse_bytes("-1GB").is_err());
    }

    #[test]
    fn durations_default_to_milliseconds() {
        assert_eq!(parse_duration("500").unwrap().0, 0.5);
        assert_eq!(parse_duration("2s").unwrap().0, 2.0);
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn bandwidth_needs_its_unit() {
        assert_eq!(parse_bandwidth("3.35TB/s").unwrap().0, 3.35e12);
        assert!(parse_bandwidth("3.35TB").is_err());
    }

    #[test]
    fn counts_take_k() {
        assert_eq!(parse_number("4k").unwrap(), 4000);
        assert_eq!(parse_number("8ki").unwrap(), 8192);
        assert!(parse_number("1.5").is_err());
    }
}
