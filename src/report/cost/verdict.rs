//! Costs in words.

use super::super::{count, duration, number, percent, usd};
use super::{gpus, millions};
use crate::answer::{Basis, BreakEven, CostAnswer, JobDone, SituationKind};

/// What follows from an answer, a sentence each.
pub(super) fn all(answer: &CostAnswer) -> Vec<String> {
    let mut all = vec![];
    all.extend(fill(answer));
    all.extend(answer.break_even.iter().map(|b| against(answer, b)));
    all.extend(answer.job.as_ref().map(job));
    all
}

fn verb(basis: Basis) -> &'static str {
    match basis {
        Basis::Rented => "Renting",
        Basis::Owned => "Owning",
        Basis::Electricity => "Electricity alone",
    }
}

/// What the load costs over a full deployment.
fn fill(answer: &CostAnswer) -> Option<String> {
    let yours = answer.situations.iter().find(|s| s.situation == SituationKind::AtYourLoad)?;
    let of = |kind| answer.costs.iter().find(|c| c.situation == kind);
    let (cost, full) = (of(SituationKind::AtYourLoad)?, of(SituationKind::Saturated)?);
    let times = cost.usd_per_request / full.usd_per_request;
    let each = yours.num_gpus / yours.replicas.max(1);
    let range = match yours.replicas_interval {
        Some([few, many]) if few != many => {
            let [few, many] = [few, many].map(|n| count(f64::from(n) * f64::from(each)));
            format!(" (80 %: {few} – {many})")
        }
        _ => String::new(),
    };
    Some(format!(
        "Your {} tokens a month take {}{range} and use {} of their capacity: {} a month {}, {} times as much a token as a full deployment.",
        millions(yours.tokens_per_month),
        gpus(yours.num_gpus),
        percent(yours.load),
        usd(cost.usd_per_month),
        cost.basis.name(),
        number(times)
    ))
}

fn against(answer: &CostAnswer, b: &BreakEven) -> String {
    let verb = verb(b.basis);
    let mut text = match (&b.from, &b.first) {
        (Some(from), _) if from.requests_per_s <= 0.0 => format!("{verb} costs nothing, the API something"),
        (None, _) => format!(
            "{verb} never beats the API: even full the deployment costs {} times its price",
            number(b.full_over_api)
        ),
        (Some(from), first) => {
            let mut text = format!(
                "{verb} beats the API from {} tokens a month on ({} requests/s, {} of what {} can do)",
                millions(from.tokens_per_month),
                number(from.requests_per_s),
                percent(from.load),
                replicas(from.replicas)
            );
            if let Some(first) = first {
                text.push_str(&format!(
                    ", and from {} while {} {} enough",
                    millions(first.tokens_per_month),
                    replicas(first.replicas),
                    if first.replicas == 1 { "is" } else { "are" }
                ));
            }
            text
        }
    };
    if let Some(at) = &b.at_your_load {
        let tokens = answer
            .situations
            .iter()
            .find(|s| s.situation == SituationKind::AtYourLoad)
            .map_or(0.0, |s| s.tokens_per_month);
        let (own, api) = (at.usd_per_month, at.api_usd_per_month);
        let (who, times) = if own <= api { ("it", api / own) } else { ("the API", own / api) };
        let verdict = if times.is_finite() && times >= 1.005 {
            format!("{who} is {} times cheaper", number(times))
        } else if times.is_finite() {
            "both cost the same".to_owned()
        } else {
            format!("{who} costs nothing")
        };
        text.push_str(&format!(
            "; at your {} {verdict} ({} against {} a month)",
            millions(tokens),
            usd(own),
            usd(api)
        ));
    }
    text.push('.');
    text
}

fn replicas(n: u32) -> String {
    if n == 1 { "one replica".into() } else { format!("{} replicas", count(f64::from(n))) }
}

fn job(job: &JobDone) -> String {
    let first = job.costs.first();
    let cost = first.map_or_else(String::new, |c| format!(", {} {}", usd(c.usd), c.basis.name()));
    let mut text = format!(
        "{} documents take {} on {}{cost}",
        count(job.documents as f64),
        duration(job.duration_s),
        gpus(job.num_gpus)
    );
    if let Some(deadline) = job.deadline_s {
        text.push_str(&format!(", within the {}", duration(deadline)));
        let slow = job.duration_interval_s.high;
        if slow > deadline {
            text.push_str(&format!(
                " predicted but not at the slow end of the interval ({})",
                duration(slow)
            ));
        }
    }
    if let (Some(api), Some(c)) = (job.api_usd, first) {
        let (who, times) = if c.usd <= api { ("this", api / c.usd) } else { ("the API", c.usd / api) };
        if times.is_finite() {
            text.push_str(&format!("; {who} is {} times cheaper than the {}", number(times), other(who)));
        }
    }
    text.push('.');
    text
}

fn other(who: &str) -> &'static str {
    if who == "this" { "API" } else { "deployment" }
}
