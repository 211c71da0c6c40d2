//! Metrics: names resolve, and the definitions of time per output token convert into each other.
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::answer::TpotDefinition::{self, Inclusive, PerToken, Vllm};
use foretoken::answer::{convert_tpot, explain, metrics, tpot};
use foretoken::units::Seconds;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ALL: [TpotDefinition; 3] = [Vllm, PerToken, Inclusive];

#[test]
fn every_name_and_alias_is_found_once() {
    let mut seen = BTreeSet::new();
    for metric in metrics() {
        for name in std::iter::once(&metric.name).chain(metric.aliases) {
            assert!(seen.insert(*name), "{name} twice");
            assert_eq!(explain(name).unwrap().name, metric.name);
        }
        assert!(!metric.formula.is_empty() && !metric.source.is_empty() && !metric.unit.is_empty());
    }
    assert_eq!(explain(" Time_To First Token ").unwrap().name, "ttft");
    for name in "ttft tpot itl tbt e2e normalized-latency throughput per-user per-gpu prefill goodput mfu mbu kv-cache concurrency cost duty load".split(' ') {
        assert!(explain(name).is_ok(), "{name}");
    }
}

#[test]
fn a_misspelt_metric_gets_suggestions() {
    let message = explain("goodputt").unwrap_err().to_string();
    assert!(message.contains("did you mean `goodput`") && message.contains("known are ttft"), "{message}");
    assert!(explain("").is_err() && explain(&"x".repeat(100_000)).is_err());
}

#[test]
fn definitions_by_hand() {
    // 1 s in all, 0.1 s to the first of 10 tokens: 0.9 / 9, 0.9 / 10, 1 / 10
    let value = |d| tpot(d, Seconds(1.0), Seconds(0.1), 10).unwrap().0;
    assert!((value(Vllm) - 0.1).abs() < 1e-12);
    assert!((value(PerToken) - 0.09).abs() < 1e-12);
    assert!((value(Inclusive) - 0.1).abs() < 1e-12);
    // A record of AIPerf's documentation: (297.525 − 255.887) / 8 = 5.20475 ms
    let itl = tpot(Vllm, Seconds(0.297_525), Seconds(0.255_887), 9).unwrap().0;
    assert!((itl * 1e3 - 5.204_75).abs() < 1e-9);
}

#[test]
fn one_token_has_no_gap() {
    let one = |d| tpot(d, Seconds(1.0), Seconds(1.0), 1);
    assert_eq!(one(Vllm), None);
    assert_eq!(one(Inclusive), Some(Seconds(1.0)));
    assert_eq!(tpot(Inclusive, Seconds(1.0), Seconds(1.0), 0), None);
    assert!(convert_tpot(Seconds(0.1), Vllm, Inclusive, Seconds(1.0), 1).is_err());
    assert!(convert_tpot(Seconds(0.1), PerToken, Inclusive, Seconds(1.0), 0).is_err());
}

#[test]
fn contradictions_are_refused() {
    let message = convert_tpot(Seconds(0.01), Inclusive, Vllm, Seconds(1.0), 10).unwrap_err().to_string();
    assert!(message.contains("less than the TTFT"), "{message}");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(convert_tpot(Seconds(bad), Vllm, PerToken, Seconds(0.1), 10).is_err());
        assert!(convert_tpot(Seconds(0.1), Vllm, PerToken, Seconds(bad), 10).is_err());
    }
}

proptest! {
    #[test]
    fn converting_there_and_back_changes_nothing(
        ttft in 1e-4..100.0_f64, gap in 1e-5..1.0_f64, n in 2..100_000_u64,
        from in prop::sample::select(&ALL[..]), to in prop::sample::select(&ALL[..]),
    ) {
        let (ttft, e2e) = (Seconds(ttft), Seconds(ttft + gap * (n - 1) as f64));
        let start = tpot(from, e2e, ttft, n).unwrap();
        let there = convert_tpot(start, from, to, ttft, n).unwrap();
        let direct = tpot(to, e2e, ttft, n).unwrap();
        prop_assert!((there.0 / direct.0 - 1.0).abs() < 1e-6);
        let back = convert_tpot(there, to, from, ttft, n).unwrap();
        prop_assert!((back.0 / start.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_identity_of_latency_holds(ttft in 1e-4..100.0_f64, gap in 1e-5..1.0_f64, n in 2..100_000_u64) {
        // E2E = TTFT + (N − 1) · TPOT, and the first token makes the inclusive time the longer one
        // whenever it takes longer than a gap.
        let e2e = ttft + gap * (n - 1) as f64;
        let value = |d| tpot(d, Seconds(e2e), Seconds(ttft), n).unwrap().0;
        prop_assert!((ttft + value(Vllm) * (n - 1) as f64 - e2e).abs() < 1e-9 * e2e);
        prop_assert!(value(PerToken) < value(Vllm) && value(PerToken) < value(Inclusive));
        if ttft > gap * 1.000_001 {
            prop_assert!(value(Inclusive) > value(Vllm));
        }
    }
}
