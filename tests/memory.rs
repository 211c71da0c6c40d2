//! Memory against vLLM's own start-up logs (`tests/fixtures/memory`).
#![allow(clippy::unwrap_used)]

use foretoken::memory::{MemoryReport, memory};
use foretoken::spec::accelerator::{Sourced, Status};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, ModelSpec, hf};
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

fn config(log: &Log) -> ModelSpec {
    let file = format!("{}/tests/fixtures/memory/configs/{}.json", env!("CARGO_MANIFEST_DIR"), log.config);
    hf::read_config(&std::fs::read_to_string(&file).unwrap(), &file).unwrap()
}

fn answer(log: &Log) -> MemoryReport {
    let model = config(log);
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
    let (mut covered, mut intervals) = (0, 0);
    for log in logs() {
        let found = answer(&log);
        if let Some(measured) = log.kv_tokens {
            let [low, high] = found.kv_cache_tokens_interval.map(|t| t as f64);
            intervals += 1;
            covered += u32::from((low..=high).contains(&measured));
        }
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
    println!("80 % interval of the KV tokens covers {covered} of {intervals}");
    assert!(covered * 10 >= intervals * 8);
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

fn catalog_models() -> Vec<ModelSpec> {
    let none = Directories::default();
    let headers = catalog::models(&none).unwrap();
    headers.iter().map(|h| catalog::model(&h.id, &none).unwrap()).collect()
}

fn h200(model: &ModelSpec, change: impl Fn(&mut Deployment)) -> Option<MemoryReport> {
    let gpu = catalog::accelerator("h200-sxm", &Directories::default()).unwrap();
    let mut deployment = Deployment::single("vllm@0.19".parse().unwrap());
    deployment.max_model_len = Some(model.max_position_embeddings.unwrap_or(4096).min(4096));
    change(&mut deployment);
    memory(model, &gpu, &deployment).ok()
}

#[test]
fn parts_add_up_and_levers_pull() {
    for model in catalog_models() {
        for engine in
            ["vllm@0.7", "vllm@0.11", "vllm@0.19", "vllm@0.21", "vllm@0.26", "sglang", "trtllm", "llamacpp"]
        {
            let Some(now) = h200(&model, |d| d.engine = engine.parse().unwrap()) else { continue };
            let by_class: f64 = now.weights_by_class.values().map(|b| b.0).sum();
            assert!((by_class - now.weights_bytes_per_gpu.0).abs() < 1.0, "{}: classes", model.id);
            assert!(now.kv_cache_bytes_per_gpu.0 <= now.capacity_bytes_per_gpu.0);
            let [low, high] = now.kv_cache_tokens_interval;
            assert!(
                low <= now.kv_cache_tokens && now.kv_cache_tokens <= high,
                "{} {engine}: interval",
                model.id
            );
            assert_eq!(now.fits, now.reason.is_none(), "{} {engine}", model.id);
            if engine == "vllm@0.19" && now.fits {
                let spent = now.weights_bytes_per_gpu.0
                    + now.activation_bytes_per_gpu.0
                    + now.runtime_bytes_per_gpu.0
                    + now.kv_cache_bytes_per_gpu.0;
                assert!((spent - now.usable_bytes_per_gpu.0).abs() < 1.0, "{}: parts", model.id);
            }
            for lever in &now.levers {
                assert!(lever.gain_bytes_per_gpu.0 > 0.0, "{}: {}", model.id, lever.name);
            }
        }
    }
}

#[test]
fn more_room_holds_more() {
    for model in catalog_models() {
        let Some(now) = h200(&model, |_| ()) else { continue };
        if !now.fits {
            continue;
        }
        let more = h200(&model, |d| d.gpu_memory_utilization = Some(0.95)).unwrap();
        assert!(more.kv_cache_tokens >= now.kv_cache_tokens, "{}", model.id);
        assert!(more.max_context_tokens >= now.max_context_tokens, "{}", model.id);
        let fewer = h200(&model, |d| d.max_num_seqs = Some(64)).unwrap();
        assert!(fewer.kv_cache_tokens >= now.kv_cache_tokens, "{}", model.id);
        if let Some(wider) = h200(&model, |d| d.parallelism.tp = 2) {
            assert!(wider.weights_bytes_per_gpu.0 < now.weights_bytes_per_gpu.0, "{}", model.id);
        }
        let deeper = h200(&model, |d| d.parallelism.pp = 2).unwrap();
        assert!(deeper.weights_bytes_per_gpu.0 < now.weights_bytes_per_gpu.0, "{}", model.id);
    }
}

/// Qwen3.6-35B-A3B with 8-bit KV cache on vLLM 0.24 (club-3090, issue 652): 6.01 GiB hold 4.35 requests of 131,072
/// tokens, which is two recurrent states a request and layer group.
#[test]
fn cached_prefixes_keep_a_second_recurrent_state() {
    let none = Directories::default();
    let model = catalog::model("qwen3.6-35b-a3b", &none).unwrap();
    let gpu = catalog::accelerator("rtx-5090", &none).unwrap();
    let per_gib = |engine: &str, prefix_caching: Option<bool>| {
        let mut deployment = Deployment::single(engine.parse().unwrap());
        deployment.quantization = Some("int4".parse().unwrap());
        deployment.kv_cache_data_type = Some("fp8".parse().unwrap());
        deployment.max_model_len = Some(131_072);
        deployment.scheduling.prefix_caching = prefix_caching;
        let report = memory(&model, &gpu, &deployment).unwrap();
        report.max_concurrency / report.kv_cache_bytes_per_gpu.gib()
    };
    let cached = per_gib("vllm@0.24", Some(true));
    assert!((cached * 6.01 / 4.35 - 1.0).abs() < 0.005, "{cached}");
    assert!((per_gib("vllm@0.28", None) / cached - 1.0).abs() < 0.005);
    let plain = per_gib("vllm@0.24", None);
    assert!(plain > 1.03 * cached && (per_gib("vllm@0.28", Some(false)) / plain - 1.0).abs() < 0.005);
}

#[test]
fn what_does_not_fit_says_what_would() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/memory/configs/qwen2.5-72b.json");
    let model = hf::read_config(&std::fs::read_to_string(path).unwrap(), path).unwrap();
    // 135.4 GiB of weights, and 125.8 GiB may be used
    let report = h200(&model, |_| ()).unwrap();
    assert!(!report.fits && report.vllm_log.is_empty());
    assert!(report.reason.unwrap().starts_with("weights, activations and runtime need"));
    assert!(report.shortfall_bytes_per_gpu.gib() > 10.0);
    assert!(report.levers[0].fits_after, "{:?}", report.levers);
    let flags: Vec<&str> = report.levers.iter().map(|l| l.flag.as_str()).collect();
    assert!(
        flags.contains(&"--tensor-parallel-size 2") && flags.contains(&"--quantization fp8"),
        "{flags:?}"
    );
}

/// Weighted least squares: the coefficients of `rows` (features, measured) with relative errors.
fn fit(rows: &[([f64; 4], f64)]) -> [f64; 4] {
    let mut a = [[0.0; 5]; 4];
    for (x, y) in rows {
        for i in 0..4 {
            for j in 0..4 {
                a[i][j] += x[i] * x[j] / (y * y);
            }
            a[i][4] += x[i] / y;
        }
    }
    for i in 0..4 {
        let pivot = a[i];
        for (j, row) in a.iter_mut().enumerate() {
            if j != i {
                let factor = row[i] / pivot[i];
                row.iter_mut().zip(pivot).for_each(|(r, p)| *r -= factor * p);
            }
        }
    }
    std::array::from_fn(|i| a[i][4] / a[i][i])
}

/// The coefficients of `memory::runtime::graphs` are the fit to the logs of vLLM 0.19; run with
/// `--nocapture` to see them and the errors with one log left out.
#[test]
fn graph_coefficients_are_the_fit() {
    let dot = |c: [f64; 4], x: [f64; 4]| c.iter().zip(x).map(|(c, x)| c * x).sum::<f64>();
    let logs: Vec<Log> =
        logs().into_iter().filter(|l| l.vllm.starts_with("0.19") && l.graphs_gib.is_some()).collect();
    let rows: Vec<([f64; 4], f64)> = logs
        .iter()
        .map(|log| {
            let model = config(log);
            let routed: u32 =
                model.layers.iter().filter(|g| g.feed_forward.experts().0 > 0).map(|g| g.count).sum();
            let x = [1.0, model.layer_count().into(), model.hidden_size.into(), routed.into()];
            (x, log.graphs_gib.unwrap())
        })
        .collect();
    let whole = fit(&rows);
    let mut left_out: Vec<f64> = (0..rows.len())
        .map(|i| {
            let others: Vec<_> =
                rows.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, row)| *row).collect();
            (dot(fit(&others), rows[i].0) / rows[i].1 - 1.0).abs() * 100.0
        })
        .collect();
    println!("a, b, c, e = {whole:?}");
    println!(
        "left out: median {:.1} %, p90 {:.1} %",
        quantile(&mut left_out, 0.5),
        quantile(&mut left_out, 0.9)
    );
    for (log, (x, _)) in logs.iter().zip(&rows) {
        let shipped = answer(log).cuda_graph_bytes_per_gpu.gib();
        assert!((shipped / dot(whole, *x) - 1.0).abs() < 0.01, "{}: {shipped} against the fit", log.config);
    }
}
