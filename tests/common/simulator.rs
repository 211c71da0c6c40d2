//! A deployment for tests of the simulator.
#![allow(clippy::unwrap_used)]

use foretoken::answer::{Estimator, Options, Question};
use foretoken::memory::occupancy;
use foretoken::serving::{Scheduler, StepClock};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Formats, Workload};

/// Clock and scheduler of Llama 3.1 8B on H100 under vLLM.
pub fn llama() -> (StepClock, Scheduler) {
    let none = Directories::default();
    let model = catalog::model("llama-3.1-8b", &none).unwrap();
    let accelerator = catalog::accelerator("h100-sxm", &none).unwrap();
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let formats = Formats::resolve(&model, &deployment, &accelerator).unwrap();
    let question = Question {
        model: &model,
        accelerator: &accelerator,
        deployment: &deployment,
        workload: &Workload::batch(1, 1, 1),
        kernels: None,
        options: &Options::default(),
    };
    let timer = Estimator::new(&question, &formats).unwrap().timer().clone();
    let settings = occupancy(&model, &accelerator, &deployment).unwrap().settings;
    let scheduler =
        Scheduler::of(deployment.engine, deployment.scheduling, &settings, timer.terms().request_ms);
    (StepClock::new(timer, 1), scheduler)
}
