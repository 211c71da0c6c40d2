//! Simulated requests per second on one core.

use divan::{Bencher, counter::ItemsCount};
use foretoken::answer::{Estimator, Kernels, Options, Question};
use foretoken::memory::occupancy;
use foretoken::serving::{
    Arrivals, Length, Lengths, Pool, Rate, RunOptions, Scheduler, StepClock, Traffic, run,
};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Formats, Workload};

fn main() {
    divan::main();
}

/// Llama-3.1-8B on one H100 under vLLM.
fn deployment() -> (StepClock, Scheduler, Pool) {
    let none = Directories::default();
    let model = catalog::model("llama-3.1-8b", &none).expect("a catalog model");
    let accelerator = catalog::accelerator("h100-sxm", &none).expect("a catalog accelerator");
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let formats = Formats::resolve(&model, &deployment, &accelerator).expect("formats");
    let kernels = Kernels::in_force(&accelerator, &none).expect("kernels");
    let question = Question {
        model: &model,
        accelerator: &accelerator,
        deployment: &deployment,
        workload: &Workload::batch(512, 128, 1),
        kernels: kernels.as_ref(),
        options: &Options::default(),
    };
    let estimator = Estimator::new(&question, &formats).expect("an estimator");
    let memory = occupancy(&model, &accelerator, &deployment).expect("memory");
    let scheduler = Scheduler::of(
        deployment.engine,
        deployment.scheduling,
        &memory.settings,
        estimator.timer().terms().request_ms,
    );
    let pool = Pool { tokens: Some(memory.kv_cache_tokens), block: 16, ..Pool::default() };
    (StepClock::new(estimator.timer().clone(), 1), scheduler, pool)
}

fn bench(bencher: Bencher<'_, '_>, arrivals: &Arrivals, lengths: &Lengths, requests: u64) {
    let (mut clock, scheduler, pool) = deployment();
    let traffic = Traffic { arrivals: arrivals.clone(), lengths: lengths.clone(), requests, seed: 0 };
    bencher.counter(ItemsCount::new(requests)).bench_local(|| {
        run(&mut clock, &scheduler, &pool, divan::black_box(&traffic), &RunOptions::default()).map(|o| o.sent)
    });
}

const FIXED: Lengths = Lengths::Independent { input: Length::Fixed(512), output: Length::Fixed(128) };

/// 512/128 tokens, Poisson arrivals at so many requests per second.
#[divan::bench(args = [1.0, 10.0, 30.0, 60.0], sample_count = 10)]
fn poisson(bencher: Bencher<'_, '_>, rate: f64) {
    bench(bencher, &Arrivals::Open(Rate::constant(rate).expect("a rate"), 1.0), &FIXED, 100_000);
}

/// The same with lengths of either kind drawn from [0.5, 1.5] of the mean.
#[divan::bench(args = [10.0, 30.0], sample_count = 10)]
fn poisson_spread(bencher: Bencher<'_, '_>, rate: f64) {
    let lengths = Lengths::Independent { input: Length::Uniform(256, 768), output: Length::Uniform(64, 192) };
    bench(bencher, &Arrivals::Open(Rate::constant(rate).expect("a rate"), 1.0), &lengths, 100_000);
}

/// A closed loop of so many requests in flight with the usual harness's lengths.
#[divan::bench(args = [1, 64, 256], sample_count = 10)]
fn closed_loop(bencher: Bencher<'_, '_>, concurrency: u32) {
    let lengths = Lengths::Harness { input: 1024, output: 1024, ratio: 0.8 };
    bench(bencher, &Arrivals::Closed(concurrency), &lengths, 10_000);
}
