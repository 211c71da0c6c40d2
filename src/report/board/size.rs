//! Fleets in pictures.

use crate::answer::{NearMiss, Objective, Size, SizeCandidate};
use crate::report::picture::{Bar, Bars, Board, Drawing, Headline, Picture};
use crate::report::{count, duration, number, percent, usd};

/// Fleets at a glance: what each takes of what was to be little, those that hold and those that do not.
#[must_use]
pub fn size_board(answer: &Size) -> Board {
    Board { title: String::new(), headline: headline(answer), pictures: vec![fleets(answer), shares(answer)] }
}

fn name(c: &SizeCandidate) -> String {
    let replicas = if c.replicas > 1 { format!(", {} replicas", c.replicas) } else { String::new() };
    format!("{}× {} {}{replicas}", c.num_gpus, c.gpu, c.weight_dtype)
}

fn headline(answer: &Size) -> Vec<Headline> {
    let Some(best) = answer.candidates.first() else {
        return vec![Headline::new("Fleets that hold", "none", "")];
    };
    let l = &best.latency;
    let mut all = vec![Headline::new(
        "Best",
        format!("{}× {}", best.num_gpus, best.gpu),
        format!("{} weights, replicas: {}", best.weight_dtype, best.replicas),
    )];
    if let Some(price) = best.usd_per_hour {
        let tokens = best
            .usd_per_million_output_tokens
            .map_or_else(String::new, |c| format!("{} a million tokens out", usd(c)));
        all.push(Headline::new("Costs an hour", usd(price), tokens));
    }
    all.extend([
        Headline::new("Within all limits", percent(best.share_within_limits), ""),
        Headline::new("TTFT, P90", duration(l.ttft_s.p90), format!("P99 {}", duration(l.ttft_s.p99))),
        Headline::new("TPOT, P90", duration(l.tpot_s.p90), format!("P99 {}", duration(l.tpot_s.p99))),
    ]);
    all
}

/// What the objective counts of a fleet, with its words.
fn value(objective: Objective, c: &SizeCandidate) -> (f64, String) {
    match objective {
        Objective::Cost => c.usd_per_hour.map_or((0.0, "–".into()), |v| (v, format!("{}/h", usd(v)))),
        Objective::Power => c.power_w.map_or((0.0, "–".into()), |v| (v, format!("{} W", count(v)))),
        Objective::Gpus => (f64::from(c.num_gpus), format!("{} GPUs", c.num_gpus)),
        Objective::Latency => (c.latency.e2e_s.mean, duration(c.latency.e2e_s.mean)),
    }
}

fn fleets(answer: &Size) -> Picture {
    let objective = answer.inputs.objective;
    let holding = answer.candidates.iter().map(|c| {
        let (value, text) = value(objective, c);
        Bar { name: name(c), value, text, kind: "holds".into() }
    });
    let missing = answer.near_misses.iter().map(|m: &NearMiss| {
        let text = match objective {
            Objective::Cost => format!("{}/h", usd(m.value)),
            Objective::Power => format!("{} W", count(m.value)),
            Objective::Gpus | Objective::Latency => number(m.value),
        };
        let name = format!("{}× {} {}", m.num_gpus, m.gpu, m.weight_dtype);
        Bar { name, value: m.value, text, kind: "does not hold".into() }
    });
    let what = match objective {
        Objective::Cost => "What fleets cost an hour",
        Objective::Power => "What power fleets draw",
        Objective::Gpus => "How many accelerators fleets have",
        Objective::Latency => "How long requests take, on average",
    };
    let bars = Bars { bars: holding.chain(missing).collect(), full: 0.0 };
    Picture { wide: true, ..Picture::new("fleets", what, Drawing::Bars(bars)) }
}

fn shares(answer: &Size) -> Picture {
    let bar = |c: &SizeCandidate| Bar {
        name: name(c),
        value: c.share_within_limits,
        text: percent(c.share_within_limits),
        kind: format!("KV peak {}", percent(c.utilization.kv_cache_peak)),
    };
    let bars = Bars { bars: answer.candidates.iter().map(bar).collect(), full: 1.0 };
    Picture {
        note: format!("{} are needed.", percent(answer.inputs.required_share)),
        wide: true,
        ..Picture::new("limits", "Requests within all limits", Drawing::Bars(bars))
    }
}
