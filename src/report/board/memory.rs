//! Memory in pictures.

use super::estimate::memory_headline;
use crate::answer::MemoryCurve;
use crate::memory::MemoryReport;
use crate::report::picture::{
    Axis, Bar, Bars, Board, Chart, Draw, Drawing, Headline, Picture, Point, Series, Spacing, Stack, Unit,
};
use crate::report::{bytes_gib, count, percent};

/// Memory at a glance, and its pictures: where it goes, how many requests of which length it holds, what makes room.
#[must_use]
pub fn memory_board(answer: &MemoryReport, curve: &[MemoryCurve]) -> Board {
    let capacity = answer.capacity_bytes_per_gpu.0;
    let weights = answer.weights_bytes_per_gpu.0;
    let headline = vec![
        memory_headline(answer.fits, answer.kv_cache_tokens),
        Headline::new(
            "Weights per GPU",
            bytes_gib(weights),
            format!("{} of its memory", percent(weights / capacity)),
        ),
        Headline::new(
            "KV pool per GPU",
            bytes_gib(answer.kv_cache_bytes_per_gpu.0),
            format!("{:.1} KiB a token", answer.kv_cache_bytes_per_token / 1024.0),
        ),
        Headline::new(
            "Requests at once",
            format!("{:.2}", answer.max_concurrency),
            format!("of {} tokens", count(answer.settings.max_model_len as f64)),
        ),
        Headline::new("Longest context", format!("{} tokens", count(answer.max_context_tokens as f64)), ""),
    ];
    Board {
        title: String::new(),
        headline,
        pictures: vec![Picture { printed: true, ..stack(answer) }, requests(answer, curve), levers(answer)],
    }
}

/// The parts that occupy one accelerator, in the order of the bar.
pub(in crate::report) fn parts(answer: &MemoryReport) -> [(&'static str, f64); 5] {
    [
        ("weights", answer.weights_bytes_per_gpu.0),
        ("activations (peak)", answer.activation_bytes_per_gpu.0),
        ("runtime", answer.runtime_bytes_per_gpu.0),
        ("CUDA graphs", answer.cuda_graph_bytes_per_gpu.0),
        ("KV cache", answer.kv_cache_bytes_per_gpu.0.max(0.0)),
    ]
}

/// Where the memory of one accelerator goes.
pub(super) fn stack(answer: &MemoryReport) -> Picture {
    let capacity = answer.capacity_bytes_per_gpu.0;
    let bars = parts(answer).into_iter().filter(|(_, bytes)| *bytes > 0.0);
    let bars = bars.map(|(name, bytes)| Bar {
        name: name.into(),
        value: bytes,
        text: bytes_gib(bytes),
        kind: String::new(),
    });
    let stack = Stack { whole: capacity, whole_text: bytes_gib(capacity), parts: bars.collect() };
    let note = match &answer.reason {
        Some(reason) => format!("Does not fit: {reason}."),
        None => format!(
            "{} are the engine's to use; what is left empty stays free.",
            bytes_gib(answer.usable_bytes_per_gpu.0)
        ),
    };
    Picture {
        note,
        wide: true,
        ..Picture::new(
            "memory",
            format!("Memory of one accelerator, {}", bytes_gib(capacity)),
            Drawing::Stack(stack),
        )
    }
}

/// Requests at once against their length.
fn requests(answer: &MemoryReport, curve: &[MemoryCurve]) -> Picture {
    let points = curve
        .iter()
        .map(|c| Point { name: format!("{:.0}", c.requests), ..Point::at(c.tokens as f64, c.requests) });
    let chart = Chart {
        x: Axis::new("tokens of a request, prompt and output", Spacing::Doubling, Unit::Number),
        y: Axis::new("requests at once", Spacing::Log, Unit::Number),
        series: vec![Series { name: String::new(), draw: Draw::Line, points: points.collect() }],
        marks: vec![],
    };
    Picture {
        note: format!(
            "What the KV pool holds to the end; the engine runs at most {} at once (max-num-seqs).",
            count(f64::from(answer.settings.max_num_seqs))
        ),
        ..Picture::new("requests", "Requests that the KV pool holds, by their length", Drawing::Chart(chart))
    }
}

/// What would make room.
fn levers(answer: &MemoryReport) -> Picture {
    let bars = answer.levers.iter().map(|lever| Bar {
        name: lever.name.into(),
        value: lever.gain_bytes_per_gpu.0.max(0.0),
        text: bytes_gib(lever.gain_bytes_per_gpu.0),
        kind: if lever.fits_after { "fits".into() } else { "does not fit".into() },
    });
    let title = if answer.fits { "What would make more room" } else { "What would make it fit, or help" };
    Picture::new(
        "levers",
        format!("{title}, per GPU"),
        Drawing::Bars(Bars { bars: bars.collect(), full: 0.0 }),
    )
}
