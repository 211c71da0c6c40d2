//! Prices and costs on paper.

use std::collections::BTreeMap;

use super::usd;
use crate::answer::HourlyPrice;

/// A price per hour with its source, and its age where it is old.
pub(super) fn price(price: &HourlyPrice) -> String {
    let caution = price.caution().map_or_else(String::new, |c| format!(", {c}"));
    format!("{} per GPU-hour ({}{caution})", usd(price.usd_per_gpu_hour), price.source)
}

/// Prices of several accelerators in a line, and how many of them are old; none of none.
pub(super) fn prices(all: &BTreeMap<String, HourlyPrice>) -> Option<String> {
    let first = all.iter().next()?;
    if all.len() == 1 {
        return Some(format!("Price: {}.", price(first.1)));
    }
    let each: Vec<String> = all.iter().map(|(gpu, p)| format!("{gpu} {}", usd(p.usd_per_gpu_hour))).collect();
    let old = all.values().filter(|p| p.is_old).count();
    let caution = match old {
        0 => String::new(),
        n => format!("; {n} of {} undated or over 90 days old: check them", all.len()),
    };
    Some(format!("Prices per GPU-hour: {}{caution}.", each.join(", ")))
}
