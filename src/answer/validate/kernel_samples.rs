//! Results of one engine as samples for the fit of its kernel times.

use std::collections::BTreeMap;

use super::names::Known;
use super::row::Asking;
use super::{KernelChoice, MeasuredRow, MeasuredTable, Quantity, Skipped};
use crate::answer::Options;
use crate::answer::estimate::{Counted, Estimator};
use crate::calibrate::matvec::{Phase, Sample};
use crate::spec::catalog::Directories;
use crate::spec::{EngineKind, Formats, SpecError};
use crate::time::Device;
use crate::time::forms::matvec::Setting;
use crate::work::Shape;

/// Prefills and decode steps that llama.cpp rows of static batches measured, with what they run.
/// A run that reports both gives two samples.
///
/// # Errors
/// When a cell holds what its column cannot.
pub fn kernel_samples(
    tables: &[MeasuredTable],
    directories: &Directories,
) -> Result<(Vec<Sample>, Vec<Skipped>), SpecError> {
    let rows: Vec<MeasuredRow<'_>> = tables.iter().flat_map(MeasuredTable::rows).collect();
    let known = Known::of(rows.iter().copied(), &KernelChoice::Defaults, directories)?;
    let mut samples = vec![];
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        match Asking::of(row, &known)?.and_then(|run| of_run(&run)) {
            Ok(found) => samples.extend(found),
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    let mut skipped: Vec<Skipped> =
        reasons.into_iter().map(|(reason, count)| Skipped { reason, count }).collect();
    skipped.sort_by_key(|s| std::cmp::Reverse(s.count));
    Ok((samples, skipped))
}

fn of_run(run: &Asking<'_>) -> Result<Vec<Sample>, String> {
    if run.deployment.engine.kind != EngineKind::Llamacpp {
        return Err("not a run of llama.cpp".into());
    }
    let refused = |e: SpecError| format!("refused: {e}");
    let options = Options::default();
    let formats = Formats::resolve(run.model, &run.deployment, run.accelerator).map_err(refused)?;
    let estimator = Estimator::new(&run.question(&options), &formats).map_err(refused)?;
    let device = Device::new(run.accelerator).map_err(|e| e.to_string())?;
    let [prefill, decode] = estimator.counted(&run.asked.workload);
    let measured = |wanted| run.measured.iter().find(|(q, _)| *q == wanted).map(|(_, value)| *value);
    let sample = |phase, Counted { operators, host_s }: Counted, seconds| Sample {
        phase,
        gpu: run.accelerator.id.clone(),
        architecture: run.accelerator.architecture.clone(),
        model: run.model.id.clone(),
        setting: Setting {
            flash: run.deployment.engine.flash_attention(),
            split: run.deployment.parallelism.accelerators() > 1,
        },
        hardware: device.hardware().clone(),
        operators,
        host_s,
        seconds,
    };
    let recurrent = |counted: &Counted| {
        counted.operators.iter().any(|(_, o)| matches!(o.shape, Shape::Recurrent { .. } | Shape::Indexer))
    };
    if recurrent(&decode) {
        return Err("recurrent or sparse layers: no form of these kernels".into());
    }
    let mut found = vec![];
    let w = &run.asked.workload;
    let prompt = (w.input_len - w.prefix_len) as f64 * f64::from(run.asked.batch);
    let prefilled = measured(Quantity::Ttft).or(measured(Quantity::PrefillRate).map(|rate| prompt / rate));
    if let Some(seconds) = prefilled {
        found.push((Phase::Prefill, prefill, seconds));
    }
    if let Some(seconds) = measured(Quantity::Tpot) {
        found.push((Phase::Decode, decode, seconds));
    }
    if found.is_empty() {
        return Err("neither a prefill nor a decode step was timed".into());
    }
    let default = |counted: &Counted| -> f64 {
        let other = counted.operators.iter().filter(|(_, o)| !Sample::is_fitted(o, device.hardware()));
        other.map(|(times, o)| times * device.seconds(o).0).sum()
    };
    Ok(found
        .into_iter()
        .map(|(phase, mut counted, seconds)| {
            // what no form of these kernels covers takes its default time
            counted.host_s += default(&counted);
            counted.operators.retain(|(_, o)| Sample::is_fitted(o, device.hardware()));
            sample(phase, counted, seconds)
        })
        .collect())
}
