//! Flags with lists as deployments and workloads.

use super::SweepArgs;
use crate::answer::{Candidate, Kernels};
use crate::cli::lists::List;
use crate::cli::settings::{Degrees, engine};
use crate::spec::catalog::{self, Directories};
use crate::spec::{Accelerator, Load, ModelSpec, Parallelism, SpecError, Workload};

/// An accelerator as `--gpu` names it.
struct Gpu {
    text: String,
    count: Option<u32>,
    accelerator: Accelerator,
    kernels: Option<Kernels>,
}

/// Models and accelerators, each read once.
pub(super) struct Grid {
    models: Vec<ModelSpec>,
    gpus: Vec<Gpu>,
}

impl Grid {
    /// Reads what the flags name. A name that no catalog knows is an error: it is left out of nothing.
    pub(super) fn load(arguments: &SweepArgs, directories: &Directories) -> Result<Self, SpecError> {
        let twice = |flag: &str, name: &str| {
            SpecError::Usage(format!(
                "{flag}: `{name}` is in the list already under another name; give each once"
            ))
        };
        let mut models: Vec<ModelSpec> = vec![];
        for name in arguments.model_names() {
            let model = catalog::model(name, directories)?;
            if models.contains(&model) {
                return Err(twice("MODELS", name));
            }
            models.push(model);
        }
        let mut gpus: Vec<Gpu> = vec![];
        for text in &arguments.gpu.0 {
            let (count, name) = catalog::parse_gpu_count(text)?;
            let accelerator = arguments.settings.accelerator(name, directories)?;
            if gpus.iter().any(|g| g.count == count && g.accelerator.id == accelerator.id) {
                return Err(twice("--gpu", text));
            }
            let kernels = arguments.settings.kernels(&accelerator, directories)?;
            gpus.push(Gpu { text: text.clone(), count, accelerator, kernels });
        }
        Ok(Self { models, gpus })
    }

    /// Deployments: models × accelerators × engines × formats × degrees, the last ones changing fastest.
    pub(super) fn candidates(&self, arguments: &SweepArgs) -> Result<Vec<Candidate<'_>>, SpecError> {
        let mut all = vec![];
        for model in &self.models {
            let mut engines = vec![];
            for text in &arguments.deployments.engine.0 {
                let engine = engine(text, model)?;
                if engines.contains(&engine) {
                    return Err(SpecError::Usage(format!(
                        "--engine: `{text}` is in the list already under another name; give each once"
                    )));
                }
                engines.push(engine);
            }
            for gpu in &self.gpus {
                for engine in &engines {
                    for formats in arguments.deployments.formats() {
                        for degrees in arguments.degrees() {
                            let (parallelism, refused) = match degrees.resolve(&gpu.text, gpu.count) {
                                Ok(parallelism) => (parallelism, None),
                                Err(error) => (as_given(degrees), Some(error.to_string())),
                            };
                            all.push(Candidate {
                                model,
                                accelerator: &gpu.accelerator,
                                kernels: gpu.kernels.as_ref(),
                                deployment: arguments.settings.deployment(*engine, parallelism, formats),
                                refused,
                            });
                        }
                    }
                }
            }
        }
        Ok(all)
    }
}

/// Degrees that contradict each other, to name them.
fn as_given(degrees: Degrees) -> Parallelism {
    let [tp, pp, dp, ep] = [degrees.tp, degrees.pp, degrees.dp, degrees.ep].map(|d| d.unwrap_or(1));
    Parallelism { tp, pp, dp, ep }
}

impl SweepArgs {
    fn model_names(&self) -> &[String] {
        self.models.as_ref().or(self.model_flag.as_ref()).map_or(&[], |list| &list.0)
    }

    /// Loads in the order given; a loop with one request where none is.
    fn loads(&self) -> Vec<Load> {
        let of = |list: &List<u32>, load: fn(u32) -> Load| list.0.iter().copied().map(load).collect();
        match (&self.batch_size, &self.concurrency, &self.request_rate) {
            (Some(list), ..) => of(list, Load::StaticBatch),
            (_, Some(list), _) => of(list, Load::Concurrency),
            (.., Some(list)) => {
                let load = |per_s: &f64| Load::Rate { per_s: *per_s, burstiness: self.burstiness };
                list.0.iter().map(load).collect()
            }
            _ => vec![Load::Concurrency(1)],
        }
    }

    /// Workloads: prefixes × prompts × outputs × loads, the last changing fastest.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        let mut all = vec![];
        for prefix_len in &self.prefix_len.0 {
            for input_len in &self.input_len.0 {
                for output_len in &self.output_len.0 {
                    for load in self.loads() {
                        all.push(Workload {
                            length_ratio_min: self.length_ratio_min,
                            prefix_len: *prefix_len,
                            requests: self.num_prompts,
                            seed: self.seed,
                            ..Workload::new(*input_len, *output_len, load)
                        });
                    }
                }
            }
        }
        all
    }

    fn degrees(&self) -> Vec<Degrees> {
        let lists = &self.deployments;
        let mut all = vec![];
        for num_gpus in List::options(self.num_gpus.as_ref()) {
            for pp in List::options(lists.pipeline_parallel_size.as_ref()) {
                for dp in List::options(lists.data_parallel_size.as_ref()) {
                    for ep in List::options(lists.expert_parallel_size.as_ref()) {
                        for tp in List::options(lists.tensor_parallel_size.as_ref()) {
                            let all_experts = self.enable_expert_parallel;
                            all.push(Degrees { num_gpus, tp, pp, dp, ep, all_experts });
                        }
                    }
                }
            }
        }
        all
    }

    /// Every axis with its number of values.
    pub(super) fn axes(&self) -> [(&'static str, usize); 15] {
        fn of<T>(list: Option<&List<T>>) -> usize {
            list.map_or(1, |l| l.0.len())
        }
        let lists = &self.deployments;
        [
            ("models", self.model_names().len()),
            ("accelerators", self.gpu.0.len()),
            ("numbers of accelerators", of(self.num_gpus.as_ref())),
            ("tp", of(lists.tensor_parallel_size.as_ref())),
            ("pp", of(lists.pipeline_parallel_size.as_ref())),
            ("dp", of(lists.data_parallel_size.as_ref())),
            ("ep", of(lists.expert_parallel_size.as_ref())),
            ("engines", lists.engine.0.len()),
            ("dtypes", lists.dtype.0.len()),
            ("quantisations", lists.quantization.0.len()),
            ("KV cache dtypes", lists.kv_cache_dtype.0.len()),
            ("input lengths", self.input_len.0.len()),
            ("output lengths", self.output_len.0.len()),
            ("prefix lengths", self.prefix_len.0.len()),
            (
                "loads",
                of(self.batch_size.as_ref())
                    .max(of(self.concurrency.as_ref()))
                    .max(of(self.request_rate.as_ref())),
            ),
        ]
    }

    /// Points of the grid.
    pub(super) fn size(&self) -> u128 {
        self.axes().iter().map(|(_, n)| *n as u128).fold(1, u128::saturating_mul)
    }
}
