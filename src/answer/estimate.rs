//! `estimate`: latency, throughput and cost of one deployment under a static batch or a closed loop.

mod capacity;
mod estimator;
mod inputs;
mod latency;
mod loop_description;
mod loops;
mod prepared;
mod provenance;
mod question;
mod regime;

use serde::Serialize;

use super::cost::{Cost, Paid, Spent};
use super::energy::Energy;
use super::interval::{Interval, Intervals};
use super::speculation::{SpeculationUse, refuse_static};
use crate::memory::{MemoryError, MemoryReport, occupancy};
use crate::spec::{Formats, Load, SpecError, Workload};
use crate::time::Line;
use capacity::capacity_warning;
use inputs::{check_workload, inputs, resolve_images};
use loops::is_alone;

pub(super) use capacity::waves;
pub use estimator::{Counted, Estimator};
pub use inputs::Inputs;
pub use latency::Latency;
pub(super) use loop_description::{Described, described};
pub(super) use loops::outcome_warnings;
pub(super) use loops::service as loop_service;
pub use loops::traffic;
pub(super) use prepared::{Figures, Prepared};
pub use provenance::{DefaultKernels, Provenance};
pub use question::{Images, Options, Question, TpotDefinition};
pub(super) use regime::Course;

/// Rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// Generated tokens per second, all requests.
    pub output_tokens_per_s: f64,
    /// Prompt and generated tokens per second.
    pub total_tokens_per_s: f64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Generated tokens per second and accelerator.
    pub output_tokens_per_s_per_gpu: f64,
    /// Generated tokens per second that one user sees: 1 / TPOT.
    pub output_tokens_per_s_per_user: f64,
    /// Prompt tokens over prefill time.
    pub prefill_tokens_per_s: f64,
}

/// Shares of the hardware's limits that are used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Utilization {
    /// Model FLOPs utilisation of prefill: Σ FLOPs/peak over the time.
    pub prefill_mfu: f64,
    /// Memory-bandwidth utilisation of decode: bytes over time and peak bandwidth.
    pub decode_mbu: f64,
    /// What most of the prefill time waits for.
    pub prefill_bottleneck: &'static str,
    /// What most of the decode time waits for.
    pub decode_bottleneck: &'static str,
}

/// Lines of both phases; each list sums to its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breakdown {
    /// Prefill of the whole batch.
    pub prefill: Vec<Line>,
    /// One decode step at the mean context.
    pub decode: Vec<Line>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The question as it was understood.
    pub inputs: Inputs,
    /// Latencies in seconds.
    pub latency: Latency,
    /// 80 % intervals.
    pub intervals: Intervals,
    /// Rates.
    pub throughput: Throughput,
    /// Utilisation.
    pub utilization: Utilization,
    /// Cost, where a price is known.
    pub cost: Option<Cost>,
    /// Energy, where power was measured or the datasheet names it.
    pub energy: Option<Energy>,
    /// Lines.
    pub breakdown: Breakdown,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Where the memory of one accelerator goes.
    pub memory: MemoryReport,
    /// Speculative decoding, where it was asked for; memory, breakdown and utilisation are those of the model without drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<SpeculationUse>,
    /// What to know before using them.
    pub warnings: Vec<String>,
    /// What a request takes of the deployment, for costs at other prices.
    #[serde(skip)]
    pub(in crate::answer) paid: Paid,
}

/// 90 % quantile of the normal distribution: an end of an 80 % interval.
const Z: f64 = 1.281_552;

impl Estimate {
    /// 80 % interval of the generated tokens per second.
    ///
    /// With n requests in flight they are n·N/E2E (Little's law), so that the ends are those of E2E turned over. An open loop
    /// gives what arrives: N·rate, which a run of as many requests meets up to z/√requests at gaps of a Poisson process, and
    /// no less than the slower decode allows where it is saturated.
    #[must_use]
    pub fn output_rate_interval(&self) -> Interval {
        let (rate, l) = (self.throughput.output_tokens_per_s, &self.latency);
        let ends =
            |time: f64, i: &Interval| Interval { low: rate * time / i.high, high: rate * time / i.low };
        match (self.inputs.request_rate_per_s, self.inputs.num_prompts) {
            (Some(_), requests) => {
                let arrivals = Z / (requests.unwrap_or(1).max(1) as f64).sqrt();
                let decode = if l.tpot_s > 0.0 {
                    ends(l.tpot_s, &self.intervals.tpot_s)
                } else {
                    ends(l.e2e_s, &self.intervals.e2e_s)
                };
                Interval { low: decode.low.min(rate * (1.0 - arrivals)), high: rate * (1.0 + arrivals) }
            }
            (None, _) => ends(l.e2e_s, &self.intervals.e2e_s),
        }
    }
}

/// Answers one question.
///
/// # Errors
/// When the deployment cannot run the model (formats, parallelism) or a value makes no sense.
pub fn estimate(question: &Question<'_>) -> Result<Estimate, MemoryError> {
    Ok(answered(question)?.0)
}

/// What stands for the load of an estimate: a deployment ready to be asked further.
pub(in crate::answer) struct Stand {
    pub estimator: Estimator,
    /// One prompt, and a decode step with the mean number of rows.
    pub shown: Workload,
    /// In how many waves a static batch decodes.
    pub waves: f64,
}

/// The same, with the deployment that gave it.
///
/// # Errors
/// As [`estimate`].
pub(in crate::answer) fn answered(question: &Question<'_>) -> Result<(Estimate, Stand), MemoryError> {
    let Question { model, accelerator, deployment, options, .. } = *question;
    let asked = &resolve_images(question)?;
    if options.overrides.low_rank == Some(0) {
        return Err(SpecError::Usage("--low-rank must be at least 1".into()).into());
    }
    let workload = &asked.at_mean();
    check_workload(workload)?;
    let speculates = options.speculation.is_some();
    if speculates {
        refuse_static(workload.load)?;
    }
    let formats = Formats::resolve(model, deployment, accelerator)?;
    let estimator = Estimator::new(question, &formats)?;
    let memory = occupancy(model, accelerator, deployment)?;
    let simulated = if is_alone(asked) && !speculates {
        None
    } else {
        Some(loops::simulated(question, asked, &estimator, &memory)?)
    };
    let rows = match (&simulated, workload.load) {
        (Some(simulated), _) => simulated.rows,
        (None, Load::StaticBatch(n) | Load::Concurrency(n)) => f64::from(n),
        (None, Load::Rate { .. }) => 1.0,
    };
    let shown = match simulated {
        Some(_) => Workload { load: Load::Concurrency(rows.round().max(1.0) as u32), ..*workload },
        None => *workload,
    };
    let waves = waves(&shown, &memory, deployment);
    let mut latency = match &simulated {
        Some(simulated) => simulated.latency,
        None => estimator.latency_in_waves(workload, waves, &mut vec![]),
    };
    latency.add_extras(&estimator, workload, options, model, &formats);
    let lengths = [workload.input_len as f64, workload.output_len as f64];
    let gpus = deployment.parallelism.accelerators();
    let breakdown = estimator.breakdown(&shown, waves);
    let course = simulated.as_ref().map_or(Course::Batch, |s| s.course);
    let (regime, kernel_shares) = regime::regime(question, &estimator, &shown, waves, &latency, course);
    let mut warnings = model.warnings.clone();
    warnings.extend(formats.warnings.iter().cloned());
    warnings.extend(estimator.engine_warning().map(str::to_owned));
    match &simulated {
        None => {
            let rows = rows / f64::from(deployment.parallelism.dp);
            warnings.extend(capacity_warning(&memory, workload, rows, waves));
        }
        Some(simulated) => {
            if !memory.fits {
                warnings.extend(capacity_warning(&memory, workload, 0.0, waves));
            }
            warnings.extend(simulated.warnings.iter().cloned());
            if asked.length_ratio_min >= 1.0 && matches!(asked.load, Load::Concurrency(_)) {
                warnings.push(
                    "equal lengths march in step and queue for each other: real lengths are spread, \
                     try --length-ratio-min 0.8"
                        .into(),
                );
            }
        }
    }
    if workload.input_len + workload.output_len > model.max_position_embeddings.unwrap_or(u64::MAX) {
        warnings.push(format!(
            "input + output = {} tokens exceed the model's {} positions",
            workload.input_len + workload.output_len,
            model.max_position_embeddings.unwrap_or(0)
        ));
    }
    let price = options.cost.hourly(accelerator);
    warnings.extend(price.as_ref().and_then(|p| p.unused(gpus)));
    let paid = match &simulated {
        Some(simulated) => Paid { lengths: simulated.lengths, spent: simulated.spent(&latency) },
        None => Paid { lengths, spent: Spent::of_batch(&latency, rows, lengths[1]) },
    };
    let reported = latency.redefined(options.tpot_definition, workload.output_len);
    let intervals = regime.intervals(reported.ttft_s, reported.tpot_s, reported.e2e_s);
    let answer = Estimate {
        inputs: inputs(question, asked, &formats, &estimator),
        memory,
        speculation: simulated.as_ref().and_then(|s| s.speculation.clone()),
        throughput: match &simulated {
            Some(simulated) => simulated.throughput(gpus, workload.prefix_len),
            None => throughput(&latency, rows, lengths, gpus, workload),
        },
        utilization: estimator.utilization(&shown, waves, &breakdown),
        energy: {
            let measured = question.kernels.and_then(|k| k.calibration.measured.as_ref());
            let measured = measured.and_then(|m| m.energy.as_ref());
            let phases = estimator.phases(&shown, waves);
            let (phases, idle_s) = match &simulated {
                Some(simulated) => (simulated.ran.phases(phases), simulated.ran.idle_s),
                None => (phases, 0.0),
            };
            Energy::of(accelerator, measured, gpus, phases, idle_s, options.cost.electricity_usd_per_kwh)
        },
        cost: price.map(|p| Cost::of(&p, options.cost.duty(), gpus, paid)),
        paid,
        breakdown,
        provenance: provenance::provenance(question, &estimator, &kernel_shares),
        intervals,
        latency: reported,
        warnings,
    };
    Ok((answer, Stand { estimator, shown, waves }))
}

fn throughput(
    latency: &Latency,
    rows: f64,
    [input, output]: [f64; 2],
    gpus: u32,
    workload: &Workload,
) -> Throughput {
    // Little: requests in flight over the time that each stays
    let requests = rows / latency.e2e_s;
    let new_tokens = input - workload.prefix_len as f64;
    let prefilled = match workload.load {
        Load::StaticBatch(n) => f64::from(n) * new_tokens,
        Load::Concurrency(_) | Load::Rate { .. } => new_tokens,
    };
    Throughput {
        output_tokens_per_s: requests * output,
        total_tokens_per_s: requests * (input + output),
        requests_per_s: requests,
        output_tokens_per_s_per_gpu: requests * output / f64::from(gpus),
        output_tokens_per_s_per_user: if latency.tpot_s > 0.0 { 1.0 / latency.tpot_s } else { 0.0 },
        prefill_tokens_per_s: prefilled / latency.prefill_s,
    }
}
