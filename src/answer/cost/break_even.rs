//! From which load on a deployment costs less than an API.

use serde::Serialize;

use super::question::ApiPrice;
use super::situations::HOURS_PER_MONTH;
use super::{Basis, HourlyPrice};

/// Where hours of one's own and an API cost the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BreakEven {
    /// What hours are paid for.
    pub basis: Basis,
    /// From this load on the deployment costs less at every load; none where it never does.
    pub from: Option<Crossing>,
    /// Up to where the first replicas are full it costs less from here on already, where that is below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Crossing>,
    /// Cost of a request when all replicas are full, over the API's price of it.
    pub full_over_api: f64,
    /// At the load that there is, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_your_load: Option<Compared>,
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Crossing {
    /// Requests per second in used hours.
    pub requests_per_s: f64,
    /// Prompt and generated tokens in a month.
    pub tokens_per_month: f64,
    /// Replicas that carry it.
    pub replicas: u32,
    /// Share of what they can do without limits.
    pub load: f64,
}

/// Both at one load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// The deployment, a month.
    pub usd_per_month: f64,
    /// The API.
    pub api_usd_per_month: f64,
}

/// A deployment against an API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Against {
    pub api: ApiPrice,
    /// Mean prompt and generated tokens.
    pub lengths: [f64; 2],
    /// Fewest replicas.
    pub replicas: u32,
    /// Accelerators of one.
    pub accelerators: u32,
    /// Requests per second that one can take, within the limits.
    pub capacity_per_s: f64,
    /// The same without limits.
    pub saturated_per_s: f64,
    /// Hours used over hours paid.
    pub duty: f64,
}

impl Against {
    /// Replicas are whole and paid for whether they are full or not: K = R·n·p a used hour against 3600·λ·a, with
    /// R = max(R₀, ⌈λ/X⌉) replicas that take X requests/s each, n accelerators a replica, p their price per used hour, a the
    /// API's price of a request.
    ///
    /// One replica breaks even at λ* = n·p/(3600·a); ρ = λ*/X. With ρ ≥ 1 a full one still costs more: never. Else R replicas
    /// break even at R·λ* ≤ R·X, but the load that calls for the R-th may be below: (R − 1)·X < R·λ* as long as
    /// R < 1/(1 − ρ). The last such R, or R₀, is where the deployment begins to cost less for good.
    pub fn break_even(&self, price: &HourlyPrice) -> BreakEven {
        let a = self.api.per_request(self.lengths);
        let hour = f64::from(self.accelerators) * price.per_used_hour(self.duty);
        let each = hour / (3600.0 * a);
        let ratio = each / self.capacity_per_s;
        let fewest = f64::from(self.replicas);
        let mut found = BreakEven {
            basis: price.basis,
            from: None,
            first: None,
            full_over_api: ratio,
            at_your_load: None,
        };
        if ratio < 1.0 {
            let last = ((1.0 / (1.0 - ratio)) * (1.0 - 1e-12)).ceil() - 1.0;
            let replicas = last.max(fewest);
            found.from = Some(self.crossing(replicas, each));
            found.first = (replicas > fewest).then(|| self.crossing(fewest, each));
        }
        found
    }

    fn crossing(&self, replicas: f64, each: f64) -> Crossing {
        let requests_per_s = replicas * each;
        let [input, output] = self.lengths;
        Crossing {
            requests_per_s,
            tokens_per_month: (input + output) * self.per_month(requests_per_s),
            replicas: replicas as u32,
            load: each / self.saturated_per_s,
        }
    }

    /// Requests in a month.
    fn per_month(&self, requests_per_s: f64) -> f64 {
        requests_per_s * 3600.0 * HOURS_PER_MONTH * self.duty
    }

    /// Both at a load that costs so much a month.
    pub fn compared(&self, requests_per_s: f64, usd_per_month: f64) -> Compared {
        let requests = self.per_month(requests_per_s);
        Compared { usd_per_month, api_usd_per_month: requests * self.api.per_request(self.lengths) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::CostInputs;
    use crate::spec::catalog::{self, Directories};

    fn price(usd: f64) -> HourlyPrice {
        let gpu = catalog::accelerator("h100-sxm", &Directories::default()).unwrap();
        CostInputs { gpu_hour_usd: Some(usd), ..CostInputs::default() }.hourly(&gpu).unwrap()
    }

    fn against(replicas: u32, capacity_per_s: f64) -> Against {
        // a request of 1,000 and 500 tokens costs a tenth of a cent
        let api = ApiPrice { usd_per_million_input_tokens: 0.5, usd_per_million_output_tokens: 1.0 };
        let lengths = [1000.0, 500.0];
        let saturated_per_s = capacity_per_s;
        Against { api, lengths, replicas, accelerators: 2, capacity_per_s, saturated_per_s, duty: 1.0 }
    }

    /// What the deployment costs an hour at a load.
    fn hour(a: &Against, usd: f64, rate: f64) -> f64 {
        let replicas = (rate / a.capacity_per_s).ceil().max(f64::from(a.replicas));
        replicas * f64::from(a.accelerators) * usd
    }

    #[test]
    fn by_hand() {
        // two accelerators at $1.80 an hour are 3,600 requests: one a second
        let found = against(1, 4.0).break_even(&price(1.8));
        let from = found.from.unwrap();
        assert!((from.requests_per_s - 1.0).abs() < 1e-12 && from.replicas == 1, "{from:?}");
        assert!((from.load - 0.25).abs() < 1e-12 && (found.full_over_api - 0.25).abs() < 1e-12);
        assert!((from.tokens_per_month - 1500.0 * 3600.0 * 730.5).abs() < 1.0);
        // half the hours unused cost twice as many requests a second, and as many a month
        let half = Against { duty: 0.5, ..against(1, 4.0) }.break_even(&price(1.8)).from.unwrap();
        assert!((half.requests_per_s - 2.0).abs() < 1e-12);
        assert!((half.tokens_per_month / from.tokens_per_month - 1.0).abs() < 1e-12);
        assert_eq!(against(1, 0.9).break_even(&price(1.8)).from, None);
    }

    #[test]
    fn from_there_on_for_good() {
        for capacity in [1.01, 1.2, 1.5, 1.9, 2.0, 2.5, 7.0] {
            for replicas in [1, 2, 5] {
                let a = against(replicas, capacity);
                let from = a.break_even(&price(1.8)).from.unwrap();
                let api = |rate: f64| 3600.0 * rate * a.api.per_request(a.lengths);
                let just = from.requests_per_s;
                assert!(
                    hour(&a, 1.8, just * (1.0 - 1e-6)) > api(just * (1.0 - 1e-6)),
                    "{capacity} {replicas}"
                );
                for i in 1..2000 {
                    let rate = just * (1.0 + 1e-9) + f64::from(i) * 0.05;
                    assert!(hour(&a, 1.8, rate) <= api(rate) * (1.0 + 1e-9), "{capacity} {replicas} {rate}");
                }
            }
        }
    }
}
