//! Known kinds of traffic: lengths, and the limits of a benchmark, from `workloads/presets.toml`, each with its source.

use serde::Deserialize;
use std::path::Path;
use std::sync::OnceLock;

use super::lengths::{Length, Lengths};
use super::metrics::Slo;
use super::trace::length_pairs;
use crate::spec::{SpecError, similar};

/// A kind of traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Name.
    pub id: String,
    /// What it stands for, with its mean lengths.
    pub about: String,
    /// Lengths.
    pub lengths: Lengths,
    /// All requests at once, where no other load is asked for.
    pub burst: bool,
    /// Limits.
    pub slo: Slo,
    /// Share of the requests that must keep them.
    pub share: Option<f64>,
    /// Where lengths and limits were published.
    pub source: String,
}

const FILE: &str = "workloads/presets.toml";

/// Samples of published lengths by name.
const PAIRS: [(&str, &str); 3] = [
    ("azure_conv_2023", include_str!("../../workloads/azure_conv_2023.csv")),
    ("azure_code_2023", include_str!("../../workloads/azure_code_2023.csv")),
    ("arxiv_summarization", include_str!("../../workloads/arxiv_summarization.csv")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    preset: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    about: String,
    #[serde(default)]
    pairs: Option<String>,
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    output: Option<String>,
    #[serde(default)]
    burst: bool,
    #[serde(default)]
    ttft_ms: Option<f64>,
    #[serde(default)]
    tpot_ms: Option<f64>,
    #[serde(default)]
    percentile: Option<f64>,
    source: String,
}

impl Entry {
    fn read(self) -> Result<Preset, SpecError> {
        let missing = |key: &str| SpecError::Missing {
            file: FILE.into(),
            key: format!("{}.{key}", self.id),
            fix: "give `pairs`, or `input` and `output`".into(),
        };
        let lengths = match &self.pairs {
            Some(name) => {
                let found = PAIRS.iter().find(|(n, _)| n == name).ok_or_else(|| missing("pairs"))?;
                Lengths::Sample(length_pairs(found.1, name)?)
            }
            None => Lengths::Independent {
                input: self.input.as_deref().ok_or_else(|| missing("input"))?.parse()?,
                output: self.output.as_deref().ok_or_else(|| missing("output"))?.parse()?,
            },
        };
        let seconds = |ms: Option<f64>| ms.map(|ms| 1e-3 * ms);
        Ok(Preset {
            slo: Slo { ttft_s: seconds(self.ttft_ms), tpot_s: seconds(self.tpot_ms), e2e_s: None },
            share: self.percentile.map(|p| p / 100.0),
            id: self.id,
            about: self.about,
            lengths,
            burst: self.burst,
            source: self.source,
        })
    }
}

impl Preset {
    /// All of them.
    ///
    /// # Errors
    /// When the embedded file is broken, which a test rules out.
    pub fn all() -> Result<&'static [Self], SpecError> {
        static ALL: OnceLock<Vec<Preset>> = OnceLock::new();
        if let Some(all) = ALL.get() {
            return Ok(all);
        }
        let text = include_str!("../../workloads/presets.toml");
        let written: Written =
            toml::from_str(text).map_err(|e| SpecError::toml(&e, text, FILE, "workload presets"))?;
        let read = written.preset.into_iter().map(Entry::read).collect::<Result<Vec<_>, _>>()?;
        Ok(ALL.get_or_init(|| read))
    }

    /// The one of a name.
    ///
    /// # Errors
    /// When there is none; the message names similar ones.
    pub fn named(name: &str) -> Result<&'static Self, SpecError> {
        let all = Self::all()?;
        let ids = || all.iter().map(|p| p.id.as_str());
        all.iter().find(|p| p.id == name).ok_or_else(|| SpecError::Unknown {
            kind: "preset",
            name: name.into(),
            similar: similar(name, ids()),
            fix: format!("presets are {}", ids().collect::<Vec<_>>().join(", ")),
        })
    }
}

impl Lengths {
    /// Pairs of lengths from a file, in its order and from the start again: CSV or JSON lines, gzipped or not, with a
    /// prompt and an output length named as in a trace.
    ///
    /// # Errors
    /// When it cannot be read or a line holds no lengths; the message names the line.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = crate::calibrate::samples::read_csv(path)?;
        Ok(Self::Pairs(length_pairs(&text, &path.display().to_string())?))
    }

    /// Lengths that are all the same on one side.
    #[must_use]
    pub fn fixed(input: u32, output: u32) -> Self {
        Self::Independent { input: Length::Fixed(input), output: Length::Fixed(output) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_and_says_its_means() {
        let all = Preset::all().unwrap();
        for preset in all {
            let [input, output] = preset.lengths.means();
            let whole = |x: f64| {
                let digits = format!("{x:.0}");
                if digits.len() > 3 {
                    format!("{},{}", &digits[..digits.len() - 3], &digits[digits.len() - 3..])
                } else {
                    digits
                }
            };
            let said = preset.about.starts_with("the same")
                || [whole(input), whole(output)]
                    .iter()
                    .zip([" in", " out"])
                    .all(|(n, what)| preset.about.contains(&format!("{n}{what}")));
            assert!(said, "{}: {input} {output}: {}", preset.id, preset.about);
            assert!(!preset.source.is_empty());
            assert_eq!(preset.share.is_some(), preset.slo.is_given());
        }
        assert!(all.iter().any(|p| p.burst));
    }

    #[test]
    fn a_mistyped_name_is_told_its_neighbours() {
        let error = Preset::named("summarize").unwrap_err().to_string();
        assert!(error.contains("summarise"), "{error}");
    }
}
