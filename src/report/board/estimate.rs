//! An estimate in pictures.

use super::memory::stack;
use super::{curves, roofline, time};
use crate::answer::{Estimate, Pictured};
use crate::report::picture::{Bar, Bars, Board, Drawing, Headline, Picture};
use crate::report::{count, duration, number, percent, usd};
use crate::time::Line;

/// Lines of a phase drawn one by one; the rest is drawn as one.
const LINES: usize = 11;

/// An estimate at a glance, and its pictures.
#[must_use]
pub fn estimate_board(answer: &Pictured) -> Board {
    let estimate = &answer.estimate;
    let mut pictures = vec![stack(&estimate.memory)];
    pictures.extend(curves::latency(answer));
    pictures.push(curves::frontier(answer));
    pictures.extend(curves::cost(answer));
    pictures.push(breakdown("Prefill", &estimate.breakdown.prefill));
    pictures.push(breakdown("One decode step", &estimate.breakdown.decode));
    pictures.extend(curves::length(answer));
    pictures.push(roofline::picture(&answer.roofline));
    Board { title: String::new(), headline: headline(estimate), pictures }
}

fn headline(answer: &Estimate) -> Vec<Headline> {
    let (l, t, m) = (&answer.latency, &answer.throughput, &answer.memory);
    let mut all = vec![time("TTFT", l.ttft_s, &answer.intervals.ttft_s)];
    if answer.inputs.output_len > 1 {
        all.push(time("TPOT", l.tpot_s, &answer.intervals.tpot_s));
    }
    all.push(time("E2E", l.e2e_s, &answer.intervals.e2e_s));
    all.push(Headline::new(
        "Output, all users",
        format!("{} tokens/s", number(t.output_tokens_per_s)),
        format!("{} tokens/s per GPU", number(t.output_tokens_per_s_per_gpu)),
    ));
    if t.output_tokens_per_s_per_user > 0.0 {
        let prefill = format!("prefill {} tokens/s", number(t.prefill_tokens_per_s));
        all.push(Headline::new(
            "Output, one user",
            format!("{} tokens/s", number(t.output_tokens_per_s_per_user)),
            prefill,
        ));
    }
    all.push(memory_headline(m.fits, m.kv_cache_tokens));
    if let Some(cost) = &answer.cost {
        let hour = format!("at {} per GPU-hour", usd(cost.price.usd_per_gpu_hour));
        let (input, output) = (cost.usd_per_million_input_tokens, cost.usd_per_million_output_tokens);
        all.push(match answer.inputs.output_len {
            0 | 1 => Headline::new("Cost, million tokens in", usd(input), hour),
            _ => Headline::new("Cost, million tokens out", usd(output), format!("{} in; {hour}", usd(input))),
        });
    }
    let u = &answer.utilization;
    let decode = if answer.inputs.output_len > 1 {
        format!("; decode MBU {}, {}-bound", percent(u.decode_mbu), u.decode_bottleneck)
    } else {
        String::new()
    };
    let note = format!("{}-bound{decode}", u.prefill_bottleneck);
    all.push(Headline::new("Prefill MFU", percent(u.prefill_mfu), note));
    all
}

/// Whether it fits, and how much is left for the KV cache.
pub(super) fn memory_headline(fits: bool, tokens: u64) -> Headline {
    let verdict = if fits { "fits" } else { "DOES NOT FIT" };
    Headline::new("Memory", verdict, format!("{} tokens of KV cache", count(tokens as f64)))
}

/// Where the time of a phase goes.
fn breakdown(title: &str, lines: &[Line]) -> Picture {
    let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
    let mut sorted: Vec<&Line> = lines.iter().filter(|l| l.seconds.0 > 0.0).collect();
    sorted.sort_by(|a, b| b.seconds.0.total_cmp(&a.seconds.0));
    let bar = |name: String, seconds: f64, kind: &str| Bar {
        name,
        value: seconds,
        text: format!("{} · {}", duration(seconds), percent(seconds / total)),
        kind: kind.into(),
    };
    let shown = if sorted.len() > LINES + 1 { LINES } else { sorted.len() };
    let (first, rest) = sorted.split_at(shown);
    let mut bars: Vec<Bar> =
        first.iter().map(|l| bar(l.label.replace('_', " "), l.seconds.0, l.bound.name())).collect();
    if !rest.is_empty() {
        bars.push(bar(format!("{} others", rest.len()), rest.iter().map(|l| l.seconds.0).sum(), ""));
    }
    Picture {
        note: "The last word says what an operator waits for most.".into(),
        ..Picture::new(
            "breakdown",
            format!("{title}, {}", duration(total)),
            Drawing::Bars(Bars { bars, full: 0.0 }),
        )
    }
}
