//! Points of a sweep per second on one core: static batches of one deployment.

use divan::{Bencher, counter::ItemsCount};
use foretoken::answer::{Candidate, Kernels, Options, SweepQuestion, sweep};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Workload};

fn main() {
    divan::main();
}

const MODELS: [&str; 3] = ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2-lite"];
const COUNT: u32 = 20_000;

/// A whole sweep on one thread: latency, rates, cost, frontier, crossovers.
#[divan::bench(args = MODELS, sample_count = 20)]
fn points(bencher: Bencher<'_, '_>, name: &str) {
    let none = Directories::default();
    let model = catalog::model(name, &none).expect("a catalog model");
    let accelerator = catalog::accelerator("h100-sxm", &none).expect("a catalog accelerator");
    let kernels = Kernels::in_force(&accelerator, &none).expect("kernels");
    let candidates = [Candidate {
        model: &model,
        accelerator: &accelerator,
        kernels: kernels.as_ref(),
        deployment: Deployment::single(Engine::newest(EngineKind::Vllm)),
        refused: None,
    }];
    let workloads: Vec<Workload> = (0..COUNT)
        .map(|i| Workload::batch(128 + u64::from(i % 1000) * 7, 128 + u64::from(i % 37), 1 + i % 64))
        .collect();
    let options = Options::default();
    let question =
        SweepQuestion { candidates: &candidates, workloads: &workloads, options: &options, done: &|_| {} };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        let answer = one.install(|| sweep(divan::black_box(&question)));
        assert_eq!(answer.points.len(), COUNT as usize);
        answer
    });
}
