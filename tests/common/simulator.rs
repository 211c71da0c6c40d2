//! A deployment for tests of the simulator.
#![allow(clippy::unwrap_used)]

use foretoken::answer::{Estimator, Options, Question};
use foretoken::memory::occupancy;
use foretoken::serving::{Scheduler, StepClock};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Formats, Parallelism, Workload};

/// Clock and scheduler of a model on H100 under an engine.
pub fn deployed(model: &str, engine: EngineKind, parallelism: Parallelism) -> (StepClock, Scheduler) {
    let none = Directories::default();
    let model = catalog::model(model, &none).unwrap();
    let accelerator = catalog::accelerator("h100-sxm", &none).unwrap();
    let deployment = Deployment { parallelism, ..Deployment::single(Engine::newest(engine)) };
    let formats = Formats::resolve(&model, &deployment, &accelerator).unwrap();
    let question = Question {
        model: &model,
        accelerator: &accelerator,
        deployment: &deployment,
        workload: &Workload::batch(1, 1, 1),
        kernels: None,
        options: &Options::default(),
    };
    let estimator = Estimator::new(&question, &formats).unwrap();
    let memory = occupancy(&model, &accelerator, &deployment).unwrap();
    let scheduler = Scheduler::of(
        deployment.engine,
        deployment.scheduling,
        &memory.settings,
        estimator.timer().terms().request_ms,
    );
    (StepClock::new(estimator.timer().clone(), parallelism.pp), scheduler)
}

/// Clock and scheduler of Llama 3.1 8B on H100 under vLLM.
pub fn llama() -> (StepClock, Scheduler) {
    deployed("llama-3.1-8b", EngineKind::Vllm, Parallelism::ONE)
}
