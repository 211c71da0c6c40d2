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
    assert_eq!(ACCELERATORS.len(), 102);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

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
        let Some(answer) = case.ask() else { return Ok(()) };
        // a longer prompt moves the end of another into the next step, where sampling its row may hide behind
        // the launches: sampled rows are 1e-5 of a step of thousands of tokens
        let slack = 1.0 - 1e-4;
        let slower = |other: &Case, what: &str| -> Result<(), TestCaseError> {
            let other = other.ask().expect("the same deployment");
            prop_assert!(other.latency.prefill_s >= answer.latency.prefill_s * slack, "prefill: {what}");
            prop_assert!(other.latency.e2e_s >= answer.latency.e2e_s * slack, "e2e: {what}");
            Ok(())
        };
        slower(&case.with(|w| w.input_len += more), "longer prompt")?;
        slower(&case.with(|w| w.output_len += more), "longer output")?;
        slower(&case.with(|w| w.load = match w.load {
            Load::StaticBatch(n) => Load::StaticBatch(n + more as u32),
            other => other,
        }), "more requests")?;
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
