//! What must hold whatever the coefficients: no time below the hardware's limits, more work never
//! takes less time, lines add up, definitions are identities. Drawn at random over the whole catalog.

use foretoken::answer::{Estimate, Kernels, Options, Question, estimate};
use foretoken::spec::catalog::{self, Directories};
use foretoken::spec::model::TensorClass;
use foretoken::spec::{
    Accelerator, DataType, Deployment, Engine, EngineKind, Load, ModelSpec, Parallelism, Workload,
    check_deployment,
};
use proptest::prelude::*;
use std::sync::LazyLock;

static MODELS: LazyLock<Vec<ModelSpec>> = LazyLock::new(|| {
    let none = Directories::default();
    let headers = catalog::models(&none).expect("the embedded catalog reads");
    headers.iter().map(|h| catalog::model(&h.id, &none).expect("the embedded catalog reads")).collect()
});

/// Kernel models in force for each accelerator.
static KERNELS: LazyLock<Vec<Option<Kernels>>> = LazyLock::new(|| {
    let none = Directories::default();
    ACCELERATORS.iter().map(|a| Kernels::in_force(a, &none).expect("embedded calibrations read")).collect()
});

static ACCELERATORS: LazyLock<Vec<Accelerator>> = LazyLock::new(|| {
    let none = Directories::default();
    let headers = catalog::accelerators(&none).expect("the embedded catalog reads");
    headers.iter().map(|h| catalog::accelerator(&h.id, &none).expect("the embedded catalog reads")).collect()
});

/// One random question.
#[derive(Debug, Clone)]
struct Case {
    model: usize,
    accelerator: usize,
    engine: EngineKind,
    parallelism: Parallelism,
    workload: Workload,
}

fn cases() -> impl Strategy<Value = Case> {
    let engines = prop::sample::select(EngineKind::ALL.map(|(kind, _)| kind).to_vec());
    let degrees = prop::sample::select(vec![1u32, 2, 4, 8]);
    let loads = prop_oneof![(1u32..300).prop_map(Load::StaticBatch), (1u32..24).prop_map(Load::Concurrency),];
    (
        0..MODELS.len(),
        0..ACCELERATORS.len(),
        engines,
        (degrees.clone(), prop::sample::select(vec![1u32, 2]), prop::sample::select(vec![1u32, 4])),
        (1u64..40_000, 1u64..4_000, loads),
    )
        .prop_map(|(model, accelerator, engine, (tp, pp, dp), (input_len, output_len, load))| Case {
            model,
            accelerator,
            engine,
            parallelism: Parallelism { tp, pp, dp, ep: 1 },
            workload: Workload::new(input_len, output_len, load),
        })
}

impl Case {
    fn model(&self) -> &'static ModelSpec {
        &MODELS[self.model]
    }

    fn accelerator(&self) -> &'static Accelerator {
        &ACCELERATORS[self.accelerator]
    }

    /// None when the deployment is refused (formats, divisibility), which is an answer too.
    fn ask(&self) -> Option<Estimate> {
        let deployment =
            Deployment { parallelism: self.parallelism, ..Deployment::single(Engine::newest(self.engine)) };
        check_deployment(self.model(), &deployment).ok()?;
        estimate(&Question {
            model: self.model(),
            accelerator: self.accelerator(),
            deployment: &deployment,
            workload: &self.workload,
            kernels: KERNELS[self.accelerator].as_ref(),
            options: &Options::default(),
        })
        .ok()
    }

    fn with(&self, change: impl Fn(&mut Workload)) -> Self {
        let mut other = self.clone();
        change(&mut other.workload);
        other
    }
}

/// Times of a longer prompt, a longer output and a larger batch against those of a case.
fn never_less(case: &Case, more: u64) -> Result<(), String> {
    let Some(answer) = case.ask() else { return Ok(()) };
    // a longer prompt moves the end of another into the next step, where sampling its row may hide behind
    // the launches: sampled rows are 1e-5 of a step of thousands of tokens
    let slack = 1.0 - 1e-4;
    for (what, other) in [
        ("longer prompt", case.with(|w| w.input_len += more)),
        ("longer output", case.with(|w| w.output_len += more)),
        (
            "more requests",
            case.with(|w| {
                w.load = match w.load {
                    Load::StaticBatch(n) => Load::StaticBatch(n + more as u32),
                    other => other,
                }
            }),
        ),
    ] {
        let more = other.ask().expect("the same deployment").latency;
        for (time, before, after) in
            [("prefill", answer.latency.prefill_s, more.prefill_s), ("e2e", answer.latency.e2e_s, more.e2e_s)]
        {
            if after < before * slack {
                return Err(format!("{time}, {what}: {after} < {before}"));
            }
        }
    }
    Ok(())
}

/// Cases in which more work once took less time.
#[test]
fn more_work_took_less_time_once() {
    use EngineKind::{Ideal, Llamacpp, Sglang, Transformers, Trtllm, Vllm};
    for (model, accelerator, engine, [tp, pp, dp], batch, [input, output, more]) in [
        // whole tiles of attention moved from full steps into the rest, behind its longest tile
        ("phi-3-mini-128k-instruct", "b200-sxm", Transformers, [1, 1, 1], 4, [32_786, 64, 22]),
        // a wave of tiles less in every full step
        ("smollm2-360m-instruct", "xeon-6980p", Sglang, [1, 1, 1], 233, [11_824, 1976, 1]),
        ("mistral-7b-instruct-v0.3", "gh200-96", Trtllm, [8, 1, 1], 15, [2215, 3645, 7]),
        ("qwen3-0.6b", "tpu-v4", Sglang, [4, 1, 1], 272, [8, 2994, 3]),
        ("smollm2-1.7b", "gb300", Vllm, [2, 2, 4], 251, [7965, 3650, 16]),
        ("deepseek-v2", "rtx-4080-super", Transformers, [1, 2, 1], 17, [7707, 1561, 12]),
        ("gpt2", "gb200", Transformers, [1, 2, 1], 297, [1, 3803, 4]),
        // prompts beyond the budget sampled once in all
        ("gemma-2b", "gb200", Llamacpp, [8, 2, 1], 249, [511, 1412, 7]),
        ("ernie-4.5-0.3b-pt", "l4", Ideal, [1, 1, 1], 15, [8187, 961, 14]),
        // picked positions were read faster than as many neighbours
        ("glm-5-fp8", "rtx-4090", Vllm, [1, 1, 4], 23, [2048, 339, 16]),
        ("glm-5.2", "rtx-4070-ti", Vllm, [1, 2, 4], 1, [4716, 2098, 8]),
        ("glm-5.2-fp8", "rtx-5070", Vllm, [1, 1, 1], 3, [3382, 924, 28]),
        // queries waited for multiprocessors that a longer context filled
        ("deepseek-v2", "mi300x", Trtllm, [1, 1, 4], 1, [226, 3360, 989]),
        ("deepseek-r1", "l40s", Ideal, [1, 2, 1], 1, [321, 1083, 1748]),
    ] {
        let case = Case {
            model: MODELS.iter().position(|m| m.id == model).expect("a catalog model"),
            accelerator: ACCELERATORS
                .iter()
                .position(|a| a.id == accelerator)
                .expect("a catalog accelerator"),
            engine,
            parallelism: Parallelism { tp, pp, dp, ep: 1 },
            workload: Workload::new(input, output, Load::StaticBatch(batch)),
        };
        assert!(case.ask().is_some(), "{case:?}");
        never_less(&case, more).unwrap_or_else(|e| panic!("{model} on {accelerator}: {e}"));
    }
}

/// Highest peak of any format the accelerator has, in operations per second.
fn best_peak(accelerator: &Accelerator) -> f64 {
    DataType::ALL.iter().filter_map(|d| accelerator.peak(*d)).map(|p| p.0).fold(0.0, f64::max)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn the_catalog_is_there() {
    assert!(MODELS.len() >= 90, "{} models", MODELS.len());
    assert_eq!(ACCELERATORS.len(), 145);
}

/// A thousand cases of each property, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn times_are_positive_and_definitions_are_identities(case in cases()) {
        let Some(answer) = case.ask() else { return Ok(()) };
        let l = &answer.latency;
        let n = case.workload.output_len as f64;
        prop_assert!(l.ttft_s > 0.0 && l.ttft_s.is_finite() && l.e2e_s.is_finite());
        prop_assert!(close(l.e2e_s, l.ttft_s + (n - 1.0) * l.tpot_s), "{l:?}");
        let parts = l.queue_s + l.prefill_s + l.first_token_overhead_s + l.image_s + l.kv_load_s
            + l.network_s + l.cold_start_s;
        prop_assert!(close(l.ttft_s, parts), "{l:?}");
        for (value, interval) in [
            (l.ttft_s, answer.intervals.ttft_s),
            (l.tpot_s, answer.intervals.tpot_s),
            (l.e2e_s, answer.intervals.e2e_s),
        ] {
            prop_assert!(interval.low <= value && value <= interval.high);
        }
    }

    #[test]
    fn lines_sum_to_the_total(case in cases()) {
        let Some(answer) = case.ask() else { return Ok(()) };
        let prefill: f64 = answer.breakdown.prefill.iter().map(|l| l.seconds.0).sum();
        if matches!(case.workload.load, Load::StaticBatch(_) | Load::Concurrency(1)) {
            prop_assert!(close(prefill, answer.latency.prefill_s), "{prefill} {:?}", answer.latency);
        }
        if matches!(case.workload.load, Load::StaticBatch(_) | Load::Concurrency(1)) && case.workload.output_len > 1 {
            let decode: f64 = answer.breakdown.decode.iter().map(|l| l.seconds.0).sum();
            prop_assert!(close(decode, answer.latency.itl_s), "{decode} {:?}", answer.latency);
        }
        for line in answer.breakdown.prefill.iter().chain(&answer.breakdown.decode) {
            prop_assert!(line.seconds.0 >= 0.0 && line.flops.0 >= 0.0 && line.bytes.0 >= 0.0, "{line:?}");
        }
    }

    /// Counted from the parameters alone, without the work room: every token multiplies every active weight.
    #[test]
    fn prefill_never_beats_the_arithmetic_peak(case in cases()) {
        let Some(answer) = case.ask() else { return Ok(()) };
        let parameters = case.model().parameters();
        // tables are looked up, the output projection runs on sampled rows only; text skips cross-attention
        let small = parameters.by_class.get(&TensorClass::Small).copied().unwrap_or(0);
        let skipped = cross_layers(case.model());
        let multiplied = parameters.active.saturating_sub(parameters.embedding + small + skipped) as f64;
        let requests = match case.workload.load { Load::StaticBatch(n) => f64::from(n), _ => 1.0 };
        let flops = 2.0 * multiplied * case.workload.input_len as f64 * requests;
        let floor = flops / best_peak(case.accelerator()) / f64::from(case.parallelism.accelerators());
        prop_assert!(answer.latency.prefill_s >= 0.999 * floor, "{} < {floor}", answer.latency.prefill_s);
        prop_assert!(answer.utilization.prefill_mfu <= 1.0 + 1e-9);
    }

    /// Counted from the parameters alone: a decode step reads every active weight at least once.
    #[test]
    fn decode_never_beats_the_bandwidth(case in cases()) {
        prop_assume!(case.workload.output_len > 1);
        let Some(answer) = case.ask() else { return Ok(()) };
        let parameters = case.model().parameters();
        let checkpoint = &case.model().checkpoint;
        let lightest = checkpoint.quantized.values().map(|d| d.bytes()).fold(2.0, f64::min);
        let tables = parameters.by_class.get(&TensorClass::Embedding).copied().unwrap_or(0)
            + parameters.by_class.get(&TensorClass::Small).copied().unwrap_or(0)
            + cross_layers(case.model());
        let bytes = parameters.active.saturating_sub(tables) as f64 * lightest;
        let bandwidth = case.accelerator().memory_bandwidth().0 * f64::from(case.parallelism.accelerators());
        prop_assert!(answer.latency.itl_s >= 0.999 * bytes / bandwidth);
        prop_assert!(answer.utilization.decode_mbu <= 1.0 + 1e-9);
    }

    #[test]
    fn more_work_never_takes_less_time(case in cases(), more in 1u64..5_000) {
        // longer requests of a loop may meet others in fewer of their steps
        let case = case.with(|w| if let Load::Concurrency(n) = w.load { w.load = Load::StaticBatch(n) });
        never_less(&case, more).map_err(TestCaseError::fail)?;
    }

    /// Where one step more is needed: prompts about whole shares of the token budget, and a little more of each.
    #[test]
    fn nor_where_steps_are_full(
        case in cases(),
        requests in 1u32..40,
        steps in 1u64..20,
        off in -64i64..64,
        more in 1u64..200,
    ) {
        let case = case.with(|w| w.load = Load::StaticBatch(requests));
        let Some(answer) = case.ask() else { return Ok(()) };
        let each = u64::from(requests.div_ceil(case.parallelism.dp));
        let full = steps * u64::from(answer.memory.settings.max_num_batched_tokens) / each;
        let case = case.with(|w| w.input_len = full.saturating_add_signed(off).clamp(1, 40_000));
        never_less(&case, more).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_machine_twice_as_fast_takes_half_the_time(case in cases()) {
        let case = Case { engine: EngineKind::Ideal, parallelism: Parallelism::ONE, ..case };
        let Some(answer) = case.ask() else { return Ok(()) };
        let mut twice = case.accelerator().clone();
        twice.memory_bandwidth_gb_per_s.value *= 2.0;
        for peak in twice.peak_tflops.values_mut() {
            peak.value *= 2.0;
        }
        let faster = estimate(&Question {
            model: case.model(),
            accelerator: &twice,
            deployment: &Deployment::single(Engine::newest(EngineKind::Ideal)),
            workload: &case.workload,
            kernels: None,
            options: &Options::default(),
        }).expect("the same deployment");
        prop_assert!(close(faster.latency.e2e_s * 2.0, answer.latency.e2e_s));
    }
}

/// Parameters of cross-attention layers, which text alone never touches.
fn cross_layers(model: &ModelSpec) -> u64 {
    let d = u64::from(model.hidden_size);
    model
        .layers
        .iter()
        .filter(|g| matches!(g.mixer, foretoken::spec::model::Mixer::Cross { .. }))
        .map(|g| {
            let linears = g.mixer.linears(d).into_iter().chain(g.feed_forward.linears(d));
            u64::from(g.count) * linears.map(|l| l.parameters()).sum::<u64>()
        })
        .sum()
}
