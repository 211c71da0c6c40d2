//! Pictures: curves are estimates, terminals get what they can show, and pages stand alone.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use foretoken::answer::{Kernels, Options, Pictured, Question, estimate, pictured};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Deployment, Engine, EngineKind, Load, Parallelism, Workload};

fn foretoken(arguments: &str) -> Command {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().args(arguments.split_whitespace());
    command
}

fn printed(arguments: &str) -> String {
    let output = foretoken(arguments).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

/// Asks for pictures, and hands the question on.
fn asked(model: &str, gpu: &str, tp: u32, workload: Workload, then: impl Fn(&Question<'_>, Pictured)) {
    let none = Directories::default();
    let model = catalog::model(model, &none).unwrap();
    let accelerator = catalog::accelerator(gpu, &none).unwrap();
    let kernels = Kernels::in_force(&accelerator, &none).unwrap();
    let parallelism = Parallelism { tp, ..Parallelism::ONE };
    let deployment = Deployment { parallelism, ..Deployment::single(Engine::newest(EngineKind::Vllm)) };
    let options = Options::default();
    let question = Question {
        model: &model,
        accelerator: &accelerator,
        deployment: &deployment,
        workload: &workload,
        kernels: kernels.as_ref(),
        options: &options,
    };
    then(&question, pictured(&question).unwrap());
}

#[test]
fn every_point_of_a_curve_is_an_estimate() {
    let rate = Load::Rate { per_s: 12.5, burstiness: 1.0 };
    let spread = |load| Workload { length_ratio_min: 0.8, ..Workload::new(700, 60, load) };
    for (model, gpu, tp, workload) in [
        ("llama-3.1-8b", "h100-sxm", 1, spread(Load::Concurrency(24))),
        ("llama-3.1-8b", "rtx-4090", 1, Workload::batch(1024, 1, 48)),
        ("qwen3-30b-a3b", "h200-sxm", 2, spread(rate)),
    ] {
        asked(model, gpu, tp, workload, |question, answer| {
            assert_eq!(answer.estimate, estimate(question).unwrap());
            let of_load = |value: f64| match workload.load {
                Load::StaticBatch(_) => Load::StaticBatch(value as u32),
                Load::Concurrency(_) => Load::Concurrency(value as u32),
                Load::Rate { burstiness, .. } => Load::Rate { per_s: value, burstiness },
            };
            let load = answer.curves.load.iter().map(|p| (p, Workload { load: of_load(p.at), ..workload }));
            let alone =
                |n| Workload { input_len: n, output_len: workload.output_len, ..Workload::batch(n, 1, 1) };
            let alone = |n| Workload { load: Load::Concurrency(1), ..alone(n) };
            let length = answer.curves.length.iter().map(|p| (p, alone(p.at as u64)));
            for (point, workload) in load.chain(length) {
                let one = estimate(&Question { workload: &workload, ..*question }).unwrap();
                let (l, t) = (&one.latency, &one.throughput);
                assert_eq!(
                    [point.latency.ttft_s, point.latency.tpot_s, point.latency.e2e_s],
                    [l.ttft_s, l.tpot_s, l.e2e_s],
                    "{workload:?}"
                );
                assert_eq!(point.intervals, one.intervals);
                assert_eq!(point.output_tokens_per_s_per_gpu, t.output_tokens_per_s_per_gpu);
                assert_eq!(point.output_tokens_per_s_per_user, t.output_tokens_per_s_per_user);
                assert_eq!(point.requests_per_s, t.requests_per_s);
                let usd = one.cost.as_ref().map(|c| c.usd_per_million_output_tokens);
                assert_eq!(point.usd_per_million_output_tokens, usd);
            }
            assert_eq!(answer.curves.load.iter().filter(|p| p.asked).count(), 1);
        });
    }
}

#[test]
fn curves_go_beyond_what_has_room() {
    asked("llama-3.1-8b", "l40s", 1, Workload::new(1024, 256, Load::Concurrency(1)), |_, answer| {
        let limit = answer.curves.limit.unwrap().at;
        let full = answer.estimate.memory.kv_cache_tokens as f64 / 1280.0;
        assert!((limit / full - 1.0).abs() < 0.05, "{limit} {full}");
        assert!(answer.curves.load.iter().filter(|p| p.at > limit).count() >= 2);
        assert!(answer.curves.load.iter().any(|p| p.at < limit / 2.0));
    });
}

#[test]
fn operators_lie_under_the_roof_with_the_time_of_the_breakdown() {
    for (model, gpu, tp) in [("llama-3.1-8b", "h100-sxm", 1), ("qwen3-30b-a3b", "h200-sxm", 2)] {
        asked(model, gpu, tp, Workload::batch(2000, 100, 16), |_, answer| {
            let roof = &answer.roofline;
            for (points, lines) in [
                (&roof.prefill, &answer.estimate.breakdown.prefill),
                (&roof.decode, &answer.estimate.breakdown.decode),
            ] {
                assert!(points.len() > 3);
                let of = |label| {
                    let same = points.iter().filter(move |p| p.label == label);
                    same.fold([0.0; 2], |sum: [f64; 2], p| [sum[0] + p.seconds, sum[1] + p.flops])
                };
                for line in lines.iter().filter(|l| points.iter().any(|p| p.label == l.label)) {
                    let [seconds, flops] = of(line.label);
                    assert!((flops / line.flops.0 - 1.0).abs() < 1e-9, "{}", line.label);
                    // a breakdown scales the step at the mean context to the mean step
                    assert!((seconds / line.seconds.0 - 1.0).abs() < 0.02, "{}", line.label);
                }
                for p in points {
                    let peak = roof.peaks.iter().find(|(math, _)| *math == p.math).map_or(f64::MAX, |p| p.1);
                    assert!(p.rate() <= 1.0001 * peak, "{} {:.3e} {peak:.3e}", p.label, p.rate());
                }
            }
        });
    }
}

#[test]
fn terminals_get_what_they_can_show() {
    let question = "estimate llama-3.1-8b --gpu h100-sxm --concurrency 32 --plot";
    let plain = printed(question);
    assert_eq!(plain, printed(question));
    assert!(!plain.contains('\u{1b}'), "colour off a terminal");
    let tables = printed(&question.replace(" --plot", ""));
    let drawn: Vec<&str> = plain.lines().filter(|l| !tables.contains(l)).collect();
    assert!(drawn.len() > 100 && drawn.iter().all(|l| l.chars().count() <= 80));
    let wide = foretoken(question).env("COLUMNS", "120").assert().success().get_output().stdout.clone();
    assert!(String::from_utf8(wide).unwrap().lines().any(|l| l.chars().count() > 110 && l.contains('●')));
    let ascii = printed(&format!("{question}=ascii,latency,frontier,roofline,memory,breakdown"));
    let drawn: Vec<&str> = ascii.lines().filter(|l| !tables.contains(l)).collect();
    assert!(drawn.iter().all(|l| l.is_ascii()), "{ascii}");
}

#[test]
fn extremes_are_drawn() {
    for question in [
        "estimate llama-3.1-8b --gpu h100-sxm --output-len 1",
        "estimate llama-3.1-8b --gpu h100-sxm --input-len 1 --output-len 1 --batch-size 1",
        "estimate meta-llama-3.1-405b --gpu t4",
        "estimate deepseek-v3 --gpu 8xh200-sxm --batch-size 4096",
        "estimate llama-3.1-8b --gpu h100-sxm --request-rate 0.001 --num-prompts 5",
        "estimate qwen2.5-7b --gpu m3-max --engine llamacpp --quantization q4_k_m",
        "estimate bloom --gpu h100-sxm --tp 4 --pp 2 --engine ideal",
        "memory meta-llama-3.1-405b --gpu t4",
        "memory llama-3.1-70b --gpu 4xh100-sxm",
        "memory qwen3-next-80b-a3b-instruct --gpu h100-sxm --tp 4",
    ] {
        let text = printed(&format!("{question} --plot"));
        assert!(!text.contains("NaN") && !text.contains("inf "), "{question}\n{text}");
    }
}

#[test]
fn wrong_words_are_named() {
    let wrong = |arguments: &str| {
        let output = foretoken(arguments).assert().code(2).get_output().stderr.clone();
        String::from_utf8(output).unwrap()
    };
    let message = wrong("estimate llama-3.1-8b --gpu h100-sxm --plot=pie");
    assert!(message.contains("`pie`") && message.contains("roofline"), "{message}");
    assert!(wrong("gpus list --plot").contains("no pictures"));
    assert!(wrong("estimate llama-3.1-8b --gpu h100-sxm --plot --json").contains("--format table"));
}
