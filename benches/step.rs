//! One step of a plan made ready: what a simulator calls millions of times.

use divan::Bencher;
use foretoken::answer::{EngineChoice, Kernels};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Formats};
use foretoken::time::{Coefficients, Device, Layers, StepTimer, Tuned};
use foretoken::work::{DecodeRows, Overrides, Plan, PrefillChunk, Step};

fn main() {
    divan::main();
}

const MODELS: [&str; 3] = ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3"];

fn timer(name: &str) -> StepTimer {
    let none = Directories::default();
    let model = catalog::model(name, &none).expect("a catalog model");
    let accelerator = catalog::accelerator("h100-sxm", &none).expect("a catalog accelerator");
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let formats = Formats::resolve(&model, &deployment, &accelerator).expect("formats");
    let kernels = Kernels::in_force(&accelerator, &none).expect("kernels").expect("a calibration");
    let coefficients = Coefficients::default_for(&accelerator.architecture).expect("coefficients");
    let device = Device::with(&accelerator, coefficients)
        .tuned(Tuned::new(&kernels.calibration, deployment.engine.kind));
    let terms = EngineChoice::in_force(deployment.engine, &accelerator, &none).expect("engine terms").terms;
    let plan = Plan::new(&model, &deployment, &formats, Overrides::default());
    StepTimer::new(plan, device, terms, false, Layers::of(&model), 1.0)
}

/// A decode step of 32 requests at 2,048 tokens of context.
#[divan::bench(args = MODELS)]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (timer, mut scratch) = (timer(name), vec![]);
    let rows = [DecodeRows { rows: 32.0, context: 2048.0 }];
    bencher.bench_local(|| {
        let step = Step { prefill: &[], decode: divan::black_box(&rows) };
        timer.time(&step, &mut scratch)
    });
}

/// The same with a chunk of 1,024 prompt tokens.
#[divan::bench(args = MODELS)]
fn mixed(bencher: Bencher<'_, '_>, name: &str) {
    let (timer, mut scratch) = (timer(name), vec![]);
    let rows = [DecodeRows { rows: 32.0, context: 2048.0 }];
    let chunk = [PrefillChunk {
        requests: 1.0,
        new_tokens: 1024.0,
        past_tokens: 512.0,
        ending: 0.0,
        mean_with: None,
    }];
    bencher.bench_local(|| {
        let step = Step { prefill: divan::black_box(&chunk), decode: divan::black_box(&rows) };
        timer.time(&step, &mut scratch)
    });
}
