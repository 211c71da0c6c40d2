//! Memory against vLLM's own start-up logs (`tests/fixtures/memory`).
#![allow(clippy::unwrap_used)]

use foretoken::memory::{MemoryReport, memory};
use foretoken::spec::accelerator::{Sourced, Status};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, hf};
use serde::Deserialize;

/// One start-up: what was asked and what vLLM logged, in GiB.
#[derive(Debug, Deserialize)]
struct Log {
    model: String,
    config: String,
    gpu: String,
    visible_gib: Option<f64>,
    tp: u32,
    vllm: String,
    max_model_len: u64,
    gpu_memory_utilization: f64,
    max_num_seqs: Option<u32>,
    max_num_batched_tokens: Option<u32>,
    dtype: String,
    weights_gib: Option<f64>,
    activation_gib: Option<f64>,
    non_torch_gib: Option<f64>,
    graphs_gib: Option<f64>,
    kv_gib: Option<f64>,
    kv_tokens: Option<f64>,
    concurrency: Option<f64>,
}

fn logs() -> Vec<Log> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/memory/logs.csv");
    csv::Reader::from_path(path).unwrap().deserialize().map(|row| row.unwrap()).collect()
}

fn answer(log: &Log) -> MemoryReport {
    let file = format!("{}/tests/fixtures/memory/configs/{}.json", env!("CARGO_MANIFEST_DIR"), log.config);
    let model = hf::read_config(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
    let mut accelerator = catalog::accelerator(&log.gpu, &Directories::default()).unwrap();
    if let Some(value) = log.visible_gib {
        let (source, date) = ("start-up log".into(), String::new());
        accelerator.visible_memory_gib = Some(Sourced { value, status: Status::Measured, source, date });
    }
    let mut deployment = Deployment::single(format!("vllm@{}", log.vllm).parse().unwrap());
    deployment.parallelism.tp = log.tp;
    deployment.max_model_len = Some(log.max_model_len);
    deployment.gpu_memory_utilization = Some(log.gpu_memory_utilization);
    deployment.max_num_seqs = log.max_num_seqs;
    deployment.max_num_batched_tokens = log.max_num_batched_tokens;
    deployment.data_type = (!log.dtype.is_empty()).then(|| log.dtype.parse().unwrap());
    memory(&model, &accelerator, &deployment).unwrap_or_else(|e| panic!("{}: {e}", log.model))
}

/// Quantile by linear interpolation (type 7).
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() - 1) as f64 * q;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    values[low] + (values[high] - values[low]) * place.fract()
}

#[test]
fn as_vllm_logs_it() {
    let (mut weights, mut activation, mut tokens, mut graphs) = (vec![], vec![], vec![], vec![]);
    for log in logs() {
        let found = answer(&log);
        let gib = 1_073_741_824.0;
        let error = |measured: Option<f64>, predicted: f64, into: &mut Vec<f64>| {
            measured.map(|m| {
                into.push((predicted / m - 1.0).abs() * 100.0);
                format!("{predicted:9.2} {m:9.2} {:+6.1}%", (predicted / m - 1.0) * 100.0)
            })
        };
        let columns = [
            error(log.weights_gib, found.weights_bytes_per_gpu.gib(), &mut weights),
            error(log.activation_gib, found.activation_bytes_per_gpu.gib(), &mut activation),
            error(log.non_torch_gib, found.runtime_bytes_per_gpu.gib(), &mut vec![]),
            error(log.graphs_gib, found.cuda_graph_bytes_per_gpu.0 / gib, &mut graphs),
            error(log.kv_gib, found.kv_cache_bytes_per_gpu.gib(), &mut vec![]),
            error(log.kv_tokens, found.kv_cache_tokens as f64, &mut tokens),
            error(log.concurrency, found.max_concurrency, &mut vec![]),
        ];
        let text: Vec<String> =
            columns.into_iter().map(|c| format!("{:27}", c.unwrap_or_default())).collect();
        println!("{:34} tp{} {:6} {}", log.config, log.tp, log.vllm, text.join("| "));
    }
    for (name, errors, median, p90) in [
        ("weights", &mut weights, 0.1, 1.0),
        ("activation", &mut activation, 1.0, 5.0),
        ("KV tokens", &mut tokens, 0.5, 1.0),
        ("graphs", &mut graphs, 10.0, 20.0),
    ] {
        let (half, most) = (quantile(errors, 0.5), quantile(errors, 0.9));
        println!("{name}: n {} median {half:.2} % p90 {most:.2} %", errors.len());
        assert!(half <= median && most <= p90, "{name}: median {half:.2} %, 90th percentile {most:.2} %");
    }
}
