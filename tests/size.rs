//! `size`: what it finds holds, nothing that holds is cheaper, and it says why.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use assert_cmd::Command;
use common::schema::validator;
use fastrand::Rng;
use foretoken::answer::{
    Candidate, Constraints, Demand, Kernels, Objective, Options, Question, SizeLoad, SizeQuestion, simulate,
    size, traffic,
};
use foretoken::serving::{Arrivals, Rate, Slo, Traffic};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Accelerator, Deployment, Engine, EngineKind, Load, ModelSpec, Parallelism, Workload};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

fn foretoken(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().env("SOURCE_DATE_EPOCH", "1795000000").args(arguments);
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = foretoken(arguments).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn sized(arguments: &str) -> Value {
    let few = ["--num-prompts", "400"];
    let words: Vec<&str> = std::iter::once("size").chain(arguments.split_whitespace()).chain(few).collect();
    let value = json(&words);
    let problems: Vec<String> =
        validator("size.json").iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(problems.is_empty(), "{arguments}\n{}", problems.join("\n"));
    value
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

/// Every candidate of these questions, run by `simulate` with the arguments that it names.
#[test]
fn simulate_confirms_every_candidate() {
    for question in [
        "llama-3.1-8b --ttft 500ms --tpot 50ms --request-rate 6 --output-len 100 --gpu h100-sxm,l40s --pp 1",
        "qwen3-30b-a3b --slo p95:tpot=30ms --request-rate 6 --gpu h100-sxm,h200-sxm --engine vllm,sglang --output-len 100 --tp 1,2 --pp 1",
        "llama-3.1-70b --goodput ttft:1500 tpot:60 --users 40 --think-time 20s --gpu h100-sxm,b200-sxm --preset chat --tp 1,2 --pp 1",
        "qwen3-30b-a3b --ttft 500 --tpot 15 --preset summarise --request-rate 20 --gpu h200-sxm --tp 1 --pp 1",
        "llama-3.1-8b --ttft 800 --percentile p99 --hourly-rates 1,2,9,4 --gpu l4,l40s --quantization fp8,int4 --router least-loaded --headroom 0.2 --own --tp 1,2 --pp 1",
    ] {
        let answer = sized(question);
        assert!(!list(&answer, "candidates").is_empty(), "{question}");
        for candidate in list(&answer, "candidates") {
            let mut words = vec!["simulate"];
            words.extend(list(candidate, "simulate_args").iter().map(|w| w.as_str().unwrap()));
            let run = json(&words);
            assert_eq!(run["goodput"]["held"], true, "{words:?}");
            for key in ["latency", "throughput", "intervals", "utilization"] {
                assert_eq!(run[key], candidate[key], "{key} of {words:?}");
            }
            // what two pools cost is not split by phase there
            if candidate["decode_replicas"] == 0 {
                for key in ["usd_per_hour", "usd_per_million_input_tokens", "usd_per_million_output_tokens"] {
                    assert_eq!(run["cost"][key], candidate[key], "{key} of {words:?}");
                }
            }
            let number = |key: &str| candidate[key].as_u64().unwrap();
            let each: u64 = ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"]
                .map(number)
                .iter()
                .product();
            let gpus = each * (number("replicas") + number("decode_replicas"));
            assert_eq!(candidate["num_gpus"], gpus);
            let usd = |key: &str| candidate[key].as_f64().unwrap();
            assert!((usd("usd_per_hour") / (usd("usd_per_gpu_hour") * gpus as f64) - 1.0).abs() < 1e-9);
            // what an hour costs is what its tokens cost
            let tokens = |key: &str| candidate["throughput"][key].as_f64().unwrap();
            let out = tokens("output_tokens_per_s");
            let per_s = (usd("usd_per_million_output_tokens") * out
                + usd("usd_per_million_input_tokens") * (tokens("total_tokens_per_s") - out))
                / 1e6;
            assert!((3600.0 * per_s / usd("usd_per_hour") - 1.0).abs() < 1e-6, "{words:?}");
        }
        let costs: Vec<f64> =
            list(&answer, "candidates").iter().map(|c| c["usd_per_hour"].as_f64().unwrap()).collect();
        assert!(costs.is_sorted(), "{costs:?}");
        for miss in list(&answer, "near_misses") {
            assert!(miss["value"].as_f64().unwrap() < costs[0], "{miss}");
        }
    }
}

/// Deployments of a few accelerators, and what is asked of them.
struct Case {
    model: ModelSpec,
    gpus: Vec<(Accelerator, Option<Kernels>)>,
    deployments: Vec<Deployment>,
    demand: Demand,
    workload: Workload,
    rate: f64,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let directories = Directories::default();
        let models = ["llama-3.1-8b", "qwen3-30b-a3b", "qwen2.5-7b", "gpt-oss-20b", "llama-3.2-3b"];
        let model = catalog::model(models[random.usize(..models.len())], &directories).unwrap();
        let mut names = ["h100-sxm", "l40s", "a100-sxm-80", "rtx-4090", "l4", "h200-sxm", "mi300x"];
        random.shuffle(&mut names);
        let gpus = names[..2].iter().map(|name| {
            let accelerator = catalog::accelerator(name, &directories).unwrap();
            let kernels = Kernels::in_force(&accelerator, &directories).unwrap();
            (accelerator, kernels)
        });
        let deployments = [1, 2].into_iter().flat_map(|tp| {
            ["auto", "fp8"].map(|quantization| Deployment {
                parallelism: Parallelism { tp, ..Parallelism::ONE },
                quantization: quantization.parse().ok(),
                ..Deployment::single(Engine::newest(EngineKind::Vllm))
            })
        });
        let rate = 10f64.powf(random.f64() * 1.5 - 0.2);
        let workload = Workload::new(
            random.u64(200..3000),
            random.u64(20..200),
            Load::Rate { per_s: rate, burstiness: 1.0 },
        );
        let slo = Slo {
            ttft_s: Some(0.1 * 10f64.powf(random.f64())),
            tpot_s: Some(0.01 * 10f64.powf(random.f64())),
            e2e_s: None,
        };
        let share = [0.5, 0.9, 0.95][random.usize(..3)];
        let demand = Demand { slo, share, ..Demand::new(traffic(&workload).unwrap()) };
        Self { model, gpus: gpus.collect(), deployments: deployments.collect(), demand, workload, rate }
    }

    fn candidates(&self) -> Vec<Candidate<'_>> {
        let all = self.gpus.iter().flat_map(|gpu| self.deployments.iter().map(move |d| (gpu, d)));
        all.map(|((accelerator, kernels), deployment)| Candidate {
            model: &self.model,
            accelerator,
            kernels: kernels.as_ref(),
            deployment: deployment.clone(),
            refused: None,
        })
        .collect()
    }
}

/// Requests in all of these cases.
const REQUESTS: u64 = 1000;
/// Most replicas that are tried by hand.
const MOST: u32 = 24;

/// The cheapest fleet of one deployment, by trying one replica after another; none below `most` dollars an hour.
fn by_hand(case: &Case, candidate: &Candidate<'_>, most: f64) -> Option<(f64, u32)> {
    let price =
        candidate.accelerator.usd_per_hour()?.0 * f64::from(candidate.deployment.parallelism.accelerators());
    let deployment = Deployment {
        max_model_len: Some(case.workload.input_len + case.workload.output_len),
        ..candidate.deployment.clone()
    };
    for replicas in 1..=MOST {
        let usd = price * f64::from(replicas);
        if usd >= most {
            return None;
        }
        let traffic = Traffic {
            arrivals: Arrivals::Open(Rate::constant(case.rate).unwrap(), 1.0),
            requests: REQUESTS,
            ..case.demand.traffic.clone()
        };
        let demand = Demand { replicas, traffic, ..case.demand.clone() };
        let question = Question {
            model: candidate.model,
            accelerator: candidate.accelerator,
            deployment: &deployment,
            workload: &case.workload,
            kernels: candidate.kernels,
            options: &Options::default(),
        };
        let run = simulate(&question, &demand, None).ok()?;
        if run.goodput.unwrap().held {
            return Some((usd, replicas));
        }
    }
    None
}

#[test]
fn brute_force_finds_nothing_cheaper() {
    let answered: usize = (0..20)
        .into_par_iter()
        .map(|seed| {
            let case = Case::random(seed);
            let candidates = case.candidates();
            let answer = size(&SizeQuestion {
                candidates: &candidates,
                demand: &case.demand,
                requests: Some(REQUESTS),
                load: &SizeLoad::Rate(case.rate),
                headroom: 0.0,
                workload: &case.workload,
                options: &Options::default(),
                constraints: &Constraints::default(),
                objective: Objective::Cost,
                top: 1,
                all_layouts: false,
                arguments: &[],
                gpu_names: &BTreeMap::new(),
                done: &|_| {},
            })
            .unwrap();
            let found = answer.candidates.first().map(|c| c.usd_per_hour.unwrap());
            let least = found.unwrap_or(f64::INFINITY);
            for candidate in &candidates {
                let cheaper = by_hand(&case, candidate, least * (1.0 - 1e-9));
                assert_eq!(
                    cheaper, None,
                    "case {seed}: {} on {:?}, found {found:?}",
                    candidate.accelerator.id, candidate.deployment.parallelism
                );
            }
            usize::from(found.is_some())
        })
        .sum();
    assert!(answered >= 10, "only {answered} of 20 questions have an answer: they say little");
}

#[test]
fn the_answer_does_not_depend_on_the_number_of_threads() {
    let run = |threads: &str| {
        let words = "size llama-3.1-8b --ttft 300 --tpot 20 --request-rate 8 --tp 1,2 --pp 1";
        let words: Vec<&str> = words.split(' ').collect();
        foretoken(&words).env("RAYON_NUM_THREADS", threads).assert().success().get_output().stdout.clone()
    };
    assert!(run("1") == run("3"));
}

#[test]
fn hardware_at_hand_and_budgets_bound_the_answer() {
    let question = "llama-3.1-8b --ttft 500 --tpot 30 --request-rate 20 --output-len 64 --tp 1 --pp 1";
    let free = sized(&format!("{question} --gpu l40s,h100-sxm"));
    let gpus = |value: &Value, place: usize| list(value, "candidates")[place]["num_gpus"].as_u64().unwrap();
    let needed: BTreeMap<&str, u64> = list(&free, "candidates")
        .iter()
        .map(|c| (c["gpu"].as_str().unwrap(), c["num_gpus"].as_u64().unwrap()))
        .collect();
    let few =
        sized(&format!("{question} --gpus l40s:{},h100-sxm:{}", needed["l40s"] - 1, needed["h100-sxm"]));
    assert_eq!(list(&few, "candidates").len(), 1);
    assert_eq!(list(&few, "candidates")[0]["gpu"], "h100-sxm");
    assert!(list(&few, "rejected").iter().any(|r| r["kind"] == "too_many" && r["gpu"] == "l40s"));
    let all = sized(&format!("{question} --gpu l40s,h100-sxm --max-gpus {}", needed["h100-sxm"]));
    assert!((0..list(&all, "candidates").len()).all(|i| gpus(&all, i) <= needed["h100-sxm"]));
    let none = foretoken(
        &format!("size {question} --gpu l40s --max-usd-per-hour 1 --check").split(' ').collect::<Vec<_>>(),
    )
    .assert()
    .code(3);
    assert!(String::from_utf8_lossy(&none.get_output().stdout).contains("Nothing holds"));
}

#[test]
fn a_day_needs_its_busiest_hour_and_less_in_the_others() {
    let day = sized(
        "llama-3.1-8b --ttft 800 --tpot 40 --hourly-rates 0,2,15,8 --output-len 64 --gpu l40s --tp 1 --pp 1 --quantization fp8",
    );
    let steady = sized(
        "llama-3.1-8b --ttft 800 --tpot 40 --request-rate 8 --output-len 64 --gpu l40s --tp 1 --pp 1 --quantization fp8",
    );
    let replicas = |value: &Value| list(value, "candidates")[0]["replicas"].as_u64().unwrap();
    let hours: Vec<u64> =
        list(&day["profile"], "replicas_by_hour").iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!((hours[0], hours[2], hours[3]), (1, replicas(&day), replicas(&steady)));
    let (fixed, scaled) = (&day["profile"]["usd_fixed"], &day["profile"]["usd_scaled"]);
    let price = list(&day, "candidates")[0]["usd_per_gpu_hour"].as_f64().unwrap();
    assert!((fixed.as_f64().unwrap() - price * 4.0 * replicas(&day) as f64).abs() < 1e-9);
    assert!((scaled.as_f64().unwrap() - price * hours.iter().sum::<u64>() as f64).abs() < 1e-9);
}

#[test]
fn more_load_or_tighter_limits_never_cost_less() {
    let cost = |rate: f64, ttft: u32, tpot: u32| {
        let answer = sized(&format!(
            "llama-3.1-8b --ttft {ttft} --tpot {tpot} --request-rate {rate} --gpu l40s,h100-sxm --tp 1 --pp 1 --output-len 64"
        ));
        list(&answer, "candidates").first().map_or(f64::INFINITY, |c| c["usd_per_hour"].as_f64().unwrap())
    };
    let base = cost(20.0, 400, 30);
    assert!(cost(30.0, 400, 30) >= base);
    assert!(cost(20.0, 200, 30) >= base && cost(20.0, 400, 15) >= base);
    assert_eq!(cost(20.0, 1, 30), f64::INFINITY);
}

#[test]
fn questions_without_sense_are_refused_in_a_line() {
    for (arguments, says) in [
        ("llama-3.1-8b --request-rate 10", "needs a limit"),
        ("llama-3.1-8b --ttft 500", "needs a load"),
        ("llama-3.1-8b --ttft 500 --concurrency 8", "size takes a load"),
        ("llama-3.1-8b --ttft 500 --request-rate 0", "above 0"),
        ("llama-3.1-8b --ttft 500 --request-rate nan", "above 0"),
        ("llama-3.1-8b --ttft -1 --request-rate 1", "--ttft"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --gpus h100-sxm", "names no number"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --gpus h100-sxm:0", "names no number"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --gpu h100-sxm,h100", "already"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --gpu nonsense", "nonsense"),
        ("nonsense --ttft 500 --request-rate 1", "nonsense"),
        ("llama-3.1-8b --ttft 500 --users 10 --request-rate 1", "cannot be used"),
        ("llama-3.1-8b --ttft 500 --hourly-rates 0,0", "0"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --headroom 1", "headroom"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --trace x.csv", "cannot be used"),
        ("llama-3.1-8b --slo p90:ttft=1s --slo p99:tpot=1s --request-rate 1", "one percentile"),
        ("llama-3.1-8b --ttft 500 --request-rate 1 --sort beauty", "cost, power"),
    ] {
        let words: Vec<&str> = std::iter::once("size").chain(arguments.split_whitespace()).collect();
        let failed = foretoken(&words).assert().code(2);
        let text = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(text.contains(says), "{arguments}: {text}");
        assert!(failed.get_output().stdout.is_empty(), "{arguments}");
    }
    // the largest loads are answered or refused, not hung on
    for rate in ["1e9", "1e-9"] {
        let words = format!(
            "size llama-3.2-3b --ttft 500 --tpot 50 --request-rate {rate} --gpu h100-sxm --tp 1 --pp 1 --quantization auto"
        );
        foretoken(&words.split(' ').collect::<Vec<_>>())
            .timeout(std::time::Duration::from_secs(120))
            .assert()
            .success();
    }
}
