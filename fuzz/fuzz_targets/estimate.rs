//! The whole way: any model that our reader accepts gets an estimate or an error on every engine,
//! and no time is negative.
#![no_main]

use foretoken::answer::{Options, Question, estimate};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{
    Accelerator, Deployment, Engine, EngineKind, Load, ModelSpec, Parallelism, Workload, check_deployment,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static H100: LazyLock<Accelerator> = LazyLock::new(|| {
    catalog::accelerator("h100-sxm", &Directories::default()).expect("the embedded catalog reads")
});

fuzz_target!(|input: (u8, u8, u16, u16, &str)| {
    let (engine, tp, input_len, output_len, text) = input;
    let Ok(model) = ModelSpec::from_toml(text, "m.toml") else { return };
    let kind = EngineKind::ALL[usize::from(engine) % EngineKind::ALL.len()].0;
    let mut deployment = Deployment::single(Engine::newest(kind));
    deployment.parallelism = Parallelism { tp: 1 << (tp % 4), ..Parallelism::ONE };
    let load = if tp & 16 == 0 { Load::Concurrency(1) } else { Load::StaticBatch(u32::from(engine) + 1) };
    let workload = Workload::new(input_len.into(), output_len.into(), load);
    if check_deployment(&model, &deployment).is_err() {
        return;
    }
    let options = Options::default();
    let question = Question {
        model: &model,
        accelerator: &H100,
        deployment: &deployment,
        workload: &workload,
        kernels: None,
        options: &options,
    };
    if let Ok(answer) = estimate(&question) {
        assert!(answer.latency.e2e_s >= 0.0 && answer.latency.ttft_s >= 0.0);
    }
});
