//! Flags as deployments to choose from.

use std::collections::BTreeMap;

use super::SizeArgs;
use crate::answer::{Candidate, CostInputs, Kernels};
use crate::cli::deployment_lists::DeploymentLists;
use crate::cli::lists::List;
use crate::cli::settings::engine;
use crate::spec::catalog::{self, Directories};
use crate::spec::{Accelerator, Formats, ModelSpec, Parallelism, SpecError, check_deployment};

/// An accelerator to choose.
struct Gpu {
    /// As the flag names it.
    text: String,
    /// How many are at hand.
    count: Option<u32>,
    accelerator: Accelerator,
    kernels: Option<Kernels>,
}

/// Model and accelerators, each read once.
pub(super) struct Space {
    model: ModelSpec,
    gpus: Vec<Gpu>,
}

/// Degrees that are tried where none are given: a server of eight, and two pipeline stages.
const TENSOR: [u32; 4] = [1, 2, 4, 8];
const PIPELINE: [u32; 2] = [1, 2];

impl Space {
    pub(super) fn load(
        arguments: &SizeArgs,
        cost: &CostInputs,
        directories: &Directories,
    ) -> Result<Self, SpecError> {
        let model = catalog::model(arguments.model_name(), directories)?;
        let mut named: Vec<(String, Option<u32>)> = vec![];
        if let Some(list) = &arguments.gpus {
            for text in &list.0 {
                named.push(at_hand(text)?);
            }
        } else if let Some(list) = &arguments.gpu {
            for text in &list.0 {
                let (count, name) = catalog::parse_gpu_count(text)?;
                named.push((name.to_owned(), count));
            }
        } else {
            named.extend(catalog::accelerators(directories)?.into_iter().map(|header| (header.id, None)));
        }
        let chosen = arguments.gpus.is_some() || arguments.gpu.is_some();
        let mut gpus: Vec<Gpu> = vec![];
        for (text, count) in named {
            let accelerator = arguments.settings.accelerator(&text, directories)?;
            if gpus.iter().any(|g| g.accelerator.id == accelerator.id) {
                return Err(SpecError::Usage(format!(
                    "--gpu: `{text}` is in the list already under another name; give each once"
                )));
            }
            // what nobody rents out is no answer to a question that named nothing
            let priced = cost.hourly(&accelerator).is_some();
            if !chosen && !priced && arguments.sort == crate::answer::Objective::Cost {
                continue;
            }
            let kernels = arguments.settings.kernels(&accelerator, directories)?;
            gpus.push(Gpu { text, count, accelerator, kernels });
        }
        Ok(Self { model, gpus })
    }

    /// Accelerators at hand, by id.
    pub(super) fn available(&self) -> Vec<(String, u32)> {
        self.gpus.iter().filter_map(|g| Some((g.accelerator.id.clone(), g.count?))).collect()
    }

    /// What accelerators are called where not by their id: files.
    pub(super) fn names(&self) -> BTreeMap<String, String> {
        let other = self.gpus.iter().filter(|g| g.text != g.accelerator.id);
        other.map(|g| (g.accelerator.id.clone(), g.text.clone())).collect()
    }

    /// Deployments: accelerators × engines × formats × degrees. Those that differ in nothing but the flag (`fp8` for a
    /// checkpoint that is) are taken once.
    pub(super) fn candidates(&self, arguments: &SizeArgs) -> Result<Vec<Candidate<'_>>, SpecError> {
        let mut engines = vec![];
        for text in &arguments.deployments.engine.0 {
            let engine = engine(text, &self.model)?;
            if !engines.contains(&engine) {
                engines.push(engine);
            }
        }
        let all_degrees = self.degrees(&arguments.deployments);
        let mut all = vec![];
        for gpu in &self.gpus {
            for engine in &engines {
                let mut seen: Vec<Formats> = vec![];
                for formats in arguments.deployments.formats() {
                    let of = |p: Parallelism| arguments.settings.deployment(*engine, p, formats);
                    if let Ok(resolved) =
                        Formats::resolve(&self.model, &of(Parallelism::ONE), &gpu.accelerator)
                    {
                        if seen.contains(&resolved) {
                            continue;
                        }
                        seen.push(resolved);
                    }
                    for parallelism in &all_degrees {
                        let deployment = of(*parallelism);
                        let refused = check_deployment(&self.model, &deployment).err().map(|e| e.to_string());
                        all.push(Candidate {
                            model: &self.model,
                            accelerator: &gpu.accelerator,
                            kernels: gpu.kernels.as_ref(),
                            deployment,
                            refused,
                        });
                    }
                }
            }
        }
        Ok(all)
    }

    /// Degrees of parallelism. Given ones are all combined; else tensor and pipeline degrees are, and models with experts add
    /// experts over all ranks, and attention data-parallel over all with them.
    fn degrees(&self, lists: &DeploymentLists) -> Vec<Parallelism> {
        let given = |list: &Option<List<u32>>, usual: &[u32]| {
            list.as_ref().map_or_else(|| usual.to_vec(), |l| l.0.clone())
        };
        let experts = self.model.layers.iter().any(|g| g.feed_forward.experts().0 > 0);
        let free = lists.data_parallel_size.is_none() && lists.expert_parallel_size.is_none();
        let mut all: Vec<Parallelism> = vec![];
        let mut add = |p: Parallelism| {
            if !all.contains(&p) {
                all.push(p);
            }
        };
        for pp in given(&lists.pipeline_parallel_size, &PIPELINE) {
            for tp in given(&lists.tensor_parallel_size, &TENSOR) {
                for dp in given(&lists.data_parallel_size, &[1]) {
                    for ep in given(&lists.expert_parallel_size, &[1]) {
                        add(Parallelism { tp, pp, dp, ep });
                    }
                    if experts && lists.expert_parallel_size.is_none() {
                        add(Parallelism { tp, pp, dp, ep: tp.saturating_mul(dp) });
                    }
                }
                if experts && free {
                    add(Parallelism { tp: 1, pp, dp: tp, ep: tp });
                }
            }
        }
        all
    }
}

/// `h100-sxm:8`.
fn at_hand(text: &str) -> Result<(String, Option<u32>), SpecError> {
    let form =
        || SpecError::Usage(format!("--gpus: `{text}` names no number; write it like h100-sxm:8,l40s:16"));
    let (name, count) = text.rsplit_once(':').ok_or_else(form)?;
    let count: u32 = count.trim().parse().ok().filter(|n| *n > 0).ok_or_else(form)?;
    Ok((name.trim().to_owned(), Some(count)))
}
