//! One file per question. Nothing in this room prints.

mod accuracy;
pub mod calibrated;
mod catalog;
mod check;
mod cost;
mod curves;
mod doctor;
mod energy;
mod engines;
mod estimate;
mod explain;
mod interval;
mod kernels;
mod layout;
mod logged;
mod roofline;
mod service;
mod simulate;
mod size;
mod speculation;
mod sweep;
mod transfer;
mod validate;

pub use accuracy::{Accuracy, AccuracyQuestion, OperatorAccuracy, accuracy, operators};
pub use catalog::{AcceleratorSummary, ModelSummary, summarise_accelerator, summarise_model};
pub use check::{Cause, Check, Figures, Impossible, Judged, Measure, Verdict, check};
pub use cost::{
    ApiPrice, Assumption, Basis, BreakEven, Compared, Cost, CostAnswer, CostInputs, CostQuestion, Crossing,
    Day, HOURS_PER_MONTH, HourlyPrice, Job, JobCost, JobDone, OLD_DAYS, Ownership, PricePart, Situation,
    SituationCost, SituationKind, Volume, cost,
};
pub use curves::{
    CurveLatency, CurvePoint, Curves, LimitedBy, LoadKind, LoadLimit, MemoryCurve, Pictured, memory_curve,
    pictured,
};
pub use doctor::{BenchmarkFacts, Doctor, DriverFacts, GpuFacts, doctor};
pub use energy::Energy;
pub use engines::{EngineChoice, engine_file};
pub use estimate::{
    Breakdown, DefaultKernels, Estimate, Estimator, Images, Inputs, Latency, Options, Provenance, Question,
    Throughput, TpotDefinition, Utilization, estimate, traffic,
};
pub use explain::{MetricExplanation, ToolDefinition, convert_tpot, explain, metrics, tpot};
pub use interval::{Interval, Intervals};
pub use kernels::Kernels;
pub use layout::Layout;
pub use logged::{Logged, logged};
pub use roofline::{Roofline, RooflinePoint};
pub use service::Service;
pub use simulate::{
    Demand, Disaggregation, Distributions, Fluidity, Goodput, KvLink, KvTier, Latencies, LinkUse, LoadCurve,
    LoadCurvePoint, PoolUse, Rates, Saturation, SessionUse, Simulation, SplitQuestion, SplitRate, Usage,
    load_curve, load_of, simulate,
};
pub use size::{
    Advice, Arrangement, ArrangementRate, Comparison, Constraints, DayProfile, EngineFlag, Mistake, NearMiss,
    Objective, Obstacle, Rejected, Searched, Size, SizeCandidate, SizeInputs, SizeLoad, SizeQuestion, size,
};
pub use speculation::{Draft, SpeculationOptions, SpeculationUse};
pub use sweep::{
    Candidate, Crossover, Fleet, LeftOut, LeftOutPoint, Reason, Sweep, SweepPoint, SweepQuestion, sweep,
};
pub use transfer::{TRANSFER_HEADER, Transfer, embedded_transfers, leave_one_out};
pub use validate::kernel_samples;
pub use validate::{
    ACCURACY_HEADER, Assumed, Beside, Book, Case, EngineFit, Group, KernelChoice, MeasuredRow, MeasuredTable,
    Metric, Metrics, OLD_STACKS, PointError, PointsFit, Quantity, RunFit, SampleGroup, SampleValidation,
    Skipped, Taken, ValidateOptions, Validation, WorstRow, accuracy_book, fit_engine, fit_points, validate,
    validate_samples,
};
