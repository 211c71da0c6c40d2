//! One file per question. Nothing in this room prints.

mod catalog;
mod cost;
mod estimate;
mod explain;
mod interval;
mod kernels;
mod validate;

pub use catalog::{AcceleratorSummary, ModelSummary, summarise_accelerator, summarise_model};
pub use cost::{Cost, CostInputs};
pub use estimate::{
    Breakdown, Estimate, Estimator, Images, Inputs, Latency, Options, Provenance, Question, Throughput,
    TpotDefinition, Utilization, estimate,
};
pub use explain::{MetricExplanation, ToolDefinition, convert_tpot, explain, metrics, tpot};
pub use interval::{Interval, Intervals};
pub use kernels::Kernels;
pub use validate::{
    Group, KernelChoice, MeasuredRow, MeasuredTable, Metric, Metrics, Quantity, SampleGroup,
    SampleValidation, Skipped, ValidateOptions, Validation, WorstRow, validate, validate_samples,
};
