//! The terms by their keys: what a fit moves and what a file may hold.

use super::EngineTerms;

/// Which bound of a fit means that there is no such effect; the term is then 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Neither.
    Never,
    /// The lower one: an addition that vanishes.
    Low,
    /// The upper one: a rate so high that it costs nothing.
    High,
}

/// One term.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Key in files; of attention with `attention.` in front.
    pub key: &'static str,
    /// Values that a file may hold.
    pub allowed: [f64; 2],
    /// Bounds of a fit.
    pub bounds: [f64; 2],
    /// Where a fit starts, so that the same runs give the same terms whatever the file held before.
    pub start: f64,
    /// Which bound means none.
    pub absent: Absent,
    /// Reads it.
    pub get: fn(&EngineTerms) -> f64,
    /// Writes it.
    pub set: fn(&mut EngineTerms, f64),
}

macro_rules! terms {
    ($($key:literal $($field:ident).+ $allowed:expr, $bounds:expr, $start:expr, $absent:ident;)*) => {
        /// Every term with a value.
        pub const TERMS: &[Term] = &[$(Term {
            key: $key,
            allowed: $allowed,
            bounds: $bounds,
            start: $start,
            absent: Absent::$absent,
            get: |t| t.$($field).+,
            set: |t, value| t.$($field).+ = value,
        }),*];
    };
}

terms! {
    "request_ms" request_ms [0.0, 1e5], [0.1, 1e3], 10.0, Low;
    "prefill_floor_ms" prefill_floor_ms [0.0, 1e3], [1e-3, 50.0], 0.75, Low;
    "prefill_scale" prefill_scale [0.1, 100.0], [0.7, 3.0], 1.1, Never;
    "prefill_scale_4bit" prefill_scale_4bit [0.1, 100.0], [0.7, 2.0], 1.05, Never;
    "step_us" step_us [0.0, 1e7], [1.0, 5e4], 500.0, Low;
    "row_us" row_us [0.0, 1e6], [0.1, 1e3], 20.0, Low;
    "rank_us" rank_us [0.0, 1e6], [1.0, 1e4], 100.0, Low;
    "rank_row_us" rank_row_us [0.0, 1e5], [0.05, 100.0], 1.0, Low;
    "block_experts_us" block_experts_us [0.0, 1e5], [0.2, 500.0], 30.0, Low;
    "block_copy_ns" block_copy_ns [0.0, 1e5], [1.0, 2000.0], 100.0, Low;
    "mixer_us" mixer_us [0.0, 1e5], [0.2, 500.0], 3.0, Low;
    "context_ns" context_ns [0.0, 1e6], [0.1, 1e3], 10.0, Low;
    "collective_us" collective_us [0.0, 1e4], [0.1, 200.0], 5.0, Low;
    "product_few" product_few [0.0, 1e3], [0.005, 2.0], 0.2, High;
    "product_many" product_many [0.0, 1e3], [0.005, 2.0], 0.2, High;
    "experts_scale" experts_scale [0.01, 100.0], [0.3, 5.0], 1.0, Never;
    "host_slowdown" host_slowdown [0.0, 1e4], [0.2, 50.0], 5.0, Never;
    "attention.scale" attention.scale [0.01, 100.0], [0.25, 4.0], 1.0, Never;
    "attention.split_rows_heads" attention.split_rows_heads [1.0, 1e6], [64.0, 8192.0], 512.0, Never;
    "attention.split_positions" attention.split_positions [0.0, 1e6], [16.0, 8192.0], 512.0, Never;
    "attention.reread" attention.reread [0.0, 1e3], [0.1, 50.0], 2.0, High;
    "attention.reread_split" attention.reread_split [0.0, 1e3], [0.1, 50.0], 2.0, High;
    "attention.software_fp8" attention.software_fp8 [0.0, 1e3], [0.05, 50.0], 2.0, High;
}

/// A term by its key.
#[must_use]
pub fn term(key: &str) -> Option<&'static Term> {
    TERMS.iter().find(|t| t.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let text = "request_ms = 1\nprefill_floor_ms = 0\nprefill_scale = 1\nstep_us = 1\nrow_us = 1\n\
                    host_slowdown = 1\ndecode_graphs = true";
        let mut terms: EngineTerms = toml::from_str(text).unwrap();
        for (i, t) in TERMS.iter().enumerate() {
            (t.set)(&mut terms, i as f64 + 0.5);
        }
        for (i, t) in TERMS.iter().enumerate() {
            assert!(((t.get)(&terms) - (i as f64 + 0.5)).abs() < 1e-12, "{}", t.key);
            assert!(t.bounds[0] >= t.allowed[0] && t.bounds[1] <= t.allowed[1] && t.bounds[0] > 0.0);
            assert!(t.start > t.bounds[0] && t.start < t.bounds[1]);
            assert_eq!(term(t.key).map(|t| t.key), Some(t.key));
        }
    }
}
