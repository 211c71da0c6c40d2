//! Numbers as people read them, always with the unit.

use super::GIB;

/// Three significant digits, thousands grouped from 10,000 on.
#[must_use]
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "–".into()
    } else if magnitude >= 1000.0 {
        count(value.round())
    } else if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 || value == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A whole number with thousands separated by commas.
#[must_use]
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    if value < 0.0 {
        out.push('-');
    }
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Seconds in the unit that reads best.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".into();
    }
    match seconds.abs() {
        s if s >= 7200.0 => format!("{} h", number(seconds / 3600.0)),
        s if s >= 1.0 => format!("{} s", number(seconds)),
        s if s >= 1e-3 => format!("{} ms", number(seconds * 1e3)),
        0.0 => "0 ms".into(),
        _ => format!("{} µs", number(seconds * 1e6)),
    }
}

/// Bytes in GiB.
#[must_use]
pub fn bytes_gib(bytes: f64) -> String {
    format!("{:.2} GiB", bytes / GIB)
}

/// A share as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A share of the requests as the percentile that it is: `p90`.
#[must_use]
pub fn percentile(share: f64) -> String {
    format!("p{}", (share * 1e4).round() / 100.0)
}

/// US dollars, finer for small amounts.
#[must_use]
pub fn usd(amount: f64) -> String {
    match amount.abs() {
        a if a >= 100.0 => format!("${}", count(amount)),
        a if a >= 0.1 => format!("${amount:.2}"),
        _ => format!("${amount:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(number(0.0456), "0.046");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(duration(0.0123), "12.3 ms");
        assert_eq!(duration(45e-6), "45.0 µs");
        assert_eq!(bytes_gib(1.5 * GIB), "1.50 GiB");
        assert_eq!(usd(0.01), "$0.0100");
    }
}
