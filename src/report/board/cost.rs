//! Costs in pictures.

use crate::answer::{CostAnswer, HourlyPrice, Situation};
use crate::report::cost::name;
use crate::report::picture::{Bar, Bars, Board, Drawing, Headline, Picture, Stack};
use crate::report::{number, usd};

/// Costs at a glance: a million tokens in each situation at each price, and what an hour of one's own consists of.
#[must_use]
pub fn cost_board(answer: &CostAnswer) -> Board {
    let mut pictures: Vec<Picture> = answer.situations.iter().map(|s| situation(answer, s)).collect();
    pictures.extend(answer.prices.iter().filter(|p| p.parts.len() > 1).map(hour));
    Board { title: String::new(), headline: headline(answer), pictures }
}

fn headline(answer: &CostAnswer) -> Vec<Headline> {
    let mut all = vec![];
    for s in &answer.situations {
        let Some(first) = answer.costs.iter().find(|c| c.situation == s.situation) else { continue };
        all.push(Headline::new(
            format!("Million tokens out, {}", name(s.situation)),
            usd(first.usd_per_million_output_tokens),
            format!("{}; {} in", first.basis.name(), usd(first.usd_per_million_input_tokens)),
        ));
    }
    all.push(Headline::new(
        "A replica can take",
        format!("{} requests/s", number(answer.capacity_requests_per_s)),
        "within the limits, where some are given and held",
    ));
    all
}

fn situation(answer: &CostAnswer, s: &Situation) -> Picture {
    let costs = answer.costs.iter().filter(|c| c.situation == s.situation);
    let bar = |c: &crate::answer::SituationCost| Bar {
        name: c.basis.name().into(),
        value: c.usd_per_million_output_tokens,
        text: format!(
            "{} out · {} in",
            usd(c.usd_per_million_output_tokens),
            usd(c.usd_per_million_input_tokens)
        ),
        kind: format!("{} a month", usd(c.usd_per_month)),
    };
    let title = format!("A million generated tokens, {}", name(s.situation));
    let bars = Bars { bars: costs.map(bar).collect(), full: 0.0 };
    Picture {
        note: format!(
            "{} requests/s, {} tokens/s out.",
            number(s.requests_per_s),
            number(s.output_tokens_per_s)
        ),
        ..Picture::new("tokens", title, Drawing::Bars(bars))
    }
}

/// What an hour of one's own accelerator pays for.
fn hour(price: &HourlyPrice) -> Picture {
    let part = |p: &crate::answer::PricePart| Bar {
        name: p.part.into(),
        value: p.usd_per_gpu_hour,
        text: usd(p.usd_per_gpu_hour),
        kind: String::new(),
    };
    let all = usd(price.usd_per_gpu_hour);
    let parts = price.parts.iter().filter(|p| p.usd_per_gpu_hour > 0.0).map(part).collect();
    let stack = Stack { whole: price.usd_per_gpu_hour, whole_text: all.clone(), parts };
    Picture {
        note: format!("{}.", price.source),
        wide: true,
        ..Picture::new(
            "hour",
            format!("An hour of an accelerator, {}, {all}", price.basis.name()),
            Drawing::Stack(stack),
        )
    }
}
