//! Golden predictions: 12 models on 6 accelerators. A change that moves them shows in the diff of
//! `tests/golden/estimates.csv`; `FORETOKEN_BLESS=1 cargo test --test golden` writes it anew.

use foretoken::answer::{Kernels, Options, Question, estimate};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Parallelism, Workload};
use std::fmt::Write;

const MODELS: [(&str, u32); 12] = [
    ("llama-3.1-8b", 1),
    ("llama-3.1-70b", 4),
    ("qwen2.5-7b", 1),
    ("qwen3-32b", 2),
    ("qwen3-30b-a3b", 1),
    ("qwen3-235b-a22b", 8),
    ("mixtral-8x7b-v0.1", 2),
    ("deepseek-v3", 8),
    ("gpt-oss-120b", 1),
    ("gemma-2-9b-it", 1),
    ("qwen3-next-80b-a3b-instruct", 4),
    ("nvidia-nemotron-3-nano-30b-a3b-bf16", 1),
];
const GPUS: [&str; 6] = ["a100-sxm-80", "h100-sxm", "b200-sxm", "l40s", "mi300x", "rtx-4090"];
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/estimates.csv");

#[test]
fn predictions_have_not_moved() {
    let none = Directories::default();
    let mut out = String::from("model,gpu,tp,batch,ttft_ms,tpot_ms,e2e_ms\n");
    for (name, tp) in MODELS {
        let model = catalog::model(name, &none).unwrap();
        for gpu in GPUS {
            let accelerator = catalog::accelerator(gpu, &none).unwrap();
            let kernels = Kernels::in_force(&accelerator, &none).unwrap();
            for batch in [1, 32] {
                let deployment = Deployment {
                    parallelism: Parallelism { tp, ..Parallelism::ONE },
                    ..Deployment::single(Engine::newest(EngineKind::Vllm))
                };
                let workload = Workload::batch(1024, 256, batch);
                let answer = estimate(&Question {
                    model: &model,
                    accelerator: &accelerator,
                    deployment: &deployment,
                    workload: &workload,
                    kernels: kernels.as_ref(),
                    options: &Options::default(),
                });
                let cells = match answer {
                    Ok(a) => {
                        let l = a.latency;
                        format!("{:.3},{:.4},{:.1}", l.ttft_s * 1e3, l.tpot_s * 1e3, l.e2e_s * 1e3)
                    }
                    Err(_) => "refused,,".into(),
                };
                writeln!(out, "{name},{gpu},{tp},{batch},{cells}").unwrap();
            }
        }
    }
    if std::env::var_os("FORETOKEN_BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
        std::fs::write(PATH, &out).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(PATH).unwrap_or_default();
    for (line, (was, is)) in golden.lines().zip(out.lines()).enumerate() {
        assert_eq!(
            was,
            is,
            "line {}: a prediction moved; if it should, run `just golden` and say why",
            line + 1
        );
    }
    assert_eq!(golden.lines().count(), out.lines().count());
}
