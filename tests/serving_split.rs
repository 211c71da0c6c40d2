//! Pools of prefill and decode: conservation, fast-forwarding, links, and what the literature reports of splitting.
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::answer::{Demand, Kernels, KvLink, Options, Question, Simulation, SplitQuestion, simulate};
use foretoken::serving::{Arrivals, Length, Lengths, LocalPrefill, Rate, Routing, Slo, Traffic};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Accelerator, Deployment, Engine, EngineKind, Load, ModelSpec, Parallelism, Workload};

struct Site {
    model: ModelSpec,
    gpu: Accelerator,
    deployment: Deployment,
    kernels: Option<Kernels>,
}

fn site(model: &str, gpu: &str, tp: u32) -> Site {
    let none = Directories::default();
    let gpu = catalog::accelerator(gpu, &none).unwrap();
    let parallelism = Parallelism { tp, ..Parallelism::ONE };
    Site {
        model: catalog::model(model, &none).unwrap(),
        kernels: Kernels::in_force(&gpu, &none).unwrap(),
        gpu,
        deployment: Deployment { parallelism, ..Deployment::single(Engine::newest(EngineKind::Vllm)) },
    }
}

fn demand(rate: f64, lengths: Lengths, requests: u64) -> Demand {
    Demand {
        routing: Routing::LeastLoaded,
        ..Demand::new(Traffic {
            arrivals: Arrivals::Open(Rate::constant(rate).unwrap(), 1.0),
            lengths,
            requests,
            seed: 3,
        })
    }
}

/// How the decode pool differs.
#[derive(Clone, Copy)]
struct Second {
    replicas: u32,
    link: KvLink,
    overlapped: bool,
    local: LocalPrefill,
}

impl Site {
    fn run(&self, demand: &Demand, second: Option<Second>) -> Simulation {
        let [input, output] = demand.traffic.lengths.means().map(|n| n as u64);
        let workload = Workload::new(input, output, Load::Concurrency(1));
        let options = Options::default();
        let question = Question {
            model: &self.model,
            accelerator: &self.gpu,
            deployment: &self.deployment,
            workload: &workload,
            kernels: self.kernels.as_ref(),
            options: &options,
        };
        let split = second.map(|s| SplitQuestion {
            decode: question,
            replicas: s.replicas,
            link: s.link,
            latency_s: 0.0,
            overlapped: s.overlapped,
            local: s.local,
            search: None,
        });
        simulate(&question, demand, split.as_ref()).unwrap()
    }
}

/// Every prompt goes to the prefill pool.
const NONE: LocalPrefill = LocalPrefill { tokens: 0, queue: None };
const RDMA: Second = Second {
    replicas: 1,
    link: KvLink::Rdma,
    overlapped: false,
    local: LocalPrefill { tokens: 0, queue: None },
};

#[test]
fn every_request_ends_under_open_and_closed_loops() {
    let site = site("llama-3.1-8b", "h100-sxm", 1);
    let spread = Lengths::Independent { input: Length::Uniform(1, 3000), output: Length::Uniform(1, 200) };
    for (arrivals, replicas) in [
        (Arrivals::Burst, [1, 1]),
        (Arrivals::Closed(20), [2, 1]),
        (Arrivals::Closed(1), [1, 3]),
        (Arrivals::Open(Rate::constant(15.0).unwrap(), 0.5), [2, 3]),
    ] {
        let mut demand = demand(1.0, spread.clone(), 400);
        demand.traffic.arrivals = arrivals.clone();
        demand.replicas = replicas[0];
        let answer = site.run(&demand, Some(Second { replicas: replicas[1], ..RDMA }));
        assert_eq!(answer.completed_requests, 400, "{arrivals:?}");
        let (l, t) = (&answer.latency, answer.latency.transfer_s.unwrap());
        assert!(t.mean > 0.0 && l.ttft_s.mean > l.queue_s.mean + l.prefill_s.mean, "{arrivals:?}");
        assert!(l.ttft_s.p50 <= l.e2e_s.p50);
        let pools = answer.disaggregation.unwrap();
        assert!(pools.prefill.busy <= 1.0 + 1e-9 && answer.utilization.busy <= 1.0 + 1e-9);
        assert!(pools.link.busy <= 1.0 + 1e-9, "{}", pools.link.busy);
    }
}

/// One request at a time: the first token waits for the whole cache, which takes bytes over bandwidth.
#[test]
fn a_transfer_takes_its_bytes_over_the_bandwidth() {
    let site = site("llama-3.1-8b", "h100-sxm", 1);
    let mut demand = demand(1.0, Lengths::fixed(4000, 50), 5);
    demand.traffic.arrivals = Arrivals::Closed(1);
    let with =
        |link, overlapped| site.run(&demand, Some(Second { replicas: 1, link, overlapped, local: NONE }));
    let together = site.run(&demand, None);
    let slow = with(KvLink::Given(1e9), false);
    // 2 · 8 heads · 128 wide · 2 bytes · 32 layers · 4000 tokens
    let seconds = 131_072.0 * 4000.0 / 1e9;
    assert!((slow.latency.ttft_s.mean - together.latency.ttft_s.mean - seconds).abs() < 1e-6);
    assert!((slow.latency.transfer_s.unwrap().mean - seconds).abs() < 1e-6);
    assert!((slow.latency.tpot_s.mean / together.latency.tpot_s.mean - 1.0).abs() < 1e-6);
    let hidden = with(KvLink::Given(100e9), true);
    // all but the last of 32 layers went while the prompt was computed
    let left = 131_072.0 * 4000.0 / 100e9 / 32.0;
    assert!((hidden.latency.transfer_s.unwrap().mean - left).abs() < 1e-6, "{:?}", hidden.latency.transfer_s);
}

/// RTP-LLM reports of a 72B model with long prompts that pools of their own take 48 % from the latency and 24 % from the
/// instances. In direction: at the same limits the same traffic needs fewer instances, and at the same number of
/// instances the gaps between tokens and the whole latency shrink.
#[test]
fn long_prompts_of_a_large_model_want_pools_of_their_own() {
    let site = site("qwen2.5-72b", "h100-sxm", 4);
    let long = Lengths::Independent {
        input: Length::LogNormal(6000.0, 4000.0),
        output: Length::LogNormal(200.0, 150.0),
    };
    let mut demand = demand(4.0, long, 1200);
    demand.slo = Slo { ttft_s: Some(6.0), tpot_s: Some(0.022), e2e_s: None };
    demand.replicas = 6;
    let together = site.run(&demand, None);
    demand.replicas = 3;
    let apart = site.run(&demand, Some(Second { replicas: 3, ..RDMA }));
    let (a, b) = (&together.latency, &apart.latency);
    println!(
        "E2E {} {}; TPOT P90 {} {}; TTFT {} {}",
        a.e2e_s.mean, b.e2e_s.mean, a.tpot_s.p90, b.tpot_s.p90, a.ttft_s.mean, b.ttft_s.mean
    );
    assert!(b.tpot_s.p90 < 0.8 * a.tpot_s.p90, "{} {}", b.tpot_s.p90, a.tpot_s.p90);
    assert!(b.e2e_s.mean < a.e2e_s.mean, "{} {}", b.e2e_s.mean, a.e2e_s.mean);
    // instances at the limits
    let held = |answer: &Simulation| answer.goodput.unwrap().held;
    let together = (1..=12).find(|n| {
        demand.replicas = *n;
        held(&site.run(&demand, None))
    });
    let apart = (2..=12).find(|n| {
        (1..*n).any(|p| {
            demand.replicas = p;
            held(&site.run(&demand, Some(Second { replicas: n - p, ..RDMA })))
        })
    });
    println!("instances {together:?} {apart:?}");
    assert!(apart.unwrap() < together.unwrap_or(13), "{apart:?} {together:?}");
}

/// DistServe's gain: under limits of both TTFT and TPOT the rate per accelerator of the best split exceeds that of
/// replicas which do both (Zhong et al., OSDI 2024).
#[test]
fn goodput_gains_by_splitting_and_a_slow_link_takes_it_back() {
    let site = site("llama-3.1-8b", "h100-sxm", 1);
    let mut demand = demand(
        8.0,
        Lengths::Independent {
            input: Length::LogNormal(3000.0, 2000.0),
            output: Length::LogNormal(150.0, 100.0),
        },
        1500,
    );
    demand.slo = Slo { ttft_s: Some(0.4), tpot_s: Some(0.012), e2e_s: None };
    demand.find_rate = true;
    demand.replicas = 4;
    let rate = |answer: &Simulation| answer.goodput.unwrap().highest_rate_per_s.unwrap();
    let together = rate(&site.run(&demand, None));
    let best = |demand: &mut Demand, link| {
        (1..4)
            .map(|p| {
                demand.replicas = p;
                rate(&site.run(
                    demand,
                    Some(Second {
                        replicas: 4 - p,
                        link,
                        overlapped: false,
                        local: LocalPrefill { tokens: 0, queue: None },
                    }),
                ))
            })
            .fold(0.0, f64::max)
    };
    let (fast, slow) = (best(&mut demand, KvLink::NvLink), best(&mut demand, KvLink::Given(1e9)));
    println!("requests/s: together {together}, apart {fast}, over a slow link {slow}");
    assert!(fast > 1.2 * together, "{fast} {together}");
    assert!(slow < 0.5 * fast, "{slow} {fast}");
}

/// A decode pool that computes all prompts itself is a fleet of replicas that do both; one that helps a busy prefill pool lies
/// between the two, and loses nothing.
#[test]
fn a_decode_pool_may_compute_prompts_itself() {
    let here = site("llama-3.1-8b", "h100-sxm", 1);
    let lengths = || Lengths::Independent { input: Length::Uniform(100, 3000), output: Length::Fixed(60) };
    let load = || demand(30.0, lengths(), 600);
    let run = |local: LocalPrefill| here.run(&load(), Some(Second { replicas: 2, local, ..RDMA }));
    let alone = here.run(&Demand { replicas: 2, ..load() }, None);
    let all = run(LocalPrefill { tokens: u32::MAX, queue: None });
    for (one, other) in
        [(all.latency.ttft_s, alone.latency.ttft_s), (all.latency.tpot_s, alone.latency.tpot_s)]
    {
        // added up in another order
        assert!((one.mean / other.mean - 1.0).abs() < 1e-12);
        assert_eq!([one.p50, one.p90, one.p99], [other.p50, other.p90, other.p99]);
    }
    let (none, some, busy) = (
        run(NONE),
        run(LocalPrefill { tokens: 1000, queue: None }),
        run(LocalPrefill { tokens: 0, queue: Some(2) }),
    );
    for one in [&none, &some, &busy] {
        assert_eq!((one.completed_requests, one.rejected_requests), (600, 0));
        assert_eq!(one.output_tokens, none.output_tokens);
    }
    // fewer prompts wait for the one prefill replica
    assert!(some.latency.queue_s.mean < none.latency.queue_s.mean);
    assert!(busy.latency.ttft_s.p90 < none.latency.ttft_s.p90);
    // and those that generate are disturbed more
    assert!(some.latency.tpot_s.mean > none.latency.tpot_s.mean);
}
