//! A deployment made ready once and asked for many workloads: what a sweep asks.

use super::loops::{self, is_alone};
use super::{Estimator, Latency, Question, Throughput, check_workload, throughput, waves};
use crate::answer::cost::{HourlyPrice, Paid, Spent, usd_per_million_tokens};
use crate::answer::speculation::refuse_static;
use crate::memory::{MemoryError, MemoryReport, occupancy};
use crate::spec::{Formats, Load, SpecError, Workload};
use crate::work::Operator;

/// Model, accelerator and deployment, with all that does not depend on the workload.
pub(in crate::answer) struct Prepared<'a> {
    question: Question<'a>,
    estimator: Estimator,
    pub formats: Formats,
    pub memory: MemoryReport,
    /// Price of an accelerator-hour, where one is known.
    pub price: Option<HourlyPrice>,
}

/// The numbers of [`super::Estimate`] that follow from the workload alone.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::answer) struct Figures {
    pub latency: Latency,
    pub throughput: Throughput,
    /// US dollars per million prompt and generated tokens, where a price is known.
    pub usd_per_million_tokens: Option<[f64; 2]>,
    /// In how many waves a static batch decodes.
    pub waves: f64,
}

impl<'a> Prepared<'a> {
    /// Everything but the workload of a question.
    ///
    /// # Errors
    /// When the deployment cannot run the model.
    pub(in crate::answer) fn new(question: &Question<'a>) -> Result<Self, MemoryError> {
        let Question { model, accelerator, deployment, .. } = *question;
        let formats = Formats::resolve(model, deployment, accelerator)?;
        let estimator = Estimator::new(question, &formats)?;
        let memory = occupancy(model, accelerator, deployment)?;
        let price = question.options.cost.hourly(accelerator);
        Ok(Self { question: *question, estimator, formats, memory, price })
    }

    /// What [`super::estimate`] answers for a workload without images, by the same functions. `scratch` is reused between
    /// calls.
    ///
    /// # Errors
    /// When a value of the workload makes no sense.
    pub(in crate::answer) fn figures(
        &self,
        asked: &Workload,
        scratch: &mut Vec<Operator>,
    ) -> Result<Figures, MemoryError> {
        let question = Question { workload: asked, ..self.question };
        let Question { model, deployment, options, .. } = question;
        let workload = asked.at_mean();
        check_workload(&workload)?;
        self.check_length(asked)?;
        let speculates = options.speculation.is_some();
        if speculates {
            refuse_static(workload.load)?;
        }
        let gpus = deployment.parallelism.accelerators();
        let lengths = [workload.input_len as f64, workload.output_len as f64];
        let extras = |mut latency: Latency| {
            latency.add_extras(&self.estimator, &workload, options, model, &self.formats);
            latency
        };
        let (latency, throughput, paid, waves) = if is_alone(asked) && !speculates {
            let rows = match workload.load {
                Load::StaticBatch(n) | Load::Concurrency(n) => f64::from(n),
                Load::Rate { .. } => 1.0,
            };
            let waves = waves(&workload, &self.memory, deployment);
            let latency = extras(self.estimator.latency_in_waves(&workload, waves, scratch));
            let paid = Paid { lengths, spent: Spent::of_batch(&latency, rows, lengths[1]) };
            (latency, throughput(&latency, rows, lengths, gpus, &workload), paid, waves)
        } else {
            let run = loops::simulated(&question, asked, &self.estimator, &self.memory)?;
            let latency = extras(run.latency);
            (
                latency,
                run.throughput(gpus, workload.prefix_len),
                Paid { lengths: run.lengths, spent: run.spent(&latency) },
                1.0,
            )
        };
        let price = self.price.as_ref();
        let usd_per_million_tokens =
            price.map(|p| usd_per_million_tokens(p, options.cost.duty(), gpus, paid));
        Ok(Figures { latency, throughput, usd_per_million_tokens, waves })
    }

    /// The longest request of a workload is one that the engine takes.
    fn check_length(&self, asked: &Workload) -> Result<(), SpecError> {
        let (longest, most) = (asked.input_len + asked.output_len, self.memory.settings.max_model_len);
        if longest <= most {
            return Ok(());
        }
        Err(SpecError::Usage(format!(
            "input + output exceed the {most} tokens of the longest request (--max-model-len)"
        )))
    }
}
