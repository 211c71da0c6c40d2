//! What an hour of an accelerator costs. Every price per hour in an answer comes from here.

use serde::Serialize;

use super::date::{Day, OLD_DAYS};
use super::ownership::Ownership;
use super::situations::HOURS_PER_MONTH;
use crate::spec::Accelerator;
use crate::spec::accelerator::Price;
use crate::spec::{Offer, Offers, SpecError};

/// What an hour is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// To a cloud.
    Rented,
    /// One's own: capital, upkeep, place and electricity.
    Owned,
    /// Electricity alone: what running one that is there already costs.
    Electricity,
}

impl Basis {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rented => "rented",
            Self::Owned => "owned",
            Self::Electricity => "electricity",
        }
    }
}

/// A part of an owner's hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PricePart {
    /// What it pays for.
    pub part: &'static str,
    /// US dollars per accelerator-hour.
    pub usd_per_gpu_hour: f64,
}

/// Price of one accelerator-hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HourlyPrice {
    /// US dollars for an hour of one accelerator at work.
    pub usd_per_gpu_hour: f64,
    /// What it is paid for.
    #[serde(rename = "price_basis")]
    pub basis: Basis,
    /// Where it comes from.
    #[serde(rename = "price_source")]
    pub source: String,
    /// When the price, or that of the purchase, was seen, as its source says; none of prices that were given.
    #[serde(rename = "price_date", skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Days since then, where date and today are known.
    #[serde(rename = "price_age_days", skip_serializing_if = "Option::is_none")]
    pub age_days: Option<u32>,
    /// Older than 90 days, or of unknown date: to be checked before it is used.
    #[serde(rename = "price_is_old")]
    pub is_old: bool,
    /// Of an owner's price.
    #[serde(rename = "price_parts", skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PricePart>,
    /// Accelerators that are rented together, where an offer says so.
    #[serde(rename = "price_rented_together", skip_serializing_if = "Option::is_none")]
    pub rented_together: Option<u32>,
    /// US dollars of it that are paid only while the accelerator works.
    #[serde(skip)]
    pub running_usd_per_gpu_hour: f64,
}

impl HourlyPrice {
    /// US dollars per hour at work where only a share of the hours is used (`duty`): what stands is paid in all of them, what
    /// runs in those used alone.
    #[must_use]
    pub fn per_used_hour(&self, duty: f64) -> f64 {
        let standing = self.usd_per_gpu_hour - self.running_usd_per_gpu_hour;
        standing / duty + self.running_usd_per_gpu_hour
    }

    /// US dollars per month of 730.5 hours of which a share is used: what stands in all of them, what runs in those.
    #[must_use]
    pub fn per_month(&self, duty: f64) -> f64 {
        self.per_used_hour(duty) * duty * HOURS_PER_MONTH
    }

    /// What to say of accelerators that are rented with those used.
    #[must_use]
    pub fn unused(&self, accelerators: u32) -> Option<String> {
        let together = self.rented_together.filter(|n| *n > 1 && !accelerators.is_multiple_of(*n))?;
        let paid = accelerators.div_ceil(together) * together;
        Some(format!(
            "the offer is of {together} accelerators together: {accelerators} used of {paid} paid cost ${:.2} an hour, not ${:.2}; \
             costs count those used",
            f64::from(paid) * self.usd_per_gpu_hour,
            f64::from(accelerators) * self.usd_per_gpu_hour
        ))
    }

    /// What to say of its age; none of a price that is recent or was given.
    #[must_use]
    pub fn caution(&self) -> Option<String> {
        let (true, Some(date)) = (self.is_old, &self.date) else { return None };
        Some(match self.age_days {
            None => "undated: check it".into(),
            Some(days) => {
                let first = date.split_whitespace().next().unwrap_or(date);
                format!("from {first}, {} old: check it", age(days))
            }
        })
    }
}

/// Days in the unit that reads best.
fn age(days: u32) -> String {
    match days {
        d if d < 730 => format!("{} months", (f64::from(d) / 30.4375).round()),
        d => format!("{:.1} years", f64::from(d) / 365.25),
    }
}

/// What the user says of money.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CostInputs {
    /// Rent of one accelerator-hour in US dollars, instead of the catalog's.
    pub gpu_hour_usd: Option<f64>,
    /// Hours used over hours paid, 0 to 1.
    pub duty: Option<f64>,
    /// Price of electricity in US dollars per kilowatt-hour.
    pub electricity_usd_per_kwh: Option<f64>,
    /// Rented from this cloud, named as its offers name it, at its lowest price; none for the catalog's price.
    pub cloud: Option<String>,
    /// Rented on spot: the median of such offers unless a cloud is named.
    pub spot: bool,
    /// Offers of clouds.
    pub offers: Offers,
    /// Accelerators are one's own.
    pub own: bool,
    /// What owning costs.
    pub ownership: Ownership,
    /// Today, for the age of prices; none where it does not matter.
    pub today: Option<Day>,
}

impl CostInputs {
    /// What an hour of an accelerator costs: rented, or owned where the user said so. None where no price is known.
    #[must_use]
    pub fn hourly(&self, accelerator: &Accelerator) -> Option<HourlyPrice> {
        if self.own { self.owned(accelerator, None) } else { self.rented(accelerator) }
    }

    /// Rent: as given, else the catalog's.
    #[must_use]
    pub fn rented(&self, accelerator: &Accelerator) -> Option<HourlyPrice> {
        if let Some(usd) = self.gpu_hour_usd {
            return Some(HourlyPrice {
                usd_per_gpu_hour: usd,
                basis: Basis::Rented,
                source: "--gpu-hour-usd".into(),
                date: None,
                age_days: None,
                is_old: false,
                parts: vec![],
                rented_together: None,
                running_usd_per_gpu_hour: 0.0,
            });
        }
        if self.cloud.is_some() || self.spot {
            return self.offered(accelerator);
        }
        let Price { usd, kind, source, date } = accelerator.hourly_price.as_ref()?;
        Some(HourlyPrice {
            usd_per_gpu_hour: *usd,
            basis: Basis::Rented,
            source: format!("{kind}, {source}"),
            ..self.dated(date)
        })
    }

    /// The offers asked for, the cheapest first.
    fn matching<'a>(&'a self, accelerator: &'a Accelerator) -> Vec<(f64, &'a Offer)> {
        let offers = self.offers.of(&accelerator.id);
        let mut all: Vec<(f64, &Offer)> = offers
            .filter(|o| self.cloud.as_ref().is_none_or(|cloud| o.cloud == *cloud))
            .filter_map(|o| Some((o.usd_per_gpu_hour(self.spot)?, o)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    /// The price of the offers asked for: a cloud's lowest, else the lower median.
    fn offered(&self, accelerator: &Accelerator) -> Option<HourlyPrice> {
        let all = self.matching(accelerator);
        let (usd, offer) = match self.cloud {
            Some(_) => all.first()?,
            None => all.get(all.len().saturating_sub(1) / 2)?,
        };
        let kind = if self.spot { "spot" } else { "on demand" };
        let which = match all.len() {
            n if self.cloud.is_none() && n > 1 => format!("median of {n} {kind} offers: "),
            _ => String::new(),
        };
        let mut words = vec![format!("{which}{} {kind}", offer.cloud)];
        if !offer.instance.is_empty() {
            words.push(offer.instance.clone());
        }
        if offer.gpus > 1 {
            words.push(format!("{} rented together", offer.gpus));
        }
        words.push(offer.source.clone());
        Some(HourlyPrice {
            usd_per_gpu_hour: *usd,
            basis: Basis::Rented,
            source: words.join(", "),
            rented_together: Some(offer.gpus),
            ..self.dated(&offer.date)
        })
    }

    /// Refuses a cloud or spot price that the accelerator has none of.
    ///
    /// # Errors
    /// Then, with those that it has.
    pub fn check(&self, accelerator: &Accelerator) -> Result<(), SpecError> {
        if self.own || self.gpu_hour_usd.is_some() || (self.cloud.is_none() && !self.spot) {
            return Ok(());
        }
        if !self.matching(accelerator).is_empty() {
            return Ok(());
        }
        let what = if self.spot { "spot price" } else { "price" };
        let at = self.cloud.as_ref().map_or_else(String::new, |c| format!(" at {c}"));
        let mut known: Vec<&str> = self.offers.of(&accelerator.id).map(|o| o.cloud.as_str()).collect();
        known.dedup();
        let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
        Err(SpecError::Usage(format!(
            "no {what} of {} is known{at} (offers are known of {known}); give --gpu-hour-usd, or --price-list with one",
            accelerator.id
        )))
    }

    /// An hour of one's own: what stands ([`Ownership::standing`]) and electricity, at board power unless the mean power is
    /// known. None without a purchase price or a board power.
    #[must_use]
    pub fn owned(&self, accelerator: &Accelerator, mean_w: Option<f64>) -> Option<HourlyPrice> {
        let watts = accelerator.tdp()?.0;
        let owner = &self.ownership;
        let (usd, source, date) = match (owner.purchase_usd, &accelerator.purchase_price) {
            (Some(usd), _) => (usd, "--purchase-usd".to_owned(), None),
            (None, Some(p)) => (p.usd, format!("{} price, {}", p.kind, p.source), Some(&p.date)),
            (None, None) => return None,
        };
        let running = owner.electricity(mean_w.unwrap_or(watts), self.usd_per_kwh());
        let mut parts = owner.standing(usd, watts);
        parts.push(PricePart { part: "electricity", usd_per_gpu_hour: running });
        let blank = match date {
            Some(date) => self.dated(date),
            None => HourlyPrice { date: None, is_old: false, ..self.dated("") },
        };
        Some(HourlyPrice {
            usd_per_gpu_hour: parts.iter().map(|p| p.usd_per_gpu_hour).sum(),
            basis: Basis::Owned,
            source: format!("bought at ${usd:.0} ({source})"),
            parts,
            running_usd_per_gpu_hour: running,
            ..blank
        })
    }

    /// Electricity alone, at board power unless the mean power is known. None without either.
    #[must_use]
    pub fn electricity(&self, accelerator: &Accelerator, mean_w: Option<f64>) -> Option<HourlyPrice> {
        let (watts, what) = match mean_w {
            Some(watts) => (watts, "mean"),
            None => (accelerator.tdp()?.0, "board"),
        };
        let running = self.ownership.electricity(watts, self.usd_per_kwh());
        Some(HourlyPrice {
            usd_per_gpu_hour: running,
            basis: Basis::Electricity,
            source: format!("{what} power of {watts:.0} W, host and PUE"),
            date: None,
            age_days: None,
            is_old: false,
            parts: vec![],
            rented_together: None,
            running_usd_per_gpu_hour: running,
        })
    }

    /// Hours used over hours paid: all where nothing is said.
    #[must_use]
    pub fn duty(&self) -> f64 {
        self.duty.unwrap_or(1.0)
    }

    /// Price of electricity: as given, else the owner's default.
    #[must_use]
    pub fn usd_per_kwh(&self) -> f64 {
        self.electricity_usd_per_kwh.unwrap_or(self.ownership.usd_per_kwh)
    }

    /// A price of nothing seen on that date.
    fn dated(&self, date: &str) -> HourlyPrice {
        let seen = Day::read(date);
        let age_days = seen.zip(self.today).map(|(seen, today)| today.since(seen));
        HourlyPrice {
            usd_per_gpu_hour: 0.0,
            basis: Basis::Rented,
            source: String::new(),
            date: Some(date.to_owned()),
            age_days,
            is_old: seen.is_none() || age_days.is_some_and(|days| days > OLD_DAYS),
            parts: vec![],
            rented_together: None,
            running_usd_per_gpu_hour: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    fn h100() -> Accelerator {
        catalog::accelerator("h100-sxm", &Directories::default()).unwrap()
    }

    fn dated(date: &str, today: Option<&str>) -> HourlyPrice {
        let mut gpu = h100();
        gpu.hourly_price.as_mut().unwrap().date = date.into();
        let today = today.and_then(Day::read);
        CostInputs { today, ..CostInputs::default() }.hourly(&gpu).unwrap()
    }

    #[test]
    fn an_old_price_is_said() {
        let recent = dated("2026-09-01", Some("2026-11-21"));
        assert_eq!((recent.age_days, recent.is_old, recent.caution()), (Some(81), false, None));
        let old = dated("2026-08", Some("2026-11-21"));
        assert_eq!(old.caution().as_deref(), Some("from 2026-08, 4 months old: check it"));
        let older = dated("2024-05-30 (file)", Some("2026-11-21"));
        assert_eq!(older.caution().as_deref(), Some("from 2024-05-30, 2.5 years old: check it"));
        let undated = dated("undated", Some("2026-11-21"));
        assert_eq!((undated.is_old, undated.caution().as_deref()), (true, Some("undated: check it")));
        // whoever gives no day of today is not told of age
        assert!(!dated("2020-01-01", None).is_old && dated("undated", None).is_old);
    }

    #[test]
    fn a_price_that_is_given_wins() {
        let given = CostInputs { gpu_hour_usd: Some(2.0), ..CostInputs::default() };
        let price = given.hourly(&h100()).unwrap();
        assert_eq!((price.usd_per_gpu_hour, price.basis, price.is_old), (2.0, Basis::Rented, false));
        assert_eq!(price.per_used_hour(0.5), 4.0);
    }

    #[test]
    fn offers_of_a_cloud_and_on_spot() {
        let asked = |cloud: Option<&str>, spot| {
            let cloud = cloud.map(str::to_owned);
            let inputs = CostInputs { cloud, spot, ..CostInputs::default() };
            inputs.check(&h100()).map(|()| inputs.hourly(&h100()).unwrap())
        };
        let nebius = asked(Some("Nebius"), false).unwrap();
        assert_eq!(nebius.usd_per_gpu_hour, 2.95);
        assert!(nebius.is_old && nebius.source.contains("Nebius on demand"), "{}", nebius.source);
        assert_eq!(asked(Some("Nebius"), true).unwrap().usd_per_gpu_hour, 1.25);
        let median = asked(None, true).unwrap();
        assert!(median.source.starts_with("median of"), "{}", median.source);
        let error = asked(Some("Lambda"), true).unwrap_err().to_string();
        assert!(error.contains("spot price of h100-sxm") && error.contains("Nebius"), "{error}");
    }

    #[test]
    fn an_owner_pays_electricity_in_used_hours_alone() {
        let inputs = CostInputs { own: true, ..CostInputs::default() };
        let owned = inputs.hourly(&h100()).unwrap();
        let electricity = inputs.electricity(&h100(), None).unwrap();
        assert_eq!(owned.running_usd_per_gpu_hour, electricity.usd_per_gpu_hour);
        let half = owned.per_used_hour(0.5);
        let standing = owned.usd_per_gpu_hour - electricity.usd_per_gpu_hour;
        assert!((half - owned.usd_per_gpu_hour - standing).abs() < 1e-12);
        assert_eq!(electricity.per_used_hour(0.1), electricity.usd_per_gpu_hour);
        let mut nameless = h100();
        nameless.purchase_price = None;
        assert_eq!(inputs.hourly(&nameless), None);
    }
}
