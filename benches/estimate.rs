//! Static estimates per second on one core: a deployment made ready once, asked for many workloads.

use divan::{Bencher, counter::ItemsCount};
use foretoken::answer::{Estimator, Kernels, Options, Question, estimate};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Formats, Workload};

fn main() {
    divan::main();
}

const MODELS: [&str; 3] = ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3"];
const COUNT: u32 = 1000;

fn workload(i: u32) -> Workload {
    Workload::batch(128 + u64::from(i) * 7, 128 + u64::from(i % 37), 1 + i % 64)
}

/// Latency of 1,000 workloads.
#[divan::bench(args = MODELS)]
fn latency(bencher: Bencher<'_, '_>, name: &str) {
    let none = Directories::default();
    let model = catalog::model(name, &none).expect("a catalog model");
    let accelerator = catalog::accelerator("h100-sxm", &none).expect("a catalog accelerator");
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let formats = Formats::resolve(&model, &deployment, &accelerator).expect("formats");
    let kernels = Kernels::in_force(&accelerator, &none).expect("kernels");
    let (options, first) = (Options::default(), workload(0));
    let question = Question {
        model: &model,
        accelerator: &accelerator,
        deployment: &deployment,
        workload: &first,
        kernels: kernels.as_ref(),
        options: &options,
    };
    let ready = Estimator::new(&question, &formats).expect("an estimator");
    let mut scratch = vec![];
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        (0..COUNT).map(|i| ready.latency(divan::black_box(&workload(i)), &mut scratch).e2e_s).sum::<f64>()
    });
}

/// A whole answer: plan, latency, breakdown, memory, cost.
#[divan::bench(args = MODELS)]
fn whole_answer(bencher: Bencher<'_, '_>, name: &str) {
    let none = Directories::default();
    let model = catalog::model(name, &none).expect("a catalog model");
    let accelerator = catalog::accelerator("h100-sxm", &none).expect("a catalog accelerator");
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let options = Options::default();
    let workload = workload(7);
    let kernels = Kernels::in_force(&accelerator, &none).expect("kernels");
    bencher.bench_local(|| {
        estimate(&Question {
            model: &model,
            accelerator: &accelerator,
            deployment: &deployment,
            workload: divan::black_box(&workload),
            kernels: kernels.as_ref(),
            options: &options,
        })
    });
}
