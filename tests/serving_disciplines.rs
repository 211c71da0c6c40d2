//! Queue disciplines that take seats from running requests, and tokens in time.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/simulator.rs"]
mod simulator;

use foretoken::serving::{
    Arrivals, Deadlines, Discipline, Finished, Length, Lengths, Outcome, Pool, Rate, RunOptions, Traffic, run,
};
use proptest::prelude::*;
use simulator::llama;
use std::sync::Arc;

fn serve(
    discipline: Discipline,
    seats: u32,
    pool: Option<u64>,
    traffic: &Traffic,
    options: &RunOptions,
) -> Outcome {
    let (mut clock, mut scheduler) = llama();
    (scheduler.discipline, scheduler.max_seqs) = (discipline, seats);
    let pool = Pool { tokens: pool, block: 16, ..Pool::default() };
    run(&mut clock, &scheduler, &pool, traffic, &RunOptions { records: true, ..*options }).unwrap()
}

fn poisson(rate: f64, lengths: Lengths, requests: u64) -> Traffic {
    Traffic { arrivals: Arrivals::Open(Rate::constant(rate).unwrap(), 1.0), lengths, requests, seed: 3 }
}

fn spread() -> Lengths {
    Lengths::Independent { input: Length::LogNormal(800.0, 1500.0), output: Length::LogNormal(200.0, 400.0) }
}

/// A long request runs on the only seat when a short one comes.
#[test]
fn a_short_request_takes_the_seat_of_a_long_one() {
    let pairs: Arc<[(u32, u32)]> = Arc::new([(500, 2000), (100, 20)]);
    let traffic = Traffic {
        arrivals: Arrivals::Constant(Rate::constant(1.0).unwrap()),
        lengths: Lengths::Pairs(pairs),
        requests: 2,
        seed: 0,
    };
    let order = |discipline| {
        let outcome = serve(discipline, 1, None, &traffic, &RunOptions::default());
        assert_eq!(outcome.records.len(), 2, "{discipline:?}");
        (outcome.records[0].number, outcome.metrics.preemptions, outcome.metrics.gaps.count())
    };
    // 1999 and 19 gaps whether or not it was computed anew
    assert_eq!(order(Discipline::Fcfs), (0, 0, 2018));
    assert_eq!(order(Discipline::Sjf), (0, 0, 2018));
    assert_eq!(order(Discipline::Srpt), (1, 1, 2018));
    assert_eq!(order(Discipline::Mlfq), (1, 1, 2018));
}

/// The fewer tokens left the sooner is the least mean time in the system of one server (Schrage, 1968); few seats are near.
#[test]
fn shorter_first_shortens_the_mean_wait() {
    let traffic = poisson(2.4, spread(), 1500);
    let of = |discipline| {
        let metrics = serve(discipline, 4, None, &traffic, &RunOptions::default()).metrics;
        [metrics.e2e.mean(), metrics.normalized.mean()]
    };
    let [fcfs, sjf, srpt, mlfq] = Discipline::ALL.map(|(d, _)| of(d));
    println!("mean E2E, E2E a token: fcfs {fcfs:?}, sjf {sjf:?}, srpt {srpt:?}, mlfq {mlfq:?}");
    assert!(srpt[0] < sjf[0] && sjf[0] < fcfs[0], "{fcfs:?} {sjf:?} {srpt:?}");
    // without knowing lengths: short requests do not wait behind long ones
    assert!(mlfq[1] < 0.9 * fcfs[1], "{fcfs:?} {mlfq:?}");
}

#[test]
fn fast_forwarding_is_exact() {
    for discipline in [Discipline::Sjf, Discipline::Srpt, Discipline::Mlfq] {
        for (traffic, pool) in
            [(poisson(3.0, spread(), 200), None), (poisson(6.0, spread(), 200), Some(20_000))]
        {
            let of = |step_by_step| {
                serve(discipline, 6, pool, &traffic, &RunOptions { step_by_step, ..RunOptions::default() })
            };
            let (mut fast, mut slow) = (of(false).records, of(true).records);
            fast.sort_by_key(|r| r.number);
            slow.sort_by_key(|r| r.number);
            assert_eq!(fast.len(), slow.len());
            for (a, b) in fast.iter().zip(&slow) {
                assert!((a.ttft() / b.ttft() - 1.0).abs() < 1e-6, "{discipline:?} {a:?} {b:?}");
                assert!((a.e2e() / b.e2e() - 1.0).abs() < 5e-3, "{discipline:?} {a:?} {b:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost(
        discipline in prop::sample::select(Discipline::ALL.map(|(d, _)| d).to_vec()),
        seats in 1_u32..20,
        pool in prop_oneof![Just(None), (6_000_u64..40_000).prop_map(Some)],
        rate in 0.5_f64..40.0,
        seed in 0_u64..50,
    ) {
        let traffic = Traffic { seed, ..poisson(rate, spread(), 100) };
        let due = Some(Deadlines { first_s: 1.0, token_s: 0.02 });
        let outcome = serve(discipline, seats, pool, &traffic, &RunOptions { due, ..RunOptions::default() });
        let refused: u64 = outcome.rejected.values().sum();
        prop_assert_eq!(outcome.records.len() as u64 + refused, 100);
        let gaps: u64 = outcome.records.iter().map(|r| u64::from(r.output - 1)).sum();
        prop_assert_eq!(outcome.metrics.gaps.count(), gaps);
        prop_assert!(outcome.records.iter().all(|r: &Finished| r.scheduled < r.first_token && r.first_token <= r.finished));
        prop_assert_eq!(outcome.metrics.fluidity.count(), outcome.metrics.completed());
        prop_assert!(outcome.metrics.fluidity.most() <= 1.0);
    }
}

/// A lone request with even gaps: all tokens are in time when they are due later, and next to none when sooner.
#[test]
fn tokens_in_time_by_hand() {
    let lengths = Lengths::fixed(500, 101);
    let traffic = Traffic { arrivals: Arrivals::Closed(1), lengths, requests: 1, seed: 0 };
    let of = |first_s, token_s, step_by_step| {
        let due = Some(Deadlines { first_s, token_s });
        let options = RunOptions { due, step_by_step, ..RunOptions::default() };
        serve(Discipline::Fcfs, 8, None, &traffic, &options).metrics
    };
    let gap = of(1.0, 1.0, false).tpot.mean();
    let index = |first_s, token_s| {
        let (fast, slow) =
            (of(first_s, token_s, false).fluidity.mean(), of(first_s, token_s, true).fluidity.mean());
        assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
        fast
    };
    assert_eq!(index(1.0, 1.1 * gap), 1.0);
    // nothing to spare: every token misses one deadline
    assert!(index(1e-6, 0.9 * gap) < 0.05);
    // half a second of slack carries tokens that are 2 ms late each
    assert_eq!(index(0.7, gap - 0.002), 1.0);
}
