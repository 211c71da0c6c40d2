//! What the times of a static batch consist of: shares of kernels, lines, phases, utilisation.

use std::collections::BTreeMap;

use super::super::{Breakdown, Utilization};
use super::Estimator;
use super::prefill::Packing;
use crate::answer::energy::Phase;
use crate::answer::interval::Share;
use crate::spec::Workload;
use crate::time::{Bound, Line};
use crate::units::Seconds;
use crate::work::{DecodeRows, Operator, PrefillChunk, Step};

impl Estimator {
    /// Shares of prefill and of decode that kernels take, by class and what their coefficients rest on; what is
    /// left is the engine's own time.
    pub(in super::super) fn shares(&self, workload: &Workload, waves: f64) -> [Vec<Share>; 2] {
        let share = |steps: &[(f64, Step<'_>)]| {
            let (mut kernels, mut total) = (BTreeMap::new(), 0.0);
            for (times, step) in steps {
                total += times * self.timer.time(step, &mut vec![]).seconds.0;
                for (key, seconds) in self.timer.kernel_seconds(step) {
                    *kernels.entry(key).or_insert(0.0) += times * seconds;
                }
            }
            kernels
                .into_iter()
                .map(|((class, fitted), seconds)| Share {
                    class,
                    trust: if fitted { self.trust } else { self.fallback },
                    share: (seconds / total).min(1.0),
                })
                .collect()
        };
        let packing = self.packing(workload);
        let rows = [self.mean_rows(workload, waves)];
        let prefill: Vec<(f64, Step<'_>)> =
            packing.steps().map(|(times, chunk)| (times, prefill_step(chunk))).collect();
        [share(&prefill), share(&[(1.0, Step { prefill: &[], decode: &rows })])]
    }

    /// Lines of the whole prefill and of one decode step at the mean context.
    pub(in super::super) fn breakdown(&self, workload: &Workload, waves: f64) -> Breakdown {
        let prefill = self.prefill_lines(&self.packing(workload));
        let decode = if workload.output_len > 1 {
            let mut lines =
                self.timer.lines(&Step { prefill: &[], decode: &[self.mean_rows(workload, waves)] });
            let total: f64 = lines.iter().map(|l| l.seconds.0).sum();
            let mean = self.decode_seconds(workload, waves, &mut vec![]);
            for line in &mut lines {
                // the mean over the contexts differs from the time at the mean context by rounding only
                line.seconds = Seconds(line.seconds.0 * mean / total);
            }
            lines
        } else {
            vec![]
        };
        Breakdown { prefill, decode }
    }

    /// Kernels of the whole prefill and of one decode step at the mean context (none without decode), with how often
    /// each step runs.
    pub(in crate::answer) fn kernels(
        &self,
        workload: &Workload,
        waves: f64,
    ) -> [Vec<(f64, Operator, Line)>; 2] {
        let of = |step: &Step<'_>, times: f64| -> Vec<(f64, Operator, Line)> {
            self.timer.kernels(step).into_iter().map(|(operator, line)| (times, operator, line)).collect()
        };
        let packing = self.packing(workload);
        let prefill = packing.steps().flat_map(|(times, chunk)| of(&prefill_step(chunk), times)).collect();
        let rows = [self.mean_rows(workload, waves)];
        let decode = match workload.output_len {
            0 | 1 => vec![],
            _ => of(&Step { prefill: &[], decode: &rows }, 1.0),
        };
        [prefill, decode]
    }

    /// Lines of all prefill steps, scaled to the time that their pipeline takes.
    fn prefill_lines(&self, packing: &Packing) -> Vec<Line> {
        let time = self.prefill_time(packing, &mut vec![]);
        let mut lines: Vec<Line> = vec![];
        for (times, chunk) in packing.steps() {
            for line in self.timer.lines(&prefill_step(chunk)) {
                let line = line.repeated(times);
                match lines.iter_mut().find(|l| l.label == line.label) {
                    Some(same) => same.merge(&line),
                    None => lines.push(line),
                }
            }
        }
        let overlap = time.seconds / time.sequential.seconds.0;
        for line in &mut lines {
            line.seconds = line.seconds * overlap;
        }
        lines
    }

    fn mean_rows(&self, workload: &Workload, waves: f64) -> DecodeRows {
        let context = workload.input_len as f64 + workload.output_len as f64 / 2.0;
        DecodeRows { rows: self.decode_rows(workload, waves), context }
    }

    /// The whole prefill and a decode step at the mean context (nothing without decode): shares of an accelerator's limits,
    /// seconds, and tokens of all requests. A pipeline works on as many micro-batches as it has stages.
    pub(in crate::answer) fn phases(&self, workload: &Workload, waves: f64) -> [Phase; 2] {
        let mut scratch = vec![];
        let time = self.prefill_time(&self.packing(workload), &mut scratch);
        let (stages, bandwidth) = (self.pipeline, self.timer.device().bandwidth());
        let (all, seconds) = (time.sequential, time.seconds);
        let prefill = Phase {
            compute: all.compute_seconds.0 / seconds / stages,
            memory: all.memory_bytes.0 / (seconds * bandwidth) / stages,
            seconds,
            tokens: self.batch_of(workload) * (workload.input_len - workload.prefix_len) as f64,
        };
        if workload.output_len < 2 {
            return [prefill, Phase::default()];
        }
        let rows = self.mean_rows(workload, waves);
        let step = self.timer.time(&Step { prefill: &[], decode: &[rows] }, &mut scratch);
        let seconds = step.seconds.0;
        let decode = Phase {
            compute: step.compute_seconds.0 / seconds,
            memory: step.memory_bytes.0 / (seconds * bandwidth) / stages,
            seconds,
            tokens: rows.rows * self.data_parallel * stages,
        };
        [prefill, decode]
    }

    /// MFU of prefill, MBU of decode (0 without decode) and what each phase waits for.
    pub(in super::super) fn utilization(
        &self,
        workload: &Workload,
        waves: f64,
        breakdown: &Breakdown,
    ) -> Utilization {
        let [prefill, decode] = self.phases(workload, waves);
        Utilization {
            prefill_mfu: prefill.compute,
            decode_mbu: decode.memory,
            prefill_bottleneck: bottleneck(&breakdown.prefill),
            decode_bottleneck: bottleneck(&breakdown.decode),
        }
    }
}

fn prefill_step(chunk: &PrefillChunk) -> Step<'_> {
    Step { prefill: std::slice::from_ref(chunk), decode: &[] }
}

/// The bound that most of the time belongs to.
fn bottleneck(lines: &[Line]) -> &'static str {
    let of = |bound: Bound| -> f64 { lines.iter().filter(|l| l.bound == bound).map(|l| l.seconds.0).sum() };
    [Bound::Compute, Bound::Memory, Bound::Link, Bound::Host, Bound::Latency]
        .into_iter()
        .max_by(|a, b| of(*a).total_cmp(&of(*b)))
        .filter(|_| !lines.is_empty())
        .map_or("none", Bound::name)
}
