//! The simulator: fast-forwarding against single steps, conservation, queueing theory's limits.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/simulator.rs"]
mod simulator;

use foretoken::serving::{
    Admission, Arrivals, BatchWait, CacheBytes, Chunk, Finished, Length, Lengths, Link, Metrics, Order,
    Outcome, Pool, RankLoad, Rate, Routing, Run, RunOptions, Scheduler, Slo, Speculation, Stage, StepClock,
    Traffic, run, run_split,
};
use foretoken::spec::{EngineKind, Parallelism};
use foretoken::work::{DecodeRows, PrefillChunk, Step};
use proptest::prelude::*;
use simulator::{deployed, llama};

fn fixed(input: u32, output: u32) -> Lengths {
    Lengths::Independent { input: Length::Fixed(input), output: Length::Fixed(output) }
}

fn poisson(rate: f64) -> Arrivals {
    Arrivals::Open(Rate::constant(rate).unwrap(), 1.0)
}

fn keep() -> RunOptions {
    RunOptions { records: true, ..RunOptions::default() }
}

fn serve(
    (clock, scheduler): &mut (StepClock, Scheduler),
    pool: Option<u64>,
    traffic: &Traffic,
    options: &RunOptions,
) -> Outcome {
    let pool = Pool { tokens: pool, block: 16, ..Pool::default() };
    run(clock, scheduler, &pool, traffic, options).unwrap()
}

fn by_number(outcome: &Outcome) -> Vec<Finished> {
    let mut all = outcome.records.clone();
    all.sort_by_key(|r| r.number);
    all
}

#[test]
fn the_clock_is_the_step_timer() {
    for (model, p) in [
        ("llama-3.1-8b", Parallelism::ONE),
        ("qwen3-30b-a3b", Parallelism { tp: 2, ..Parallelism::ONE }),
        ("deepseek-v3", Parallelism { tp: 8, ..Parallelism::ONE }),
        ("gpt-oss-120b", Parallelism::ONE),
        ("gemma-2-9b-it", Parallelism::ONE),
        ("qwen3-next-80b-a3b-instruct", Parallelism { tp: 4, ..Parallelism::ONE }),
    ] {
        let (mut clock, _) = deployed(model, EngineKind::Vllm, p);
        let timer = clock.timer().clone();
        let (mut worst, mut sum, mut count) = (0.0_f64, 0.0, 0);
        for rows in [1_u32, 7, 64, 200] {
            for context in [100_u64, 1000, 3333, 20_000, 100_000] {
                let decode = [DecodeRows { rows: f64::from(rows), context: context as f64 }];
                let load = RankLoad { rows, context: context * u64::from(rows), ..RankLoad::default() };
                let exact = timer.time(&Step { prefill: &[], decode: &decode }, &mut vec![]).seconds.0;
                let error = clock.decode(&[load], 0.0) / exact - 1.0;
                (worst, sum, count) = (worst.max(error.abs()), sum + error.abs(), count + 1);
                for (tokens, past) in [(37_u32, 0_u32), (511, 2000), (4001, 0), (7000, 30_000)] {
                    let mut ending = Chunk::default();
                    ending.add(tokens, past);
                    let chunk = PrefillChunk {
                        requests: 1.0,
                        new_tokens: f64::from(tokens),
                        past_tokens: f64::from(past),
                        ending: 1.0,
                        mean_with: None,
                    };
                    let step = Step { prefill: &[chunk], decode: &decode };
                    let exact = timer.time(&step, &mut vec![]).seconds.0;
                    let error = clock.mixed(&[RankLoad { ending, ..load }]) / exact - 1.0;
                    (worst, sum, count) = (worst.max(error.abs()), sum + error.abs(), count + 1);
                }
            }
        }
        let mean = sum / f64::from(count);
        assert!(worst < 0.02 && mean < 0.002, "{model}: worst {worst:.5}, mean {mean:.6}");
    }
}

#[test]
fn a_run_is_the_sum_of_its_steps() {
    let (mut clock, _) = llama();
    for (rows, context, steps) in [(1_u32, 700_u64, 5000_u64), (64, 64 * 900, 700), (256, 256 * 100, 64)] {
        let load = RankLoad { rows, context, ..RankLoad::default() };
        let sum: f64 = (0..steps).map(|j| clock.decode(&[load], j as f64)).sum();
        let run = clock.extend(&[load], Run::default(), steps, f64::INFINITY, &mut vec![]);
        assert_eq!(run.steps, steps);
        assert!((run.seconds / sum - 1.0).abs() < 1e-9, "{} {sum}", run.seconds);
        let half = clock.extend(&[load], Run::default(), steps, sum / 2.0, &mut vec![]);
        let partial: f64 = (0..half.steps).map(|j| clock.decode(&[load], j as f64)).sum();
        assert!(partial >= sum / 2.0 - 1e-9 && partial - half.last < sum / 2.0);
    }
}

/// TTFT of every request to 1e-6 and TPOT to 0.5 %, run-length against single steps, over engines, loads,
/// pools and ranks.
#[test]
fn fast_forwarding_is_exact() {
    let spread =
        Lengths::Independent { input: Length::Uniform(50, 3000), output: Length::LogNormal(150.0, 120.0) };
    let harness = Lengths::Harness { input: 1024, output: 512, ratio: 0.8 };
    let rank4 = Parallelism { dp: 4, ..Parallelism::ONE };
    for (engine, parallelism, change) in [
        (EngineKind::Vllm, Parallelism::ONE, 0),
        (EngineKind::Vllm, rank4, 0),
        (EngineKind::Sglang, Parallelism::ONE, 1),
        (EngineKind::Trtllm, Parallelism::ONE, 2),
        (EngineKind::Trtllm, rank4, 3),
        (EngineKind::Llamacpp, Parallelism::ONE, 4),
        (EngineKind::Transformers, Parallelism::ONE, 4),
        (EngineKind::Ideal, Parallelism { pp: 2, ..Parallelism::ONE }, 0),
    ] {
        let mut service = deployed("llama-3.1-8b", engine, parallelism);
        match change {
            1 => service.1.receive_interval = 30,
            2 => service.1.batch_wait = Some(BatchWait { iterations: 20, ratio: 0.9 }),
            3 => service.1.rank_balance = Some(60),
            4 => service.1.max_seqs = 8,
            _ => {}
        }
        for (arrivals, lengths, pool) in [
            (Arrivals::Closed(24), &harness, None),
            (poisson(6.0), &spread, None),
            (poisson(12.0), &spread, Some(24_000)),
            (Arrivals::Burst, &spread, None),
        ] {
            let traffic = Traffic { arrivals, lengths: lengths.clone(), requests: 150, seed: 3 };
            let options = RunOptions { ranks: parallelism.dp, ..keep() };
            let fast = serve(&mut service, pool, &traffic, &options);
            let slow = serve(&mut service, pool, &traffic, &RunOptions { step_by_step: true, ..options });
            assert_eq!(fast.records.len(), slow.records.len());
            for (a, b) in by_number(&fast).iter().zip(by_number(&slow)) {
                let ttft = (a.ttft() / b.ttft() - 1.0).abs();
                assert!(ttft < 1e-6, "{engine:?} {parallelism:?} {:?}: {a:?} {b:?}", traffic.arrivals);
                if let (Some(x), Some(y)) = (a.tpot(), b.tpot()) {
                    assert!((x / y - 1.0).abs() < 5e-3, "{engine:?} {x} {y}");
                }
            }
            let gaps = |o: &Outcome| (o.metrics.gaps.count(), o.metrics.gaps.mean());
            assert_eq!(gaps(&fast).0, gaps(&slow).0, "{engine:?} {:?}", traffic.arrivals);
            assert!((gaps(&fast).1 / gaps(&slow).1 - 1.0).abs() < 1e-6);
        }
    }
}

/// The same of two pools, which also wait for each other.
#[test]
fn fast_forwarding_of_two_pools_is_exact() {
    let lengths =
        Lengths::Independent { input: Length::Uniform(50, 3000), output: Length::LogNormal(150.0, 120.0) };
    for (engine, arrivals, replicas, pool) in [
        (EngineKind::Vllm, poisson(8.0), [1, 2], None),
        (EngineKind::Vllm, Arrivals::Closed(32), [2, 1], Some(24_000)),
        (EngineKind::Sglang, poisson(12.0), [2, 2], None),
        (EngineKind::Ideal, Arrivals::Closed(16), [1, 1], None),
    ] {
        let (clock, scheduler) = deployed("llama-3.1-8b", engine, Parallelism::ONE);
        let cache = CacheBytes { fixed: 0.0, growing: vec![(131_072.0, f64::INFINITY)] };
        let link = Link { bytes_per_s: 50e9, latency_s: 1e-5, overlapped_layers: 32, cache };
        let traffic = Traffic { arrivals, lengths: lengths.clone(), requests: 150, seed: 3 };
        let run = |step_by_step| {
            let (mut first, mut second) = (clock.clone(), clock.clone());
            let pool = Pool { tokens: pool, block: 16, ..Pool::default() };
            let stage = |clock, replicas| Stage { clock, scheduler, pool: pool.clone(), ranks: 1, replicas };
            let [one, two] = [stage(&mut first, replicas[0]), stage(&mut second, replicas[1])];
            run_split(one, two, &link, &traffic, &RunOptions { step_by_step, ..keep() }).unwrap()
        };
        let (fast, slow) = (run(false).outcome, run(true).outcome);
        assert_eq!((fast.records.len(), slow.records.len()), (150, 150), "{engine:?}");
        for (a, b) in by_number(&fast).iter().zip(by_number(&slow)) {
            assert!((a.ttft() / b.ttft() - 1.0).abs() < 1e-6, "{engine:?}: {a:?} {b:?}");
            assert!((a.e2e() / b.e2e() - 1.0).abs() < 5e-3, "{engine:?}: {a:?} {b:?}");
            assert!(
                a.sent <= a.scheduled
                    && a.scheduled < a.first_token - a.transfer
                    && a.first_token <= a.finished
            );
        }
        let tokens: u64 = fast.records.iter().map(|r| u64::from(r.output - 1)).sum();
        assert_eq!(fast.metrics.gaps.count(), tokens, "every token but the first closes a gap");
    }
}

/// And of verified drafts, switched off and on by the number of rows.
#[test]
fn fast_forwarding_of_drafts_is_exact() {
    let (clock, scheduler) = llama();
    let speculation =
        Speculation { tokens: 3, acceptance: 0.7, most_rows: 12, draft: Some(Box::new(clock.clone())) };
    let mut service = (clock.speculating(speculation), scheduler);
    let lengths = Lengths::Independent { input: Length::Uniform(1, 3000), output: Length::Uniform(1, 300) };
    for (arrivals, pool) in [(poisson(4.0), None), (Arrivals::Closed(24), Some(30_000))] {
        let traffic = Traffic { arrivals, lengths: lengths.clone(), requests: 200, seed: 3 };
        let fast = serve(&mut service, pool, &traffic, &keep());
        let slow = serve(&mut service, pool, &traffic, &RunOptions { step_by_step: true, ..keep() });
        assert_eq!((fast.records.len(), slow.records.len()), (200, 200));
        for (a, b) in by_number(&fast).iter().zip(by_number(&slow)) {
            assert!((a.ttft() / b.ttft() - 1.0).abs() < 1e-6, "{a:?} {b:?}");
            assert!((a.e2e() / b.e2e() - 1.0).abs() < 5e-3, "{a:?} {b:?}");
        }
    }
}

#[derive(Debug, Clone)]
struct Case {
    order: Order,
    admission: Admission,
    chunked: bool,
    overlapped: bool,
    budget: u32,
    seqs: u32,
    pool: Option<u64>,
    ranks: u32,
    replicas: u32,
    routing: Routing,
    arrivals: Arrivals,
    lengths: Lengths,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let order = prop::sample::select(vec![Order::DecodeFirst, Order::PrefillFirst, Order::Static]);
    let routing = prop::sample::select(Routing::ALL.map(|(r, _)| r).to_vec());
    let arrivals = prop_oneof![
        Just(Arrivals::Burst),
        (1_u32..40).prop_map(Arrivals::Closed),
        (0.2_f64..60.0, 0.2_f64..4.0).prop_map(|(r, b)| Arrivals::Open(Rate::constant(r).unwrap(), b)),
    ];
    let length = (1_u32..3000, 0_u32..1500).prop_map(|(low, more)| Length::Uniform(low, low + more));
    let output = (1_u32..200, 0_u32..200).prop_map(|(low, more)| Length::Uniform(low, low + more));
    let pool = prop_oneof![Just(None), (5_000_u64..60_000).prop_map(Some)];
    (
        (order, prop::bool::ANY, prop::bool::ANY, prop::bool::ANY, 64_u32..9000, 1_u32..80, pool),
        (1_u32..4, 1_u32..4, routing, arrivals, length, output, 0_u64..100),
    )
        .prop_map(|(scheduler, rest)| {
            let (order, whole, chunked, overlapped, budget, seqs, pool) = scheduler;
            let (ranks, replicas, routing, arrivals, input, output, seed) = rest;
            // the loop asks a block of every row before it starts a step
            let whole = whole || order != Order::DecodeFirst;
            Case {
                order,
                admission: if whole { Admission::Whole } else { Admission::Prompt },
                chunked,
                overlapped,
                budget: budget.max(seqs),
                seqs,
                pool,
                ranks,
                replicas,
                routing,
                arrivals,
                lengths: Lengths::Independent { input, output },
                seed,
            }
        })
}

impl Case {
    fn run(&self, service: &mut (StepClock, Scheduler)) -> Outcome {
        service.1 = Scheduler {
            order: self.order,
            admission: self.admission,
            chunked: self.chunked,
            overlapped: self.overlapped,
            token_budget: self.budget,
            max_seqs: self.seqs,
            ..service.1
        };
        let traffic = Traffic {
            arrivals: self.arrivals.clone(),
            lengths: self.lengths.clone(),
            requests: 120,
            seed: self.seed,
        };
        let options =
            RunOptions { ranks: self.ranks, replicas: self.replicas, routing: self.routing, ..keep() };
        serve(service, self.pool, &traffic, &options)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the scheduler: every request ends or is refused, in an order of times that can be.
    #[test]
    fn nothing_is_lost_and_nothing_comes_too_early(case in cases()) {
        let mut service = llama();
        let outcome = case.run(&mut service);
        let refused: u64 = outcome.rejected.values().sum();
        prop_assert_eq!(outcome.sent, 120);
        prop_assert_eq!(outcome.metrics.completed() + refused, 120);
        prop_assert_eq!(outcome.records.len() as u64 + refused, 120);
        let mut gaps = 0;
        for r in &outcome.records {
            prop_assert!(r.sent <= r.scheduled && r.scheduled < r.first_token && r.first_token <= r.finished, "{r:?}");
            prop_assert!(r.scheduled >= r.sent + service.1.intake_s - 1e-12, "seen before it arrived {r:?}");
            // its own prompt alone takes as long
            let mut ending = Chunk::default();
            ending.add(r.input.min(case.budget), 0);
            let alone = service.0.mixed(&[RankLoad { ending, ..RankLoad::default() }]);
            prop_assert!(r.first_token - r.scheduled >= alone * 0.98, "{r:?} {alone}");
            gaps += u64::from(r.output - 1);
        }
        prop_assert_eq!(outcome.metrics.gaps.count(), gaps, "every token but the first closes a gap");
        let tokens: u64 = outcome.records.iter().map(|r| u64::from(r.output)).sum();
        prop_assert_eq!(outcome.metrics.output_tokens, tokens);
        if case.pool.is_some() {
            prop_assert!(outcome.peak_occupancy <= 1.0);
        }
        // the same seed gives the same run
        let again = case.run(&mut service);
        prop_assert_eq!(again.metrics, outcome.metrics);
    }
}

/// Little's law: mean requests in the system = rate × mean time in it.
#[test]
fn littles_law() {
    let mut service = llama();
    for arrivals in [Arrivals::Closed(32), poisson(20.0)] {
        let traffic = Traffic { arrivals, lengths: fixed(512, 128), requests: 20_000, seed: 1 };
        let outcome = serve(&mut service, None, &traffic, &keep());
        let records = by_number(&outcome);
        // count requests in the system at even times over the middle of the run
        let (from, to) = (records[2000].sent, records[18_000].sent);
        let inside = |t: f64| records.iter().filter(|r| r.sent <= t && t < r.finished).count() as f64;
        let mean: f64 =
            (0..400).map(|i| inside(from + (to - from) * f64::from(i) / 400.0)).sum::<f64>() / 400.0;
        let rate = 16_000.0 / (to - from);
        let time = records[2000..18_000].iter().map(Finished::e2e).sum::<f64>() / 16_000.0;
        assert!((mean / (rate * time) - 1.0).abs() < 0.03, "{mean} {}", rate * time);
    }
}

/// One request at a time with single tokens out is M/D/1: mean wait ρ·S/(2(1 − ρ)) (Pollaczek and Khinchine).
#[test]
fn single_server_waits_as_the_textbook_says() {
    let (mut clock, scheduler) = deployed("llama-3.1-8b", EngineKind::Ideal, Parallelism::ONE);
    let scheduler = Scheduler { max_seqs: 1, chunked: false, token_budget: 4096, ..scheduler };
    let mut ending = Chunk::default();
    ending.add(1000, 0);
    let service = clock.mixed(&[RankLoad { ending, ..RankLoad::default() }]);
    for load in [0.3, 0.6, 0.8] {
        let traffic = Traffic {
            arrivals: poisson(load / service),
            lengths: fixed(1000, 1),
            requests: 400_000,
            seed: 5,
        };
        let pool = Pool::default();
        let outcome = run(&mut clock, &scheduler, &pool, &traffic, &RunOptions::default()).unwrap();
        let expected = load * service / (2.0 * (1.0 - load));
        let found = outcome.metrics.queue.mean();
        assert!((found / expected - 1.0).abs() < 0.03, "ρ {load}: {found} {expected}");
        assert!((outcome.metrics.prefill.mean() / service - 1.0).abs() < 1e-9);
    }
}

/// A request that meets nobody: the prefill of its prompt and its decode steps one after another.
#[test]
fn alone_a_request_takes_its_own_steps() {
    let mut service = llama();
    let traffic = Traffic { arrivals: Arrivals::Closed(1), lengths: fixed(777, 99), requests: 3, seed: 0 };
    let outcome = serve(&mut service, None, &traffic, &keep());
    let mut ending = Chunk::default();
    ending.add(777, 0);
    let prefill = service.0.mixed(&[RankLoad { ending, ..RankLoad::default() }]);
    let row = RankLoad { rows: 1, context: 778, ..RankLoad::default() };
    let decode: f64 = (0..98).map(|j| service.0.decode(&[row], f64::from(j))).sum();
    for r in &outcome.records {
        assert!((r.ttft() - service.1.intake_s - prefill).abs() < 1e-9);
        assert!((r.finished - r.first_token - decode).abs() < 1e-9);
    }
}

#[test]
fn more_replicas_shorten_the_wait() {
    let mut service = llama();
    let traffic = Traffic { arrivals: poisson(60.0), lengths: fixed(1024, 128), requests: 4000, seed: 2 };
    for routing in Routing::ALL.map(|(r, _)| r) {
        let mut before = f64::INFINITY;
        for replicas in [1, 2, 3, 4] {
            let options = RunOptions { replicas, routing, ..keep() };
            let ttft = serve(&mut service, None, &traffic, &options).metrics.ttft.mean();
            assert!(ttft < before, "{routing:?} {replicas}: {ttft} {before}");
            before = ttft;
        }
    }
}

#[test]
fn beyond_capacity_the_backlog_grows_and_is_told() {
    let mut service = llama();
    let at = |rate: f64, service: &mut (StepClock, Scheduler)| {
        let traffic =
            Traffic { arrivals: poisson(rate), lengths: fixed(512, 128), requests: 20_000, seed: 2 };
        serve(service, Some(400_000), &traffic, &RunOptions::default())
    };
    let calm = at(10.0, &mut service).backlog.unwrap();
    assert!(!calm.is_growing(), "{calm:?}");
    let over = at(200.0, &mut service);
    let backlog = over.backlog.unwrap();
    let capacity = over.metrics.completed() as f64 / over.metrics.last;
    assert!(backlog.is_growing());
    assert!((backlog.growth_per_s() / (200.0 - capacity) - 1.0).abs() < 0.1, "{backlog:?} {capacity}");
    assert_eq!(over.metrics.completed(), 20_000, "nothing is lost");
    let traffic = Traffic { arrivals: poisson(500.0), lengths: fixed(512, 128), requests: 50_000, seed: 2 };
    let cut =
        serve(&mut service, None, &traffic, &RunOptions { most_in_flight: 5000, ..RunOptions::default() });
    assert!(cut.cut_short && cut.metrics.completed() == cut.sent && cut.sent < 50_000);
}

#[test]
fn a_small_pool_preempts_and_a_reserving_one_queues() {
    let mut service = llama();
    let traffic =
        Traffic { arrivals: Arrivals::Closed(64), lengths: fixed(500, 500), requests: 300, seed: 2 };
    let roomy = serve(&mut service, None, &traffic, &keep());
    let tight = serve(&mut service, Some(20_000), &traffic, &keep());
    assert_eq!(roomy.metrics.preemptions, 0);
    assert!(tight.metrics.preemptions > 0 && tight.peak_occupancy > 0.95);
    assert!(tight.metrics.e2e.mean() > roomy.metrics.e2e.mean());
    service.1.admission = Admission::Whole;
    let reserved = serve(&mut service, Some(20_000), &traffic, &keep());
    assert_eq!(reserved.metrics.preemptions, 0);
    assert!(reserved.metrics.queue.mean() > roomy.metrics.queue.mean());
    // a request that could never fit is refused, and the loop goes on
    let long = Lengths::Independent { input: Length::Uniform(100, 30_000), output: Length::Fixed(10) };
    let traffic = Traffic { arrivals: Arrivals::Closed(4), lengths: long, requests: 100, seed: 2 };
    let refused = serve(&mut service, Some(20_000), &traffic, &keep());
    let count: u64 = refused.rejected.values().sum();
    assert!(count > 10 && count + refused.metrics.completed() == 100);
}

/// Smaller chunks delay the first token and shorten the longest gaps of those that decode.
#[test]
fn chunking_trades_the_first_token_for_the_gaps() {
    let mut service = llama();
    let traffic = Traffic { arrivals: poisson(4.0), lengths: fixed(6000, 200), requests: 2000, seed: 2 };
    let mut with = |budget| {
        service.1.token_budget = budget;
        let metrics = serve(&mut service, None, &traffic, &RunOptions::default()).metrics;
        (metrics.ttft.mean(), metrics.gaps.quantile(0.999))
    };
    let (large, small) = (with(8192), with(512));
    assert!(small.0 > large.0, "{small:?} {large:?}");
    assert!(small.1 < 0.5 * large.1, "{small:?} {large:?}");
}

#[test]
fn goodput_counts_requests_within_all_limits() {
    let mut service = llama();
    let traffic = Traffic { arrivals: poisson(15.0), lengths: fixed(1024, 128), requests: 2000, seed: 2 };
    let slo = Slo { ttft_s: Some(0.08), tpot_s: Some(0.02), e2e_s: None };
    let outcome = serve(&mut service, None, &traffic, &RunOptions { slo, ..keep() });
    let good = outcome.records.iter().filter(|r| slo.is_kept(r)).count() as u64;
    assert_eq!(outcome.metrics.good, good);
    assert!(good > 0 && good < 2000, "{good}");
    let _: &Metrics = &outcome.metrics;
}
