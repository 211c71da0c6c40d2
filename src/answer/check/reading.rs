//! The run may be as thought, and something else was read off it.

use super::likelihood::Prior::{Common, Known, Occasional, Rare};
use super::scenario::Suspect;
use super::{Estimate, Figures, Question};
use crate::answer::TpotDefinition;

/// Seconds outside the server that TTFT may hold: a machine in the same room up to another continent behind a proxy. Judged.
const OUTSIDE_S: [f64; 6] = [0.005, 0.02, 0.08, 0.3, 1.0, 3.0];

/// Bytes per second at which a cold start reads weights: from a disk over the network up to the page cache. Judged.
const COLD_START: [f64; 4] = [0.2e9, 1e9, 3e9, 1e10];

/// Tokens that a streamed chunk may hold.
const CHUNKS: [f64; 6] = [2.0, 3.0, 4.0, 5.0, 8.0, 10.0];

pub(super) fn suspects(question: &Question<'_>, answer: &Estimate) -> Vec<Suspect> {
    vec![outside(), cold_start(), definitions(question), chunks(), rates(answer), units()]
}

fn outside() -> Suspect {
    let tell =
        "measure on the server itself; vllm:time_to_first_token_seconds at /metrics leaves the way out";
    let words =
        |s| format!("TTFT holds {:.0} ms outside the server: network, proxy, TLS, tokeniser", 1e3 * s);
    Suspect::range(Common, tell, OUTSIDE_S, words, |s, time| s.options.to_mut().network_rtt_s += time)
}

fn cold_start() -> Suspect {
    let tell = "measure again without a restart; leave warm-up requests out";
    let words = |rate| {
        format!(
            "a first request waited for the weights ({:.1} GB/s) or for kernels being compiled",
            rate / 1e9
        )
    };
    Suspect::range(Rare, tell, COLD_START, words, |s, rate| {
        s.options.to_mut().cold_start_bytes_per_s = Some(rate)
    })
}

/// TPOT under another definition.
fn definitions(question: &Question<'_>) -> Suspect {
    let now = question.options.tpot_definition;
    let others: Vec<TpotDefinition> = TpotDefinition::ALL.into_iter().filter(|d| *d != now).collect();
    let names: Vec<&str> = others.iter().map(|d| d.formula()).collect();
    Suspect::each(
        Common,
        "foretoken explain tpot: how each tool defines it; --tpot-definition",
        others.len(),
        move |i| format!("TPOT was taken as {}", names.get(i).copied().unwrap_or_default()),
        move |s, i| s.options.to_mut().tpot_definition = others.get(i).copied().unwrap_or_default(),
    )
}

/// Gaps between chunks in place of gaps between tokens.
fn chunks() -> Suspect {
    let size = |i: usize| CHUNKS.get(i).copied().unwrap_or(1.0);
    let tell = "usage.completion_tokens against the number of streamed chunks; the server's --stream-interval; speculative decoding";
    let words =
        move |i| format!("gaps between chunks of {} tokens were taken for gaps between tokens", size(i));
    Suspect::each(Rare, tell, CHUNKS.len(), words, |_, _| ()).read(move |_, figures, i| Figures {
        tpot_s: figures.tpot_s.map(|t| CHUNKS.get(i as usize).copied().unwrap_or(1.0) * t),
        ..figures
    })
}

/// Tokens per second of something else than all users' generated tokens, and times turned from them.
fn rates(answer: &Estimate) -> Suspect {
    const WORDS: [&str; 3] = [
        "prompt tokens are counted among the tokens per second",
        "the tokens per second are one user's, the TPOT one over those of all",
        "the tokens per second are those of one GPU",
    ];
    let n = if answer.inputs.layout.num_gpus > 1 { 3 } else { 2 };
    let tell = "foretoken explain throughput: which tokens of whom; the benchmark's own formula";
    let words = |i: usize| WORDS.get(i).copied().unwrap_or_default().to_owned();
    Suspect::each(Occasional, tell, n, words, |_, _| ()).read(|a, f, which| {
        let t = &a.throughput;
        let (rate, tpot_s) = match which as usize {
            0 => (t.total_tokens_per_s, f.tpot_s),
            1 => (t.output_tokens_per_s_per_user, Some(1.0 / t.output_tokens_per_s)),
            _ => (t.output_tokens_per_s_per_gpu, f.tpot_s),
        };
        Figures { output_tokens_per_s: Some(rate), tpot_s, ..f }
    })
}

/// Seconds read as milliseconds and the like.
fn units() -> Suspect {
    const WORDS: [&str; 2] =
        ["a unit is off: milliseconds taken for seconds", "a unit is off: seconds taken for milliseconds"];
    let tell = "the column heads of the benchmark; a bare number of --measured-… is in milliseconds";
    let words = |i: usize| WORDS.get(i).copied().unwrap_or_default().to_owned();
    Suspect::each(Known, tell, WORDS.len(), words, |_, _| ()).read(|_, f, which| {
        let factor = if which < 0.5 { 1e3 } else { 1e-3 };
        let times = |t: Option<f64>| t.map(|t| factor * t);
        Figures {
            ttft_s: times(f.ttft_s),
            tpot_s: times(f.tpot_s),
            e2e_s: times(f.e2e_s),
            output_tokens_per_s: f.output_tokens_per_s.map(|r| r / factor),
        }
    })
}
