//! Pools of prefill and decode on paper.

use super::super::{Section, count, duration, number, percent};
use crate::answer::{Disaggregation, SplitRate};

/// The prefill pool and the link; the decode pool is what the other sections say.
pub(super) fn pools(pools: &Disaggregation) -> Section {
    let mut section = Section::new("Prefill pool and link", &[]);
    let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
    row("busy", percent(pools.prefill.busy));
    let (mean, peak) = (pools.prefill.kv_cache_mean, pools.prefill.kv_cache_peak);
    row("KV cache, mean and peak", format!("{} and {}", percent(mean), percent(peak)));
    let link = &pools.link;
    let way = if link.overlapped { ", layers sent while later ones are computed" } else { "" };
    row("link", format!("{}, {} GB/s between two replicas{way}", link.name, number(link.bytes_per_s / 1e9)));
    row("KV cache of a mean prompt", format!("{} MB", number(link.bytes_per_request / 1e6)));
    row(
        "added to TTFT, mean and P99",
        format!("{} and {}", duration(link.added_s.mean), duration(link.added_s.p99)),
    );
    row("busy sending", percent(link.busy));
    section
}

/// All ways to split the replicas, the best first.
pub(super) fn ways(ways: &[SplitRate]) -> Section {
    let mut section = Section::new(
        "Ways to split, by the highest rate within the limits",
        &["prefill", "decode", "accelerators", "requests/s", "per accelerator"],
    );
    for way in ways {
        let [prefill, decode] = [way.prefill_replicas, way.decode_replicas].map(|n| count(f64::from(n)));
        section.row([
            prefill,
            if way.decode_replicas == 0 { "not split".to_owned() } else { decode },
            count(f64::from(way.num_gpus)),
            number(way.highest_rate_per_s),
            number(way.highest_rate_per_s_per_gpu),
        ]);
    }
    section
}
