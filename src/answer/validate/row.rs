//! One measured run: the question it asks of `estimate`, and the answer beside what was measured.

use serde::Serialize;
use std::path::PathBuf;

use super::asked::{Asked, is_compared};
use super::names::{Known, Stored, engine_of, stored};
use super::recipe::Stated;
use super::{MeasuredRow, Quantity, recipe};
use crate::answer::{Estimate, Interval, Kernels, Options, Question, estimate};
use crate::spec::model::{LayerGroup, Mixer};
use crate::spec::{
    Accelerator, DataType, Deployment, EngineDefaults, Load, ModelSpec, Parallelism, SpecError,
    check_deployment,
};

/// A run that is not compared.
#[derive(Debug)]
pub(super) enum Outcome {
    Compared(Box<ComparedRow>),
    Skipped(String),
}

/// A run compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComparedRow {
    pub id: String,
    pub values: Vec<Compared>,
    /// Model, accelerator, engine and load as understood.
    pub question: String,
    /// As `mode` names it: `static`, `closed_loop` or `open_loop`.
    pub mode: &'static str,
    /// Requests in the batch or in flight; 1 of an open loop.
    pub batch: u32,
    /// Values of the columns grouped by.
    pub group: Vec<String>,
    /// Engine version that the row does not name, and why it was taken.
    pub assumed: Option<String>,
    /// Checkpoint taken for the row's weight format.
    pub checkpoint: Option<String>,
    /// The row may be validated against and not passed on.
    pub private: bool,
}

/// One quantity of one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Compared {
    #[serde(skip)]
    pub quantity: Quantity,
    /// SI units.
    pub measured: f64,
    /// SI units.
    pub predicted: f64,
    /// 80 % interval of the prediction.
    pub interval: Interval,
    /// What AIConfigurator predicted of the run, where the file says it (`peer_aic_ttft_ms`, …), in SI units.
    #[serde(skip)]
    pub peer: Option<f64>,
}

/// A run as a question, with what it measured.
pub(super) struct Asking<'a> {
    pub model: &'a ModelSpec,
    pub accelerator: &'a Accelerator,
    pub kernels: Option<&'a Kernels>,
    pub deployment: Deployment,
    pub asked: Asked,
    /// In SI units.
    pub measured: Vec<(Quantity, f64)>,
    /// Engine version that the row does not name, and why it was taken.
    pub assumed: Option<String>,
    /// Checkpoint taken for the row's weight format, where it is another than the model named.
    pub checkpoint: Option<String>,
    /// The model named.
    pub family: &'a str,
    /// All its requests have one prompt.
    pub one_prompt: bool,
}

impl<'a> Asking<'a> {
    /// Reads a run; the inner error is why it is skipped.
    ///
    /// # Errors
    /// When a cell holds what its column cannot.
    pub(super) fn of(row: MeasuredRow<'_>, known: &'a Known) -> Result<Result<Self, String>, SpecError> {
        if !is_compared(row.text("mode")) {
            return Ok(Err(format!(
                "mode `{}`: static, closed_loop and open_loop are compared",
                row.text("mode")
            )));
        }
        if !row.text("flag").is_empty() {
            return Ok(Err(format!("flagged: {}", row.text("flag"))));
        }
        let asked = Asked::of(row)?;
        let parallelism = Parallelism {
            tp: row.whole("tp", 1)?.unwrap_or(1),
            pp: row.whole("pp", 1)?.unwrap_or(1),
            dp: row.whole("dp", 1)?.unwrap_or(1),
            ep: row.whole("ep", 1)?.unwrap_or(1),
        };
        let given = row.whole("num_gpus", 1)?.unwrap_or(parallelism.accelerators());
        if given != parallelism.accelerators() {
            let Parallelism { tp, pp, dp, .. } = parallelism;
            return Ok(Err(format!("num_gpus {given} is not tp {tp} × pp {pp} × dp {dp}")));
        }
        let stated = Stated::of(row)?;
        let mut measured = vec![];
        for quantity in Quantity::ALL {
            for column in quantity.columns() {
                if let Some(value) = row.positive(column)? {
                    measured.push((quantity, value * quantity.scale()));
                    break;
                }
            }
        }
        if let Ok(asked) = &asked {
            measured.extend(end_to_end(asked, &measured));
        }
        Ok(Self::resolve(row, known, asked, parallelism, &stated, measured))
    }

    fn resolve(
        row: MeasuredRow<'_>,
        known: &'a Known,
        asked: Result<Asked, String>,
        parallelism: Parallelism,
        stated: &Stated,
        mut measured: Vec<(Quantity, f64)>,
    ) -> Result<Self, String> {
        let (engine, assumed) = engine_of(row)?;
        let base = known.model(row.text("model"))?;
        let (accelerator, kernels) = known.device(row.text("gpu"))?;
        let mut asked = asked?;
        let own = known.checkpoint(row);
        let model = own.unwrap_or(base);
        let stored = match own {
            Some(_) => Stored { data_type: None, quantization: None },
            None => stored(row, engine.kind, model)?,
        };
        let checkpoint = match (own, stored.quantization) {
            (Some(own), _) => Some(format!("{}: published checkpoint in that format", own.id)),
            (None, Some(DataType::Fp8Block)) => {
                Some(format!("{} in FP8 blocks of 128 × 128, as its family's own FP8 checkpoints", base.id))
            }
            _ => None,
        };
        let kv_cache_data_type = match row.text("kv_cache_dtype") {
            "" | "auto" => None,
            text => Some(text.parse().map_err(|_| format!("kv_cache_dtype `{text}` is not known"))?),
        };
        let mut deployment = Deployment {
            parallelism,
            data_type: stored.data_type,
            quantization: stored.quantization,
            kv_cache_data_type,
            ..Deployment::single(engine)
        };
        recipe::apply(row, &base.id, &asked.workload, &mut deployment);
        stated.apply(&asked.workload, &mut deployment)?;
        asked.cache_repeats(&EngineDefaults::resolve(model, accelerator, &deployment));
        check_deployment(model, &deployment).map_err(|e| format!("refused: {e}"))?;
        keep_own_measurements(row, &asked, &mut measured);
        if measured.is_empty() {
            return Err("nothing measured that is predicted".into());
        }
        Ok(Self {
            model,
            accelerator,
            kernels: kernels.as_ref(),
            deployment,
            asked,
            measured,
            assumed,
            checkpoint,
            family: &base.id,
            one_prompt: recipe::repeats_one_prompt(row),
        })
    }

    /// What is to be said of it beside the deployment and the load, with directories of engine terms.
    pub(super) fn options(&self, engines: &[PathBuf]) -> Options {
        let same_requests = if self.one_prompt { self.asked.batch } else { 1 };
        Options { engines: engines.to_vec(), same_requests, ..Options::default() }
    }

    /// The question.
    pub(super) fn question<'b>(&'b self, options: &'b Options) -> Question<'b> {
        Question {
            model: self.model,
            accelerator: self.accelerator,
            deployment: &self.deployment,
            workload: &self.asked.workload,
            kernels: self.kernels,
            options,
        }
    }
}

/// Predicts one run.
///
/// # Errors
/// When a cell holds what its column cannot.
pub(super) fn compare(row: MeasuredRow<'_>, known: &Known, by: &[String]) -> Result<Outcome, SpecError> {
    let asking = match Asking::of(row, known)? {
        Ok(asking) => asking,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let options = asking.options(&known.engines);
    let answer = match estimate(&asking.question(&options)) {
        Ok(answer) => answer,
        Err(e) => return Ok(Outcome::Skipped(format!("refused: {e}"))),
    };
    let asked = &asking.asked;
    let mut values = vec![];
    for (quantity, measured) in &asking.measured {
        let (predicted, interval) = quantity.predicted(&answer, asked);
        let peer = row.positive(&format!("peer_aic_{}", quantity.column()))?.map(|p| p * quantity.scale());
        values.push(Compared { quantity: *quantity, measured: *measured, predicted, interval, peer });
    }
    let group = by.iter().map(|column| group_value(column, row, asking.model, &answer)).collect();
    Ok(Outcome::Compared(Box::new(ComparedRow {
        id: row.id(),
        values,
        mode: match asked.workload.load {
            Load::StaticBatch(_) => "static",
            Load::Concurrency(_) => "closed_loop",
            Load::Rate { .. } => "open_loop",
        },
        batch: asked.batch,
        question: described(&answer, asked),
        group,
        assumed: asking.assumed.clone(),
        checkpoint: asking.checkpoint.clone(),
        private: !row.text("licence_note").is_empty(),
    })))
}

/// E2E = TTFT + (N − 1)·TPOT of a loop whose file has the parts only, with the mean N.
fn end_to_end(asked: &Asked, measured: &[(Quantity, f64)]) -> Option<(Quantity, f64)> {
    let get = |wanted| measured.iter().find(|(q, _)| *q == wanted).map(|m| m.1);
    if matches!(asked.workload.load, Load::StaticBatch(_)) || get(Quantity::E2e).is_some() {
        return None;
    }
    let output = asked.workload.at_mean().output_len as f64;
    Some((Quantity::E2e, get(Quantity::Ttft)? + (output - 1.0) * get(Quantity::Tpot)?))
}

/// Drops what a row repeats or what its run has not got: rates of a prompt or of decoding alone are no
/// rates of whole requests. An `output_tok_s` that counts prompts too is cut to generated tokens.
fn keep_own_measurements(row: MeasuredRow<'_>, asked: &Asked, measured: &mut Vec<(Quantity, f64)>) {
    let get = |measured: &[(Quantity, f64)], wanted| measured.iter().find(|(q, _)| *q == wanted).map(|m| m.1);
    let decoding_alone = get(measured, Quantity::DecodeRate);
    measured.retain(|(quantity, value)| match quantity {
        // rates of a batch's prefill and decoding, and spreads over the requests of a loop
        Quantity::PrefillRate | Quantity::DecodeRate if asked.is_open() => false,
        q if q.is_tail() => matches!(asked.workload.load, Load::Concurrency(2..) | Load::Rate { .. }),
        Quantity::Tpot | Quantity::DecodeRate => asked.generated > 1,
        Quantity::OutputRate => asked.generated > 0 && decoding_alone != Some(*value),
        Quantity::Ttft | Quantity::PrefillRate => row.text("input_len") != "0",
        _ => true,
    });
    let e2e = get(measured, Quantity::E2e);
    let w = &asked.workload;
    let both = (w.input_len + w.output_len) as f64 * f64::from(asked.batch);
    for (quantity, value) in measured {
        if let (Quantity::OutputRate, Some(e2e)) = (*quantity, e2e)
            && !asked.is_open()
            && (*value * e2e / both - 1.0).abs() < 0.02
        {
            *value *= w.output_len as f64 / (w.input_len + w.output_len) as f64;
        }
    }
}

/// The value that a row is grouped by: names as the catalogs have them, `kind` of model, `room` (whether
/// the KV pool holds the whole batch), anything else as the file has it.
fn group_value(column: &str, row: MeasuredRow<'_>, model: &ModelSpec, answer: &Estimate) -> String {
    match column {
        "engine" => answer.inputs.layout.engine.split('@').next().unwrap_or_default().to_owned(),
        "model" => answer.inputs.layout.model.clone(),
        "gpu" => answer.inputs.layout.gpu.clone(),
        "room" => {
            let m = &answer.memory;
            let needed = (answer.inputs.input_len + answer.inputs.output_len)
                * u64::from(answer.inputs.batch_size.or(answer.inputs.concurrency).unwrap_or(1))
                / u64::from(answer.inputs.layout.data_parallel_size.max(1));
            match (m.fits, needed <= m.kv_cache_tokens) {
                (false, _) => "does not fit",
                (true, true) => "fits",
                (true, false) => "queues",
            }
            .to_owned()
        }
        "kind" => kind(model).to_owned(),
        "batch" => row.text("concurrency").to_owned(),
        other => row.text(other).to_owned(),
    }
}

/// What of a model decides which kernels run: latent attention, else routed experts, else neither.
fn kind(model: &ModelSpec) -> &'static str {
    let latent = |g: &LayerGroup| matches!(g.mixer, Mixer::Latent { .. } | Mixer::Compressed { .. });
    if model.layers.iter().any(latent) {
        "mla"
    } else if model.layers.iter().any(|g| g.feed_forward.experts().0 > 0) {
        "moe"
    } else {
        "dense"
    }
}

fn described(answer: &Estimate, asked: &Asked) -> String {
    let i = &answer.inputs;
    let mut text = format!("{} on {}× {}", i.layout.model, i.layout.num_gpus, i.layout.gpu);
    for (name, degree) in [
        ("tp", i.layout.tensor_parallel_size),
        ("pp", i.layout.pipeline_parallel_size),
        ("dp", i.layout.data_parallel_size),
    ] {
        if degree > 1 {
            text.push_str(&format!(" {name}{degree}"));
        }
    }
    let load = match asked.workload.load {
        Load::Rate { per_s, .. } => format!("{per_s} requests/s"),
        _ => format!("batch {}", asked.batch),
    };
    let prefix = if i.prefix_len > 0 { format!(" after {} cached", i.prefix_len) } else { String::new() };
    format!(
        "{text}, {}, {}, {load}, {} in{prefix}, {} out",
        i.layout.engine,
        i.layout.weight_dtype,
        i.input_len - i.prefix_len,
        asked.generated
    )
}
