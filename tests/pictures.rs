//! Pictures: curves are estimates, terminals get what they can show, and pages stand alone.
#![allow(missing_docs, clippy::unwrap_used)]

use assert_cmd::Command;
use foretoken::answer::{
    Demand, Kernels, Options, Pictured, Question, estimate, load_curve, pictured, simulate, traffic,
};
use foretoken::serving::{Arrivals, Rate, Slo, Traffic};
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
fn every_point_of_a_load_curve_is_a_simulation() {
    let none = Directories::default();
    let model = catalog::model("llama-3.1-8b", &none).unwrap();
    let accelerator = catalog::accelerator("h100-sxm", &none).unwrap();
    let deployment = Deployment::single(Engine::newest(EngineKind::Vllm));
    let kernels = Kernels::in_force(&accelerator, &none).unwrap();
    let slo = Slo { ttft_s: Some(0.2), tpot_s: Some(0.02), e2e_s: None };
    for load in [Load::Rate { per_s: 12.0, burstiness: 1.0 }, Load::Concurrency(12)] {
        let workload = Workload { requests: Some(150), ..Workload::new(600, 50, load) };
        let options = Options::default();
        let question = Question {
            model: &model,
            accelerator: &accelerator,
            deployment: &deployment,
            workload: &workload,
            kernels: kernels.as_ref(),
            options: &options,
        };
        let demand = Demand { slo, ..Demand::new(traffic(&workload).unwrap()) };
        let curve = load_curve(&question, &demand, None).unwrap().unwrap();
        assert_eq!(curve.points.iter().filter(|p| p.asked).count(), 1);
        for point in &curve.points {
            let arrivals = match &demand.traffic.arrivals {
                Arrivals::Closed(_) => Arrivals::Closed(point.at as u32),
                _ => Arrivals::Open(Rate::constant(point.at).unwrap(), 1.0),
            };
            let traffic = Traffic { arrivals, ..demand.traffic.clone() };
            let one = simulate(&question, &Demand { traffic, ..demand.clone() }, None).unwrap();
            let l = &one.latency;
            assert_eq!(
                [point.ttft_s, point.tpot_s, point.e2e_s],
                [l.ttft_s, l.tpot_s, l.e2e_s],
                "{}",
                point.at
            );
            assert_eq!(point.share_within_limits, one.goodput.unwrap().share);
        }
        // the last point is beyond what the deployment carries
        let last = curve.points.last().unwrap();
        assert!(curve.capacity_per_s.is_none_or(|c| last.at > c));
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

/// Files that a question writes: page and sheet.
fn written(arguments: &str) -> [String; 2] {
    let directory = tempfile::tempdir().unwrap();
    let [html, svg] = ["page.html", "sheet.svg"].map(|name| directory.path().join(name));
    foretoken(arguments).arg("--export-html").arg(&html).arg("--export-svg").arg(&svg).assert().success();
    [html, svg].map(|path| std::fs::read_to_string(path).unwrap())
}

/// The drawings of a page, each a document of its own.
fn drawings(page: &str) -> Vec<&str> {
    let whole = page.split("<svg").skip(1).map(|part| part.split_once("</svg>").unwrap().0);
    whole.map(|inner| &page[page.find(inner).unwrap() - 4..][..inner.len() + 10]).collect()
}

const QUESTIONS: [&str; 12] = [
    "estimate llama-3.1-8b --gpu h100-sxm --concurrency 32",
    "estimate deepseek-v3 --gpu 8xh200-sxm --batch-size 64 --input-len 4000",
    "estimate meta-llama-3.1-405b --gpu t4",
    "estimate llama-3.1-8b --gpu h100-sxm --input-len 1 --output-len 1",
    "estimate llama-3.1-8b --gpu h100-sxm --request-rate 5 --num-prompts 50",
    "memory llama-3.1-70b --gpu 4xh100-sxm",
    "sweep llama-3.1-8b,qwen3-8b --gpu h100-sxm,l40s --tp 1,2 --batch-size 1-64*4 --input-len 512,2048",
    "sweep llama-3.1-8b,qwen3-8b,qwen3-30b-a3b --gpu h100-sxm,l40s,h200-sxm --tp 1,2,4 --batch-size 1-256*2 --input-len 512,2048",
    "simulate llama-3.1-8b --gpu h100-sxm --request-rate 20 --num-prompts 200 --ttft 400 --tpot 20",
    "simulate llama-3.1-8b --gpu h100-sxm --concurrency 6 --num-prompts 60",
    "size llama-3.1-8b --gpu h100-sxm,l40s --request-rate 10 --ttft 2s --tpot 60ms",
    "cost llama-3.1-8b --gpu h100-sxm",
];

#[test]
fn pages_and_sheets_stand_alone() {
    for question in QUESTIONS {
        let [page, sheet] = written(question);
        assert!(page.len() < 300_000 && sheet.len() < 300_000, "{question}: {} {}", page.len(), sheet.len());
        let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
        for text in [&page, &sheet] {
            let plain = text.replace(namespace, "").to_lowercase();
            // a source may name a site in words; nothing may load from one or run
            for word in
                ["<script", "<link", "<img", "<iframe", "@import", "=\"http", "href=", "src=", "javascript:"]
            {
                assert!(!plain.contains(word), "{question}: {word}");
            }
            let mut urls = plain.match_indices("url(").map(|(at, _)| &plain[at + 4..at + 6]);
            assert!(urls.all(|start| start == "#p"), "{question}");
            let tags = plain.split('<').map(|part| part.split('>').next().unwrap());
            let mut handlers =
                tags.flat_map(|tag| tag.split("\" ")).filter(|a| a.starts_with("on") && a.contains('='));
            assert_eq!(handlers.next(), None, "{question}");
            assert!(text.contains("prefers-color-scheme:dark"), "both themes");
            assert!(!text.contains("NaN") && !text.contains("inf\"") && !text.contains("{{"), "{question}");
        }
        assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
        let names: Vec<String> = drawings(&page).iter().map(|d| (*d).to_owned()).collect();
        assert!(names.len() >= 5, "{question}");
        for text in names.iter().chain([&sheet]) {
            let document =
                roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{question}: {e}\n{text}"));
            let root = document.root_element();
            let hidden = root.attribute("aria-hidden").is_some();
            assert!(hidden || root.attribute("aria-label").is_some_and(|l| l.len() > 5), "{question}");
        }
    }
}

#[test]
fn drawings_stay_inside_their_frame() {
    for question in QUESTIONS {
        let [page, sheet] = written(question);
        for text in drawings(&page).into_iter().chain([sheet.as_str()]) {
            let document = roxmltree::Document::parse(text).unwrap();
            let root = document.root_element();
            let Some(view) = root.attribute("viewBox") else { continue };
            let view: Vec<f64> = view.split(' ').map(|n| n.parse().unwrap()).collect();
            for node in document.descendants().filter(|n| n.is_element() && n.tag_name().name() != "pattern")
            {
                if node.ancestors().any(|n| ["defs", "g"].contains(&n.tag_name().name())) {
                    continue;
                }
                for (name, most) in [("x", view[2]), ("cx", view[2]), ("y", view[3]), ("cy", view[3])] {
                    let Some(at) = node.attribute(name) else { continue };
                    let at: f64 = at.parse().unwrap();
                    assert!((-1.0..=most + 1.0).contains(&at), "{question}: {name}={at} of {most}: {node:?}");
                }
            }
        }
    }
}

#[test]
fn the_same_question_gives_the_same_bytes() {
    let question = "estimate qwen3-30b-a3b --gpu h200-sxm --concurrency 8 --length-ratio-min 0.8";
    let once = || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.html");
        foretoken(question)
            .env("SOURCE_DATE_EPOCH", "1760000000")
            .arg("--export-html")
            .arg(&path)
            .assert()
            .success();
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(once(), once());
    // a simulation says how long it took, but not in its page
    let simulated = "simulate llama-3.1-8b --gpu h100-sxm --request-rate 20 --num-prompts 100";
    assert_eq!(written(simulated), written(simulated));
}

#[test]
fn an_estimate_shows_every_curve_and_number() {
    let [page, sheet] = written("estimate llama-3.1-8b --gpu h100-sxm --concurrency 32");
    for title in [
        "Memory of one accelerator",
        "TTFT against requests in flight",
        "TPOT against requests in flight",
        "Throughput against speed for one user",
        "Cost of a million generated tokens",
        "Prefill, ",
        "One decode step, ",
        "TTFT of one request alone",
        "Roofline of one accelerator",
        "KV cache full at",
        "asked for: ",
        "gate up proj",
        "bf16 989 Tflop/s",
    ] {
        assert!(page.contains(title) && sheet.contains(title), "{title}");
    }
    let tables = printed("estimate llama-3.1-8b --gpu h100-sxm --concurrency 32 --json");
    let answer: serde_json::Value = serde_json::from_str(&tables).unwrap();
    for word in ["kernels", "engine", "model"] {
        assert!(page.contains(answer["provenance"][word].as_str().unwrap()), "{word}");
    }
    for key in answer["inputs"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<dt>{}</dt>", key.replace('_', " "))), "{key}");
    }
    // 11 loads with their band, and the table of them
    let ttft = &page[page.find("TTFT against").unwrap()..page.find("TPOT against").unwrap()];
    assert_eq!(ttft.matches("class=\"band f0\"").count(), 2, "wide and narrow");
    assert_eq!(ttft.matches("<tr>").count(), 12);
}

#[test]
fn names_from_files_cannot_act() {
    let directory = tempfile::tempdir().unwrap();
    let shown = printed("models show llama-3.1-8b --format json");
    assert!(!shown.is_empty());
    let config = include_str!("fixtures/configs/Qwen__Qwen2.5-3B.json");
    let evil = "x\"><script>alert(1)</script>&{{title}}";
    let home = directory.path().join(evil.replace('/', "_"));
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config.json"), config).unwrap();
    let paths = ["page.html", "sheet.svg"].map(|name| directory.path().join(name));
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command.env_clear().arg("estimate").arg(&home).args(["--gpu", "h100-sxm"]);
    command.arg("--export-html").arg(&paths[0]).arg("--export-svg").arg(&paths[1]).assert().success();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("<script"), "{text}");
        assert!(text.contains("&lt;script&gt;"), "the name is there, harmless");
    }
}

#[test]
fn files_that_cannot_be_written_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for flag in ["--export-html", "--export-svg"] {
        for path in [directory.path().to_path_buf(), directory.path().join("none/page.html")] {
            let mut command = foretoken("estimate llama-3.1-8b --gpu h100-sxm");
            let output = command.arg(flag).arg(&path).assert().code(1).get_output().stderr.clone();
            let message = String::from_utf8(output).unwrap();
            assert!(
                message.contains(path.to_str().unwrap()) && message.contains("cannot be written"),
                "{message}"
            );
        }
    }
    let mut command = foretoken("gpus list");
    command.arg("--export-svg").arg(directory.path().join("a.svg")).assert().code(2);
    // a page of tables alone is one
    let path = directory.path().join("gpus.html");
    foretoken("gpus list").arg("--export-html").arg(&path).assert().success();
    assert!(std::fs::read_to_string(path).unwrap().contains("h100-sxm"));
}

/// Contrast by WCAG 2.1 of two colours `#rrggbb`.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |colour: &str| -> f64 {
        let full = if colour.len() == 4 {
            colour.chars().skip(1).flat_map(|c| [c, c]).collect()
        } else {
            colour[1..].to_owned()
        };
        let channel = |i: usize| {
            let v = f64::from(u8::from_str_radix(&full[i..i + 2], 16).unwrap()) / 255.0;
            if v <= 0.03928 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_can_be_read() {
    let css = include_str!("../src/report/svg/chart.css");
    let (light, rest) = css.split_once("@media").unwrap();
    let dark = rest.split_once("}}").unwrap().0;
    for theme in [light, dark] {
        let of = |name: &str| {
            let (_, rest) = theme.split_once(&format!("--{name}:")).unwrap_or_else(|| panic!("{name}"));
            rest.split([';', '}']).next().unwrap().to_owned()
        };
        for (front, back) in
            [("ink", "paper"), ("muted", "paper"), ("ink", "card"), ("muted", "card"), ("warn-ink", "warn")]
        {
            assert!(contrast(&of(front), &of(back)) >= 4.5, "{front} on {back}");
        }
        for i in 0..6 {
            assert!(contrast(&of(&format!("s{i}")), &of("paper")) >= 4.5, "s{i}");
        }
    }
}
