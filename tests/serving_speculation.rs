//! Speculative decoding: conservation, the formula, and where it pays.
#![allow(missing_docs, clippy::unwrap_used)]

use foretoken::answer::{
    Demand, Draft, Estimate, Kernels, Options, Question, Simulation, SpeculationOptions, estimate, simulate,
};
use foretoken::serving::{Arrivals, Length, Lengths, Traffic};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::{Accelerator, Deployment, Engine, EngineKind, Load, ModelSpec, Parallelism, Workload};

struct Site {
    model: ModelSpec,
    gpu: Accelerator,
    kernels: Option<Kernels>,
    deployment: Deployment,
}

fn site(model: &str, tp: u32) -> Site {
    let none = Directories::default();
    let gpu = catalog::accelerator("h200-sxm", &none).unwrap();
    Site {
        model: catalog::model(model, &none).unwrap(),
        kernels: Kernels::in_force(&gpu, &none).unwrap(),
        gpu,
        deployment: Deployment {
            parallelism: Parallelism { tp, ..Parallelism::ONE },
            ..Deployment::single(Engine::newest(EngineKind::Vllm))
        },
    }
}

fn drafts(tokens: u32, acceptance: f64, draft: Draft) -> Option<SpeculationOptions> {
    Some(SpeculationOptions { tokens, acceptance, most_rows: None, draft })
}

impl Site {
    fn question<'a>(&'a self, workload: &'a Workload, options: &'a Options) -> Question<'a> {
        Question {
            model: &self.model,
            accelerator: &self.gpu,
            deployment: &self.deployment,
            workload,
            kernels: self.kernels.as_ref(),
            options,
        }
    }

    fn estimate(&self, concurrency: u32, speculation: Option<SpeculationOptions>) -> Estimate {
        let workload =
            Workload { length_ratio_min: 0.8, ..Workload::new(1000, 300, Load::Concurrency(concurrency)) };
        let options = Options { speculation, ..Options::default() };
        estimate(&self.question(&workload, &options)).unwrap()
    }

    fn simulate(
        &self,
        concurrency: u32,
        lengths: Lengths,
        speculation: Option<SpeculationOptions>,
    ) -> Simulation {
        let workload = Workload::new(1000, 300, Load::Concurrency(concurrency));
        let options = Options { speculation, ..Options::default() };
        let demand =
            Demand::new(Traffic { arrivals: Arrivals::Closed(concurrency), lengths, requests: 300, seed: 3 });
        simulate(&self.question(&workload, &options), &demand, None).unwrap()
    }
}

/// Alone, a token takes (T_verify + k·T_draft)/E: with drafts that cost nothing and are all accepted almost k + 1 times less.
#[test]
fn a_row_alone_gains_what_the_formula_says() {
    let site = site("llama-3.1-70b", 8);
    let plain = site.estimate(1, None).latency.tpot_s;
    let free = site.estimate(1, drafts(3, 1.0, Draft::Ngram)).latency.tpot_s;
    assert!((3.4..4.1).contains(&(plain / free)), "{plain} {free}");
    // nothing accepted: a step as before, a little longer
    let lost = site.estimate(1, drafts(3, 0.0, Draft::Ngram)).latency.tpot_s;
    assert!(lost >= plain && lost < 1.3 * plain, "{lost} {plain}");
    let mut before = f64::INFINITY;
    for acceptance in [0.0, 0.3, 0.6, 0.9, 1.0] {
        let tpot = site.estimate(1, drafts(4, acceptance, Draft::Ngram)).latency.tpot_s;
        assert!(tpot < before);
        before = tpot;
    }
}

#[test]
fn a_draft_model_costs_its_own_steps_and_memory() {
    let none = Directories::default();
    let small = catalog::model("llama-3.2-1b", &none).unwrap();
    let site = site("llama-3.1-70b", 4);
    let free = site.estimate(4, drafts(3, 0.7, Draft::Ngram));
    let paid = site.estimate(4, drafts(3, 0.7, Draft::Model(Box::new(small))));
    assert!(paid.latency.tpot_s > free.latency.tpot_s && paid.latency.ttft_s > free.latency.ttft_s);
    assert!(
        paid.latency.tpot_s < site.estimate(4, None).latency.tpot_s,
        "a small draft of a large model pays"
    );
    let other = catalog::model("qwen2.5-1.5b", &none).unwrap();
    let options =
        Options { speculation: drafts(3, 0.7, Draft::Model(Box::new(other))), ..Options::default() };
    let workload = Workload::new(1000, 100, Load::Concurrency(2));
    let error = estimate(&site.question(&workload, &options)).unwrap_err().to_string();
    assert!(error.contains("vocabulary"), "{error}");
    let options = Options { speculation: drafts(3, 0.7, Draft::Mtp), ..Options::default() };
    let error = estimate(&site.question(&workload, &options)).unwrap_err().to_string();
    assert!(error.contains("--draft-model"), "{error}");
}

/// Spare arithmetic pays for verification; a batch that has none left loses (Leviathan et al., §3.4).
#[test]
fn it_stops_paying_at_large_batches() {
    let site = site("llama-3.1-8b", 1);
    let gain = |concurrency| {
        let with = site.estimate(concurrency, drafts(4, 0.6, Draft::Ngram));
        site.estimate(concurrency, None).latency.tpot_s / with.latency.tpot_s
    };
    let (few, many) = (gain(2), gain(256));
    assert!(few > 1.5 && many < few, "{few} {many}");
    let used = site.estimate(2, drafts(4, 0.1, Draft::Ngram)).speculation.unwrap();
    assert!(used.pays_up_to_rows.is_none_or(|n| n < 256), "{used:?}");
    // beyond the limit of rows there are no drafts
    let limited = SpeculationOptions { most_rows: Some(1), ..drafts(4, 0.6, Draft::Ngram).unwrap() };
    let off = site.estimate(64, Some(limited)).latency.tpot_s;
    let plain = site.estimate(64, None).latency.tpot_s;
    assert!((off / plain - 1.0).abs() < 0.02, "{off} {plain}");
}

#[test]
fn nothing_is_lost_and_gaps_are_bursts() {
    let site = site("llama-3.1-8b", 1);
    let lengths = Lengths::Independent { input: Length::Uniform(1, 4000), output: Length::Uniform(1, 300) };
    let plain = site.simulate(40, lengths.clone(), None);
    let drafted = site.simulate(40, lengths, drafts(3, 0.8, Draft::Ngram));
    assert_eq!(drafted.completed_requests, 300);
    assert_eq!(drafted.output_tokens, plain.output_tokens);
    let kept = drafted.speculation.unwrap().tokens_per_step;
    let ratio = drafted.latency.itl_s.mean / drafted.latency.tpot_s.mean;
    assert!((ratio / kept - 1.0).abs() < 0.25, "{ratio} {kept}");
    assert!(drafted.duration_s < plain.duration_s);
}
