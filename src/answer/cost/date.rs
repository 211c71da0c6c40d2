//! Dates of prices, and how old they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::spec::SpecError;

/// Days after which a price is called old.
pub const OLD_DAYS: u32 = 90;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A calendar day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u64);

impl Day {
    /// The day of a point in time; days before 1970 are its first.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / DAY))
    }

    /// The day of so many seconds after 1970, as `SOURCE_DATE_EPOCH` gives it.
    #[must_use]
    pub fn of_seconds(seconds: u64) -> Self {
        Self(seconds / DAY)
    }

    /// The first day that a text may mean: `2026-11-21`, `2026-11` or `2026`, with words behind it or without. None where it
    /// begins with no date.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
        let parts: Vec<&str> = text[..end].trim_end_matches('-').split('-').collect();
        let widths: Vec<usize> = parts.iter().map(|p| p.len()).collect();
        let (year, month, day) = match (widths.as_slice(), parts.as_slice()) {
            ([4], [year]) => (*year, "01", "01"),
            ([4, 2], [year, month]) => (*year, *month, "01"),
            ([4, 2, 2], [year, month, day]) => (*year, *month, *day),
            _ => return None,
        };
        humantime::parse_rfc3339_weak(&format!("{year}-{month}-{day} 00:00:00")).ok().map(Self::of)
    }

    /// A whole date as a flag gives it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let whole = text.len() == 10;
        Self::read(text)
            .filter(|_| whole)
            .ok_or_else(|| SpecError::Usage(format!("`{text}` is no date; write it like 2026-11-21")))
    }

    /// Days from an earlier day to this one; 0 from a later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = UNIX_EPOCH + Duration::from_secs(self.0.saturating_mul(DAY));
        let text = humantime::format_rfc3339_seconds(time).to_string();
        f.write_str(text.split('T').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_sources_write_them() {
        let day = |text| Day::read(text).map(|d| d.to_string());
        assert_eq!(day("2024-12-23 (last commit of the file)").as_deref(), Some("2024-12-23"));
        assert_eq!(day("2025-03 (many rows from 2023)").as_deref(), Some("2025-03-01"));
        assert_eq!(day("2026").as_deref(), Some("2026-01-01"));
        for none in ["undated", "", "26-11", "2026-13", "2026-02-30", "12345", "-"] {
            assert_eq!(day(none), None, "{none}");
        }
        assert!(Day::parse("2026-11").is_err() && Day::parse("2026-11-21").is_ok());
    }

    #[test]
    fn ages() {
        let [a, b] = ["2026-02-27", "2026-03-01"].map(|t| Day::read(t).unwrap());
        assert_eq!((b.since(a), a.since(b)), (2, 0));
        assert_eq!(Day::of_seconds(1_767_225_600).to_string(), "2026-01-01");
    }
}
