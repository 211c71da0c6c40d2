//! What clouds ask for an hour of an accelerator: `hardware/prices.csv`, or a list of one's own in the same columns.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::SpecError;
use super::catalog::read_text;

/// A price that a cloud asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Catalog id of the accelerator.
    pub gpu: String,
    /// Who asks it.
    pub cloud: String,
    /// Accelerators that are rented together.
    pub gpus: u32,
    /// What the cloud calls them; empty where nothing is known.
    #[serde(default)]
    pub instance: String,
    /// US dollars per accelerator-hour on demand.
    pub on_demand_usd_per_gpu_hour: Option<f64>,
    /// US dollars per accelerator-hour while nobody else wants it.
    pub spot_usd_per_gpu_hour: Option<f64>,
    /// Where.
    #[serde(default)]
    pub region: String,
    /// Which table or page says so.
    pub source: String,
    /// When (ISO date, or what is known of it: "undated").
    pub date: String,
}

impl Offer {
    /// The price on demand or on spot.
    #[must_use]
    pub fn usd_per_gpu_hour(&self, spot: bool) -> Option<f64> {
        if spot { self.spot_usd_per_gpu_hour } else { self.on_demand_usd_per_gpu_hour }
    }
}

/// A list of offers, cheap to hand around.
#[derive(Debug, Clone, PartialEq)]
pub struct Offers(Arc<[Offer]>);

static EMBEDDED: LazyLock<Offers> = LazyLock::new(|| {
    // a test reads the file
    Offers::parse(include_str!("../../hardware/prices.csv"), "hardware/prices.csv")
        .unwrap_or_else(|_| Offers(Arc::from([])))
});

impl Default for Offers {
    /// The embedded list.
    fn default() -> Self {
        EMBEDDED.clone()
    }
}

impl Offers {
    /// Reads a list from a file.
    ///
    /// # Errors
    /// When it cannot be read, is no such CSV, or a price makes no sense.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        Self::parse(&read_text(path)?, &path.display().to_string())
    }

    /// Reads a list.
    ///
    /// # Errors
    /// When it is no such CSV, or a price makes no sense.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let mut all = vec![];
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
        for row in reader.deserialize() {
            let offer: Offer = row.map_err(|e| SpecError::Syntax {
                file: file.into(),
                format: "price list (CSV with the columns of hardware/prices.csv)",
                message: e.to_string(),
            })?;
            for (key, price) in [
                ("on_demand_usd_per_gpu_hour", offer.on_demand_usd_per_gpu_hour),
                ("spot_usd_per_gpu_hour", offer.spot_usd_per_gpu_hour),
            ] {
                if let Some(usd) = price.filter(|usd| !(0.0..1e6).contains(usd)) {
                    return Err(SpecError::Value {
                        file: file.into(),
                        key: format!("{key} of {} at {}", offer.gpu, offer.cloud),
                        value: usd.to_string(),
                        problem: "must be 0 or more and below 1e6 US dollars".into(),
                        fix: "correct it, or leave the cell empty when it is not known".into(),
                    });
                }
            }
            all.push(offer);
        }
        Ok(Self(all.into()))
    }

    /// Offers of an accelerator, in the order of the list.
    pub fn of<'a>(&'a self, gpu: &'a str) -> impl Iterator<Item = &'a Offer> {
        self.0.iter().filter(move |o| o.gpu == gpu)
    }

    /// The cloud that a name means: case, blanks and punctuation do not matter, and the beginning is enough where it is of
    /// one cloud.
    ///
    /// # Errors
    /// When none has that name, or several do.
    pub fn cloud(&self, name: &str) -> Result<&str, SpecError> {
        let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "");
        let wanted = plain(name);
        let all = self.clouds();
        let begins: Vec<&str> =
            all.iter().copied().filter(|c| !wanted.is_empty() && plain(c).starts_with(&wanted)).collect();
        let found = all.iter().copied().find(|c| !wanted.is_empty() && plain(c) == wanted);
        let only = if let [one] = begins.as_slice() { Some(*one) } else { None };
        found.or(only).ok_or_else(|| SpecError::Unknown {
            kind: "cloud",
            name: name.chars().take(200).collect(),
            similar: vec![],
            fix: format!("prices are known of {}", all.join(", ")),
        })
    }

    /// Names of the clouds, each once, in the order of the alphabet.
    #[must_use]
    pub fn clouds(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.0.iter().map(|o| o.cloud.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::accelerator::Price;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn the_embedded_list_is_of_the_catalog() {
        let text = include_str!("../../hardware/prices.csv");
        let all = Offers::parse(text, "hardware/prices.csv").unwrap();
        assert!(all.0.len() > 100 && all == Offers::default());
        for offer in all.0.iter() {
            let gpu = catalog::accelerator(&offer.gpu, &Directories::default()).unwrap();
            assert_eq!(gpu.id, offer.gpu);
            assert!(
                !offer.source.is_empty() && !offer.date.is_empty() && !offer.cloud.is_empty(),
                "{offer:?}"
            );
            assert!(
                offer.gpus > 0 && offer.usd_per_gpu_hour(false).or(offer.usd_per_gpu_hour(true)).is_some()
            );
            // nobody would take a spot price above the one on demand
            if let (Some(fixed), Some(spot)) = (offer.usd_per_gpu_hour(false), offer.usd_per_gpu_hour(true)) {
                assert!(spot <= fixed, "{offer:?}");
            }
        }
    }

    #[test]
    fn the_catalog_medians_are_of_the_list() {
        let list = Offers::default();
        let none = Directories::default();
        let mut checked = 0;
        for header in catalog::accelerators(&none).unwrap() {
            let gpu = catalog::accelerator(&header.id, &none).unwrap();
            let listed = |p: &Price| p.source.starts_with("SkyPilot") && !p.kind.starts_with("that of");
            let Some(price) = gpu.hourly_price.filter(listed) else { continue };
            let mut all: Vec<f64> = list
                .of(&gpu.id)
                .filter(|o| o.source.starts_with("SkyPilot"))
                .filter_map(|o| o.usd_per_gpu_hour(false))
                .collect();
            all.sort_by(f64::total_cmp);
            let n = all.len();
            assert!(n > 0, "{} has a price and no offers", gpu.id);
            let median = f64::midpoint(all[(n - 1) / 2], all[n / 2]);
            assert!((price.usd - median).abs() < 1e-3, "{}: {} {all:?}", gpu.id, price.usd);
            checked += 1;
        }
        assert!(checked > 20, "{checked}");
    }

    #[test]
    fn clouds_by_name() {
        let list = Offers::default();
        assert_eq!(list.cloud("nebius").unwrap(), "Nebius");
        assert_eq!(list.cloud("vast").unwrap(), "Vast.ai");
        assert_eq!(list.cloud("AWS").unwrap(), "AWS");
        for wrong in ["", "n", "nowhere", &"x".repeat(10_000)] {
            assert!(list.cloud(wrong).unwrap_err().to_string().contains("Lambda"), "{wrong}");
        }
    }

    #[test]
    fn rubbish_is_named() {
        let header =
            "gpu,cloud,gpus,instance,on_demand_usd_per_gpu_hour,spot_usd_per_gpu_hour,region,source,date\n";
        for (row, word) in [
            ("h100-sxm,X,1,,-2,,,mine,2026-11-01", "h100-sxm at X"),
            ("h100-sxm,X,1,,cheap,,,mine,2026-11-01", "line: 2"),
            ("h100-sxm,X,1,,NaN,,,mine,2026-11-01", "NaN"),
            ("h100-sxm,X", "line: 2"),
        ] {
            let error = Offers::parse(&format!("{header}{row}\n"), "own.csv").unwrap_err().to_string();
            assert!(error.contains("own.csv") && error.contains(word) && !error.contains('\n'), "{error}");
        }
    }
}
