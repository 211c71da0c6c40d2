//! `calibration/engines/*.toml`: the terms of one engine by range of versions.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use super::EngineTerms;
use crate::spec::SpecError;
use crate::spec::deployment::Release;

/// Version of the file format.
const SCHEMA: u32 = 1;

/// Versions from one, inclusive, to another, exclusive; open where none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// First version of the range.
    pub from: Option<Release>,
    /// First version after the range.
    pub to: Option<Release>,
}

impl Versions {
    /// Whether the range holds a version.
    #[must_use]
    pub fn contains(self, version: Release) -> bool {
        self.from.is_none_or(|from| version >= from) && self.to.is_none_or(|to| version < to)
    }
}

impl FromStr for Versions {
    type Err = String;

    /// Reads `0.8..1.0`, `..0.8`, `0.6.2..` or `..`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no range of versions; write `0.8..1.0` (1.0 excluded), `..0.8`, `0.8..` or `..`"
            )
        };
        let version = |part: &str| -> Result<Option<Release>, String> {
            if part.is_empty() {
                return Ok(None);
            }
            let numbers: Vec<u32> =
                part.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
            match numbers[..] {
                [major, minor] => Ok(Some(Release(major, minor, 0))),
                [major, minor, patch] => Ok(Some(Release(major, minor, patch))),
                _ => Err(wrong()),
            }
        };
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let range = Self { from: version(from)?, to: version(to)? };
        match (range.from, range.to) {
            (Some(from), Some(to)) if from >= to => {
                Err(format!("`{text}` holds no version: it ends before it begins"))
            }
            _ => Ok(range),
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |Release(a, b, c)| if c > 0 { format!("{a}.{b}.{c}") } else { format!("{a}.{b}") };
        let part = |v: Option<Release>| v.map(text).unwrap_or_default();
        write!(f, "{}..{}", part(self.from), part(self.to))
    }
}

impl Serialize for Versions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Errors of one quantity on rows that the fit had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// What was left out together: `model` or `gpu`.
    pub by: String,
    /// Quantity: `ttft_s`, `tpot_s` or `e2e_s`.
    pub metric: String,
    /// Rows.
    pub n: usize,
    /// Median absolute percentage error.
    pub median_ape: f64,
    /// 90 % quantile of the absolute percentage error.
    pub p90_ape: f64,
    /// 10 % and 90 % quantiles of ln(measured / predicted).
    pub log_spread: [f64; 2],
}

/// What a range's terms were fitted on, and how well they predict what was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeFit {
    /// Date of the rows or of the fit, like 2026-11-21; empty when not said.
    #[serde(default)]
    pub date: String,
    /// Rows fitted on.
    pub rows: usize,
    /// Their models.
    pub models: Vec<String>,
    /// Their accelerators.
    pub gpus: Vec<String>,
    /// Errors of rows left out by model and by accelerator.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

impl RangeFit {
    /// 10 % and 90 % quantiles of ln(measured / predicted) of a quantity on rows left out, the wider of
    /// those by model and by accelerator; none where nothing was left out.
    #[must_use]
    pub fn log_spread(&self, metric: &str) -> Option<[f64; 2]> {
        let all = self.left_out.iter().filter(|l| l.metric == metric).map(|l| l.log_spread);
        all.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])
    }
}

/// Terms of a range of versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineRange {
    /// Which versions.
    pub versions: Versions,
    /// Architectures that these terms are for; none: all that no other range of the version names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Where the terms come from.
    pub source: String,
    /// Terms that `calibrate --from-results` may move, by their keys; the others stay.
    #[serde(default)]
    pub fitted: Vec<String>,
    /// The terms.
    pub terms: EngineTerms,
    /// The fit; none where nothing was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<RangeFit>,
}

impl EngineRange {
    /// Its versions, and the architectures where it is not for all.
    #[must_use]
    pub fn name(&self) -> String {
        match self.architectures.is_empty() {
            true => self.versions.to_string(),
            false => format!("{} on {}", self.versions, self.architectures.join(", ")),
        }
    }

    /// Whether it is for accelerators of an architecture alone.
    #[must_use]
    pub fn is_own(&self, architecture: &str) -> bool {
        self.architectures.iter().any(|a| a == architecture)
    }
}

/// All terms of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineFile {
    /// Version of the format: 1.
    pub schema: u32,
    /// Engine by its name in flags.
    pub engine: String,
    /// Ranges of versions, oldest first.
    #[serde(rename = "range")]
    pub ranges: Vec<EngineRange>,
}

/// The range in force for a version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InForce<'a> {
    /// The range.
    pub range: &'a EngineRange,
    /// The version lies outside every range, and this is the nearest.
    pub outside: bool,
}

impl EngineFile {
    /// Parses and checks a file; `file` is for messages.
    ///
    /// # Errors
    /// When it is not the TOML it should be or holds a value that makes no sense.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, SpecError> {
        let mut parsed: Self = toml::from_str(text).map_err(|e| SpecError::Syntax {
            file: file.into(),
            format: "TOML of engine terms",
            message: e.message().trim().replace('\n', "; "),
        })?;
        let refuse = |key: String, value: String, problem: &str, fix: &str| SpecError::Value {
            file: file.into(),
            key,
            value,
            problem: problem.into(),
            fix: fix.into(),
        };
        if parsed.schema != SCHEMA {
            let fix = "make it anew with `foretoken calibrate --from-results`";
            return Err(refuse(
                "schema".into(),
                parsed.schema.to_string(),
                "this version reads schema 1",
                fix,
            ));
        }
        if parsed.ranges.is_empty() {
            return Err(SpecError::Missing {
                file: file.into(),
                key: "range".into(),
                fix: "give at least one [[range]]".into(),
            });
        }
        let pairs = parsed.ranges.iter().enumerate().flat_map(|(i, b)| {
            let before = parsed.ranges.iter().take(i).rev();
            before.into_iter().find(|a| a.architectures == b.architectures).map(|a| (a, b))
        });
        for (a, b) in pairs {
            if a.versions.to.is_none() || b.versions.from.is_none() || a.versions.to > b.versions.from {
                let fix = "order the ranges from old to new, without overlap";
                return Err(refuse(
                    "versions".into(),
                    b.versions.to_string(),
                    "overlaps the range before it",
                    fix,
                ));
            }
        }
        for range in &mut parsed.ranges {
            if let Some((key, value, allowed)) = crate::time::engine::TERMS
                .iter()
                .map(|t| (t.key, (t.get)(&range.terms), t.allowed))
                .find(|(_, value, allowed)| !(allowed[0]..=allowed[1]).contains(value))
            {
                let problem = format!("must lie in {} to {}", allowed[0], allowed[1]);
                let fix = format!("correct it in the range {}", range.versions);
                return Err(refuse(format!("terms.{key}"), value.to_string(), &problem, &fix));
            }
            if let Some(key) = range.fitted.iter().find(|k| crate::time::engine::term(k).is_none()) {
                let keys: Vec<&str> = crate::time::engine::TERMS.iter().map(|t| t.key).collect();
                let fix = format!("terms are {}", keys.join(", "));
                return Err(refuse("fitted".into(), key.clone(), "is no term", &fix));
            }
            if let Some(bad) = range.fit.iter().flat_map(|f| &f.left_out).find(|l| {
                let [low, high] = l.log_spread;
                !(l.median_ape >= 0.0
                    && l.p90_ape >= l.median_ape
                    && low <= high
                    && low > -10.0
                    && high < 10.0)
            }) {
                let fix = "make the file anew with `foretoken calibrate --from-results`";
                return Err(refuse(
                    "fit.left_out".into(),
                    format!("{} by {}", bad.metric, bad.by),
                    "its errors or its log_spread are out of order",
                    fix,
                ));
            }
            range.terms.source = format!("{} (versions {})", range.source, range.name());
        }
        Ok(parsed)
    }

    /// The text of a file that [`EngineFile::from_toml`] reads.
    ///
    /// # Errors
    /// When a value cannot be written, which checked values can.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        let body = toml::to_string(self).map_err(|e| SpecError::Usage(format!("{}: {e}", self.engine)))?;
        Ok(format!(
            "# Terms of {} by version. Keys and units: src/time/engine.rs; `fitted` lists what\n\
             # `foretoken calibrate --from-results` may move, `fit` what it was fitted on and how far runs that it had\n\
             # not seen were missed (percent; log_spread: 10 % and 90 % quantiles of ln(measured / predicted)).\n{body}",
            self.engine
        ))
    }

    /// The ranges of an architecture: its own and those for all.
    pub fn ranges_on(&self, architecture: &str) -> impl Iterator<Item = &EngineRange> {
        self.ranges.iter().filter(move |r| r.architectures.is_empty() || r.is_own(architecture))
    }

    /// The range for a version on an architecture: the architecture's own that holds it, else the one for all, else of
    /// those for all the nearest by its ends.
    #[must_use]
    pub fn range(&self, version: Release, architecture: &str) -> Option<InForce<'_>> {
        let holds = |r: &&EngineRange| r.versions.contains(version);
        let own = self.ranges.iter().filter(|r| r.is_own(architecture)).find(holds);
        let all = || self.ranges.iter().filter(|r| r.architectures.is_empty());
        if let Some(range) = own.or_else(|| all().find(holds)) {
            return Some(InForce { range, outside: false });
        }
        // ordered: the last one that ends at or before the version, else the first
        let before = all().rfind(|r| r.versions.to.is_some_and(|to| to <= version));
        before.or_else(|| all().next()).map(|range| InForce { range, outside: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: &str = "request_ms = 1.0\nprefill_floor_ms = 0.0\nprefill_scale = 1.0\nstep_us = 1.0\n\
                         row_us = 1.0\nhost_slowdown = 1.0\ndecode_graphs = true\n";

    fn file(ranges: &[&str], extra: &str) -> String {
        let mut text = String::from("schema = 1\nengine = \"vllm\"\n");
        for versions in ranges {
            text += &format!(
                "[[range]]\nversions = \"{versions}\"\nsource = \"s\"\n{extra}\n[range.terms]\n{TERMS}"
            );
        }
        text
    }

    #[test]
    fn versions_find_their_range_or_the_nearest() {
        let parsed = EngineFile::from_toml(&file(&["0.4..0.8", "0.10.."], ""), "f").unwrap();
        let found = |major, minor| {
            let found = parsed.range(Release(major, minor, 0), "Hopper").unwrap();
            (found.range.versions.to_string(), found.outside)
        };
        assert_eq!(found(0, 4), ("0.4..0.8".into(), false));
        assert_eq!(found(0, 7), ("0.4..0.8".into(), false));
        assert_eq!(found(0, 8), ("0.4..0.8".into(), true));
        assert_eq!(found(0, 2), ("0.4..0.8".into(), true));
        assert_eq!(found(1, 0), ("0.10..".into(), false));
    }

    #[test]
    fn an_architecture_has_its_own_terms_where_it_has_any() {
        let own =
            file(&["..0.6.2"], "architectures = [\"CDNA3\"]").replace("schema = 1\nengine = \"vllm\"\n", "");
        let parsed = EngineFile::from_toml(&(file(&["..0.8", "0.8.."], "") + &own), "f").unwrap();
        let found = |patch, architecture| {
            parsed.range(Release(0, 6, patch), architecture).map(|f| f.range.name()).unwrap_or_default()
        };
        assert_eq!(found(1, "CDNA3"), "..0.6.2 on CDNA3");
        assert_eq!(found(2, "CDNA3"), "..0.8");
        assert_eq!(found(1, "Hopper"), "..0.8");
        assert_eq!(parsed.ranges_on("Hopper").count(), 2);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut parsed =
            EngineFile::from_toml(&file(&["..0.8", "0.8.."], "fitted = [\"step_us\"]"), "f").unwrap();
        parsed.ranges[0].fit = Some(RangeFit {
            date: "2026-11-21".into(),
            rows: 7,
            models: vec!["m".into()],
            gpus: vec!["g".into()],
            left_out: vec![LeftOut {
                by: "gpu".into(),
                metric: "e2e_s".into(),
                n: 7,
                median_ape: 5.0,
                p90_ape: 9.5,
                log_spread: [-0.1, 0.2],
            }],
        });
        let again = EngineFile::from_toml(&parsed.to_toml().unwrap(), "f").unwrap();
        assert_eq!(again, parsed);
        assert_eq!(again.ranges[0].fit.as_ref().and_then(|f| f.log_spread("e2e_s")), Some([-0.1, 0.2]));
    }

    #[test]
    fn rubbish_is_refused_by_key() {
        for (text, needle) in [
            (file(&["0.8"], ""), "0.8..1.0"),
            (file(&["0.8..0.7"], ""), "ends before"),
            (file(&["0.8..", "0.9.."], ""), "overlaps"),
            (file(&[".."], "fitted = [\"speed\"]"), "speed"),
            (file(&[".."], "").replace("step_us = 1.0", "step_us = -1.0"), "step_us"),
            (file(&[".."], "").replace("step_us = 1.0", "step_us = nan"), "step_us"),
            (file(&[".."], "").replace("step_us = 1.0", "stepp_us = 1.0"), "stepp_us"),
            (file(&[".."], "").replace("schema = 1", "schema = 2"), "schema"),
            ("schema = 1\nengine = \"vllm\"\nrange = []".into(), "range"),
            ("schema = ".into(), "TOML"),
        ] {
            let message = EngineFile::from_toml(&text, "a.toml").unwrap_err().to_string();
            assert!(message.contains("a.toml") && message.contains(needle), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
