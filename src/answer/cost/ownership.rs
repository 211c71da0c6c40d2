//! What an hour of an accelerator of one's own costs.

use serde::Serialize;

use super::hourly::PricePart;

/// Hours of a mean year of 365.25 days.
const HOURS_PER_YEAR: f64 = 8766.0;

/// What is said of owning: the accelerator, its place in a server, the server's place in a hall, and electricity.
///
/// Defaults are published averages where there are some and assumptions elsewhere; [`Ownership::sources`] says which.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ownership {
    /// Price of one accelerator in US dollars; that of its file where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_usd: Option<f64>,
    /// What its share of server and network costs, over the accelerator's price.
    pub server_overhead: f64,
    /// Years until it is written off.
    pub amortization_years: f64,
    /// What is left of the price after them, as a share.
    pub residual_share: f64,
    /// Interest on the capital, as a share a year.
    pub interest_rate: f64,
    /// Upkeep a year: spares, support and hands, over the price with the server.
    pub maintenance_rate: f64,
    /// Power of its share of the server, over the accelerator's own.
    pub host_power: f64,
    /// Power of the whole site over that of the servers.
    pub pue: f64,
    /// Rent of the hall in US dollars per kilowatt of servers and month, without electricity.
    pub colocation_usd_per_kw_month: f64,
    /// US dollars per kilowatt-hour where no other price is given.
    pub usd_per_kwh: f64,
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            purchase_usd: None,
            server_overhead: 0.4,
            amortization_years: 4.0,
            residual_share: 0.0,
            interest_rate: 0.0,
            maintenance_rate: 0.05,
            host_power: 0.82,
            pue: 1.58,
            colocation_usd_per_kw_month: 184.06,
            usd_per_kwh: 0.12,
        }
    }
}

/// A value that an owner's price rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assumption {
    /// Flag that sets it, without the dashes.
    pub name: &'static str,
    /// Its value, in the flag's unit.
    pub value: f64,
    /// Given, or where the default comes from.
    pub source: &'static str,
}

impl Ownership {
    /// Every value with its source, defaults as such.
    #[must_use]
    pub fn sources(&self, usd_per_kwh: Option<f64>) -> Vec<Assumption> {
        let usual = Self::default();
        let rows = [
            (
                "server-overhead",
                self.server_overhead,
                usual.server_overhead,
                "assumption: servers of eight H100 are offered at $300,000 to 400,000, the accelerators alone at 240,000",
            ),
            ("amortization-years", self.amortization_years, usual.amortization_years, "assumption"),
            ("residual-share", self.residual_share, usual.residual_share, "assumption: nothing"),
            ("interest-rate", self.interest_rate, usual.interest_rate, "assumption: none"),
            (
                "maintenance-rate",
                self.maintenance_rate,
                usual.maintenance_rate,
                "assumption: spares, support and hands, a year",
            ),
            (
                "host-power",
                self.host_power,
                usual.host_power,
                "DGX H100: 10.2 kW at most, 5.6 kW of it accelerators (NVIDIA)",
            ),
            ("pue", self.pue, usual.pue, "average of the Uptime Institute's survey of 2023"),
            (
                "colocation-usd-per-kw-month",
                self.colocation_usd_per_kw_month,
                usual.colocation_usd_per_kw_month,
                "CBRE, North America Data Center Trends H2 2024: average asking rate for 250 to 500 kW",
            ),
        ];
        let power = usd_per_kwh.unwrap_or(self.usd_per_kwh);
        let mut all: Vec<Assumption> = rows
            .into_iter()
            .map(|(name, value, usual, source)| Assumption {
                name,
                value,
                source: if value.to_bits() == usual.to_bits() { source } else { "given" },
            })
            .collect();
        all.push(Assumption {
            name: "electricity-usd-per-kwh",
            value: power,
            source: if usd_per_kwh.is_some() { "given" } else { "assumption" },
        });
        all
    }

    /// Kilowatts that one accelerator and its share of the server draw, from the accelerator's watts: W·(1 + h)/1000.
    #[must_use]
    pub fn kilowatts(&self, watts: f64) -> f64 {
        watts * (1.0 + self.host_power) / 1000.0
    }

    /// Electricity of one accelerator-hour in US dollars: kW·PUE·$/kWh.
    #[must_use]
    pub fn electricity(&self, watts: f64, usd_per_kwh: f64) -> f64 {
        self.kilowatts(watts) * self.pue * usd_per_kwh
    }

    /// Parts of an hour that are paid whether the accelerator works or not, in US dollars per accelerator-hour.
    ///
    /// With C = P·(1 + s) the capital of price P and server share s, n years, residual share v, interest r and H hours a
    /// year:
    ///
    /// - capital: C·(1 − v·(1 + r)⁻ⁿ)·r/(1 − (1 + r)⁻ⁿ)/H, the annuity; C·(1 − v)/(n·H) without interest;
    /// - maintenance: C·m/H, m the rate a year;
    /// - colocation: kW·c·12/H, c the rent of a kilowatt and month.
    #[must_use]
    pub fn standing(&self, purchase_usd: f64, watts: f64) -> Vec<PricePart> {
        let capital = purchase_usd * (1.0 + self.server_overhead);
        let (n, r, v) = (self.amortization_years, self.interest_rate, self.residual_share);
        let payment = if r > 0.0 {
            let shrunk = (1.0 + r).powf(-n);
            capital * (1.0 - v * shrunk) * r / (1.0 - shrunk)
        } else {
            capital * (1.0 - v) / n
        };
        let month = 12.0 / HOURS_PER_YEAR;
        vec![
            PricePart { part: "capital", usd_per_gpu_hour: payment / HOURS_PER_YEAR },
            PricePart {
                part: "maintenance",
                usd_per_gpu_hour: capital * self.maintenance_rate / HOURS_PER_YEAR,
            },
            PricePart {
                part: "colocation",
                usd_per_gpu_hour: self.kilowatts(watts) * self.colocation_usd_per_kw_month * month,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(owner: &Ownership) -> [f64; 3] {
        let parts = owner.standing(30_000.0, 700.0);
        [0, 1, 2].map(|i| parts[i].usd_per_gpu_hour)
    }

    #[test]
    fn by_hand() {
        let owner = Ownership { server_overhead: 0.4, amortization_years: 4.0, ..Ownership::default() };
        let [capital, upkeep, hall] = usd(&owner);
        // 42,000 over 35,064 hours
        assert!((capital - 42_000.0 / 35_064.0).abs() < 1e-12);
        assert!((upkeep - 2_100.0 / 8_766.0).abs() < 1e-12);
        // 1.274 kW at 184.06 a month
        assert!((hall - 1.274 * 184.06 * 12.0 / 8_766.0).abs() < 1e-12);
        assert!((owner.electricity(700.0, 0.1) - 1.274 * 1.58 * 0.1).abs() < 1e-12);
    }

    #[test]
    fn an_annuity_pays_the_capital_back() {
        let owner = Ownership {
            server_overhead: 0.0,
            amortization_years: 3.0,
            interest_rate: 0.08,
            residual_share: 0.2,
            ..Ownership::default()
        };
        let payment = usd(&owner)[0] * HOURS_PER_YEAR;
        // three payments and the residual, each discounted to the day of purchase
        let worth: f64 = [1, 2, 3].iter().map(|k| payment / 1.08_f64.powi(*k)).sum();
        assert!((worth + 6_000.0 / 1.08_f64.powi(3) - 30_000.0).abs() < 1e-6, "{worth}");
        let tiny = Ownership { interest_rate: 1e-9, ..owner };
        let none = Ownership { interest_rate: 0.0, ..owner };
        assert!((usd(&tiny)[0] / usd(&none)[0] - 1.0).abs() < 1e-6);
    }
}
