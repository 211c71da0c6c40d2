//! A static batch as operators, for fits of kernel times to results.

use super::Estimator;
use crate::spec::Workload;
use crate::work::{DecodeRows, Operator, Plan, Step};

/// Operators with how often each counts, and the engine's own seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted {
    /// Operators; `repeat` of one execution counts already.
    pub operators: Vec<(f64, Operator)>,
    /// Host seconds of the engine.
    pub host_s: f64,
}

impl Counted {
    fn add(&mut self, plan: &Plan, step: &Step<'_>, times: f64, host: f64) {
        let mut operators = vec![];
        plan.lower(step, &mut operators);
        self.operators.extend(operators.into_iter().map(|o| (times * o.repeat, o)));
        self.host_s += times * host;
    }
}

impl Estimator {
    /// The prefill and the mean decode step of a static batch as operators that take no part in the engine's
    /// terms, each with how often its time counts: what a fit of kernel times to results needs.
    #[must_use]
    pub fn counted(&self, workload: &Workload) -> [Counted; 2] {
        let plan = self.timer.plan();
        let host = |sampled: f64| {
            let t = self.timer.terms();
            1e-6 * (t.step_us + t.row_us * sampled)
        };
        let mut prefill = Counted::default();
        for (times, chunk) in self.packing(workload).pipelined(self.pipeline, self.in_flight) {
            let step = Step { prefill: &[*chunk], decode: &[] };
            prefill.add(plan, &step, times, host(step.sampled()));
        }
        let rows = self.decode_rows(workload, 1.0);
        let first = workload.input_len as f64 + 1.0;
        let last = ((workload.input_len + workload.output_len) as f64 - 1.0).max(first);
        let mut decode = Counted::default();
        for (context, times) in
            [(first, 1.0 / 6.0), (f64::midpoint(first, last), 4.0 / 6.0), (last, 1.0 / 6.0)]
        {
            let step = [DecodeRows { rows, context: context.max(1.0) }];
            decode.add(plan, &Step { prefill: &[], decode: &step }, times, host(rows));
        }
        [prefill, decode]
    }
}
