//! What a command is told of money.

use clap::Args;
use std::path::PathBuf;
use std::time::SystemTime;

use super::args::{amount, share, share_below_one};
use crate::answer::{CostInputs, Day, Ownership};
use crate::spec::{Offers, SpecError};

/// Prices, and which of them is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct CostArgs {
    /// The accelerators are one's own: capital, upkeep, place and electricity instead of rent.
    #[arg(long, conflicts_with_all = ["gpu_hour_usd", "cloud", "spot"], help_heading = "Owning")]
    own: bool,
    /// Rent of one accelerator-hour in US dollars [default: the dated price in the accelerator's file].
    #[arg(long, value_parser = amount, value_name = "USD", help_heading = "Cost")]
    gpu_hour_usd: Option<f64>,
    /// Rent at this cloud, the lowest of its prices known (`gpus show` lists them).
    #[arg(long, value_name = "NAME", conflicts_with = "gpu_hour_usd", help_heading = "Cost")]
    cloud: Option<String>,
    /// Rent on spot: the median of the spot prices known, or the cloud's.
    #[arg(long, conflicts_with = "gpu_hour_usd", help_heading = "Cost")]
    spot: bool,
    /// Offers of your own: CSV with the columns of hardware/prices.csv (gpu, cloud, gpus, instance, on_demand_usd_per_gpu_hour,
    /// spot_usd_per_gpu_hour, region, source, date).
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Cost")]
    price_list: Option<PathBuf>,
    /// Hours used over hours paid: 0.5 when half of the hours are paid for nothing. How much of its capacity a used hour
    /// carries is the load's matter.
    #[arg(long, visible_alias = "utilization", value_parser = share, value_name = "SHARE", help_heading = "Cost")]
    duty: Option<f64>,
    /// Price of electricity in US dollars per kilowatt-hour.
    #[arg(long, value_parser = amount, value_name = "USD", help_heading = "Cost")]
    electricity_usd_per_kwh: Option<f64>,
    /// Of one's own: price of one accelerator in US dollars [default: the dated price in its file].
    #[arg(long, value_parser = amount, value_name = "USD", help_heading = "Owning")]
    purchase_usd: Option<f64>,
    /// Its share of server and network, over its price.
    #[arg(long, value_parser = ratio, default_value_t = Ownership::default().server_overhead, value_name = "SHARE", hide_short_help = true, help_heading = "Owning")]
    server_overhead: f64,
    /// Years until it is written off.
    #[arg(long, visible_alias = "amortisation-years", value_parser = years, default_value_t = Ownership::default().amortization_years, value_name = "YEARS", help_heading = "Owning")]
    amortization_years: f64,
    /// What is left of the price then.
    #[arg(long, value_parser = share_below_one, default_value_t = Ownership::default().residual_share, value_name = "SHARE", hide_short_help = true, help_heading = "Owning")]
    residual_share: f64,
    /// Interest on the capital a year: 0.08 for 8 %.
    #[arg(long, value_parser = share_below_one, default_value_t = Ownership::default().interest_rate, value_name = "SHARE", hide_short_help = true, help_heading = "Owning")]
    interest_rate: f64,
    /// Upkeep a year, over the price with the server.
    #[arg(long, value_parser = share_below_one, default_value_t = Ownership::default().maintenance_rate, value_name = "SHARE", hide_short_help = true, help_heading = "Owning")]
    maintenance_rate: f64,
    /// Power of its share of the server, over the accelerator's own.
    #[arg(long, value_parser = ratio, default_value_t = Ownership::default().host_power, value_name = "SHARE", hide_short_help = true, help_heading = "Owning")]
    host_power: f64,
    /// Power of the site over that of its servers.
    #[arg(long, value_parser = pue, default_value_t = Ownership::default().pue, value_name = "RATIO", help_heading = "Owning")]
    pue: f64,
    /// Rent of the hall in US dollars per kilowatt of servers and month, without electricity; 0 in one's own.
    #[arg(long, value_parser = amount, default_value_t = Ownership::default().colocation_usd_per_kw_month, value_name = "USD", help_heading = "Owning")]
    colocation_usd_per_kw_month: f64,
    /// Day to which ages of prices are counted [default: $SOURCE_DATE_EPOCH, else the clock].
    #[arg(long, value_parser = day, value_name = "DATE", hide_short_help = true, help_heading = "Cost")]
    today: Option<Day>,
}

impl CostArgs {
    /// What it says.
    ///
    /// # Errors
    /// When `SOURCE_DATE_EPOCH` is no number, or the cloud or the price list makes no sense.
    pub(super) fn resolve(&self) -> Result<CostInputs, SpecError> {
        let offers = self.price_list.as_deref().map_or_else(|| Ok(Offers::default()), Offers::read)?;
        Ok(CostInputs {
            gpu_hour_usd: self.gpu_hour_usd,
            cloud: self.cloud.as_deref().map(|name| offers.cloud(name)).transpose()?.map(str::to_owned),
            spot: self.spot,
            offers,
            duty: self.duty,
            electricity_usd_per_kwh: self.electricity_usd_per_kwh,
            own: self.own,
            ownership: Ownership {
                purchase_usd: self.purchase_usd,
                server_overhead: self.server_overhead,
                amortization_years: self.amortization_years,
                residual_share: self.residual_share,
                interest_rate: self.interest_rate,
                maintenance_rate: self.maintenance_rate,
                host_power: self.host_power,
                pue: self.pue,
                colocation_usd_per_kw_month: self.colocation_usd_per_kw_month,
                ..Ownership::default()
            },
            today: Some(match self.today {
                Some(day) => day,
                None => today()?,
            }),
        })
    }
}

/// The day that builds and tests are told to live in, else the clock's.
pub(super) fn today() -> Result<Day, SpecError> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse().map(Day::of_seconds).map_err(|_| {
            SpecError::Usage(format!(
                "SOURCE_DATE_EPOCH={text} must be a number of seconds since 1970; correct or unset it"
            ))
        }),
        Err(_) => Ok(Day::of(SystemTime::now())),
    }
}

fn day(text: &str) -> Result<Day, String> {
    Day::parse(text).map_err(|e| e.to_string())
}

/// A ratio from 0 to 100.
fn ratio(text: &str) -> Result<f64, String> {
    number(text, 0.0, 100.0)
}

fn pue(text: &str) -> Result<f64, String> {
    number(text, 1.0, 10.0)
}

fn years(text: &str) -> Result<f64, String> {
    number(text, 0.1, 100.0)
}

fn number(text: &str, low: f64, high: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        _ => Err(format!("must be a number from {low} to {high}")),
    }
}
